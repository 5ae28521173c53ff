"""Waking a pipeline when it has asked for it."""

from __future__ import annotations

from collections.abc import Callable

import anyio
from anyio.abc import TaskGroup

from engine.clock import Clock
from engine.run.waiting import Flag


class Alarm:
    """Calls ``ring(when)`` once the clock has reached the time that was last set.

    When the clock is set back it rings at once, with the new time. A task of ``tasks`` waits for
    the time, from when one is first set: most rules never need it.
    """

    def __init__(
        self, clock: Clock, ring: Callable[[int], None], tasks: TaskGroup, name: str
    ) -> None:
        """``name`` is that of the task."""
        self._clock = clock
        self._ring = ring
        self._tasks = tasks
        self._name = name
        self._when: int | None = None
        self._changed = Flag()
        self._sleeping: anyio.CancelScope | None = None
        self._has_begun = False
        self._is_over = False

    def set(self, when: int | None) -> None:
        """Ring at ``when`` (epoch milliseconds), and at no time set before; None: not at all."""
        if when == self._when or self._is_over:
            return
        self._when = when
        self._changed.pulse()
        if self._sleeping is not None:
            self._sleeping.cancel()
        if not self._has_begun:
            self._has_begun = True
            self._tasks.start_soon(self._run, name=self._name)

    def end(self) -> None:
        """Ring no more, whatever is set."""
        self.set(None)
        self._is_over = True
        self._changed.pulse()

    async def _run(self) -> None:
        while not self._is_over:
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
