"""How many rows of a rule are traced: at most so many a second, whatever comes."""

from __future__ import annotations

from engine.clock import Clock


class Sampler:
    """Lets ``rate`` rows a second be traced; those of one second may come at once."""

    def __init__(self, rate: int, clock: Clock) -> None:
        self._rate = rate
        self._clock = clock
        self._left = float(rate)
        self._asked_at = clock.now()

    def allowed(self) -> int:
        """Return how many rows may be traced now."""
        now = self._clock.now()
        elapsed = max(0, now - self._asked_at) / 1000  # the clock may have been set back
        self._asked_at = now
        self._left = min(self._rate, self._left + elapsed * self._rate)
        return int(self._left)

    def took(self, rows: int) -> None:
        """Note rows that are traced."""
        self._left -= rows
