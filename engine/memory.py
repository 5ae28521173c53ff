"""Publish and subscribe inside one engine, by topic; rows are handed on by reference."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Protocol

import anyio

from engine.batch import Batch
from engine.topics import matches

Handler = Callable[[Batch], Awaitable[None]]
BUS = "engine.memory.bus"
"""The key under which plugins share the bus of their engine: ``ctx.shared(BUS, memory_bus)``."""


class Ways(Protocol):
    """Knows which rules read what others publish."""

    changes: int
    """Increases when the answers may be others than before."""

    def way_back(self, rule_id: str, topic: str) -> str:
        """Return how results published to a topic would come back to a rule, "" if they don't."""


class MemoryBus:
    """Topics of one engine. Nothing is retained: who isn't subscribed misses what is published."""

    ways: Ways | None = None
    """None where nobody knows: any topic may be published to."""

    def __init__(self) -> None:
        self._handlers: dict[int, tuple[str, Handler]] = {}
        self._number = 0
        self._held: Counter[str] = Counter()
        self._released = anyio.Event()

    def subscribe(self, topic_filter: str, handler: Handler) -> Callable[[], None]:
        """Call ``handler`` with each batch whose topic matches; returns what ends that.

        Filters are those of MQTT: ``+`` is one level, ``#`` at the end any number of levels.
        """
        self._number += 1
        number = self._number
        self._handlers[number] = topic_filter, handler
        return lambda: self._handlers.pop(number, None) and None

    @contextmanager
    def held(self, topic_filters: Iterable[str]) -> Iterator[None]:
        """Let those wait who publish to some topics, for a reader that is back in a moment."""
        held = list(topic_filters)
        self._held.update(held)
        try:
            yield
        finally:
            self._held -= Counter(held)
            released, self._released = self._released, anyio.Event()
            released.set()

    async def publish(self, topic: str, batch: Batch) -> int:
        """Hand a batch to all subscribers, waiting for each; returns how many there were."""
        while self._held and any(matches(wanted, topic) for wanted in self._held):
            await self._released.wait()
        numbers = [
            number for number, (wanted, _) in self._handlers.items() if matches(wanted, topic)
        ]
        for number in numbers:
            if number in self._handlers:  # it may have left while others were waited for
                await self._handlers[number][1](batch)
        return len(numbers)


@asynccontextmanager
async def memory_bus() -> AsyncIterator[MemoryBus]:
    """Make the bus of an engine."""
    yield MemoryBus()
