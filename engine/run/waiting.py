"""Waiting for something: for some time at most, or with next to no memory until somebody waits."""

from __future__ import annotations

import anyio

from engine.clock import Clock


async def happens_within(clock: Clock, event: anyio.Event, seconds: float) -> bool:
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
    """Something that is so or isn't, and can be waited for.

    An event is made only when somebody waits: there are several flags for each rule, and few waits.
    """

    __slots__ = ("_event", "is_set")

    def __init__(self, *, is_set: bool) -> None:
        self.is_set = is_set
        self._event: anyio.Event | None = None

    def set(self) -> None:
        """It is so; whoever waits goes on."""
        self.is_set = True
        self.pulse()

    def clear(self) -> None:
        """It isn't so any more."""
        self.is_set = False

    def pulse(self) -> None:
        """Let those go on that wait now."""
        event, self._event = self._event, None
        if event is not None:
            event.set()

    async def wait(self) -> None:
        """Return once it is so, or at the next pulse."""
        if self.is_set:
            return
        if self._event is None:
            self._event = anyio.Event()
        await self._event.wait()
