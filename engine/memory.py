"""Publish and subscribe inside one engine, by topic; rows are handed on by reference."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from engine.batch import Batch

Handler = Callable[[Batch], Awaitable[None]]
BUS = "engine.memory.bus"
"""The key under which plugins share the bus of their engine: ``ctx.shared(BUS, memory_bus)``."""


class MemoryBus:
    """Topics of one engine. Nothing is retained: who isn't subscribed misses what is published."""

    def __init__(self) -> None:
        self._handlers: dict[int, tuple[list[str], Handler]] = {}
        self._number = 0

    def subscribe(self, topic_filter: str, handler: Handler) -> Callable[[], None]:
        """Call ``handler`` with each batch whose topic matches; returns what ends that.

        In a filter ``+`` stands for one level, ``#`` at its end for any number of levels.
        """
        self._number += 1
        number = self._number
        self._handlers[number] = topic_filter.split("/"), handler
        return lambda: self._handlers.pop(number, None) and None

    async def publish(self, topic: str, batch: Batch) -> int:
        """Hand a batch to all subscribers, waiting for each; returns how many there were."""
        levels = topic.split("/")
        handlers = [
            handler for wanted, handler in self._handlers.values() if _matches(wanted, levels)
        ]
        for handler in handlers:
            await handler(batch)
        return len(handlers)


@asynccontextmanager
async def memory_bus() -> AsyncIterator[MemoryBus]:
    """Make the bus of an engine."""
    yield MemoryBus()


def _matches(wanted: list[str], levels: list[str]) -> bool:
    for index, part in enumerate(wanted):
        if part == "#":
            return True
        if index >= len(levels) or part not in ("+", levels[index]):
            return False
    return len(wanted) == len(levels)
