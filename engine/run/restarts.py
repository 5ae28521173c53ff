"""How often, and after how long, a rule that failed is started again."""

from __future__ import annotations

from engine.backoff import Backoff
from engine.config.rule import RestartStrategy

_HEALTHY = 10.0
"""Seconds that a run must have been up at least to be no part of a row of failures."""


class Restarts:
    """The restarts of one rule, as its ``restartStrategy`` allows them.

    Attempts count failures in a row: after a run that had been up for longer than ``maxDelay`` (and
    for 10 s at least) they are counted from the beginning, and delays begin at the first one again.
    """

    def __init__(self, strategy: RestartStrategy) -> None:
        self._attempts = strategy.attempts
        self._left = strategy.attempts
        self._healthy = max(_HEALTHY, strategy.max_delay)
        self._backoff = Backoff(
            strategy.delay,
            strategy.max_delay,
            multiplier=strategy.multiplier,
            jitter=strategy.jitter_factor,
        )

    def delay_after(self, healthy_for: float) -> float | None:
        """Return how many seconds to wait after a failure, None if the rule has failed for good.

        ``healthy_for`` is for how long the run had been up, in seconds.
        """
        if healthy_for > self._healthy:
            self._left = self._attempts
            self._backoff.reset()
        if self._left == 0:
            return None
        self._left -= 1
        return self._backoff.next()
