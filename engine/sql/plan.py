"""The logical plan of a query: what to compute, free of asyncio and of code generation.

Operators stand in the order in which they run, the first one innermost: Scan, Analytic, Filter or
Window, Aggregate, Having, Order, Project.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import msgspec

from engine.layout import ColumnUse
from engine.sql.ast import Expr, Item, Node, SortKey, Star
from engine.sql.ast import Window as WindowNode


class Scan(msgspec.Struct, frozen=True, tag=True):
    """Read a stream: the columns that the query needs, or all of them (``whole``)."""

    stream: str
    columns: tuple[ColumnUse, ...] = ()
    whole: bool = False
    declared: bool = False
    """The kinds of the columns are declared, so every row has them, however it came."""
    metadata: tuple[str, ...] = ()
    """Keys of the metadata that the query reads; "" stands for all of it."""


class AnalyticCall(msgspec.Struct, frozen=True):
    """One call site of a function that remembers earlier rows, of each partition by itself."""

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


class Having(msgspec.Struct, frozen=True, tag=True):
    """Keep the groups for which a condition is true."""

    input: Operator
    condition: Expr


class Order(msgspec.Struct, frozen=True, tag=True):
    """Sort what a window gives; nulls last, ties in their order of arrival."""

    input: Operator
    keys: tuple[SortKey, ...]


class Project(msgspec.Struct, frozen=True, tag=True):
    """Compute the items of SELECT; ``Alias`` nodes refer to ``items`` by index."""

    input: Operator
    items: tuple[Item, ...]
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


Operator = Scan | Analytic | Filter | Window | Aggregate | Having | Order | Project
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
        case Order(keys=keys):
            yield from (key.expr for key in keys)
        case Analytic(calls=sites):
            for site in sites:
                yield from (*site.args, *site.partition_by)
                if site.when is not None:
                    yield site.when


class Plan(msgspec.Struct, frozen=True):
    """A query, ready to be compiled or explained."""

    sql: str
    root: Project

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
        found = self.find(Scan)
        assert found is not None, "every plan begins with a scan"
        return found

    @property
    def condition(self) -> Expr | None:
        """The condition of the rows or groups that are projected."""
        kept = self.find(Having) or self.find(Filter)
        return None if kept is None else kept.condition
