"""Waiting longer and longer between attempts, with jitter so that not all come back at once."""

from __future__ import annotations

import random
from collections.abc import Callable


class Backoff:
    """Delays that grow by ``multiplier`` from ``first`` to ``longest`` seconds.

    Each is shortened by up to the share ``jitter``, from a number between 0 and 1.
    """

    def __init__(
        self,
        first: float = 0.1,
        longest: float = 10.0,
        *,
        multiplier: float = 2.0,
        jitter: float = 0.5,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._first = first
        self._longest = longest
        self._multiplier = multiplier
        self._jitter = jitter
        self._chance = chance
        self._next = first

    def next(self) -> float:
        """Return the next delay."""
        delay = min(self._longest, self._next)
        self._next = delay * self._multiplier
        return self._shortened(delay)

    def last(self) -> float:
        """Return the longest delay, for when haste does harm."""
        return self._shortened(self._longest)

    def reset(self) -> None:
        """Start again from the first delay."""
        self._next = self._first

    def _shortened(self, delay: float) -> float:
        return delay * (1 - self._jitter * (1 - self._chance()))
