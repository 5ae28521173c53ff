"""The logical plan of a query: what to compute, free of asyncio and of code generation."""

from __future__ import annotations

import msgspec

from engine.layout import ColumnUse
from engine.sql.ast import Expr, Item, Star


class Scan(msgspec.Struct, frozen=True, tag=True):
    """Read a stream: the columns that the query needs, or all of them (``whole``)."""

    stream: str
    columns: tuple[ColumnUse, ...] = ()
    whole: bool = False
    declared: bool = False
    """The kinds of the columns are declared, so every row has them, however it came."""
    metadata: tuple[str, ...] = ()
    """Keys of the metadata that the query reads; "" stands for all of it."""


class Filter(msgspec.Struct, frozen=True, tag=True):
    """Keep the rows for which a condition is true."""

    input: Operator
    condition: Expr


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


Operator = Scan | Filter | Project


class Plan(msgspec.Struct, frozen=True):
    """A query, ready to be compiled or explained."""

    sql: str
    root: Project

    @property
    def scan(self) -> Scan:
        node: Operator = self.root
        while not isinstance(node, Scan):
            node = node.input
        return node

    @property
    def condition(self) -> Expr | None:
        """The WHERE condition."""
        node = self.root.input
        return node.condition if isinstance(node, Filter) else None
