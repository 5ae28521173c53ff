"""Publish results inside the engine, for memory sources of other rules."""

from __future__ import annotations

from contextlib import AsyncExitStack

from engine.api import Batch, Config, ConfigError, SameMetadata, Sink, Template
from engine.memory import BUS, MemoryBus, memory_bus
from engine.topics import flaw_of_topic


class MemorySinkConfig(Config):
    """``topic`` may hold fields of the result, but no wildcard."""

    topic: Template


class Memory(Sink[MemorySinkConfig]):
    """Rows are handed on by reference; a topic without subscriber discards them."""

    _bus: MemoryBus
    _exits: AsyncExitStack | None = None

    def validate(self) -> None:
        if flaw := flaw_of_topic(self.config.topic):
            raise ConfigError(f"{str(self.config.topic)!r} is no topic to publish to: {flaw}")

    async def open(self) -> None:
        self._exits = AsyncExitStack()
        self._bus = await self._exits.enter_async_context(self.ctx.shared(BUS, memory_bus))

    async def collect(self, batch: Batch) -> None:
        rows = batch.rows or []
        if not rows:
            return
        topics = batch.meta.column("topic")
        start = 0
        for stop in range(1, len(rows) + 1):
            if stop == len(rows) or topics[stop] != topics[start]:
                topic = topics[start] or str(self.config.topic)
                meta = SameMetadata(stop - start, {"topic": topic})
                await self._bus.publish(topic, Batch(rows[start:stop], meta=meta))
                start = stop

    async def close(self) -> None:
        exits, self._exits = self._exits, None
        if exits is not None:
            await exits.aclose()
