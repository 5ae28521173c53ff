"""Read what memory sinks and ``Engine.push`` publish in the same engine, as stream or as table."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Annotated, Any, Literal

import anyio
import msgspec

from engine.api import Batch, Config, ConfigError, Context, Emit, LookupSource, Row, Source
from engine.lookup.keyed import KeyedRows
from engine.lookup.match import equals_nothing
from engine.memory import BUS, MemoryBus, memory_bus
from engine.topics import check_filter

_KINDS = frozenset({"insert", "update", "upsert", "delete", None, ""})


class MemorySourceConfig(Config):
    """``datasource`` is a topic; ``+`` stands for one level, ``#`` at the end for all others."""

    datasource: str
    kind: Literal["scan", "lookup"] = "scan"
    """The KIND of a table: ``lookup`` keeps the last row of each key."""
    key: str = ""
    """The column that is the key of a lookup table; streams ignore it."""
    max_rows: Annotated[int, msgspec.Meta(ge=1)] = 100_000
    """Rows that a lookup table holds; beyond that the one changed longest ago goes."""


class Memory(Source[MemorySourceConfig], LookupSource[MemorySourceConfig]):
    """Rows arrive decoded; ``meta(topic)`` is the topic they were published to.

    A lookup table takes every row for the new one of its key. ``rowkind`` and ``keyval`` in the
    metadata, which a memory sink sets, make it a change of another kind: ``delete`` removes.
    """

    _table: _Table
    _bus: MemoryBus
    _exits: AsyncExitStack | None = None

    def validate(self) -> None:
        check_filter(self.config.datasource)
        if self.config.kind == "lookup" and not self.config.key:
            hint = 'name the column that tells the rows apart: KEY="id"'
            raise ConfigError("a lookup table in memory needs a KEY", hint=hint)

    @property
    def topics(self) -> Sequence[str]:
        return (self.config.datasource,)

    async def open(self) -> None:
        self._exits = AsyncExitStack()
        if self.config.kind == "lookup":
            self._table = await self._exits.enter_async_context(_shared(self.ctx, self.config))
        else:
            bus = self.ctx.shared(BUS, memory_bus)
            self._bus = await self._exits.enter_async_context(bus)

    async def run(self, emit: Emit) -> None:
        unsubscribe = self._bus.subscribe(self.config.datasource, emit)
        try:
            await anyio.sleep_forever()
        finally:
            unsubscribe()

    async def lookup(
        self, fields: Sequence[str], keys: Sequence[str], values: Sequence[Any]
    ) -> list[Row]:
        return self._table.rows.find(keys, values)

    async def lookup_many(
        self, fields: Sequence[str], keys: Sequence[str], rows_of_values: Sequence[Sequence[Any]]
    ) -> list[list[Row]]:
        find = self._table.rows.find
        return [find(keys, values) for values in rows_of_values]

    async def close(self) -> None:
        exits, self._exits = self._exits, None
        if exits is not None:
            await exits.aclose()


class _Table:
    """The rows of one topic, kept by key."""

    def __init__(self, ctx: Context, config: MemorySourceConfig) -> None:
        self.rows = KeyedRows(config.key, config.max_rows)
        self._logger = ctx.logger
        self._name = f"lookup table of topic {config.datasource}"
        self._warned: set[str] = set()

    async def receive(self, batch: Batch) -> None:
        """Take the changes of a batch; one that names no key or no known kind is left out."""
        rows = batch.rows or []
        kinds, given = batch.meta.column("rowkind"), batch.meta.column("keyval")
        for row, kind, keyval in zip(rows, kinds, given, strict=True):
            value = row.get(self.rows.key) if keyval is None else keyval
            if equals_nothing([value]):
                self._warn("a row without %s is left out", self.rows.key)
            elif kind not in _KINDS:
                self._warn("a change of the unknown kind %r is left out", kind)
            elif kind == "delete":
                self.rows.delete(value)
            else:
                self.rows.put(value, row)
        if self.rows.evicted:
            self._warn("it is full, the oldest of %s rows go; raise maxRows", len(self.rows))

    def _warn(self, what: str, about: object) -> None:
        """Say once what is wrong, for each reason."""
        if what not in self._warned:
            self._warned.add(what)
            self._logger.warning("%s: %s", self._name, what % about)


@asynccontextmanager
async def _filling(ctx: Context, config: MemorySourceConfig) -> AsyncIterator[_Table]:
    """Keep a table up to date with its topic."""
    table = _Table(ctx, config)
    async with ctx.shared(BUS, memory_bus) as bus:
        unsubscribe = bus.subscribe(config.datasource, table.receive)
        try:
            yield table
        finally:
            unsubscribe()


def _shared(ctx: Context, config: MemorySourceConfig) -> Any:
    """Return the table that all users of the same topic and key share."""
    key = ("memory.lookup", config.datasource, config.key, config.max_rows)
    return ctx.shared(key, lambda: _filling(ctx, config))
