"""Write results as Parquet files, which databases and notebooks read."""
# /// script
# dependencies = ["pyarrow>=15"]
# ///

from __future__ import annotations

import os
from datetime import date, datetime
from typing import Any, ClassVar, Literal

import msgspec
import pyarrow
import pyarrow.parquet

from engine.api import Batch, Config, NotConnected, Rejected, Row, Sink, Token

ColumnType = Literal["bigint", "float", "string", "boolean", "bytea", "datetime"]
_TYPES: dict[str, Any] = {
    "bigint": pyarrow.int64(),
    "float": pyarrow.float64(),
    "string": pyarrow.string(),
    "boolean": pyarrow.bool_(),
    "bytea": pyarrow.binary(),
    "datetime": pyarrow.timestamp("ms", "UTC"),
}
_FAMILIES: tuple[tuple[str, tuple[type[Any], ...]], ...] = (
    ("boolean", (bool,)),  # before numbers, of which it is one
    ("number", (int, float)),
    ("text", (str,)),
    ("bytes", (bytes, bytearray)),
    ("date", (datetime, date)),
    ("list", (list, tuple)),
    ("object", (dict,)),
)
_INT64 = 1 << 63


class ParquetConfig(Config):
    """``path`` is a folder, from the root on; it is made if need be."""

    path: str
    columns: dict[str, ColumnType] = msgspec.field(default_factory=dict)
    """Types of columns, so that all files have the same; others follow from the values."""
    compression: Literal["snappy", "zstd", "gzip", "none"] = "zstd"


class Parquet(Sink[ParquetConfig]):
    """A file for each batch, complete before the batch counts as delivered.

    Give the action a ``batchSize`` and a ``lingerInterval``, so that files don't become many and
    small. Columns that a row doesn't have are null. A row whose value is of another type than the
    others in its column is rejected; so is one that doesn't fit into ``columns``.
    """

    blocking: ClassVar[bool] = True

    def validate(self) -> None:
        self.ctx.file(self.config.path)

    def open(self) -> None:  # type: ignore[override]
        self._folder = self.ctx.file(self.config.path)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise NotConnected(f"{self._folder}: {error.strerror or error}") from error

    def collect(self, batch: Batch, token: Token | None = None) -> None:  # type: ignore[override]
        rows = batch.rows or []
        if not rows:
            return
        names = list(dict.fromkeys(name for row in rows for name in row))
        wrong = {index for name in names for index in self._misfits(name, rows)}
        good = [row for index, row in enumerate(rows) if index not in wrong]
        if good:
            self._write(self._table(names, good), self._name(token))
        if wrong:
            raise Rejected(
                "values of another type than the others in their column", indexes=sorted(wrong)
            )

    def _name(self, token: Token | None) -> str:
        """Return the name of the next file; the same batch, when it comes again, has the same."""
        if token is not None:
            place = f"{token.checkpoint:06}-{token.number:06}"
            return f"{token.rule_id}-{place}-{token.check}.parquet"
        number = self.ctx.incr_counter("files")
        return f"{self.ctx.rule_id}-{self.ctx.started_at}-{number:06}.parquet"

    def _misfits(self, name: str, rows: list[Row]) -> list[int]:
        """Return the rows whose value can't be in one column with the first."""
        given = _TYPES.get(self.config.columns.get(name, ""))
        first: str | None = None
        found = []
        for index, row in enumerate(rows):
            value = row.get(name)
            if value is None:
                continue
            if given is not None:
                fits = _is_of(value, given)
            else:
                family = _family(value)
                first = first or family
                fits = family == first
            if not fits:
                found.append(index)
        return found

    def _table(self, names: list[str], rows: list[Row]) -> Any:
        columns = {}
        for name in names:
            values = [row.get(name) for row in rows]
            given = _TYPES.get(self.config.columns.get(name, ""))
            try:
                columns[name] = pyarrow.array(values, type=given)
            except (pyarrow.ArrowException, TypeError, OverflowError) as error:
                raise Rejected(f"column {name}: {error}") from error
        return pyarrow.table(columns)

    def _write(self, table: Any, name: str) -> None:
        path, half = self._folder / name, self._folder / f".{name}.half"
        try:
            with half.open("wb") as file:
                pyarrow.parquet.write_table(table, file, compression=self.config.compression)
                file.flush()
                os.fsync(file.fileno())
            half.replace(path)
        except OSError as error:
            half.unlink(missing_ok=True)
            raise NotConnected(f"{path}: {error.strerror or error}") from error


def _family(value: Any) -> str:
    if type(value) is int and not -_INT64 <= value < _INT64:
        return "number too large"
    return next((name for name, types in _FAMILIES if isinstance(value, types)), "other")


def _is_of(value: Any, given: Any) -> bool:
    try:
        pyarrow.scalar(value, type=given)
    except (pyarrow.ArrowException, TypeError, OverflowError):
        return False
    return True
