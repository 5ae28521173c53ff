"""Publish results inside the engine, for memory sources of other rules."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from itertools import groupby
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

_KNOWN_TOPICS = 10_000
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
    _flaws: dict[str, str]
    """Why nothing may be published to computed topics, "" where something may."""
    _changes: int

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
        self._flaws, self._changes = {}, -1
        self._bus = await self._exits.enter_async_context(self.ctx.shared(BUS, memory_bus))

    async def collect(self, batch: Batch) -> None:
        rows = batch.rows or []
        if not rows:
            return
        topics = batch.meta.column("topic")
        refused = self._refused(rows, topics)
        good = [index for index in range(len(rows)) if index not in refused]
        for computed, places in groupby(good, topics.__getitem__):
            indexes = list(places)
            topic = str(self.config.topic) if computed is None else computed
            chosen = [rows[index] for index in indexes]
            contexts = [batch.traces.get(index) for index in indexes] if batch.traces else []
            meta = self._metadata(topic, chosen, contexts)
            await self._bus.publish(topic, Batch(chosen, meta=meta))
        if refused:
            raise Rejected.each(refused)

    def _refused(self, rows: list[Row], topics: Sequence[str | None]) -> dict[int, str]:
        """Return why some rows can't be published, by their indexes."""
        refused: dict[int, str] = {}
        flaws = {topic: self._flaw(topic) for topic in set(topics) if topic is not None}
        if any(flaws.values()):
            named = ((index, flaws[topic]) for index, topic in enumerate(topics) if topic in flaws)
            refused = {index: flaw for index, flaw in named if flaw}
        if name := self.config.rowkind_field:
            for index, row in enumerate(rows):
                if row.get(name) not in (None, *_KINDS):
                    kinds = ", ".join(_KINDS)
                    refused.setdefault(index, f"{row[name]!r} is no kind of change: {kinds}")
        return refused

    def _flaw(self, topic: str) -> str:
        """Return why nothing may be published to a computed topic, "" if something may."""
        ways = self._bus.ways
        if ways is not None and ways.changes != self._changes:
            self._changes = ways.changes
            self._flaws.clear()
        flaw = self._flaws.get(topic)
        if flaw is None:
            flaw = flaw_of_topic(topic)
            if not flaw and ways is not None and (way := ways.way_back(self.ctx.rule_id, topic)):
                flaw = f"results would come back without end: {way}"
            if len(self._flaws) >= _KNOWN_TOPICS:
                self._flaws.clear()
            self._flaws[topic] = flaw
        return flaw

    def _metadata(self, topic: str, rows: list[Row], contexts: Sequence[str | None]) -> Metadata:
        """Return the metadata of rows; ``contexts`` are their traces, if any of them is traced."""
        config = self.config
        columns: dict[str, Sequence[Any]] = {}
        if config.key_field:
            columns["keyval"] = [row.get(config.key_field) for row in rows]
            columns["rowkind"] = [row.get(config.rowkind_field) or "upsert" for row in rows]
        if contexts:
            columns["traceparent"] = contexts
        if not columns:
            return SameMetadata(len(rows), {"topic": topic})
        return ColumnMetadata(len(rows), {"topic": [topic] * len(rows), **columns})

    async def close(self) -> None:
        exits, self._exits = self._exits, None
        if exits is not None:
            await exits.aclose()
