"""Read what memory sinks and ``Engine.push`` publish in the same engine."""

from __future__ import annotations

import anyio

from engine.api import Config, ConfigError, Emit, Source
from engine.memory import BUS, memory_bus


class MemorySourceConfig(Config):
    """``datasource`` is a topic; ``+`` stands for one level, ``#`` at the end for all others."""

    datasource: str


class Memory(Source[MemorySourceConfig]):
    """Rows arrive decoded; ``meta(topic)`` is the topic they were published to."""

    def validate(self) -> None:
        levels = self.config.datasource.split("/")
        if not self.config.datasource or "#" in levels[:-1]:
            raise ConfigError("'#' can only be the last level of a memory topic")

    async def run(self, emit: Emit) -> None:
        async with self.ctx.shared(BUS, memory_bus) as bus:
            unsubscribe = bus.subscribe(self.config.datasource, emit)
            try:
                await anyio.sleep_forever()
            finally:
                unsubscribe()
