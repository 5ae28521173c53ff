"""SQLite through the standard library."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import Any

from engine.api import ConfigError, EngineError, NotConnected, Row, RowError

from .database import Columns, Logger, no_table
from .template import SqlTemplate

_MOST_VALUES = 900  # in one statement; 999 is the limit of old versions
_STEPS = 10_000  # of the virtual machine between two looks at the time
_TABLES = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view')"
_COLUMNS = "SELECT name FROM pragma_table_xinfo(?, ?) WHERE hidden != 1"
"""The columns of a table in a schema, those that a virtual table hides left out."""
_PASSING = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_PROTOCOL,
    }
)
"""Kinds of errors that may be gone at the next attempt."""
_LARGEST = (1 << 63) - 1


class Sqlite:
    """A database file, opened for reading only; see ``Database``."""

    def __init__(self, path: Path, timeout: float, logger: Logger) -> None:
        """``timeout`` is how many seconds one call may take."""
        self._path = path
        self._timeout = timeout
        self._logger = logger
        self._connection: sqlite3.Connection | None = None
        self._file = 0, 0
        self._deadline = 0.0

    def open(self, table: str) -> None:
        uri = f"{self._path.absolute().as_uri()}?mode=ro"
        with self._explained():
            self._connection = connection = sqlite3.connect(
                uri, uri=True, timeout=self._timeout, check_same_thread=False, isolation_level=None
            )
            connection.set_authorizer(_authorise)
            connection.set_progress_handler(self._is_late, _STEPS)
            self._file = self._identity()
            if table:
                self._find_table(table)
            else:
                self._names(_TABLES)  # tells whether it is a database

    def _find_table(self, table: str) -> None:
        schema, _, name = table.rpartition(".")
        places: list[tuple[str | None, str]] = [(None, table)]
        if schema in self._names("SELECT name FROM pragma_database_list"):
            places.append((schema, name))
        for place in places:
            names = self._names(_COLUMNS, place[::-1])
            if names:
                self._table = ".".join(_quoted(part) for part in place if part)
                self._columns = Columns(table, names, self._logger)
                return
        raise no_table(table, self._names(_TABLES))

    def _names(self, statement: str, values: Sequence[Any] = ()) -> list[str]:
        return [row[0] for row in self._run(statement, values)]

    def find(
        self, fields: Sequence[str], keys: Sequence[str], rows_of_values: Sequence[Sequence[Any]]
    ) -> list[list[Row]]:
        names = self._columns.picked(fields, keys)
        found: list[list[Row]] = [[] for _ in rows_of_values]
        self._check_file()
        with self._explained():
            for start, part in _chunks(rows_of_values):
                values = [_bindable(value) for row in part for value in row]
                for index, *cells in self._run(self._statement(names, keys, len(part)), values):
                    found[start + index].append(dict(zip(names, cells, strict=True)))
        return found

    def _statement(self, names: Sequence[str], keys: Sequence[str], size: int) -> str:
        """Return the query for ``size`` keys, whose first column is the number of the key.

        A list of values that the table is joined with costs a fifth of a query for each key. All
        names in it are those of columns that the table has.
        """
        marks = ", ?" * len(keys)
        wanted = ", ".join(f"({number}{marks})" for number in range(size))
        heads = ", ".join(f"k{number}" for number in range(len(keys)))
        equal = " AND ".join(f"t.{_quoted(key)} = q.k{n}" for n, key in enumerate(keys))
        picked = ", ".join(f"t.{_quoted(name)}" for name in names)
        return (
            f"WITH q(n, {heads}) AS (VALUES {wanted}) "
            f"SELECT q.n, {picked} FROM q JOIN {self._table} AS t ON {equal}"
        )

    def query(self, template: SqlTemplate, values: Sequence[Any]) -> list[Row]:
        self._check_file()
        with self._explained():
            cursor = self._run("?".join(template.texts), [_bindable(value) for value in values])
            names = [column[0] for column in cursor.description or ()]
            return [dict(zip(names, cells, strict=True)) for cells in cursor]

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _check_file(self) -> None:
        """Ask to be opened again if another file has taken the place of this one."""
        if self._identity() != self._file:
            raise NotConnected(f"{self._path} is another file now")

    def _identity(self) -> tuple[int, int]:
        try:
            status = self._path.stat()
        except OSError as error:
            raise NotConnected(f"{self._path}: {error.strerror}") from None
        return status.st_dev, status.st_ino

    def _run(self, statement: str, values: Sequence[Any]) -> sqlite3.Cursor:
        assert self._connection is not None
        self._deadline = time.monotonic() + self._timeout
        return self._connection.execute(statement, values)

    def _is_late(self) -> bool:
        return time.monotonic() > self._deadline

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn errors of SQLite into those of the contract."""
        try:
            yield
        except sqlite3.Error as error:
            raise self._translated(error) from error

    def _translated(self, error: sqlite3.Error) -> EngineError:
        kind = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if kind in _PASSING:
            return NotConnected(f"{self._path}: {error}", kind="not connected")
        if kind == sqlite3.SQLITE_INTERRUPT:
            what = f"{self._path}: the query took longer than {self._timeout:g} s"
            return RowError(what, kind="the query takes too long")
        if kind == sqlite3.SQLITE_NOTADB:
            return ConfigError(f"{self._path} is no SQLite database")
        return RowError(f"{self._path}: {error}", kind="the query failed")


def _authorise(action: int, *_: str | None) -> int:
    """Let nothing reach another file; ``VACUUM INTO`` writes one, although this is read only."""
    return sqlite3.SQLITE_DENY if action == sqlite3.SQLITE_ATTACH else sqlite3.SQLITE_OK


def _chunks(
    rows_of_values: Sequence[Sequence[Any]],
) -> Iterator[tuple[int, Sequence[Sequence[Any]]]]:
    """Yield parts that fit into a statement, each with the index it starts at."""
    size = max(1, _MOST_VALUES // max(1, len(rows_of_values[0]))) if rows_of_values else 1
    for start in range(0, len(rows_of_values), size):
        yield start, rows_of_values[start : start + size]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _bindable(value: Any) -> Any:
    """Return a value as SQLite takes it.

    Raises:
        RowError: it has nothing like it.
    """
    if isinstance(value, int):
        if not -_LARGEST - 1 <= value <= _LARGEST:
            raise RowError(f"{value} is too large for SQLite")
        return value
    if isinstance(value, (str, float, bytes)):
        return value
    if isinstance(value, datetime):
        return value.isoformat(" ")
    if isinstance(value, date):
        return value.isoformat()
    raise RowError(f"a {type(value).__name__} can't be looked up in a table")
