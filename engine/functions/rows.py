"""Functions that give several rows (function catalogue, section 13, with section 21, item 37)."""

from __future__ import annotations

from typing import Any

from engine.sql.functions import scalar


@scalar(example="unnest(list)", returns_rows=True)
def unnest(values: list[Any]) -> list[Any]:
    """Return a row for each element; none for an empty list or null.

    The fields of an object become columns, any other element becomes the column ``unnest`` or the
    alias.
    """
    return values


@scalar(example="extract(object)", returns_rows=True)
def extract(value: dict[str, Any]) -> list[Any]:
    """Return one row with the fields of an object as columns; none for null."""
    return [value]
