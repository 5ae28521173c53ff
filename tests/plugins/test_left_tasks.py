"""Tasks that plugins start and leave behind: ended with the plugin, named, never in the way."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

import engine.guard as guard
from engine import Engine
from engine.api import Batch, Config, Emit, Sink, Source
from engine.offspring import watched_tasks
from engine.registry import PluginKind
from engine.run.rule import Rule
from tests.conftest import Rows, eventually

LEFT: list[asyncio.Task[Any]] = []


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    LEFT.clear()
    yield
    LEFT.clear()


async def poll() -> None:
    await asyncio.sleep(3600)


class Leaky(Source[Config]):
    async def open(self) -> None:
        LEFT.append(asyncio.create_task(poll()))

    async def run(self, emit: Emit) -> None:
        await emit(Batch([{"a": 1}]))
        await asyncio.sleep(3600)


class LeakySink(Sink[Config]):
    async def collect(self, batch: Batch) -> None:
        LEFT.append(asyncio.create_task(poll()))


async def rule_of(engine: Engine, source: Any, sink: Any = None, rule_id: str = "r") -> Rule:
    engine.plugins.register(PluginKind.SOURCE, "leaky", source)
    engine.define_stream("leaks", replace=True, type="leaky")
    if sink is not None:
        engine.plugins.register(PluginKind.SINK, "sinking", sink)
    actions = [{"collect" if sink is None else "sinking": {}}]
    rule = await engine.start({"id": rule_id, "sql": "SELECT a FROM leaks", "actions": actions})
    await eventually(lambda: rule.status.state == "running")
    return rule


class Skimming(Sink[Config]):
    """Reads the beginning of something, as who sees that a reply is too large."""

    async def collect(self, batch: Batch) -> None:
        async for _ in self._parts():
            break

    async def _parts(self) -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(3600)


async def test_a_generator_that_is_read_in_part_is_no_task_that_is_left(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    rule = await rule_of(engine, Leaky, Skimming)
    await eventually(lambda: rule.metrics.delivered == 1)
    with caplog.at_level(logging.WARNING):
        await engine.stop("r")
    assert "sinking_0" not in caplog.text


async def test_the_tasks_of_source_and_sink_end_with_them_and_are_named(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    rule = await rule_of(engine, Leaky, LeakySink)
    await eventually(lambda: rule.metrics.delivered == 1)
    assert len(LEFT) == 2
    assert not any(task.done() for task in LEFT)
    with caplog.at_level(logging.WARNING):
        await engine.stop("r")
    assert all(task.cancelled() for task in LEFT)
    for place in ("source[leaks]", "sink[sinking_0]"):
        assert (
            f"{place} has left 1 of its tasks running, and they are cancelled: poll" in caplog.text
        )


async def test_one_that_cancels_its_tasks_in_close_hears_nothing(
    engine: Engine, collected: Rows, caplog: pytest.LogCaptureFixture
) -> None:
    class Tidy(Leaky):
        async def close(self) -> None:
            LEFT[-1].cancel()

    await rule_of(engine, Tidy)
    with caplog.at_level(logging.WARNING):
        await engine.stop("r")
    assert LEFT[0].cancelled()
    assert "tasks running" not in caplog.text


async def test_a_task_that_ends_the_program_only_ends_itself(
    engine: Engine, collected: Rows, caplog: pytest.LogCaptureFixture
) -> None:
    async def leave() -> None:
        raise SystemExit(3)

    class Leaving(Leaky):
        async def open(self) -> None:
            LEFT.append(asyncio.create_task(leave()))

    rule = await rule_of(engine, Leaving)
    await eventually(lambda: collected == [{"a": 1}])
    await engine.stop("r")
    assert rule.status.state == "stopped"
    assert "leave: SystemExit: 3" in str(LEFT[0].exception())


async def test_a_task_that_refuses_to_end_is_left_alone(
    engine: Engine,
    collected: Rows,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(guard, "GRACE", 0.05)
    enough = asyncio.Event()

    async def stay() -> None:
        while not enough.is_set():
            try:
                await enough.wait()
            except asyncio.CancelledError:
                continue

    class Stubborn(Leaky):
        async def open(self) -> None:
            LEFT.append(asyncio.create_task(stay()))

    await rule_of(engine, Stubborn)
    await engine.stop("r")
    assert "stay doesn't end although it was cancelled; it is left alone" in caplog.text
    assert guard.left_alone() == 1
    enough.set()
    await eventually(lambda: guard.left_alone() == 0)


async def test_the_tasks_of_a_shared_instance_live_as_long_as_one_rule_uses_it(
    engine: Engine, collected: Rows
) -> None:
    class Shared(Source[Config]):
        _poll: asyncio.Task[Any] | None = None

        async def open(self) -> None:
            if self._poll is None:
                self._poll = asyncio.create_task(poll())
                LEFT.append(self._poll)

        async def run(self, emit: Emit) -> None:
            await asyncio.sleep(3600)

    shared = Shared()
    await rule_of(engine, shared, rule_id="first")
    await rule_of(engine, shared, rule_id="second")
    await engine.stop("first")
    assert not LEFT[0].done()
    await engine.stop("second")
    assert LEFT[0].cancelled()


async def test_a_resource_that_is_shared_outlives_the_plugin_that_asked_first(
    engine: Engine, collected: Rows
) -> None:
    @asynccontextmanager
    async def resource() -> AsyncIterator[str]:
        LEFT.append(asyncio.create_task(poll()))
        yield "here"
        LEFT[0].cancel()

    class Using(Source[Config]):
        async def run(self, emit: Emit) -> None:
            async with self.ctx.shared("it", resource):
                await asyncio.sleep(3600)

    await rule_of(engine, Using, rule_id="first")
    await eventually(lambda: len(LEFT) == 1)
    await rule_of(engine, Using, rule_id="second")
    await engine.stop("first")
    await asyncio.sleep(0)
    assert not LEFT[0].done()
    await engine.stop("second")
    await eventually(lambda: LEFT[0].cancelled())


async def test_the_loop_gets_its_task_factory_back() -> None:
    loop = asyncio.get_running_loop()
    made: list[str] = []

    def mine(loop: Any, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        made.append(coroutine.__qualname__)
        return asyncio.Task(coroutine, loop=loop, **options)

    loop.set_task_factory(mine)
    try:
        with watched_tasks(), watched_tasks():
            await asyncio.create_task(asyncio.sleep(0))
            assert loop.get_task_factory() is not mine
        assert loop.get_task_factory() is mine
        assert made == ["sleep"]
    finally:
        loop.set_task_factory(None)
