"""When a row of a table has the key that is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from engine.batch import Row
from engine.sql.keys import typed_key


def equals_nothing(values: Iterable[Any]) -> bool:
    """Tell whether a key can't be found anywhere: null and NaN equal nothing, not even themselves.

    A key of several values has none of them.
    """
    return any(value is None or value != value for value in values)


def matching(rows: Iterable[Row], columns: Sequence[str], values: Sequence[Any]) -> list[Row]:
    """Return the rows whose ``columns`` equal ``values``: 1 equals 1.0, but not ``'1'``."""
    if equals_nothing(values):
        return []
    wanted = typed_key(tuple(values))
    return [row for row in rows if typed_key(tuple(map(row.get, columns))) == wanted]
