"""Lookup tables that are kept from a memory topic."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from engine.api import Batch, ConfigError, Row, SameMetadata
from engine.memory import BUS, MemoryBus, memory_bus
from plugins.sources.memory import Memory, MemorySourceConfig
from tests.lookup.support import PlainContext, context, opened

Open = Callable[..., Any]


@pytest.fixture
async def ctx(tmp_path: Path) -> AsyncIterator[PlainContext]:
    async with context(tmp_path) as ctx:
        yield ctx


@pytest.fixture
async def bus(ctx: PlainContext) -> AsyncIterator[MemoryBus]:
    async with ctx.shared(BUS, memory_bus) as bus:
        yield bus


@pytest.fixture
async def table(ctx: PlainContext) -> AsyncIterator[Open]:
    """What opens a table; all are closed in the end."""
    made: list[Memory] = []

    async def open_(**properties: Any) -> Memory:
        config = {"datasource": "devices", "kind": "lookup", "key": "id", **properties}
        made.append(Memory())
        await opened(made[-1], MemorySourceConfig(**config), ctx)
        return made[-1]

    yield open_
    for each in made:
        await each.close()


async def publish(bus: MemoryBus, *rows: Row, topic: str = "devices", **meta: Any) -> None:
    batch = Batch(list(rows), meta=SameMetadata(len(rows), {"topic": topic, **meta}))
    await bus.publish(topic, batch)


async def test_the_last_row_of_each_key_is_found(table: Open, bus: MemoryBus) -> None:
    source = await table()
    await publish(bus, {"id": 1, "name": "one"}, {"id": 2, "name": "two"})
    await publish(bus, {"id": 1, "name": "uno"})
    found = await source.lookup_many([], ["id"], [(1,), (2,), (3,)])
    assert found == [[{"id": 1, "name": "uno"}], [{"id": 2, "name": "two"}], []]
    assert await source.lookup([], ["name"], ["two"]) == [{"id": 2, "name": "two"}]


async def test_changes_are_by_their_kind_and_key(table: Open, bus: MemoryBus) -> None:
    source = await table()
    for kind in ("insert", "update", "upsert"):
        await publish(bus, {"id": 1, "kind": kind}, rowkind=kind, keyval=1)
        assert await source.lookup([], ["id"], [1]) == [{"id": 1, "kind": kind}]
    await publish(bus, {}, rowkind="delete", keyval=1)
    assert await source.lookup([], ["id"], [1]) == []
    await publish(bus, {"id": 2}, rowkind="insert")  # without a key of its own, that of the row
    await publish(bus, {"id": 2}, rowkind="delete")
    assert await source.lookup([], ["id"], [2]) == []


async def test_rows_without_key_and_unknown_kinds_are_left_out_and_told_once(
    table: Open, bus: MemoryBus, caplog: pytest.LogCaptureFixture
) -> None:
    source = await table()
    for _ in range(2):
        await publish(bus, {"name": "nobody"}, {"id": None}, {"id": 1})
        await publish(bus, {"id": 2}, rowkind="replace")
    assert await source.lookup_many([], ["id"], [(1,), (2,)]) == [[{"id": 1}], []]
    assert [record.getMessage() for record in caplog.records] == [
        "lookup table of topic devices: a row without id is left out",
        "lookup table of topic devices: a change of the unknown kind 'replace' is left out",
    ]


async def test_users_of_the_same_topic_and_key_share_one_table(table: Open, bus: MemoryBus) -> None:
    first = await table()
    await publish(bus, {"id": 1})
    second = await table()
    assert await second.lookup([], ["id"], [1]) == [{"id": 1}]
    await first.close()
    await publish(bus, {"id": 2})
    assert await second.lookup([], ["id"], [2]) == [{"id": 2}]
    await second.close()
    assert await bus.publish("devices", Batch([{}])) == 0  # nobody listens any more


async def test_a_table_may_listen_to_many_topics(table: Open, bus: MemoryBus) -> None:
    source = await table(datasource="devices/+")
    await publish(bus, {"id": 1}, topic="devices/a")
    await publish(bus, {"id": 2}, topic="devices/a/b")
    assert await source.lookup_many([], ["id"], [(1,), (2,)]) == [[{"id": 1}], []]


async def test_a_table_is_bounded(
    table: Open, bus: MemoryBus, caplog: pytest.LogCaptureFixture
) -> None:
    source = await table(max_rows=2)
    await publish(bus, {"id": 1}, {"id": 2}, {"id": 3}, {"id": 4})
    found = await source.lookup_many([], ["id"], [(number,) for number in (1, 2, 3, 4)])
    assert found == [[], [], [{"id": 3}], [{"id": 4}]]
    assert "raise maxRows" in caplog.text
    assert len(caplog.records) == 1


async def test_a_table_needs_a_key_and_a_stream_does_not(table: Open) -> None:
    with pytest.raises(ConfigError, match="a lookup table in memory needs a KEY"):
        await table(key="")
    await table(kind="scan", key="")


async def test_a_stream_with_a_key_keeps_no_table(table: Open, bus: MemoryBus) -> None:
    await table(kind="scan")
    assert await bus.publish("devices", Batch([{}])) == 0
