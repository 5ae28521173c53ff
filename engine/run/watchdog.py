"""Silence made visible: a rule that hears nothing for too long says so."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import anyio

from engine.clock import Clock
from engine.run.status import RuleState, RuleStatus


class Watchdog:
    """Watches that a row comes at least every so often, for one run of a rule.

    Time counts while the rule is running, from the last row or from when it began to run: a rule
    that is not connected says that instead.
    """

    def __init__(
        self, every: float, clock: Clock, status: RuleStatus, last_message: Callable[[], int]
    ) -> None:
        """``every`` is in seconds; ``last_message`` tells when a row came last (0: never)."""
        self._every = int(every * 1000)
        self._clock = clock
        self._status = status
        self._last_message = last_message
        self._scope = anyio.CancelScope()

    def feed(self) -> None:
        """A row came."""
        self._status.heard()

    async def run(self) -> None:
        """Watch until it is to ``end``."""
        with self._scope:
            await self._watch()

    def end(self) -> None:
        """Watch no more."""
        self._scope.cancel()

    async def _watch(self) -> None:
        status = self._status
        while True:
            while status.state is not RuleState.RUNNING:
                await status.changed.wait()
            due = max(status.since, self._last_message()) + self._every
            if due > self._clock.now():
                await self._clock.sleep_until(due)  # until then a row may come, or the state change
            else:
                status.fell_silent(self._complaint())

    def _complaint(self) -> str:
        silence = f"no row for {self._every / 1000:g} s"
        last = self._last_message()
        if not last:
            return f"{silence}, none at all so far"
        at = datetime.fromtimestamp(last // 1000, UTC)
        return f"{silence}, the last one came at {at:%Y-%m-%dT%H:%M:%SZ}"
