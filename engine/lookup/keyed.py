"""Rows by key, the last one of each: what a lookup table in memory holds."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from typing import Any

from engine.batch import Row
from engine.lookup.match import equals_nothing
from engine.sql.keys import typed_key


class KeyedRows:
    """The last row of each key, found by any columns in constant time.

    An index for other columns than the key is made by the first question that needs it, and kept
    up to date from then on.

    Args:
        key: the column that is the primary key.
        max_rows: rows that are held; beyond that the one changed longest ago goes.
    """

    def __init__(self, key: str, max_rows: int) -> None:
        self.key = key
        self.evicted = 0
        """Rows that had to go for want of room."""
        self._max_rows = max_rows
        self._rows: OrderedDict[Hashable, Row] = OrderedDict()
        self._indexes: dict[tuple[str, ...], dict[Hashable, dict[Hashable, Row]]] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def put(self, value: Any, row: Row) -> None:
        """Make a copy of ``row`` the only one whose key is ``value``, which must equal itself."""
        key = typed_key((value,))
        self._forget(key)
        row = self._rows[key] = dict(row)
        for columns, index in self._indexes.items():
            index.setdefault(_key_of(row, columns), {})[key] = row
        if len(self._rows) > self._max_rows:
            self._forget(next(iter(self._rows)))
            self.evicted += 1

    def delete(self, value: Any) -> None:
        """Forget the row of a key; an unknown one is no error."""
        self._forget(typed_key((value,)))

    def find(self, columns: Sequence[str], values: Sequence[Any]) -> list[Row]:
        """Return the rows whose ``columns`` equal ``values``, in the order of their last change."""
        if equals_nothing(values):
            return []
        if tuple(columns) == (self.key,):
            row = self._rows.get(typed_key(tuple(values)))
            return [] if row is None else [row]
        found = self._index(tuple(columns)).get(typed_key(tuple(values)), {})
        return list(found.values())

    def _index(self, columns: tuple[str, ...]) -> dict[Hashable, dict[Hashable, Row]]:
        index = self._indexes.get(columns)
        if index is None:
            index = self._indexes[columns] = {}
            for key, row in self._rows.items():
                index.setdefault(_key_of(row, columns), {})[key] = row
        return index

    def _forget(self, key: Hashable) -> None:
        row = self._rows.pop(key, None)
        if row is None:
            return
        for columns, index in self._indexes.items():
            value = _key_of(row, columns)
            bucket = index[value]
            del bucket[key]
            if not bucket:
                del index[value]


def _key_of(row: Row, columns: tuple[str, ...]) -> Hashable:
    return typed_key(tuple(map(row.get, columns)))
