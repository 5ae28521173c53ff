"""``last_hit_count`` and the like: how often and when a condition was met before."""

from __future__ import annotations

from typing import Any


class Hits:
    """What one call remembers; ``hit`` is called only when the row or group has passed."""

    def __init__(self) -> None:
        self._value = 0

    def value(self) -> int:
        """Return the function's value, which the current row or group doesn't count in."""
        return self._value

    def hit(self, now: int) -> None:
        """Take note of a hit at an event time (epoch milliseconds)."""
        raise NotImplementedError

    def met(self, now: int) -> bool:
        """Take note of a hit; true, so that it can be the last term of a condition."""
        self.hit(now)
        return True

    def take(self, now: int) -> int:
        """Return the value, then take note of a hit."""
        value = self._value
        self.hit(now)
        return value

    def snapshot(self) -> Any:
        """Return what is remembered as a value for msgpack."""
        return self._value

    def restore(self, value: Any) -> None:
        """Go on from a snapshot."""
        self._value = value


class HitCount(Hits):
    """How many hits there were: ``last_hit_count``, ``last_agg_hit_count``."""

    def hit(self, now: int) -> None:
        """Count a hit at an event time (epoch milliseconds)."""
        self._value += 1


class HitTime(Hits):
    """The event time of the last hit, 0 before any: ``last_hit_time``, ``last_agg_hit_time``."""

    def hit(self, now: int) -> None:
        """Note a hit at an event time (epoch milliseconds)."""
        self._value = now
