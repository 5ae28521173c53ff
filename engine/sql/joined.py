"""Joined rows: tuples of one row of each stream and table of a query, in the order of the text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.layout import Layout
from engine.sql.ast import Column
from engine.sql.code import Code, Columns, Constant
from engine.sql.plan import Scan


@dataclass(frozen=True, slots=True)
class JoinedPart:
    """One stream or table of joined rows, whose rows are dicts if it has no layout."""

    scan: Scan
    layout: Layout | None

    def raw(self, index: int, name: str, constant: Constant) -> str:
        """Return the text of a column of the part at ``index``, UNSET where it is missing."""
        if self.layout is None:
            return f"r[{index}].get({constant(name)}, UNSET)"
        return f"r[{index}].{self.layout.slot(name)}"

    def reads(self, name: str) -> bool:
        """Tell whether the query reads a column of this part."""
        return self.scan.whole or any(use.name == name for use in self.scan.columns)


class JoinedForm:
    """How compiled code reads joined rows; see ``engine.sql.query.RowForm``."""

    whole = False

    def __init__(self, parts: Sequence[JoinedPart]) -> None:
        self._parts = parts

    def columns(self, *, whole: bool) -> Columns:
        return _JoinedColumns(self._parts)

    def verifies(self, scans: Sequence[Scan]) -> bool:
        return False


class _JoinedColumns:
    def __init__(self, parts: Sequence[JoinedPart]) -> None:
        self._parts = parts

    def raw(self, column: Column, constant: Constant) -> str:
        texts = [part.raw(index, column.name, constant) for index, part in self._having(column)]
        return texts[0] if len(texts) == 1 else f"leftmost({', '.join(texts)})"

    def value(self, column: Column, constant: Constant) -> Code:
        found = self._having(column)
        if len(found) > 1:
            return Code(f"settled({self.raw(column, constant)})")
        ((index, part),) = found
        if part.layout is None:
            return Code(f"r[{index}].get({constant(column.name)})")
        return Code(part.raw(index, column.name, constant), repeatable=True, maybe_unset=True)

    def _having(self, column: Column) -> list[tuple[int, JoinedPart]]:
        """Return the parts that a column may be read from, with their places."""
        return [
            (index, part)
            for index, part in enumerate(self._parts)
            if column.stream in ("", part.scan.label) and part.reads(column.name)
        ]

    def everything(self, stream: str) -> str:
        for index, part in enumerate(self._parts):
            if part.scan.label == stream:
                return f"r[{index}]"
        return "merged(r)"
