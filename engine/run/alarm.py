"""Waking a pipeline when it has asked for it."""

from __future__ import annotations

from collections.abc import Callable

import anyio

from engine.clock import Clock


class Alarm:
    """Calls ``ring(when)`` once the clock has reached the time that was last set.

    When the clock is set back it rings at once, with the new time.
    """

    def __init__(self, clock: Clock, ring: Callable[[int], None]) -> None:
        self._clock = clock
        self._ring = ring
        self._when: int | None = None
        self._changed = anyio.Event()
        self._sleeping: anyio.CancelScope | None = None

    def set(self, when: int | None) -> None:
        """Ring at ``when`` (epoch milliseconds), and at no time set before; None: not at all."""
        if when == self._when:
            return
        self._when = when
        self._changed.set()
        if self._sleeping is not None:
            self._sleeping.cancel()

    async def run(self) -> None:
        """Keep ringing until cancelled."""
        while True:
            self._changed = anyio.Event()
            if self._when is None:
                await self._changed.wait()
                continue
            when = self._when
            with anyio.CancelScope() as self._sleeping:
                await self._clock.sleep_until(when)
            self._sleeping = None
            if self._when == when:
                self._when = None
                self._ring(min(when, self._clock.now()))
