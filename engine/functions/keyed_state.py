"""Values by key that all rules of the process share; they are lost when it ends."""

from __future__ import annotations

from typing import Any

_MOST_KEYS = 100_000


class KeyedState:
    """A store of a limited number of values."""

    def __init__(self, most: int = _MOST_KEYS) -> None:
        self._most = most
        self._values: dict[str, Any] = {}

    def get(self, key: str) -> Any:
        """Return the value of a key, None if it has none."""
        return self._values.get(key)

    def put(self, key: str, value: Any) -> None:
        """Give a key a value, or none (None).

        Raises:
            ValueError: there would be too many keys.
        """
        if value is None:
            self._values.pop(key, None)
            return
        if key not in self._values and len(self._values) >= self._most:
            raise ValueError(f"there are {self._most} keys already")
        self._values[key] = value


KEYED_STATE = KeyedState()
