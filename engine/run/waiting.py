"""Waiting for something, but not for ever, by the engine's clock."""

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
