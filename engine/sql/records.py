"""Records: rows on their way through the stages of a query, with all that goes with them.

A record is a tuple of the row, the metadata and the values of earlier stages that later ones need,
and the parts that its own stage has computed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec import UNSET

from engine.batch import ColumnMetadata, Metadata, Row
from engine.layout import Frame, Layout
from engine.sql.ast import Expr, Supplied
from engine.sql.code import supplied_name
from engine.sql.stage import MetadataKey, Part, Stage

Record = tuple[Any, ...]


class Records:
    """What the records of one stage hold, and where."""

    def __init__(self, metadata: Iterable[MetadataKey], supplied: Iterable[Supplied]) -> None:
        self.metadata = tuple(metadata)
        self.supplied = tuple(supplied)
        self._parts: list[Part] = []
        self._places: dict[str, int] = {}

    def add(self, part: Part) -> int:
        """Let records hold a part; returns its place, the known one if they do already."""
        known = repr(part)  # the literals 1, 1.0 and true are equal, but differ
        if known not in self._places:
            self._places[known] = 1 + len(self.metadata) + len(self.supplied) + len(self._parts)
            self._parts.append(part)
        return self._places[known]

    def place(self, node: Supplied) -> int:
        """Return where records hold a value of an earlier stage."""
        return 1 + len(self.metadata) + self.supplied.index(node)

    def stage(self, condition: Expr | None, *, passes: int | None = None) -> Stage:
        """Return the stage that makes such records of the rows that meet ``condition``.

        With ``passes``, the place of a condition that isn't met by them, rows with an error leave
        records, too; what else was to be computed is null in them.
        """
        parts = tuple(self._parts)
        if passes is None:
            return Stage(condition, self.metadata, self.supplied, parts)
        first = 1 + len(self.metadata) + len(self.supplied)
        failing = tuple(False if first + n == passes else None for n in range(len(parts)))
        return Stage(condition, self.metadata, self.supplied, parts, failing)

    def nothing(self, row: Any) -> Record:
        """Return the record of no row at all; ``row`` is one in which every column is missing."""
        width = len(self.metadata) + len(self.supplied) + len(self._parts)
        return (row, *[None] * width)

    def frame(
        self,
        records: Sequence[Record],
        values: Mapping[str, Sequence[Any]],
        *,
        whole: bool,
        typed: bool,
    ) -> Frame:
        """Return the rows of records with what came with them and ``values``, by name.

        ``whole`` and ``typed`` tell their form, even where there are none; see `Frame`.
        """
        start = 1 + len(self.metadata)
        supplied = {
            supplied_name(node): [record[start + index] for record in records]
            for index, node in enumerate(self.supplied)
        }
        return Frame(
            [record[0] for record in records],
            self._metadata_of(records),
            0,
            whole=whole,
            typed=typed,
            supplied={**supplied, **values},
        )

    def metadata_of(self, record: Record) -> dict[str, Any]:
        """Return the metadata that a record holds."""
        found: dict[str, Any] = {}
        for (_, key), value in zip(self.metadata, record[1:], strict=False):
            if key:
                found[key] = value
            else:
                found.update(value or {})
        return found

    def _metadata_of(self, records: Sequence[Record]) -> Metadata:
        columns: dict[str, Sequence[Any]] = {}
        whole: Sequence[Mapping[str, Any]] | None = None
        for index, (_, key) in enumerate(self.metadata):
            column = [record[1 + index] for record in records]
            if key:
                columns[key] = column
            else:
                whole = column
        return _Kept(len(records), columns, whole)


class _Kept(ColumnMetadata):
    """The metadata columns that records hold, perhaps with all metadata of each row."""

    __slots__ = ("_whole",)

    def __init__(
        self,
        size: int,
        columns: Mapping[str, Sequence[Any]],
        whole: Sequence[Mapping[str, Any]] | None,
    ) -> None:
        super().__init__(size, columns)
        self._whole = whole

    def row(self, index: int) -> dict[str, Any]:
        return super().row(index) if self._whole is None else dict(self._whole[index] or {})


class RowKeeper:
    """Rows of one stream in the one form that operators keep: dicts for ``*``, else Structs.

    Rows that are kept must not change their form when other rules come to read the same stream.
    """

    def __init__(self, layout: Layout, *, whole: bool) -> None:
        self.whole = whole
        self._names = layout.names
        self._make = layout.row_type(typed=False)

    def adopt(self, frame: Frame) -> Frame:
        """Return a frame with its rows in this form."""
        if frame.whole == self.whole:
            return frame
        if self.whole:
            rows: list[Any] = [self.dump(row) for row in frame.rows]
        else:
            make, names = self._make, self._names
            rows = [make(*[row.get(name, UNSET) for name in names]) for row in frame.rows]
        return Frame(rows, frame.meta, frame.received_at, whole=self.whole, supplied=frame.supplied)

    def empty(self) -> Any:
        """Return a row without any column."""
        return {} if self.whole else self._make()

    def dump(self, row: Any) -> Row:
        """Return a row as a dict, for a snapshot."""
        if isinstance(row, dict):
            return row
        values = ((name, getattr(row, f"c{i}", UNSET)) for i, name in enumerate(self._names))
        return {name: value for name, value in values if value is not UNSET}

    def load(self, values: Row) -> Any:
        """Return a row of a snapshot."""
        if self.whole:
            return values
        return self._make(*[values.get(name, UNSET) for name in self._names])


class RecordSaver:
    """Records of one stream as values for snapshots and back."""

    def __init__(self, keeper: RowKeeper) -> None:
        self._keeper = keeper

    def dump(self, record: Record) -> Any:
        return [self._keeper.dump(record[0]), *record[1:]]

    def load(self, value: Any) -> Record:
        return (self._keeper.load(value[0]), *value[1:])
