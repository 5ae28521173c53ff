"""What the SQL lookup needs of a database, and what its two implementations have in common."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Protocol

from engine.api import ConfigError, Row, RowError

from .template import SqlTemplate

Logger = logging.LoggerAdapter[logging.Logger]
_SHOWN = 12  # names in a message


class Database(Protocol):
    """A connection; its methods block, and are called by one thread at a time.

    All raise `NotConnected` if the database isn't reachable or busy with others.
    """

    def open(self, table: str) -> None:
        """Connect, and find out what columns a table has unless its name is empty.

        Raises:
            ConfigError: there is no such table, or the address can't be right.
        """

    def find(
        self, fields: Sequence[str], keys: Sequence[str], rows_of_values: Sequence[Sequence[Any]]
    ) -> list[list[Row]]:
        """Return the rows of the table for each row of values.

        Raises:
            RowError: the database refuses the query or a value.
        """

    def query(self, template: SqlTemplate, values: Sequence[Any]) -> list[Row]:
        """Return the rows of a statement.

        Raises:
            RowError: the database refuses the query or a value.
        """

    def close(self) -> None:
        """Disconnect."""


class Columns:
    """The columns of a table, by which names from a query are checked."""

    def __init__(self, table: str, names: Sequence[str], logger: Logger) -> None:
        self._table = table
        self._names = list(names)
        self._logger = logger
        self._warned: set[str] = set()

    def picked(self, fields: Sequence[str], keys: Sequence[str]) -> list[str]:
        """Return the columns to read: all, or those of ``fields`` that are there.

        A query without a schema may ask for columns that are those of its stream.

        Raises:
            RowError: one of the ``keys`` is no column.
        """
        for key in keys:
            if key not in self._names:
                raise RowError(
                    f"table {self._table} has no column {key}; it has {listed(self._names)}"
                )
        if not fields:
            return self._names
        found = [field for field in fields if field in self._names]
        for field in fields:
            if field not in found and field not in self._warned:
                self._warned.add(field)
                self._logger.warning("table %s has no column %s", self._table, field)
        return found or list(keys)


def no_table(table: str, names: Sequence[str]) -> ConfigError:
    """Return the error for a table that isn't there."""
    hint = f"there are {listed(sorted(names))}" if names else "the database has no tables"
    return ConfigError(f"there is no table {table}", hint=hint)


def listed(names: Sequence[str]) -> str:
    """Return names for a message, the first few if they are many."""
    return ", ".join(names[:_SHOWN]) + (" …" if len(names) > _SHOWN else "")
