"""The steps of a query that are compiled by themselves: what each takes and what it makes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from engine.sql.ast import Alias, Expr, Hit, MetaValue, Node, Supplied
from engine.sql.code import TIME_OF_ROW
from engine.sql.plan import Plan
from engine.sql.walk import children

MetadataKey = tuple[str, str]
"""Stream and key of a metadata column; see `MetaValue`."""
ALL_METADATA: MetadataKey = "", ""


@dataclass(frozen=True, slots=True)
class Check:
    """A condition whose truth is one value of a record; null counts as false."""

    condition: Expr


@dataclass(frozen=True, slots=True)
class Key:
    """Values that make one value of a record: the key of a group, a partition or a join."""

    parts: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Args:
    """The arguments of a call as one tuple in a record."""

    args: tuple[Expr, ...]


Part = Expr | Check | Key | Args
"""One computed value of a record."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of a query.

    It keeps the rows for which ``condition`` is true and makes the results of SELECT of them or,
    with ``parts``, records: tuples of the row, all that came with it and the values of ``parts``.
    ``metadata`` are the keys of the metadata columns that its functions take,
    ``supplied`` the values from earlier stages, in the order in which they come after the row.
    """

    condition: Expr | None
    metadata: tuple[MetadataKey, ...]
    supplied: tuple[Supplied, ...]
    parts: tuple[Part, ...] | None = None
    failing: tuple[bool | None, ...] | None = None
    """The parts of the record that a row with an error leaves behind; None: it leaves none."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What expressions read beside columns: keys of the metadata, values of earlier stages."""

    metadata: tuple[MetadataKey, ...]
    supplied: tuple[Supplied, ...]

    def supplied_by(self, *places: str) -> tuple[Supplied, ...]:
        """Return the values that come from some places."""
        return tuple(node for node in self.supplied if node.place in places)


def needs_of(plan: Plan, expressions: Iterable[Node]) -> Needs:
    """Return what some expressions of a plan read, also through aliases."""
    metadata: dict[MetadataKey, None] = {}
    supplied: dict[Supplied, None] = {}

    def visit(node: Node) -> None:
        if isinstance(node, MetaValue):
            metadata[node.stream, node.key] = None
        elif isinstance(node, Supplied):
            supplied[Supplied(place=node.place, index=node.index)] = None
        elif isinstance(node, Hit):
            supplied[TIME_OF_ROW] = None
        elif isinstance(node, Alias):
            visit(plan.root.items[node.index].expr)
        for child in children(node):
            visit(child)

    for expression in expressions:
        visit(expression)
    return Needs(tuple(metadata), tuple(supplied))


def final_stage(plan: Plan, condition: Expr | None, *, with_metadata: bool = False) -> Stage:
    """Return the stage that makes the results of SELECT from the rows that meet ``condition``."""
    expressions: list[Node] = [item.expr for item in plan.root.items]
    if condition is not None:
        expressions.append(condition)
    needs = needs_of(plan, expressions)
    whole = (ALL_METADATA,) if with_metadata and ALL_METADATA not in needs.metadata else ()
    return Stage(condition, (*needs.metadata, *whole), needs.supplied)
