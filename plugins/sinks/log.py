"""Write results to the log."""

from __future__ import annotations

from typing import ClassVar

from engine.api import Batch, Config, Sink


class Log(Sink[Config]):
    """One line at level INFO for each message."""

    takes_payloads: ClassVar[bool] = True

    async def collect(self, batch: Batch) -> None:
        rule = self.ctx.rule_id
        for payload in batch.payloads or ():
            text = payload.decode("utf-8", "backslashreplace")
            self.ctx.logger.info("sink result for rule %s: %s", rule, text)
