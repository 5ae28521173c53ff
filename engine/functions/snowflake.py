"""Numbers that are unique in the process and grow with time: snowflake ids of node 1."""

from __future__ import annotations

_EPOCH = 1_288_834_974_657  # milliseconds; the first users' choice, kept by all libraries
_NODE = 1
_NODE_BITS, _STEP_BITS = 10, 12


class Snowflakes:
    """Gives one number after the other."""

    def __init__(self) -> None:
        self._last = 0

    def next(self, now: int) -> int:
        """Return the next number at a time in epoch milliseconds, larger than all before."""
        first = (now - _EPOCH) << _STEP_BITS
        self._last = max(first, self._last + 1)
        millisecond, step = divmod(self._last, 1 << _STEP_BITS)
        return (millisecond << _NODE_BITS | _NODE) << _STEP_BITS | step


SNOWFLAKES = Snowflakes()
