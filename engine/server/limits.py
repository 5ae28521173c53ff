"""How often somebody may call."""

from __future__ import annotations

import time
from collections import OrderedDict

_KNOWN = 10_000
"""Callers that are remembered; those who were silent longest are forgotten first."""


class RateLimit:
    """So many calls in a second for each caller, and twice as many at once."""

    def __init__(self, per_second: float, burst: float | None = None) -> None:
        """``per_second`` 0: no limit."""
        self._rate = per_second
        self._burst = burst or 2 * per_second
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allows(self, caller: str) -> bool:
        """Count a call; False if it is one too many."""
        if not self._rate:
            return True
        now = time.monotonic()
        left, last = self._left.pop(caller, (self._burst, now))
        left = min(self._burst, left + (now - last) * self._rate)
        allowed = left >= 1
        self._left[caller] = (left - allowed, now)
        if len(self._left) > _KNOWN:
            self._left.popitem(last=False)
        return allowed

    def is_exhausted(self, caller: str) -> bool:
        """Tell whether the next call would be one too many."""
        if not self._rate or caller not in self._left:
            return False
        left, last = self._left[caller]
        return left + (time.monotonic() - last) * self._rate < 1
