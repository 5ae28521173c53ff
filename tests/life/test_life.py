"""The life of rules: defined, started, stopped, replaced and deleted, one thing at a time."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import anyio
import pytest

from engine import ConfigError, Engine, EngineError
from engine.api import Batch, Config, Context, Function, NotConnected, Sink, Source
from engine.clock import VirtualClock, settled
from engine.registry import PluginKind
from tests.conftest import Rows
from tests.life.support import MINUTE, SECOND, START, Journal, marked, rule, started

# -- defining, starting, stopping --------------------------------------------------------------


async def test_a_rule_is_created_started_stopped_and_started_again(
    engine: Engine, collected: Rows, clock: VirtualClock
) -> None:
    made = await engine.create(rule())
    await settled()
    await engine.push("demo", [{"n": 1}])
    await clock.advance_to(START + MINUTE)
    await engine.stop("r")
    await engine.push("demo", [{"n": 2}])
    stopped = engine.status("r")
    await clock.advance_to(START + 2 * MINUTE)
    assert await engine.start("r") is made
    await settled()
    await engine.push("demo", [{"n": 3}])
    await clock.advance_to(START + 3 * MINUTE)
    await engine.restart("r")
    await settled()
    await engine.push("demo", [{"n": 4}])
    await settled()
    assert collected == [{"n": 1}, {"n": 3}, {"n": 4}]
    assert (stopped.state, stopped.since, stopped.uptime) == ("stopped", START + MINUTE, 0)
    assert (stopped.last_start, stopped.last_stop) == (START, START + MINUTE)
    now = engine.status("r")
    assert (now.last_start, now.last_stop) == (START + 3 * MINUTE, START + 3 * MINUTE)
    assert (now.balance.received, now.balance.delivered, now.balance.holds) == (3, 3, True)


async def test_an_untriggered_rule_is_checked_but_not_started(
    engine: Engine, collected: Rows
) -> None:
    with pytest.raises(EngineError, match="unknown stream nowhere"):
        await engine.create(rule("SELECT n FROM nowhere", triggered=False))
    assert not engine.rules
    made = await engine.create(rule(triggered=False))
    assert made.status.state == "stopped"
    await engine.start("r")
    await settled()
    assert made.status.state == "running"
    with pytest.raises(ConfigError, match="there is a rule r already"):
        await engine.create(rule())


async def test_a_running_rule_is_not_started_over_and_a_stopped_one_is(
    engine: Engine, collected: Rows
) -> None:
    first = await started(engine, rule())
    with pytest.raises(ConfigError, match="rule r is running"):
        await engine.start(rule("SELECT n + 1 AS n FROM demo"))
    await engine.start("r")
    assert engine.rules["r"] is first
    await engine.stop("r")
    await started(engine, rule("SELECT n + 1 AS n FROM demo"))
    await engine.push("demo", [{"n": 1}])
    await settled()
    assert collected == [{"n": 2}]


async def test_a_deleted_rule_is_gone(engine: Engine, collected: Rows) -> None:
    await started(engine, rule())
    await engine.delete("r")
    assert "r" not in engine.rules
    for ask in (engine.start, engine.stop, engine.restart, engine.delete):
        with pytest.raises(EngineError, match=r"no rule r|can't read r"):
            await ask("r")
    with pytest.raises(ConfigError, match="no rule r"):
        engine.status("r")


async def test_a_deleted_rule_leaves_no_checkpoint_of_an_earlier_definition(
    engine: Engine, collected: Rows
) -> None:
    sql = "SELECT accumulateWordCount(t) AS n FROM demo"
    await started(engine, rule(sql, qos=1))
    await engine.push("demo", [{"t": "a b"}])
    await settled()
    await engine.update(rule(sql, qos=0))
    await engine.delete("r")
    await started(engine, rule(sql, qos=1))
    await engine.push("demo", [{"t": "c"}])
    await settled()
    assert collected == [{"n": 2}, {"n": 1}]


# -- one thing at a time -----------------------------------------------------------------------


async def test_the_same_asked_twice_is_done_once(engine: Engine, journal: Journal) -> None:
    await engine.create(marked(triggered=False))
    for ask in (engine.start, engine.restart, engine.stop):
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(ask, "r")
        await settled()
    assert journal.events == ["open", "close", "open", "close"]


async def test_asking_in_a_row_is_done_in_order(engine: Engine, journal: Journal) -> None:
    await engine.create(marked("a"))
    async with anyio.create_task_group() as tasks:
        for ask in (engine.stop, engine.start, engine.stop, engine.delete, engine.restart):
            tasks.start_soon(_ignoring_absence, ask, "r")
            await anyio.lowlevel.checkpoint()
    await settled()
    assert journal.events == ["open a", "close a", "open a", "close a"]
    assert not engine.rules


async def _ignoring_absence(ask: Callable[[str], Any], rule_id: str) -> None:
    with suppress(ConfigError):
        await ask(rule_id)


@pytest.mark.parametrize("seed", range(6))
async def test_concurrent_callers_never_interleave(
    engine: Engine, journal: Journal, seed: int
) -> None:
    """Whatever many callers ask at the same time: runs never overlap and the account balances."""
    chance = random.Random(seed)
    await engine.create(marked("0"))

    async def bother() -> None:
        for _ in range(6):
            match chance.randrange(5):
                case 0:
                    await engine.start("r")
                case 1:
                    await engine.stop("r", drain=chance.choice([0, 5]))
                case 2:
                    await engine.restart("r")
                case 3:
                    await engine.update(marked(str(chance.randrange(100))))
                case 4:
                    await engine.push("demo", [{"n": chance.randrange(10)}])
            for _ in range(chance.randrange(3)):
                await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(bother)
    await engine.stop("r")
    assert journal.open["r"] == 0
    assert engine.rules["r"].metrics.balance().holds
    opened = [event for event in journal.events if event.startswith("open")]
    assert len(opened) > 1


async def test_a_caller_that_gives_up_leaves_nothing_half_done(engine: Engine) -> None:
    release = anyio.Event()

    class Slow(Sink[Config]):
        async def collect(self, batch: Batch) -> None:
            await release.wait()

    engine.plugins.register(PluginKind.SINK, "slow", Slow)
    made = await started(engine, rule(actions=[{"slow": {}}]))
    await engine.push("demo", [{"n": 1}])
    with anyio.move_on_after(0.01):
        await engine.restart("r")
    assert made.status.state == "stopping"
    release.set()
    await engine.start("r")  # in its turn: after the restart, so there is nothing to do
    await settled()
    assert made.status.state == "running"
    assert made.metrics.delivered == 1


async def test_a_shorter_drain_speeds_up_a_stop_on_its_way(engine: Engine) -> None:
    class Stuck(Sink[Config]):
        async def collect(self, batch: Batch) -> None:
            await anyio.sleep_forever()

    engine.plugins.register(PluginKind.SINK, "stuck", Stuck)
    made = await started(engine, rule(actions=[{"stuck": {}}]))
    await engine.push("demo", [{"n": 1}])
    with anyio.fail_after(3):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: engine.stop("r", drain=60))
            await settled()
            assert made.status.state == "stopping"
            await engine.stop_all(drain=0)
    balance = made.metrics.balance()
    assert (balance.pending, balance.holds) == (1, True)


# -- replacing ---------------------------------------------------------------------------------


async def test_an_update_goes_on_with_the_new_definition(engine: Engine, journal: Journal) -> None:
    await started(engine, marked("old"))
    await engine.push("demo", [{"n": 1}])
    made = await engine.update(marked("new"))
    await engine.push("demo", [{"n": 2}])
    await settled()
    assert made is engine.rules["r"]
    assert journal.events == ["open old", "row 1", "close old", "open new", "row 2"]
    assert made.metrics.received == 1


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        (rule("SELECT n FRM demo"), "FRM"),
        (rule("SELECT n FROM nowhere"), "unknown stream"),
        (rule(actions=[{"mqqt": {}}]), "unknown sink"),
        (rule(actions=[{"journal": {"mrk": "x"}}]), "unknown key 'mrk'"),
        (rule(cron="99 * * * *"), "cron"),
        (rule(logFilename="../x"), "more than the name of a file"),
        (rule(isEventTime=True), "timestamp"),
    ],
)
async def test_a_bad_update_leaves_the_old_rule_running(
    engine: Engine, journal: Journal, definition: dict[str, Any], message: str
) -> None:
    made = await started(engine, marked("old"))
    with pytest.raises(EngineError, match=message):
        await engine.update(definition)
    await engine.push("demo", [{"n": 1}])
    await settled()
    assert engine.rules["r"] is made
    assert journal.events == ["open old", "row 1"]


async def test_a_definition_that_cannot_start_gives_way_to_the_old_one(
    engine: Engine, journal: Journal
) -> None:
    journal.fails = lambda mark: mark == "new"
    made = await started(engine, marked("old"))
    with pytest.raises(EngineError, match="can't start: RuntimeError: new is broken") as caught:
        await engine.update(marked("new"))
    assert "the old definition is in force again" in str(caught.value)
    await settled()
    await engine.push("demo", [{"n": 1}])
    await settled()
    assert engine.rules["r"] is made
    assert made.status.state == "running"
    expected = ["open old", "close old", "open new", "close new", "open old", "row 1"]
    assert journal.events == expected


async def test_a_source_that_fails_at_once_is_no_start_either(engine: Engine) -> None:
    class Broken(Source[Config]):
        async def run(self, emit: Any) -> None:
            raise RuntimeError("boom")

    engine.plugins.register(PluginKind.SOURCE, "broken", Broken)
    engine.define_stream("bad", type="broken")
    await started(engine, rule(actions=[{"nop": {}}]))
    new = rule(
        "SELECT n FROM bad", actions=[{"nop": {}}], restartStrategy={"attempts": 3, "delay": "1h"}
    )
    with pytest.raises(EngineError, match="boom"):
        await engine.update(new)
    await settled()
    assert engine.rules["r"].definition.sql == "SELECT n FROM demo"
    assert engine.rules["r"].status.state == "running"


async def test_when_neither_can_start_both_reasons_are_told(
    engine: Engine, journal: Journal
) -> None:
    class Gone(Config):
        def __post_init__(self) -> None:
            if journal.fails("config"):
                raise ValueError("no longer allowed")

    class Picky(Sink[Gone]):
        async def collect(self, batch: Batch) -> None:
            raise AssertionError

    engine.plugins.register(PluginKind.SINK, "picky", Picky)
    await started(engine, rule(actions=[{"picky": {}}]))
    journal.fails = lambda mark: True
    with pytest.raises(EngineError, match=r"new is broken(.|\n)*neither: .*no longer allowed"):
        await engine.update(marked("new"))
    assert engine.rules["r"].status.state.is_final


async def test_a_missing_connection_is_no_failure_to_start(engine: Engine, clock: Any) -> None:
    class Away(Sink[Config]):
        async def open(self) -> None:
            raise NotConnected("nobody there")

        async def collect(self, batch: Batch) -> None:
            raise AssertionError

    engine.plugins.register(PluginKind.SINK, "away", Away)
    await started(engine, rule(actions=[{"nop": {}}]))
    with anyio.fail_after(3):
        await engine.update(rule(actions=[{"away": {}}]))
    assert engine.rules["r"].definition.actions[0].type == "away"


async def test_stopping_does_not_wait_for_a_sink_that_has_nothing_to_do(engine: Engine) -> None:
    class Away(Sink[Config]):
        async def open(self) -> None:
            raise NotConnected("nobody there")

        async def collect(self, batch: Batch) -> None:
            raise AssertionError

    engine.plugins.register(PluginKind.SINK, "away", Away)
    made = await started(engine, rule(actions=[{"away": {}}]))
    with anyio.fail_after(3):
        await engine.stop("r", drain=60)
    await engine.start("r")
    await settled()
    await engine.push("demo", [{"n": 1}])
    await engine.stop("r", drain=0.1)
    balance = made.metrics.balance()
    assert (balance.received, balance.pending, balance.holds) == (1, 1, True)


async def test_an_update_of_a_stopped_rule_does_not_start_it(
    engine: Engine, journal: Journal
) -> None:
    await started(engine, marked("old"))
    await engine.stop("r")
    await engine.update(marked("new"))
    assert engine.rules["r"].status.state == "stopped"
    await engine.start("r")
    await settled()
    assert journal.events == ["open old", "close old", "open new"]


async def test_an_untriggered_update_stops_the_rule(engine: Engine, journal: Journal) -> None:
    await started(engine, marked("old"))
    await engine.update(marked("new", triggered=False))
    assert engine.rules["r"].status.state == "stopped"
    assert journal.events == ["open old", "close old"]


async def test_the_same_definition_changes_nothing(engine: Engine, journal: Journal) -> None:
    made = await started(engine, marked("old", version="1"))
    assert await engine.update(marked("old", version="1")) is made
    assert journal.events == ["open old"]


async def test_a_reset_rule_begins_anew(engine: Engine, collected: Rows) -> None:
    await started(engine, rule("SELECT acc_count(n) AS c FROM demo", qos=1))

    async def counted() -> int:
        await engine.push("demo", [{"n": 1}])
        await settled()
        return int(collected[-1]["c"])

    assert [await counted(), await counted()] == [1, 2]
    await engine.restart("r")
    await settled()
    assert await counted() == 3, "a restart forgets nothing"
    await engine.rules.reset("r")
    await settled()
    assert await counted() == 1
    await engine.stop("r")
    await engine.rules.reset("r")
    assert engine.rules["r"].status.state == "stopped"
    await engine.start("r")
    await settled()
    assert await counted() == 1


async def test_a_rule_that_cannot_be_built_any_more_is_not_reset(
    engine: Engine, collected: Rows
) -> None:
    made = await started(engine, rule("SELECT acc_count(n) AS c FROM demo", qos=1))
    await engine.push("demo", [{"n": 1}])
    engine.catalog.drop("demo")
    with pytest.raises(EngineError, match="unknown stream demo"):
        await engine.rules.reset("r")
    engine.define_stream("demo", type="memory", datasource="demo")
    await engine.push("demo", [{"n": 1}])
    await settled()
    assert (collected, made.status.state) == ([{"c": 1}, {"c": 2}], "running")


async def test_who_updates_a_rule_may_object_once_it_has_been_tried(
    engine: Engine, journal: Journal
) -> None:
    made = await started(engine, marked("old"))
    asked: list[str] = []

    async def object_to_it() -> None:
        asked.append(engine.rules["r"].definition.actions[0].properties["mark"])
        raise EngineError("the disk is full")

    with pytest.raises(EngineError, match="unknown stream"):
        await engine.update(rule("SELECT n FROM nowhere"), tried=object_to_it)
    assert asked == []
    for definition in (marked("new"), marked("old")):
        with pytest.raises(EngineError, match="disk is full"):
            await engine.update(definition, tried=object_to_it)
    assert asked == ["old", "old"]
    await engine.push("demo", [{"n": 1}])
    await settled()
    assert engine.rules["r"] is made
    assert journal.events == ["open old", "row 1"]


@pytest.mark.parametrize(
    ("old", "new", "is_right"),
    [
        ("", "", True),
        ("", "1", True),
        ("1", "2", True),
        ("2", "10", False),  # as text
        ("2", "2", False),
        ("2", "", False),
        ("2024-01-01T00:00", "2024-01-02T00:00", True),
    ],
)
async def test_a_version_must_grow(
    engine: Engine, collected: Rows, old: str, new: str, is_right: bool
) -> None:
    await started(engine, rule(version=old))
    changed = rule("SELECT n AS m FROM demo", version=new)
    if not is_right:
        with pytest.raises(ConfigError, match=f"rule r has version '{old}' already"):
            await engine.update(changed)
        await engine.update(changed, versions=False)
    else:
        await engine.update(changed)
    assert engine.rules["r"].definition.version == new


async def test_state_survives_an_update_of_the_sinks_and_not_of_the_query(
    engine: Engine, collected: Rows
) -> None:
    class Count(Function):
        def exec(self, ctx: Context, value: Any) -> int:
            return ctx.incr_counter("n")

    engine.plugins.register(PluginKind.FUNCTION, "seen", Count)
    both: list[dict[str, Any]] = [{"collect": {}}, {"nop": {}}]
    await started(engine, rule("SELECT seen(n) AS s FROM demo"))
    for definition in (
        rule("SELECT seen(n) AS s FROM demo", actions=both),
        rule("SELECT seen(n) AS s FROM demo WHERE n > 0"),
    ):
        await engine.push("demo", [{"n": 1}])
        await settled()
        await engine.update(definition)
    await engine.push("demo", [{"n": 1}])
    await settled()
    assert collected == [{"s": 1}, {"s": 2}, {"s": 1}]


async def test_what_was_remembered_comes_back_with_the_old_definition(
    engine: Engine, collected: Rows, journal: Journal
) -> None:
    journal.fails = lambda mark: True
    sql = "SELECT accumulateWordCount(t) AS n FROM demo"
    await started(engine, rule(sql))
    await engine.push("demo", [{"t": "a b"}])
    with pytest.raises(EngineError):
        await engine.update(marked("new"))
    await settled()
    await engine.push("demo", [{"t": "c"}])
    await settled()
    assert collected == [{"n": 2}, {"n": 3}]


async def test_windows_go_on_after_an_update_with_checkpoints(
    engine: Engine, collected: Rows, clock: VirtualClock
) -> None:
    sql = "SELECT count(*) AS c FROM demo GROUP BY TUMBLINGWINDOW(ss, 10)"
    await started(engine, rule(sql, qos=1))
    await engine.push("demo", [{"n": 1}, {"n": 2}])
    await settled()
    await engine.update(rule(sql, qos=1, actions=[{"collect": {}}, {"nop": {}}]))
    await engine.push("demo", [{"n": 3}])
    await settled()
    await clock.advance_to(START + 10 * SECOND)
    assert collected == [{"c": 3}]
