"""Keeping a rule to its schedule."""

from __future__ import annotations

from collections.abc import Callable

import anyio

from engine.clock import Clock
from engine.run.schedule import Schedule

_LOOK = 600_000
"""Milliseconds after which to look at the clock at the latest; it may have been set back."""


class Patrol:
    """Calls ``start`` when a span of a schedule begins and ``stop`` when it is over.

    Each span is begun once: a rule that ended by itself waits for the next one.
    """

    def __init__(
        self,
        schedule: Schedule,
        clock: Clock,
        start: Callable[[], None],
        stop: Callable[[], None],
    ) -> None:
        self._schedule = schedule
        self._clock = clock
        self._start = start
        self._stop = stop
        self._begun: int | None = None
        """When the span began that it is now."""
        self._scope = anyio.CancelScope()

    def enter(self) -> bool:
        """Take the span that it is now, if any, as begun; return whether there is one."""
        span = self._schedule.current(self._clock.now())
        self._begun = None if span is None else span.begin
        return span is not None

    @property
    def goes_on(self) -> bool:
        """Whether another span will begin."""
        return self.next_start() is not None

    def next_start(self) -> int | None:
        """Return when the next span begins (epoch milliseconds), None if none does."""
        return self._schedule.next_begin(self._clock.now())

    def end(self) -> None:
        """Start and stop nothing any more."""
        self._scope.cancel()

    async def run(self) -> None:
        """Follow the schedule until its last span is over, or until ``end``."""
        with self._scope:
            while True:
                now = self._clock.now()
                change = self._schedule.next_change(now)
                if change is None:
                    return
                await self._clock.sleep_until(min(change, now + _LOOK))
                self._look()

    def _look(self) -> None:
        span = self._schedule.current(self._clock.now())
        begun, self._begun = self._begun, None if span is None else span.begin
        if span is None and begun is not None:
            self._stop()
        elif span is not None and begun != span.begin:
            self._start()
