"""Plain methods where the contract has ``async`` ones, in the loop or in a thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from engine import Engine
from engine.api import (
    Batch,
    Config,
    EndOfStream,
    LookupSource,
    NotConnected,
    Rejected,
    Sink,
    Source,
)
from engine.plugin import adapt
from engine.registry import Plugin, PluginKind
from tests.conftest import Rows, eventually

Made = Callable[[], Any]


def instance_of(kind: PluginKind, export: Any) -> Any:
    plugin = Plugin(kind, "odd", "", "here", export)
    plugin.check()
    return plugin.instance()


class PlainSink(Sink[Config]):
    """Notes what is called, and in which thread."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, bool]] = []

    def _note(self, name: str) -> None:
        self.calls.append((name, threading.current_thread() is threading.main_thread()))

    def open(self) -> None:  # type: ignore[override]
        self._note("open")

    def collect(self, batch: Batch) -> None:  # type: ignore[override]
        self._note("collect")

    def close(self) -> None:  # type: ignore[override]
        self._note("close")


class BlockingSink(PlainSink):
    blocking = True


@pytest.mark.parametrize(("made", "in_loop"), [(PlainSink, True), (BlockingSink, False)])
async def test_plain_methods_are_called_in_the_loop_or_in_a_thread(
    made: type[PlainSink], in_loop: bool
) -> None:
    sink = instance_of(PluginKind.SINK, made)
    await sink.open()
    await sink.collect(Batch([{}]))
    await sink.close()
    assert sink.calls == [("open", in_loop), ("collect", in_loop), ("close", in_loop)]


async def test_an_async_plugin_is_used_as_it_is() -> None:
    class Fine(Sink[Config]):
        async def collect(self, batch: Batch) -> None: ...

    assert type(instance_of(PluginKind.SINK, Fine)) is Fine
    shared = Fine()
    assert instance_of(PluginKind.SINK, shared) is shared


async def test_a_plugin_that_calls_itself_gets_what_it_wrote() -> None:
    class Careful(Sink[Config]):
        def collect(self, batch: Batch) -> None:  # type: ignore[override]
            if len(batch) > 1:
                self.close()

        def close(self) -> None:  # type: ignore[override]
            self.is_closed = True

    sink = instance_of(PluginKind.SINK, Careful)
    await sink.collect(Batch([{}, {}]))
    assert sink.is_closed


async def test_configuration_and_context_reach_the_plugin_itself() -> None:
    class Settings(Config):
        limit: int = 1

    class Plain(Sink[Settings]):
        takes_payloads = True

        def collect(self, batch: Batch) -> None:  # type: ignore[override]
            self.seen = (self.config.limit, self.ctx)

    sink = instance_of(PluginKind.SINK, Plain)
    sink.config, sink.ctx = Settings(limit=5), "context"
    assert sink.takes_payloads
    await sink.collect(Batch([{}]))
    assert sink.seen == (5, "context")
    assert (sink.config.limit, sink.ctx) == (5, "context")


async def test_a_plain_method_may_return_something_to_await() -> None:
    class Mixed(Sink[Config]):
        def collect(self, batch: Batch) -> Any:
            return self._later()

        async def _later(self) -> None:
            self.is_done = True

    sink = instance_of(PluginKind.SINK, Mixed)
    await sink.collect(Batch([{}]))
    assert sink.is_done


@pytest.mark.parametrize("error", [NotConnected("gone"), Rejected("no"), KeyError("x")])
@pytest.mark.parametrize("blocking", [False, True])
async def test_what_a_plain_method_raises_arrives(error: Exception, blocking: bool) -> None:
    class Failing(Sink[Config]):
        def collect(self, batch: Batch) -> None:  # type: ignore[override]
            raise error

    Failing.blocking = blocking
    with pytest.raises(type(error)) as caught:
        await instance_of(PluginKind.SINK, Failing).collect(Batch([{}]))
    assert caught.value is error


@pytest.mark.parametrize("blocking", [False, True])
async def test_a_plain_lookup_and_plain_capabilities(blocking: bool) -> None:
    class Table(LookupSource[Config]):
        def lookup(self, fields: Any, keys: Any, values: Any) -> Any:
            return [{"id": values[0]}]

    class Log(Source[Config], Table):
        async def run(self, emit: Any) -> None: ...

        def partitions(self) -> list[str]:
            return ["0"]

    Table.blocking = Log.blocking = blocking
    for made in (Table, Log):
        table = instance_of(PluginKind.SOURCE, made)
        assert isinstance(table, LookupSource)
        assert isinstance(table, Source) == (made is Log)
        assert await table.lookup([], ["id"], [3]) == [{"id": 3}]
        assert await table.lookup_many([], ["id"], [[1], [2]]) == [[{"id": 1}], [{"id": 2}]]
    assert await table.partitions() == ["0"]


async def test_a_blocking_call_does_not_hold_up_others() -> None:
    class Slow(Sink[Config]):
        blocking = True

        def __init__(self) -> None:
            self.may_end = threading.Event()

        def collect(self, batch: Batch) -> None:  # type: ignore[override]
            assert self.may_end.wait(10)

    sinks = [instance_of(PluginKind.SINK, Slow) for _ in range(60)]  # more than anyio's 40 threads
    async with anyio.create_task_group() as tasks:
        for sink in sinks:
            tasks.start_soon(sink.collect, Batch([{}]))
        quick = instance_of(PluginKind.SINK, BlockingSink)
        with anyio.fail_after(5):
            await quick.collect(Batch([{}]))
        for sink in sinks:
            sink.may_end.set()


async def test_a_call_that_never_ends_can_be_cancelled(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(adapt, "GRACE", 0.01)
    has_begun, may_end = threading.Event(), threading.Event()

    class Stuck(Sink[Config]):
        blocking = True

        def collect(self, batch: Batch) -> None:  # type: ignore[override]
            has_begun.set()
            may_end.wait(30)

    try:
        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(instance_of(PluginKind.SINK, Stuck).collect, Batch([{}]))
                await eventually(has_begun.is_set)
                tasks.cancel_scope.cancel()
        assert any("Stuck.collect still runs in its thread" in one for one in caplog.messages)
    finally:
        may_end.set()


async def test_a_cancelled_call_that_ends_soon_is_waited_for() -> None:
    has_begun, events = threading.Event(), list[str]()

    class Slow(Sink[Config]):
        blocking = True

        def collect(self, batch: Batch) -> None:  # type: ignore[override]
            has_begun.set()
            threading.Event().wait(0.05)
            events.append("written")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(instance_of(PluginKind.SINK, Slow).collect, Batch([{}]))
        await eventually(has_begun.is_set)
        tasks.cancel_scope.cancel()
    events.append("cancelled")
    assert events == ["written", "cancelled"]


# -- in rules ----------------------------------------------------------------------------------


class Numbers(Source[Config]):
    """Emits numbers from a thread, as fast as the rule takes them."""

    last: int | None = None

    def __init__(self) -> None:
        self.is_open = self.is_closed = False
        self.ended: BaseException | None = None
        self.is_running = False

    @property
    def has_ended(self) -> bool:
        return not self.is_running

    def open(self) -> None:  # type: ignore[override]
        self.is_open = True

    def run(self, emit: Any) -> None:  # type: ignore[override]
        assert threading.current_thread() is not threading.main_thread()
        n = 0
        self.is_running = True
        try:
            while self.last is None or n < self.last:
                emit(Batch([{"n": n}]))
                n += 1
        except BaseException as error:
            self.ended = error
            raise
        finally:
            self.is_running = False
        raise EndOfStream("all given")

    def close(self) -> None:  # type: ignore[override]
        self.is_closed = True


async def start(engine: Engine, source: type[Source[Any]], sink: str) -> tuple[Any, list[Any]]:
    """Start a rule over a source plugin; return it and the instances that were made."""
    made: list[Source[Any]] = []

    def factory() -> Source[Any]:
        made.append(source())
        return made[-1]

    engine.plugins.register(PluginKind.SOURCE, "numbers", factory)
    engine.define_stream("numbers", type="numbers")
    rule = {"id": "r", "sql": "SELECT n FROM numbers", "actions": [{sink: {}}]}
    return await engine.start(rule), made


async def test_a_source_with_a_plain_run_feeds_a_rule_from_its_thread(
    engine: Engine, collected: Rows
) -> None:
    class Hundred(Numbers):
        last = 100

    rule, made = await start(engine, Hundred, "collect")
    await eventually(rule.finished.is_set)
    assert [row["n"] for row in collected] == list(range(100))
    assert made[-1].is_open
    assert made[-1].is_closed


async def test_a_plain_run_waits_while_the_rule_is_full_and_ends_with_it(engine: Engine) -> None:
    gate = anyio.Event()

    class Slow(Sink[Config]):
        async def collect(self, batch: Batch) -> None:
            await gate.wait()

    engine.plugins.register(PluginKind.SINK, "slow", Slow)
    rule, made = await start(engine, Numbers, "slow")
    await eventually(lambda: rule.metrics.received > 1000)
    before = -1
    while before != rule.metrics.received:
        before = rule.metrics.received
        await anyio.sleep(0.05)
    gate.set()
    with anyio.fail_after(10):
        await engine.stop("r")
    await eventually(lambda: made[-1].ended is not None)
    assert isinstance(made[-1].ended, asyncio.CancelledError)
    assert rule.metrics.balance().holds
    assert rule.metrics.pending == 0


@pytest.mark.parametrize("moment", [0, 0.001, 0.003, 0.01, 0.03])
async def test_a_rule_that_is_stopped_while_full_leaves_no_thread_behind(
    engine: Engine, moment: float
) -> None:
    class Stuck(Sink[Config]):
        async def collect(self, batch: Batch) -> None:
            await anyio.sleep_forever()

    engine.plugins.register(PluginKind.SINK, "stuck", Stuck)
    for _ in range(5):
        rule, made = await start(engine, Numbers, "stuck")
        await eventually(lambda made=made: made[-1].is_open)
        await anyio.sleep(moment)
        with anyio.fail_after(10):
            await engine.stop("r", drain=0)
        assert made[-1].is_closed
        await eventually(lambda made=made: made[-1].has_ended)
        assert rule.metrics.balance().holds
        await engine.delete("r")
        engine.catalog.drop("numbers")


async def test_close_wakes_a_plain_run_that_waits_for_something_else(
    engine: Engine, collected: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapt, "GRACE", 0.05)
    events: list[str] = []

    class Port(Source[Config]):
        def open(self) -> None:  # type: ignore[override]
            self.closing = threading.Event()

        def run(self, emit: Any) -> None:  # type: ignore[override]
            events.append("waits")
            self.closing.wait(30)
            events.append("woken")
            try:
                emit(Batch([{"n": 1}]))
            except asyncio.CancelledError:
                events.append("refused")

        def close(self) -> None:  # type: ignore[override]
            self.closing.set()

    await start(engine, Port, "collect")
    await eventually(lambda: events == ["waits"])
    with anyio.fail_after(10):
        await engine.stop("r")
    await eventually(lambda: events == ["waits", "woken", "refused"])
    assert collected == []


async def test_a_lost_connection_of_a_plain_run_is_opened_again(
    engine: Engine, collected: Rows
) -> None:
    opened: list[int] = []

    class Flaky(Source[Config]):
        def open(self) -> None:  # type: ignore[override]
            opened.append(1)

        def run(self, emit: Any) -> None:  # type: ignore[override]
            emit(Batch([{"n": len(opened)}]))
            if len(opened) < 2:
                raise NotConnected("gone")

    rule, _ = await start(engine, Flaky, "collect")
    await eventually(rule.finished.is_set)
    assert collected == [{"n": 1}, {"n": 2}]


async def test_a_blocking_shared_sink_sees_the_configuration_of_the_calling_rule(
    engine: Engine, tmp_path: Path
) -> None:
    written: list[tuple[str, str]] = []

    class Settings(Config):
        mark: str

    class Writer(Sink[Settings]):
        blocking = True

        def collect(self, batch: Batch) -> None:  # type: ignore[override]
            written.append((self.ctx.rule_id, self.config.mark))

    engine.plugins.register(PluginKind.SINK, "writer", Writer())
    for rule in ("a", "b"):
        started = await engine.start(
            {"id": rule, "sql": "SELECT * FROM demo", "actions": [{"writer": {"mark": rule * 2}}]}
        )
        await eventually(lambda started=started: started.status.state == "running")
    await engine.push("demo", [{"n": 1}])
    await eventually(lambda: len(written) == 2)
    assert sorted(written) == [("a", "aa"), ("b", "bb")]
