"""Take results and do nothing, to measure or to try a rule."""

from __future__ import annotations

from typing import ClassVar

from engine.api import Batch, Config, Sink


class NopConfig(Config):
    """``log`` writes a line for each batch."""

    log: bool = False


class Nop(Sink[NopConfig]):
    """Discards everything; the rule's counts tell how much."""

    takes_payloads: ClassVar[bool] = True

    async def collect(self, batch: Batch) -> None:
        if self.config.log:
            self.ctx.logger.info("discarded %d messages", len(batch))
