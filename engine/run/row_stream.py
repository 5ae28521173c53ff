"""The sink of a query whose rows are taken by the program that embeds the engine."""

from __future__ import annotations

import anyio
from anyio.streams.memory import MemoryObjectSendStream

from engine.api import Config, Sink
from engine.batch import Batch, Row


class RowStream(Sink[Config]):
    """Hands rows on; once nobody takes them any more they go nowhere."""

    def __init__(self, send: MemoryObjectSendStream[Row]) -> None:
        self._send = send

    async def collect(self, batch: Batch) -> None:
        for row in batch.rows or ():
            try:
                await self._send.send(row)
            except anyio.BrokenResourceError:  # the consumer has left the loop
                return

    async def close(self) -> None:
        self._send.close()
