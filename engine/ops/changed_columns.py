"""``changed_cols``: the columns that differ from what they were in the row before."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

from engine.functions.identity import identity

_NOTHING = identity(None)


class ChangedColumns:
    """What one call of ``changed_cols`` remembers: the last value of each column, by its name.

    With ``ignore_null`` a null is passed over; without, a change to null is given as null.
    """

    def __init__(self, prefix: str, ignore_null: bool) -> None:
        self._prefix = prefix
        self._ignore_null = ignore_null
        self._values: dict[str, tuple[Hashable, Any]] = {}

    def step(self, names: Sequence[str], values: Sequence[Any]) -> dict[str, Any]:
        """Return the values that have changed, by prefixed name; what is new changes from null.

        Columns that aren't among ``names`` this time keep what they were.
        """
        changed = {}
        known = self._values
        for name, value in zip(names, values, strict=True):
            if value is None and self._ignore_null:
                continue
            key = identity(value)
            last = known.get(name)
            if key != (_NOTHING if last is None else last[0]):
                known[name] = key, value
                changed[self._prefix + name] = value
        return changed

    def snapshot(self) -> Any:
        """Return all that is remembered as a value for msgpack."""
        return {name: value for name, (_, value) in self._values.items()}

    def restore(self, value: Any) -> None:
        """Go on from a snapshot."""
        self._values = {name: (identity(last), last) for name, last in value.items()}
