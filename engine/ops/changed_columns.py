"""``changed_cols``: the columns that differ from what they were in the row before."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any

from engine.functions.identity import identity
from engine.functions.stateful import wrong_kind

_NOTHING = identity(None)


class ChangedColumns:
    """What one call of ``changed_cols`` remembers: the last value of each column, by its name."""

    def __init__(self) -> None:
        self._values: dict[str, tuple[Hashable, Any]] = {}

    def step(
        self, prefix: str, ignore_null: bool, columns: Iterable[tuple[str, Any]]
    ) -> dict[str, Any]:
        """Return the values that have changed, by prefixed name; what is new changes from null.

        With ``ignore_null`` a null is passed over; without, a change to null is given as null.
        Columns that aren't among ``columns`` this time keep what they were.

        Raises:
            RowError: the prefix is no text or the flag no boolean.
        """
        if type(prefix) is not str:
            raise wrong_kind("changed_cols", "prefix", "a string", prefix)
        if type(ignore_null) is not bool:
            raise wrong_kind("changed_cols", "ignore_null", "true or false", ignore_null)
        changed = {}
        known = self._values
        for name, value in columns:
            if value is None and ignore_null:
                continue
            key = identity(value)
            last = known.get(name)
            if key != (_NOTHING if last is None else last[0]):
                known[name] = key, value
                changed[prefix + name] = value
        return changed

    def snapshot(self) -> Any:
        """Return all that is remembered as a value for msgpack."""
        return {name: value for name, (_, value) in self._values.items()}

    def restore(self, value: Any) -> None:
        """Go on from a snapshot."""
        self._values = {name: (identity(last), last) for name, last in value.items()}
