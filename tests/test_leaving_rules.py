"""A rule that ends, however it does, takes nothing from the others that read what it has read."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from engine import Engine, EngineError
from engine.api import Batch, Config, NotConnected, Sink, Source
from engine.config.load import load_text
from engine.config.rule import RuleSet
from engine.registry import PluginKind
from tests.conftest import Rows, eventually

WINDOW = 50


class Numbers:
    """A source of numbers, single ones, of which only so many may be unacknowledged."""

    def __init__(self, engine: Engine) -> None:
        self.sent = 0
        self.acknowledged: set[int] = set()
        numbers = self

        class Counting(Source[Config]):
            async def run(self, emit: Any) -> None:
                while True:
                    while numbers.sent - len(numbers.acknowledged) >= WINDOW:
                        await anyio.sleep(0.001)
                    number = numbers.sent
                    numbers.sent += 1

                    def done(number: int = number) -> None:
                        assert number not in numbers.acknowledged
                        numbers.acknowledged.add(number)

                    await emit(Batch([{"n": number}], acknowledge=done))
                    await anyio.sleep(0.001)

        engine.plugins.register(PluginKind.SOURCE, "counting", Counting)
        engine.define_stream("s", type="counting", shared=True)


class Door(Sink[Config]):
    """Takes nothing."""

    async def collect(self, batch: Batch) -> None:
        raise NotConnected("closed")


class Broken(Door):
    """Fails after a moment, for good."""

    async def open(self) -> None:
        await anyio.sleep(0.1)
        raise RuntimeError("broken")


def rule(rule_id: str, sink: str, sql: str = "SELECT n FROM s", **options: Any) -> dict[str, Any]:
    options = {"restartStrategy": {"attempts": 0}, **options}
    return {"id": rule_id, "sql": sql, "actions": [{sink: {}}], "options": options}


@pytest.fixture(autouse=True)
def sinks(engine: Engine) -> None:
    engine.drain = 0.1
    engine.plugins.register(PluginKind.SINK, "door", Door)
    engine.plugins.register(PluginKind.SINK, "broken", Broken)


async def goes_on(rows: Rows, more: int = 3 * WINDOW) -> None:
    """Wait until many more rows have come."""
    before = len(rows)
    await eventually(lambda: len(rows) >= before + more)


@pytest.mark.parametrize("buffer", [10, 1024])
@pytest.mark.parametrize("how", ["stopped", "deleted", "failed", "restarted", "updated"])
async def test_others_on_its_shared_stream_go_on(
    engine: Engine, collected: Rows, how: str, buffer: int
) -> None:
    numbers = Numbers(engine)
    failing = how in ("failed", "restarted")
    strategy = {"attempts": 1 if how == "restarted" else 0, "delay": "100ms", "jitterFactor": 0}
    one = rule("a", "broken" if failing else "door", bufferLength=buffer, restartStrategy=strategy)
    leaving = await engine.start(one)
    await engine.start(rule("b", "collect"))
    if how == "stopped":
        await eventually(lambda: leaving.metrics.pending >= min(buffer, WINDOW) - 1)
        await engine.stop("a", drain=0.1)
    elif how == "deleted":
        await engine.delete("a")
    elif how == "updated":
        await engine.stop("a", drain=0.1)
        await engine.update({**rule("a", "collect"), "version": "2"})
    elif how == "failed":
        await leaving.finished.wait()
    else:
        await eventually(lambda: leaving.status.state == "stopped by error")
    await goes_on(collected)
    await eventually(lambda: {0, 1} <= numbers.acknowledged)
    assert leaving.metrics.balance().holds
    assert leaving.metrics.balance().pending == 0


async def test_a_rule_that_drains_holds_up_nobody(engine: Engine, collected: Rows) -> None:
    engine.define_stream("s", type="simulator", data=[{"n": 1}], interval="1ms", shared=True)
    await engine.start(rule("a", "door", bufferLength=5))
    await engine.start(rule("b", "collect"))
    await anyio.sleep(0.2)  # both wait for a's queue
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: engine.stop("a", drain=3))
        with anyio.fail_after(2):
            await goes_on(collected)
        tasks.cancel_scope.cancel()


async def test_what_a_rule_still_drains_is_not_acknowledged(engine: Engine) -> None:
    numbers = Numbers(engine)

    class Slow(Sink[Config]):
        async def collect(self, batch: Batch) -> None:
            await anyio.sleep(0.05)

    engine.plugins.register(PluginKind.SINK, "slow", Slow)
    slow = {**rule("b", "slow", bufferLength=2), "actions": [{"slow": {"bufferLength": 2}}]}
    other = await engine.start(slow)
    leaving = await engine.start(rule("a", "door"))
    await eventually(lambda: leaving.metrics.received > 5)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: engine.stop("a", drain=3))
        received = other.metrics.received
        await anyio.sleep(1.8)
        assert other.metrics.received > received + 5  # among them was one that a has left to b
        assert 0 not in numbers.acknowledged
        await engine.stop("a", drain=0)
    await eventually(lambda: 0 in numbers.acknowledged)


async def test_a_stop_that_was_hurried_leaves_the_next_one_its_time(
    engine: Engine, collected: Rows
) -> None:
    engine.drain = 5
    is_open = False

    class Gate(Sink[Config]):
        async def collect(self, batch: Batch) -> None:
            while not is_open:
                await anyio.sleep(0.01)

    engine.plugins.register(PluginKind.SINK, "gate", Gate)
    made = await engine.start(rule("a", "gate", "SELECT n FROM demo"))
    await eventually(lambda: made.status.state == "running")
    await engine.push("demo", [{"n": 1}])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: engine.stop("a", drain=20))
        await eventually(lambda: made.status.state == "stopping")
        await engine.stop("a", drain=0.05)
    assert made.metrics.balance().pending == 1
    await engine.start("a")
    await eventually(lambda: made.status.state == "running")
    await engine.push("demo", [{"n": 2}])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: engine.stop("a"))
        await anyio.sleep(0.4)
        is_open = True
    assert made.metrics.delivered == 1
    assert made.metrics.balance().pending == 0


async def test_what_all_leave_at_once_is_not_acknowledged(engine: Engine) -> None:
    numbers = Numbers(engine)
    for name in "ab":
        await engine.start(rule(name, "door", bufferLength=10))
    await eventually(lambda: numbers.sent >= 10)
    await engine.stop_all(drain=0.1)
    await anyio.sleep(1.2)
    assert not numbers.acknowledged


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("how", ["stop", "update"])
async def test_publishers_go_on_when_one_of_their_readers_leaves(
    engine: Engine, collected: Rows, how: str, shared: bool
) -> None:
    engine.define_stream("src", type="simulator", data=[{"n": 1}], interval="1ms")
    engine.define_stream("t", type="memory", datasource="t", shared=shared)
    engine.define_stream("u", type="memory", datasource="t")

    class Slow(Sink[Config]):
        async def collect(self, batch: Batch) -> None:
            await anyio.sleep(0.02)

    engine.plugins.register(PluginKind.SINK, "slow", Slow)
    slow = await engine.start(rule("b", "slow", "SELECT n FROM t", bufferLength=20))
    await engine.start(rule("c", "collect", "SELECT n FROM u"))
    publisher = {**rule("p", "", "SELECT n FROM src"), "actions": [{"memory": {"topic": "t"}}]}
    await engine.start(publisher)
    await eventually(lambda: slow.metrics.queued > 20)  # the publisher waits for room
    if how == "stop":
        await engine.stop("c")
    else:
        await engine.update({**rule("c", "collect", "SELECT n + 1 AS n FROM u"), "version": "2"})
    before = slow.metrics.received
    await eventually(lambda: slow.metrics.received >= before + 60)
    assert engine.rules["p"].metrics.balance().holds


async def test_checkpoints_of_a_shared_stream_are_warned_of(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    engine.define_stream("s", type="simulator", data=[{"n": 1}], interval="5ms", shared=True)
    await engine.start(rule("a", "nop"))
    assert "shared stream" not in caplog.text
    await engine.start(rule("b", "nop", qos=1))
    assert "rule=b reads a shared stream" in caplog.text


async def test_a_shared_stream_that_is_defined_anew_is_read_anew(
    engine: Engine, collected: Rows
) -> None:
    def define(number: int) -> None:
        data = [{"n": number}]
        options = {"interval": "5ms", "shared": True}
        if "s" in engine.catalog:
            engine.catalog.drop("s")
        engine.define_stream("s", type="simulator", data=data, **options)

    define(1)
    with pytest.raises(Exception, match="nosuch"):
        await engine.start({**rule("r", ""), "actions": [{"nosuch": {}}]})
    define(2)
    await engine.start(rule("r", "collect"))
    await eventually(lambda: collected)
    assert collected[0] == {"n": 2}
    define(3)
    await engine.start(rule("later", "collect"))
    await eventually(lambda: {"n": 3} in collected)


async def test_what_a_source_gave_before_it_failed_reaches_the_sinks(
    engine: Engine, collected: Rows
) -> None:
    class Dying(Source[Config]):
        async def run(self, emit: Any) -> None:
            for number in range(100):
                await emit(Batch([{"n": number}]))
            raise RuntimeError("boom")

    engine.plugins.register(PluginKind.SOURCE, "dying", Dying)
    engine.define_stream("s", type="dying")
    made = await engine.start(rule("r", "collect"))
    await made.finished.wait()
    assert [row["n"] for row in collected] == list(range(100))
    assert made.status.state == "stopped by error"
    assert made.metrics.balance().holds
    assert made.metrics.balance().dropped == 0


class Slow(Sink[Config]):
    """Takes a row in two milliseconds."""

    async def collect(self, batch: Batch) -> None:
        await anyio.sleep(0.002)
        got.extend(row["n"] for row in batch.rows or ())


got: list[int] = []


class Chain:
    """Rules of which one feeds the other, slow one through a memory topic."""

    def __init__(self, engine: Engine) -> None:
        got.clear()
        engine.drain = 10
        engine.plugins.register(PluginKind.SINK, "slow", Slow)
        chain = self
        self.sent = 0

        class Counting(Source[Config]):
            async def run(self, emit: Any) -> None:
                while True:
                    chain.sent += 1
                    await emit(Batch([{"n": chain.sent}]))

        engine.plugins.register(PluginKind.SOURCE, "counting", Counting)
        self.file = {
            "streams": {
                "s": {"type": "counting"},
                "t": {"type": "memory", "datasource": "t"},
            },
            "rules": [
                {
                    "id": name,
                    "sql": f"SELECT n FROM {stream}",
                    "actions": [action],
                    "options": {"bufferLength": 20},
                }
                for name, stream, action in (
                    ("second", "t", {"slow": {"bufferLength": 20}}),
                    ("first", "s", {"memory": {"topic": "t", "bufferLength": 20}}),
                )
            ],
        }

    def rules(self) -> RuleSet:
        return load_text(msgspec.json.encode(self.file).decode())


async def test_a_rule_that_feeds_another_stops_before_it(engine: Engine) -> None:
    chain = Chain(engine)
    await engine.apply(chain.rules())
    await eventually(lambda: len(got) > 50)
    await engine.stop_all()
    accounts = [engine.rules[name].metrics.balance() for name in ("first", "second")]
    assert all(account.pending == 0 for account in accounts)
    assert accounts[0].delivered == accounts[1].received == accounts[1].delivered == len(got)
    assert got == list(range(1, len(got) + 1))


@pytest.mark.parametrize("how", ["reload", "update", "restart"])
async def test_a_publisher_waits_while_its_reader_is_replaced(engine: Engine, how: str) -> None:
    chain = Chain(engine)
    await engine.apply(chain.rules())
    for turn in range(3):
        count = len(got)
        await eventually(lambda count=count: len(got) > count + 20)
        second = chain.file["rules"][0]
        second["sql"] = f"SELECT n FROM t WHERE n > -{turn + 1}"  # type: ignore[index]
        if how == "reload":
            assert (await engine.apply(chain.rules())).replaced == ("second",)
        elif how == "update":
            await engine.update(dict(second))  # type: ignore[call-overload]
        else:
            await engine.restart("second")
    count = len(got)
    await eventually(lambda: len(got) > count + 20)
    await engine.stop_all()
    assert got == list(range(1, len(got) + 1))


async def test_an_application_of_files_that_nobody_waits_for_is_finished(engine: Engine) -> None:
    chain = Chain(engine)
    await engine.apply(chain.rules())
    await eventually(lambda: len(got) > 20)
    chain.file["rules"][0]["sql"] = "SELECT n, 1 AS one FROM t"  # type: ignore[index]
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await engine.apply(chain.rules())
    await eventually(lambda: "one" in engine.rules["second"].definition.sql)
    await eventually(lambda: engine.rules["second"].status.state == "running")
    count = len(got)
    await eventually(lambda: len(got) > count + 20)


async def test_an_engine_that_was_left_says_so(tmp_path: Path) -> None:
    before = asyncio.all_tasks()
    engine = Engine(tmp_path)
    with anyio.CancelScope() as scope:
        scope.cancel()
        async with engine:
            raise AssertionError
    assert asyncio.all_tasks() == before
    async with Engine(tmp_path) as engine:
        engine.define_stream("s", type="memory", datasource="s")
        await engine.start(rule("a", "nop"))
    for work in (engine.stop, engine.delete, engine.restart):
        with pytest.raises(EngineError, match="isn't running"):
            await work("a")
    with pytest.raises(EngineError, match="entered once only"):
        await engine.__aenter__()
