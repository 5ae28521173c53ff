"""``ack(offsets)``: a source hears how far all is done with, in order, and not too early."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import Engine
from engine.api import Batch, Config, Emit, NotConnected, Sink, Source, Use
from engine.clock import VirtualClock
from engine.registry import PluginKind
from engine.run.acknowledging import Acknowledgements
from engine.run.checkpoints import SOURCES
from engine.run.rule import Rule
from engine.state.codec import CODEC
from tests.conftest import eventually

START = 1_704_067_200_000


class World:
    """A log of numbers in two partitions, and what its reader has told it."""

    def __init__(self) -> None:
        self.acked: list[dict[str, Any]] = []
        self.called = 0
        self.is_failing = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.on_ack: Callable[[Mapping[str, Any]], None] = lambda offsets: None
        self.more = asyncio.Event()
        self.numbers: list[int] = []
        self.began_at: list[int] = []

    def add(self, *numbers: int) -> None:
        self.numbers += numbers
        self.more.set()


def log_of(world: World) -> type[Source[Config]]:
    class Log(Source[Config]):
        def __init__(self) -> None:
            self._offsets: dict[str, int] = {"numbers": 0}

        async def run(self, emit: Emit) -> None:
            world.began_at.append(self._offsets["numbers"])
            while True:
                at = self._offsets["numbers"]
                if at < len(world.numbers):
                    self._offsets["numbers"] += 1  # in place: nobody may rely on the object
                    await emit(Batch([{"n": world.numbers[at]}]))
                    continue
                world.more.clear()
                await world.more.wait()

        def position(self) -> Mapping[str, int]:
            return self._offsets

        async def seek(self, offsets: Mapping[str, int]) -> None:
            self._offsets = dict(offsets)

        async def ack(self, offsets: Mapping[str, int]) -> None:
            world.called += 1
            await world.gate.wait()
            if world.is_failing:
                raise NotConnected("the log is gone")
            world.on_ack(offsets)
            world.acked.append(dict(offsets))

    return Log


class Gate(Sink[Config]):
    """Takes rows only while it is open."""

    is_open: asyncio.Event

    async def collect(self, batch: Batch) -> None:
        await self.is_open.wait()


@asynccontextmanager
async def running(
    root: Path, world: World, **options: Any
) -> AsyncIterator[tuple[Engine, Rule, VirtualClock]]:
    clock = VirtualClock(START)
    async with Engine(root, clock=clock, drain=1) as engine:
        engine.plugins.register(PluginKind.SOURCE, "log", log_of(world))
        engine.plugins.register(PluginKind.SINK, "gate", Gate)
        engine.define_stream("numbers", type="log")
        Gate.is_open = asyncio.Event()
        Gate.is_open.set()
        rule = await engine.start(rule_of("r", **options))
        await eventually(lambda: rule.status.state == "running")
        yield engine, rule, clock


def rule_of(rule_id: str, sql: str = "SELECT n FROM numbers", **options: Any) -> dict[str, Any]:
    return {"id": rule_id, "sql": sql, "options": options, "actions": [{"gate": {}}]}


def at(offset: int) -> dict[str, int]:
    return {"numbers": offset}


async def test_without_checkpoints_what_the_sinks_have_is_acknowledged(tmp_path: Path) -> None:
    world = World()
    async with running(tmp_path, world) as (_, rule, _):
        Gate.is_open.clear()
        world.add(1, 2)
        await eventually(lambda: rule.metrics.received == 2)
        await anyio.sleep(0.02)
        assert world.acked == []
        Gate.is_open.set()
        await eventually(lambda: at(2) in world.acked)


async def test_a_batch_that_gives_nothing_waits_for_those_before_it(tmp_path: Path) -> None:
    world = World()
    sql = "SELECT n FROM numbers WHERE n > 0"
    async with running(tmp_path, world, sql=sql) as (_, rule, _):
        Gate.is_open.clear()
        world.add(1, -1, -1)
        await eventually(lambda: rule.metrics.filtered == 2)
        await anyio.sleep(0.02)
        assert world.acked == []
        Gate.is_open.set()
        await eventually(lambda: world.acked == [at(3)])


@pytest.mark.parametrize("sql", ["SELECT n FROM numbers", "SELECT acc_sum(n) AS s FROM numbers"])
@pytest.mark.parametrize("qos", [1, 2])
async def test_with_checkpoints_nothing_is_acknowledged_that_none_covers(
    tmp_path: Path, sql: str, qos: int
) -> None:
    world = World()
    saved: list[tuple[Any, Any]] = []
    async with running(tmp_path, world, sql=sql, qos=qos) as (engine, rule, clock):

        def compare(offsets: Mapping[str, Any]) -> None:
            found = engine.checkpoints().load("r").checkpoint
            assert found is not None
            positions, _ = CODEC.decode(found.parts[SOURCES])
            saved.append((dict(offsets), positions["numbers"]))

        world.on_ack = compare
        world.add(1, 2, 3)
        await eventually(lambda: rule.metrics.pending == 0 and rule.metrics.received == 3)
        await anyio.sleep(0.02)
        assert world.acked == []
        await clock.advance_to(clock.now() + 2_000)
        await eventually(lambda: at(3) in world.acked)
        world.add(4)
        await eventually(lambda: rule.metrics.received == 4)
    assert world.acked[-1] == at(4)  # before the source was closed
    assert all(offsets == position for offsets, position in saved)


async def test_a_restarted_rule_never_asks_for_what_was_acknowledged(tmp_path: Path) -> None:
    world = World()
    world.add(1, 2, 3)
    for expected in (3, 3):
        async with running(tmp_path, world, qos=1) as (_, rule, _):
            await eventually(lambda: rule.metrics.pending == 0)
        assert world.acked[-1] == at(expected)
    assert world.began_at == [0, 3]


async def test_a_call_that_fails_is_logged_once_and_made_good_by_the_next(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world = World()
    async with running(tmp_path, world) as (_, rule, _):
        world.is_failing = True
        for number in range(3):
            world.add(number)
            await eventually(lambda seen=number: rule.metrics.delivered == seen + 1)
            await anyio.sleep(0.01)
        assert rule.status.state == "running"
        assert caplog.text.count("source[numbers]: ack failed: the log is gone") == 1
        world.is_failing = False
    assert world.acked == [at(3)]


async def test_positions_that_come_up_during_a_call_are_told_together(tmp_path: Path) -> None:
    world = World()
    async with running(tmp_path, world) as (_, rule, _):
        world.gate.clear()
        world.add(1)
        await eventually(lambda: world.called == 1)
        world.add(2, 3, 4, 5)
        await eventually(lambda: rule.metrics.delivered == 5)
        world.gate.set()
        await eventually(lambda: at(5) in world.acked)
    assert world.acked == [at(1), at(5)]


async def test_a_shared_source_hears_of_what_all_its_rules_are_done_with(tmp_path: Path) -> None:
    world = World()
    async with Engine(tmp_path, drain=1) as engine:
        engine.plugins.register(PluginKind.SOURCE, "log", log_of(world))
        engine.plugins.register(PluginKind.SINK, "gate", Gate)
        engine.define_stream("numbers", type="log", shared=True)
        Gate.is_open = asyncio.Event()
        quick = rule_of("quick", "SELECT n FROM numbers WHERE n < 0")
        rules = [await engine.start(rule) for rule in (quick, rule_of("slow"))]
        await eventually(lambda: all(rule.status.state == "running" for rule in rules))
        world.add(1, 2)
        await eventually(lambda: all(rule.metrics.received == 2 for rule in rules))
        await anyio.sleep(0.02)
        assert world.acked == []
        Gate.is_open.set()
        await eventually(lambda: at(2) in world.acked)


async def test_a_shared_source_hears_of_what_is_confirmed_when_nobody_reads_it_any_more(
    tmp_path: Path,
) -> None:
    world = World()
    async with Engine(tmp_path, drain=5) as engine:
        engine.plugins.register(PluginKind.SOURCE, "log", log_of(world))
        engine.plugins.register(PluginKind.SINK, "gate", Gate)
        engine.define_stream("numbers", type="log", shared=True)
        Gate.is_open = asyncio.Event()
        rule = await engine.start(rule_of("r"))
        await eventually(lambda: rule.status.state == "running")
        world.add(1, 2)
        await eventually(lambda: rule.metrics.received == 2)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(engine.stop, "r")
            await eventually(lambda: rule.status.state == "stopping")
            await anyio.sleep(0.01)
            assert world.acked == []
            Gate.is_open.set()
    assert world.acked[-1] == at(2)


@pytest.mark.parametrize("answer", [None, 7, [("numbers", 1)], {"numbers": 1.5}, {1: 2}])
async def test_a_position_of_the_wrong_type_is_the_error_of_its_rule(
    engine: Engine, answer: Any
) -> None:
    class Odd(Source[Config]):
        async def run(self, emit: Emit) -> None:
            await emit(Batch([{"n": 1}]))

        def position(self) -> Any:
            return answer

        async def seek(self, offsets: Any) -> None: ...

    engine.plugins.register(PluginKind.SOURCE, "odd", Odd)
    engine.define_stream("odds", type="odd")
    rule = await engine.start({"id": "r", "sql": "SELECT * FROM odds", "actions": [{"nop": {}}]})
    await eventually(rule.finished.is_set)
    assert "source[odds]: position() gives" in rule.status.message


class _Told:
    def __init__(self) -> None:
        self.offsets: list[int] = []

    async def ack(self, offsets: Mapping[str, Any]) -> None:
        await asyncio.sleep(0)
        self.offsets.append(offsets["p"])


@given(order=st.permutations(range(12)), pauses=st.lists(st.integers(0, 3), min_size=12))
def test_whatever_the_order_offsets_grow_and_none_is_ahead_of_what_is_done(
    order: list[int], pauses: list[int]
) -> None:
    async def check() -> None:
        source = _Told()
        acknowledgements = Acknowledgements(source, "s", Use(Config(), None))  # type: ignore[arg-type]
        acknowledgements.open()
        done = [acknowledgements.expect({"p": number + 1}) for number in range(12)]
        finished: set[int] = set()
        for number, pause in zip(order, pauses, strict=False):
            done[number]()
            finished.add(number)
            for _ in range(pause):
                await asyncio.sleep(0)
            safe = next((n for n in range(12) if n not in finished), 12)
            assert not source.offsets or source.offsets[-1] <= safe
        await acknowledgements.close()
        assert source.offsets == sorted(set(source.offsets))
        assert source.offsets[-1] == 12

    asyncio.run(check())
