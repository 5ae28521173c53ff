"""Waiting for something: for some time at most, or with next to no memory until somebody waits."""

from __future__ import annotations

import asyncio
from typing import Protocol

import anyio

from engine.clock import Clock


class Happening(Protocol):
    """What can be waited for: an event or a flag."""

    def is_set(self) -> bool: ...

    async def wait(self) -> None: ...


async def happens_within(clock: Clock, event: Happening, seconds: float) -> bool:
    """Wait for an event for so many seconds at most; return whether it happened."""
    async with anyio.create_task_group() as tasks:

        async def expire() -> None:
            await clock.sleep_until(clock.now() + int(seconds * 1000))
            tasks.cancel_scope.cancel()

        tasks.start_soon(expire, name="expire")
        await event.wait()
        tasks.cancel_scope.cancel()
    return event.is_set()


class Flag:
    """Something that is so or isn't, and can be waited for: an event that can be cleared.

    An event takes a kilobyte, whether or not anybody waits. There are ten flags for each rule, and
    few waits: a flag takes its memory, less than that, only while somebody does.
    """

    __slots__ = ("_is_set", "_waiters")

    def __init__(self, *, is_set: bool = False) -> None:
        self._is_set = is_set
        self._waiters: list[asyncio.Future[None]] | None = None

    def is_set(self) -> bool:
        """Tell whether it is so."""
        return self._is_set

    def set(self) -> None:
        """It is so; whoever waits goes on."""
        self._is_set = True
        self.pulse()

    def clear(self) -> None:
        """It isn't so any more."""
        self._is_set = False

    def pulse(self) -> None:
        """Let those go on that wait now."""
        waiters, self._waiters = self._waiters, None
        for waiter in waiters or ():
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self) -> None:
        """Return once it is so, or at the next pulse."""
        if self._is_set:
            return
        waiter = asyncio.get_running_loop().create_future()
        if self._waiters is None:
            self._waiters = []
        self._waiters.append(waiter)
        try:
            await waiter
        finally:
            if self._waiters is not None and waiter in self._waiters:
                self._waiters.remove(waiter)
