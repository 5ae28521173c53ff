"""How long to wait before the next attempt."""

from __future__ import annotations

import random
from collections.abc import Callable


class Backoff:
    """Delays that double from ``first`` to ``longest`` seconds, each shortened by up to a half."""

    def __init__(
        self,
        first: float = 0.1,
        longest: float = 10.0,
        *,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._first = first
        self._longest = longest
        self._chance = chance
        self._attempts = 0

    def next(self) -> float:
        delay = min(self._longest, self._first * 2 ** min(self._attempts, 32))
        self._attempts += 1
        return self._jittered(delay)

    def last(self) -> float:
        """Return the longest delay, for when haste does harm."""
        return self._jittered(self._longest)

    def reset(self) -> None:
        self._attempts = 0

    def _jittered(self, delay: float) -> float:
        return delay * (0.5 + self._chance() / 2)
