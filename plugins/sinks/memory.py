"""Publish results inside the engine, for memory sources of other rules."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

from engine.api import (
    Batch,
    ColumnMetadata,
    Config,
    ConfigError,
    Metadata,
    Rejected,
    Row,
    SameMetadata,
    Sink,
    Template,
)
from engine.memory import BUS, MemoryBus, memory_bus
from engine.topics import flaw_of_topic

_KINDS = ("insert", "update", "upsert", "delete")


class MemorySinkConfig(Config):
    """``topic`` may hold fields of the result, but no wildcard.

    For lookup tables kept from the topic, ``keyField`` names the field with the key of each row and
    ``rowkindField`` the one that says what to do with it: insert, update, upsert (also without a
    value) or delete.
    """

    topic: Template
    key_field: str = ""
    rowkind_field: str = ""


class Memory(Sink[MemorySinkConfig]):
    """Rows are handed on by reference; a topic without subscriber discards them."""

    _bus: MemoryBus
    _exits: AsyncExitStack | None = None

    def validate(self) -> None:
        if flaw := flaw_of_topic(self.config.topic):
            raise ConfigError(f"{str(self.config.topic)!r} is no topic to publish to: {flaw}")
        if self.config.rowkind_field and not self.config.key_field:
            raise ConfigError("rowkindField needs a keyField", hint="name the field with the key")

    @property
    def topics(self) -> Sequence[str]:
        return (str(self.config.topic),)

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
                contexts = [batch.traces.get(i) for i in range(start, stop)] if batch.traces else []
                meta = self._metadata(topic, rows[start:stop], contexts)
                await self._bus.publish(topic, Batch(rows[start:stop], meta=meta))
                start = stop

    def _metadata(self, topic: str, rows: list[Row], contexts: Sequence[str | None]) -> Metadata:
        """Return the metadata of rows; ``contexts`` are their traces, if any of them is traced."""
        config = self.config
        columns: dict[str, Sequence[Any]] = {}
        if config.key_field:
            columns["keyval"] = [row.get(config.key_field) for row in rows]
            columns["rowkind"] = [_kind(row.get(config.rowkind_field)) for row in rows]
        if contexts:
            columns["traceparent"] = contexts
        if not columns:
            return SameMetadata(len(rows), {"topic": topic})
        return ColumnMetadata(len(rows), {"topic": [topic] * len(rows), **columns})

    async def close(self) -> None:
        exits, self._exits = self._exits, None
        if exits is not None:
            await exits.aclose()


def _kind(value: Any) -> str:
    if value is None:
        return "upsert"
    if value in _KINDS:
        return str(value)
    raise Rejected(f"{value!r} is no kind of change: {', '.join(_KINDS)}")
