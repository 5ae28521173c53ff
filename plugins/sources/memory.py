"""Read what memory sinks and ``Engine.push`` publish in the same engine."""

from __future__ import annotations

import anyio

from engine.api import Config, Emit, Source
from engine.memory import BUS, memory_bus
from engine.topics import check_filter


class MemorySourceConfig(Config):
    """``datasource`` is a topic; ``+`` stands for one level, ``#`` at the end for all others."""

    datasource: str


class Memory(Source[MemorySourceConfig]):
    """Rows arrive decoded; ``meta(topic)`` is the topic they were published to."""

    def validate(self) -> None:
        check_filter(self.config.datasource)

    async def run(self, emit: Emit) -> None:
        async with self.ctx.shared(BUS, memory_bus) as bus:
            unsubscribe = bus.subscribe(self.config.datasource, emit)
            try:
                await anyio.sleep_forever()
            finally:
                unsubscribe()
