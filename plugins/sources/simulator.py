"""Emit rows that are written in the rule file, at a fixed pace."""

from __future__ import annotations

from typing import Any

from engine.api import Batch, Config, ConfigError, Duration, Emit, Source


class SimulatorConfig(Config):
    """``data`` are the rows; ``loop`` starts over after the last one."""

    data: tuple[dict[str, Any], ...]
    interval: Duration = Duration(1)
    """Time between rows; 0 emits all at once."""
    loop: bool = True


class Simulator(Source[SimulatorConfig]):
    """One row at each tick; without ``loop`` the stream ends after the last."""

    def validate(self) -> None:
        if not self.config.data:
            raise ConfigError("data: a simulator needs at least one row")
        if self.config.loop and not self.config.interval:
            raise ConfigError("interval 0 can't be combined with loop")

    async def run(self, emit: Emit) -> None:
        interval = int(self.config.interval * 1000)
        if not interval:
            await emit(Batch([dict(row) for row in self.config.data]))
            return
        clock = self.ctx.clock
        due = clock.now()
        while True:
            for row in self.config.data:
                await emit(Batch([dict(row)]))
                due += interval
                await clock.sleep_until(due)
            if not self.config.loop:
                return
