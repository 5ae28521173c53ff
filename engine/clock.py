"""The one source of time: system time when running, virtual time in tests and trial runs."""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable
from typing import Protocol

import anyio
import anyio.lowlevel


class Clock(Protocol):
    """What the engine knows of time."""

    def now(self) -> int:
        """Return the wall-clock time in epoch milliseconds."""

    async def sleep_until(self, when: int) -> None:
        """Return once ``now()`` has reached ``when`` (epoch milliseconds).

        It returns early when the clock has been set back meanwhile by more than `SET_BACK`.
        """


SET_BACK = 1_000
"""Milliseconds by which a clock goes back only if somebody has set it."""


class SystemClock:
    """Time of the machine."""

    _LONGEST_SLEEP = 1.0  # seconds; a wall clock that was set is noticed after this

    def __init__(self, wall: Callable[[], int] = time.time_ns) -> None:
        """``wall`` is the wall clock, in epoch nanoseconds."""
        self._wall = wall

    def now(self) -> int:
        return self._wall() // 1_000_000

    async def sleep_until(self, when: int) -> None:
        lead = self._lead()
        while (left := when - self.now()) > 0:
            await anyio.sleep(min(left / 1000, self._LONGEST_SLEEP))
            if self._lead() < lead - SET_BACK:
                return
        await anyio.lowlevel.checkpoint()

    def _lead(self) -> int:
        """Return by how much the wall clock is ahead of one that nobody sets."""
        return self.now() - time.monotonic_ns() // 1_000_000


class VirtualClock:
    """Time that moves only when told, so that a day of events takes milliseconds."""

    def __init__(self, start: int = 0) -> None:
        self._now = start
        self._order = itertools.count()
        self._sleepers: list[tuple[int, int, anyio.Event]] = []

    def now(self) -> int:
        return self._now

    async def sleep_until(self, when: int) -> None:
        if when <= self._now:
            await anyio.lowlevel.checkpoint()
            return
        event = anyio.Event()
        heapq.heappush(self._sleepers, (when, next(self._order), event))
        await event.wait()

    async def advance_to(self, when: int) -> None:
        """Move to ``when``, waking every sleeper due on the way, in order, each at its own time."""
        while self._sleepers and self._sleepers[0][0] <= when:
            due, _, event = heapq.heappop(self._sleepers)
            self._now = max(self._now, due)
            event.set()
            await settled()
        self._now = max(self._now, when)
        await settled()


_TURNS = 12
"""Passes over the loop that tasks usually need until each waits for something."""


async def settled() -> None:
    """Return once every task waits for something: a message, a timer, the network."""
    for _ in range(2):  # all may wait while what wakes one of them is only scheduled
        for _ in range(_TURNS):  # waiting for all costs 0.1 s where one isn't done at once
            await anyio.lowlevel.checkpoint()
        await anyio.wait_all_tasks_blocked()
