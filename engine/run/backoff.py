"""Waiting longer and longer between attempts, with jitter so that not all come back at once."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(slots=True)
class Backoff:
    """Delays in seconds: ``first``, then ``multiplier`` times more each, at most ``longest``.

    ``jitter`` is the largest relative deviation.
    """

    first: float = 0.1
    longest: float = 10.0
    multiplier: float = 2.0
    jitter: float = 0.2
    _next: float = 0.0

    def delay(self) -> float:
        """Return the next delay."""
        base = min(self._next or self.first, self.longest)
        self._next = base * self.multiplier
        return base * random.uniform(1 - self.jitter, 1 + self.jitter)

    def reset(self) -> None:
        """Start again from the first delay."""
        self._next = 0.0
