"""The logical plan of a query: what to compute, free of asyncio and of code generation.

Operators stand in the order in which they run, the first one innermost: Scan, Analytic, Window,
Join, Filter, Aggregate, AnalyticOfGroups, Having, Rank, Order, Project.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import msgspec

from engine.layout import ColumnUse
from engine.sql.ast import Expr, Item, Node, SortKey, Star
from engine.sql.ast import Window as WindowNode
from engine.sql.kinds import Kind


class Scan(msgspec.Struct, frozen=True, tag=True):
    """Read a stream: the columns that the query needs, or all of them (``whole``).

    ``label`` is its name in the query. ``role`` is "stream", "scan" for a table whose rows are kept
    or "lookup" for one that is asked by key.
    """

    stream: str
    label: str = ""
    role: str = "stream"
    columns: tuple[ColumnUse, ...] = ()
    whole: bool = False
    declared: bool = False
    """The kinds of the columns are declared, so every row has them, however it came."""
    metadata: tuple[str, ...] = ()
    """Keys of the metadata that the query reads; "" stands for all of it."""
    timestamp: str = ""
    """The column with the time of each row, in event time."""

    @property
    def kinds(self) -> dict[tuple[str, str], Kind]:
        """The kinds of the columns by label and name."""
        return {(self.label, use.name): use.kind for use in self.columns}


class AnalyticCall(msgspec.Struct, frozen=True):
    """One call site of a function that remembers earlier rows, of each partition by itself.

    ``stream`` is the label of the stream whose rows it sees, "" if it sees groups; ``number``
    counts all calls of a query.
    """

    number: int
    stream: str
    name: str
    args: tuple[Expr, ...]
    partition_by: tuple[Expr, ...] = ()
    when: Expr | None = None


class Analytic(msgspec.Struct, frozen=True, tag=True):
    """Compute the analytic functions of all clauses; a call may read those before it."""

    input: Operator
    calls: tuple[AnalyticCall, ...]


class Filter(msgspec.Struct, frozen=True, tag=True):
    """Keep the rows for which a condition is true."""

    input: Operator
    condition: Expr


class Window(msgspec.Struct, frozen=True, tag=True):
    """Collect rows into panes.

    ``where`` is the WHERE condition: rows that fail it take part in opening, extending and
    triggering panes, but aren't in them (language specification, 8.2, item 5).
    """

    input: Operator
    window: WindowNode
    where: Expr | None = None


class JoinSide(msgspec.Struct, frozen=True):
    """One stream or table that is joined to those before it; ``kind`` as in `ast.Join`.

    Rows match if each of ``left_keys``, of those before, equals the one of ``right_keys``, of the
    joined ones, at the same place, and ``on`` is true.
    """

    kind: str
    scan: Scan
    left_keys: tuple[Expr, ...] = ()
    right_keys: tuple[Expr, ...] = ()
    on: Expr | None = None


class Join(msgspec.Struct, frozen=True, tag=True):
    """Join the rows of a window, or single rows, with those of other streams and of tables."""

    input: Operator
    sides: tuple[JoinSide, ...]


class AggregateCall(msgspec.Struct, frozen=True):
    """One aggregate over the rows of a group, of which ``filter`` may leave some out."""

    name: str
    args: tuple[Expr, ...]
    filter: Expr | None = None


class Aggregate(msgspec.Struct, frozen=True, tag=True):
    """Make one row of each group; other columns are those of its first row."""

    input: Operator
    keys: tuple[Expr, ...]
    calls: tuple[AggregateCall, ...]


class AnalyticOfGroups(msgspec.Struct, frozen=True, tag=True):
    """Compute the analytic functions that read aggregates, from one group to the next."""

    input: Operator
    calls: tuple[AnalyticCall, ...]


class Having(msgspec.Struct, frozen=True, tag=True):
    """Keep the groups for which a condition is true."""

    input: Operator
    condition: Expr


class RankCall(msgspec.Struct, frozen=True):
    """One call of ``row_number``, ``rank`` or ``dense_rank``."""

    name: str
    partition_by: tuple[Expr, ...] = ()
    order_by: tuple[SortKey, ...] = ()


class Rank(msgspec.Struct, frozen=True, tag=True):
    """Number the rows of what a window gives, in their order of arrival unless told otherwise."""

    input: Operator
    calls: tuple[RankCall, ...]


class Order(msgspec.Struct, frozen=True, tag=True):
    """Sort what a window gives; nulls last, ties in their order of arrival."""

    input: Operator
    keys: tuple[SortKey, ...]


class Project(msgspec.Struct, frozen=True, tag=True):
    """Compute the items of SELECT; ``Alias`` nodes refer to ``items`` by index."""

    input: Operator
    items: tuple[Item, ...]
    hits: tuple[str, ...] = ()
    """The functions that ``Hit`` nodes stand for, by index."""
    changes: int = 0
    """How many calls of ``changed_cols`` there are."""
    limit: int | None = None
    unnested: int | None = None
    """The item whose elements make a row each."""

    @property
    def is_identity(self) -> bool:
        """Tell whether rows go out as they came in: a lone ``*``."""
        if len(self.items) != 1:
            return False
        star = self.items[0].expr
        return isinstance(star, Star) and not star.excluded and not star.replaced


Operator = (
    Scan
    | Analytic
    | Window
    | Join
    | Filter
    | Aggregate
    | AnalyticOfGroups
    | Having
    | Rank
    | Order
    | Project
)
OperatorT = TypeVar("OperatorT")


def expressions_of(operator: Operator) -> Iterator[Node]:
    """Yield the expressions that an operator computes."""
    match operator:
        case Project(items=items):
            yield from (item.expr for item in items)
        case Filter(condition=condition) | Having(condition=condition):
            yield condition
        case Window(window=window, where=where):
            yield window
            if where is not None:
                yield where
        case Aggregate(keys=keys, calls=calls):
            yield from keys
            for call in calls:
                yield from call.args
                if call.filter is not None:
                    yield call.filter
        case Join(sides=sides):
            for side in sides:
                yield from (*side.left_keys, *side.right_keys)
                if side.on is not None:
                    yield side.on
        case Rank(calls=ranks):
            for rank in ranks:
                yield from (*rank.partition_by, *(key.expr for key in rank.order_by))
        case Order(keys=keys):
            yield from (key.expr for key in keys)
        case Analytic(calls=sites) | AnalyticOfGroups(calls=sites):
            for site in sites:
                yield from (*site.args, *site.partition_by)
                if site.when is not None:
                    yield site.when


class Plan(msgspec.Struct, frozen=True):
    """A query, ready to be compiled or explained."""

    sql: str
    root: Project
    carries_metadata: bool = False
    """All metadata of a row is needed to the end, whatever the query itself reads."""

    def operators(self) -> Iterator[Operator]:
        """Yield the operators, the last one first."""
        node: Operator = self.root
        while True:
            yield node
            if isinstance(node, Scan):
                return
            node = node.input

    def find(self, kind: type[OperatorT]) -> OperatorT | None:
        """Return the operator of a kind, None if the plan has none."""
        return next((node for node in self.operators() if isinstance(node, kind)), None)

    @property
    def scan(self) -> Scan:
        """The scan of the stream in FROM."""
        found = self.find(Scan)
        assert found is not None, "every plan begins with a scan"
        return found

    @property
    def scans(self) -> tuple[Scan, ...]:
        """The scans of all streams and tables, in the order of the text."""
        join = self.find(Join)
        return (self.scan, *(side.scan for side in join.sides)) if join else (self.scan,)

    @property
    def gives_rows_as_they_are(self) -> bool:
        """Whether results are rows of a stream, unchanged."""
        return self.root.is_identity and self.find(Join) is None

    @property
    def is_rowwise(self) -> bool:
        """Whether each row is for itself, with nothing remembered from one to the next."""
        return all(isinstance(node, (Scan, Filter, Project)) for node in self.operators())

    @property
    def condition(self) -> Expr | None:
        """The condition of the rows that are projected, without that of groups."""
        kept = self.find(Filter)
        return None if kept is None else kept.condition
