"""Emit rows of random whole numbers."""

from __future__ import annotations

import random
from typing import Annotated

import msgspec

from engine.api import Batch, Config, Duration, Emit, Source


class RandomConfig(Config):
    """Each field of ``pattern`` is its value there plus a random number below ``seed``."""

    pattern: dict[str, int]
    seed: Annotated[int, msgspec.Meta(gt=0)] = 1
    interval: Duration = Duration(1)
    deduplicate: int = 0
    """Skip rows equal to one of the last n; 0: never, -1: to any row before."""


class Random(Source[RandomConfig]):
    """One row at each interval, as the reference's sample plugin of the same name."""

    async def run(self, emit: Emit) -> None:
        config, clock = self.config, self.ctx.clock
        due = clock.now()
        while True:
            row = {
                name: value + random.randrange(config.seed)
                for name, value in config.pattern.items()
            }
            if not self._seen(row):
                await emit(Batch([dict(row)]))
            due += max(1, int(config.interval * 1000))
            await clock.sleep_until(due)

    def _seen(self, row: dict[str, int]) -> bool:
        size = self.config.deduplicate
        if size == 0:
            return False
        history: list[dict[str, int]] = self.ctx.get_state("history", [])
        if row in history:
            return True
        history = [*history, row]
        self.ctx.put_state("history", history if size < 0 else history[-size:])
        return False
