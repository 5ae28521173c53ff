"""``batchSize`` where sources wait to hear of their messages: rows never wait for one another."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from engine import Engine
from engine.api import Batch, Config, Emit, Sink, Source
from engine.clock import VirtualClock, settled
from engine.registry import PluginKind
from engine.run.rule import Rule

WINDOW = 20


class World:
    """A broker that stops while ``WINDOW`` messages are unacknowledged, and what sinks have got."""

    def __init__(self, messages: int) -> None:
        self.waiting = [b'{"n": %d}' % number for number in range(messages)]
        self.unacknowledged = 0
        self.acknowledged = anyio.Event()
        self.sent: list[list[int]] = []

    def done(self) -> None:
        self.unacknowledged -= 1
        self.acknowledged.set()

    def source(world) -> type[Source[Config]]:  # noqa: N805  # self is the source's
        class Broker(Source[Config]):
            window = smallest_window = WINDOW

            async def run(self, emit: Emit) -> None:
                while True:
                    while world.waiting and world.unacknowledged < WINDOW:
                        batch = Batch(payloads=[world.waiting.pop(0)])
                        batch.acknowledge = world.done
                        world.unacknowledged += 1
                        await emit(batch)
                    world.acknowledged = anyio.Event()
                    await world.acknowledged.wait()

        return Broker

    def sink(world) -> type[Sink[Config]]:  # noqa: N805
        class Gathered(Sink[Config]):
            async def collect(self, batch: Batch) -> None:
                world.sent.append([row["n"] for row in batch.rows or ()])

        return Gathered


@asynccontextmanager
async def ruled(
    world: World, root: Path, options: dict[str, Any], sql: str = "SELECT n FROM s", **sink: Any
) -> AsyncIterator[tuple[Engine, Rule, VirtualClock]]:
    clock = VirtualClock(1_704_067_200_000)
    async with Engine(root, clock=clock, drain=2) as engine:
        engine.plugins.register(PluginKind.SOURCE, "broker", world.source())
        engine.plugins.register(PluginKind.SINK, "gathered", world.sink())
        engine.define_stream("s", type="broker")
        rule = await engine.start(
            {"id": "r", "sql": sql, "actions": [{"gathered": sink}], "options": options}
        )
        await settled()
        yield engine, rule, clock


@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize(("where", "kept"), [("", 1), (" WHERE n % 5 = 0", 5)])
async def test_rows_are_sent_when_their_source_waits_for_that(
    tmp_path: Path, qos: int, where: str, kept: int
) -> None:
    world = World(110)
    sql = f"SELECT n FROM s{where}"
    async with ruled(world, tmp_path, {"qos": qos}, sql, batchSize=50) as (engine, rule, clock):
        for _ in range(40):
            await clock.advance_to(clock.now() + 250)
            await anyio.sleep(0.01)  # checkpoints are written by threads
        assert not world.waiting
        assert rule.metrics.received == 110
        await engine.stop("r")
    assert [n for rows in world.sent for n in rows] == list(range(0, 110, kept))
    assert world.unacknowledged == 0


@pytest.mark.parametrize("qos", [0, 1])
async def test_rows_wait_for_others_while_their_source_can_go_on(tmp_path: Path, qos: int) -> None:
    world = World(WINDOW - 1)
    async with ruled(world, tmp_path, {"qos": qos}, batchSize=50) as (_, rule, clock):
        for _ in range(8):
            await clock.advance_to(clock.now() + 1000)
        assert rule.metrics.pending == WINDOW - 1
        assert not world.sent


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_a_stop_sends_what_is_gathered_at_once(tmp_path: Path, qos: int) -> None:
    """Also where a checkpoint is waiting for it."""
    world = World(WINDOW - 1)
    async with ruled(world, tmp_path, {"qos": qos}, batchSize=50) as (engine, rule, clock):
        await clock.advance_to(clock.now() + 2000)
        with anyio.fail_after(1):
            await engine.stop("r")
        assert rule.metrics.balance().pending == 0
    assert world.sent == [list(range(WINDOW - 1))]
    assert world.unacknowledged == 0
