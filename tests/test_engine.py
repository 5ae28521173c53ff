"""Embedding: streams, rules and queries inside a running event loop."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

import anyio
import pytest

from engine import ConfigError, Engine, EngineError, PluginError
from engine.api import Batch, Config, EndOfStream, Function, NotConnected, Rejected, Sink, Source
from engine.config.rules import rule_from
from engine.registry import PluginKind
from engine.run.rule import ResultLimit
from tests.conftest import Rows, eventually

COLLECT: dict[str, Any] = {"collect": {}}


def rule(sql: str, *actions: dict[str, Any], rule_id: str = "r", **options: Any) -> dict[str, Any]:
    return {"id": rule_id, "sql": sql, "actions": list(actions or (COLLECT,)), "options": options}


async def running(engine: Engine, definition: dict[str, Any]) -> Any:
    started = await engine.start(definition)
    await eventually(lambda: started.status.state == "running")
    return started


async def test_a_query_yields_rows_until_the_loop_is_left(engine: Engine) -> None:
    async def feed() -> None:
        await eventually(lambda: engine.rules)
        while not await engine.push("demo", [{"n": n} for n in range(5)]):
            await anyio.sleep(0.001)

    seen = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(feed)
        async for row in engine.query("SELECT n * 2 AS d FROM demo WHERE n > 1"):
            seen.append(row)
            if len(seen) == 3:
                break
    assert seen == [{"d": 4}, {"d": 6}, {"d": 8}]
    await eventually(lambda: not engine.rules)


async def test_a_query_ends_with_its_source(engine: Engine) -> None:
    engine.define_stream("sim", type="simulator", data=[{"a": 1}, {"a": 2}], interval=0, loop=False)
    assert [row async for row in engine.query("SELECT a FROM sim")] == [{"a": 1}, {"a": 2}]


async def test_a_wrong_query_raises_at_once(engine: Engine) -> None:
    with pytest.raises(EngineError, match="unknown stream"):
        async for _ in engine.query("SELECT a FROM nowhere"):
            pass


async def test_a_python_function_is_a_sql_function(engine: Engine, collected: Rows) -> None:
    @engine.function
    def fahrenheit(celsius: float) -> float:
        return celsius * 1.8 + 32

    @engine.function(name="orZero")
    def or_zero(value: float | None) -> float:
        return value or 0

    await running(engine, rule("SELECT fahrenheit(t) AS f, orZero(t) AS z FROM demo"))
    await engine.push("demo", [{"t": 100}, {"t": None}])
    await engine.stop("r")
    assert collected == [{"f": 212, "z": 100}, {"z": 0}]
    assert fahrenheit(0) == 32
    with pytest.raises(ConfigError, match="built-in"):
        engine.function(name="abs")(fahrenheit)


async def test_rules_are_chained_by_memory_topics(engine: Engine, collected: Rows) -> None:
    engine.define_stream("hot", type="memory", datasource="hot/+")
    await running(
        engine,
        rule(
            "SELECT * FROM demo WHERE t > 50",
            {"memory": {"topic": "hot/{{.device}}", "sendSingle": True}},
            rule_id="first",
        ),
    )
    await running(engine, rule("SELECT t, meta(topic) AS topic FROM hot", rule_id="second"))
    rows = [{"t": 60, "device": "a"}, {"t": 10, "device": "b"}, {"t": 70, "device": "c"}]
    await engine.push("demo", rows)
    await eventually(lambda: len(collected) == 2)
    assert collected == [{"t": 60, "topic": "hot/a"}, {"t": 70, "topic": "hot/c"}]


async def test_each_rule_has_its_own_function_instances_and_state(
    engine: Engine, collected: Rows
) -> None:
    sql = "SELECT accumulateWordCount(text, ' ') AS words FROM demo"
    await running(engine, rule(sql, rule_id="a"))
    await engine.push("demo", [{"text": "one two"}])
    await running(engine, rule(sql, rule_id="b"))
    await engine.push("demo", [{"text": "three"}])
    await eventually(lambda: len(collected) == 3)
    await engine.stop("a")
    await engine.stop("b")
    assert sorted(row["words"] for row in collected) == [1, 2, 3]


async def test_two_calls_in_one_rule_do_not_share_state(engine: Engine, collected: Rows) -> None:
    sql = "SELECT accumulateWordCount(a) AS x, accumulateWordCount(b) AS y FROM demo WHERE x > 1"
    await running(engine, rule(sql))
    await engine.push("demo", [{"a": "p q", "b": "r"}, {"a": "s", "b": "t"}])
    await engine.stop("r")
    assert collected == [{"x": 2, "y": 1}, {"x": 3, "y": 2}]


async def test_a_row_error_does_not_run_a_stateful_function_twice(
    engine: Engine, collected: Rows
) -> None:
    sql = "SELECT accumulateWordCount(a) AS x, b + 1 AS y FROM demo"
    await running(engine, rule(sql))
    await engine.push("demo", [{"a": "p", "b": "text"}, {"a": "q", "b": 1}])
    await engine.stop("r")
    assert collected == [{"x": 2, "y": 2}]


async def test_an_instance_export_is_shared_and_a_class_export_is_not(
    engine: Engine, collected: Rows
) -> None:
    class Tally(Function):
        def __init__(self) -> None:
            self.calls = 0

        def exec(self, ctx: Any, value: Any) -> int:
            self.calls += 1
            return self.calls

    engine.plugins.register(PluginKind.FUNCTION, "isolated", Tally)
    engine.plugins.register(PluginKind.FUNCTION, "common", Tally())
    sql = "SELECT isolated(n) AS i, common(n) AS c FROM demo"
    await running(engine, rule(sql, rule_id="a"))
    await running(engine, rule(sql, rule_id="b"))
    await engine.push("demo", [{"n": 1}])
    await eventually(lambda: len(collected) == 2)
    assert sorted((row["i"], row["c"]) for row in collected) == [(1, 1), (1, 2)]


async def test_a_shared_sink_sees_the_configuration_of_the_rule_that_calls_it(
    engine: Engine,
) -> None:
    class LabelConfig(Config):
        label: str

    seen: list[tuple[str, str, Any]] = []

    class Label(Sink[LabelConfig]):
        async def collect(self, batch: Batch) -> None:
            await anyio.lowlevel.checkpoint()
            seen.append((self.config.label, self.ctx.rule_id, batch.rows))

    engine.plugins.register(PluginKind.SINK, "label", Label())
    for name in ("a", "b"):
        await running(engine, rule("SELECT n FROM demo", {"label": {"label": name}}, rule_id=name))
    await engine.push("demo", [{"n": 1}])
    await eventually(lambda: len(seen) == 2)
    assert sorted(seen) == [("a", "a", [{"n": 1}]), ("b", "b", [{"n": 1}])]


async def test_a_sink_that_is_not_connected_gets_the_batch_again(engine: Engine) -> None:
    attempts: list[Any] = []

    class Flaky(Sink[Config]):
        async def collect(self, batch: Batch) -> None:
            attempts.append(batch.rows)
            if len(attempts) < 3:
                raise NotConnected("gone")

    engine.plugins.register(PluginKind.SINK, "flaky", Flaky)
    started = await running(engine, rule("SELECT n FROM demo", {"flaky": {}}))
    await engine.push("demo", [{"n": 1}])
    await engine.stop("r")
    assert attempts == [[{"n": 1}]] * 3
    assert started.metrics.delivered == 1


async def test_rejected_rows_are_counted_with_place_and_reason(engine: Engine) -> None:
    class Picky(Sink[Config]):
        async def collect(self, batch: Batch) -> None:
            if len(batch) > 1:
                raise Rejected("too hot", indexes=[1])
            raise ValueError("no idea")

    engine.plugins.register(PluginKind.SINK, "picky", Picky)
    started = await running(engine, rule("SELECT n FROM demo", {"picky": {}}))
    await engine.push("demo", [{"n": 1}, {"n": 2}, {"n": 3}])
    await engine.push("demo", [{"n": 4}])
    await engine.stop("r")
    assert started.metrics.dropped == {
        ("sink[picky_0]", "rejected"): 1,
        ("sink[picky_0]", "sink error"): 1,
    }
    assert started.metrics.delivered == 2
    assert started.metrics.balance().holds


async def test_a_template_without_its_field_loses_only_that_message(engine: Engine) -> None:
    seen: list[str] = []
    engine.define_stream("out", type="memory", datasource="out/#")
    await running(
        engine, rule("SELECT * FROM demo", {"memory": {"topic": "out/{{.d}}"}}, rule_id="first")
    )
    await running(engine, rule("SELECT meta(topic) AS t FROM out", {"nop": {}}, rule_id="second"))
    await engine.push("demo", [{"d": "a"}, {"x": 1}, {"d": "b"}])
    await engine.stop("first")
    await engine.stop("second")
    first, second = engine.rules["first"].metrics, engine.rules["second"].metrics
    assert first.dropped == {("sink[memory_0]", "template"): 1}
    assert (first.delivered, second.received) == (2, 2)
    assert not seen


async def test_a_failing_source_fails_its_rule_only(engine: Engine, collected: Rows) -> None:
    class Broken(Source[Config]):
        async def run(self, emit: Any) -> None:
            raise RuntimeError("boom")

    engine.plugins.register(PluginKind.SOURCE, "broken", Broken)
    engine.define_stream("bad", type="broken")
    good = await running(engine, rule("SELECT n FROM demo"))
    bad = await engine.start(rule("SELECT n FROM bad", rule_id="bad"))
    await bad.finished.wait()
    assert bad.status.state == "stopped by error"
    assert bad.status.message.startswith(f"RuntimeError: boom at {__file__}:")
    await engine.push("demo", [{"n": 1}])
    await engine.stop("r")
    assert collected == [{"n": 1}]
    assert good.status.state == "stopped"


async def test_a_failed_rule_is_restarted_as_often_as_its_strategy_says(engine: Engine) -> None:
    runs: list[int] = []

    class Broken(Source[Config]):
        async def run(self, emit: Any) -> None:
            runs.append(1)
            raise RuntimeError("boom")

    engine.plugins.register(PluginKind.SOURCE, "broken", Broken)
    engine.define_stream("bad", type="broken")
    strategy = {"attempts": 2, "delay": 1, "jitterFactor": 0}
    bad = await engine.start(rule("SELECT n FROM bad", {"nop": {}}, restartStrategy=strategy))
    await bad.finished.wait()
    assert len(runs) == 3
    assert bad.status.state == "stopped by error"


async def test_a_source_is_opened_again_after_not_connected_and_closed_at_the_end(
    engine: Engine, collected: Rows
) -> None:
    events: list[str] = []

    class Shy(Source[Config]):
        async def open(self) -> None:
            events.append("open")
            if len(events) < 3:
                raise NotConnected("not yet")

        async def run(self, emit: Any) -> None:
            await emit(Batch([{"n": 1}]))
            raise EndOfStream("that was all")

        async def close(self) -> None:
            events.append("close")

    engine.plugins.register(PluginKind.SOURCE, "shy", Shy)
    engine.define_stream("s", type="shy")
    started = await engine.start(rule("SELECT n FROM s"))
    await started.finished.wait()
    assert events == ["open", "close", "open", "close"]
    assert collected == [{"n": 1}]
    assert (started.status.state, started.status.message) == ("stopped", "done")


async def test_a_shared_stream_has_one_source_for_all_rules(
    engine: Engine, collected: Rows
) -> None:
    opened: list[str] = []

    class Counted(Source[Config]):
        async def open(self) -> None:
            opened.append(self.ctx.rule_id)

        async def run(self, emit: Any) -> None:
            await eventually(lambda: len(engine.rules) == 2)
            await eventually(lambda: engine.rules["b"].status.state == "running")
            await emit(Batch(payloads=[b'{"x": 1, "y": 2}', b"nonsense"]))
            await anyio.sleep_forever()

    engine.plugins.register(PluginKind.SOURCE, "counted", Counted)
    engine.define_stream("s", type="counted", shared=True)
    await engine.start(rule("SELECT x FROM s WHERE x > 0", rule_id="a"))
    await engine.start(rule("SELECT * FROM s WHERE y = 2", rule_id="b"))
    await eventually(lambda: len(collected) == 2)
    assert opened == ["stream:s"]
    assert sorted(collected, key=len) == [{"x": 1}, {"x": 1, "y": 2}]
    for name in ("a", "b"):
        assert engine.rules[name].metrics.errors == {("decode", "malformed JSON"): 1}
        await engine.stop(name)
        assert engine.rules[name].metrics.balance().holds


async def test_a_stop_beyond_the_drain_time_leaves_rows_pending(engine: Engine) -> None:
    class Stuck(Sink[Config]):
        async def collect(self, batch: Batch) -> None:
            await anyio.sleep_forever()

    engine.plugins.register(PluginKind.SINK, "stuck", Stuck)
    started = await running(engine, rule("SELECT n FROM demo", {"stuck": {}}))
    await engine.push("demo", [{"n": 1}, {"n": 2}])
    await engine.stop("r", drain=0.05)
    balance = started.metrics.balance()
    assert (balance.pending, balance.holds) == (2, True)


async def test_a_batch_is_acknowledged_after_its_sinks_and_only_then(engine: Engine) -> None:
    release, acknowledged = anyio.Event(), []

    class Acked(Source[Config]):
        async def run(self, emit: Any) -> None:
            await emit(Batch([{"n": 1}], acknowledge=lambda: acknowledged.append("passed")))
            await emit(Batch([{"n": 0}], acknowledge=lambda: acknowledged.append("filtered")))
            await anyio.sleep_forever()

    class Held(Sink[Config]):
        async def collect(self, batch: Batch) -> None:
            await release.wait()

    engine.plugins.register(PluginKind.SOURCE, "acked", Acked)
    engine.plugins.register(PluginKind.SINK, "held", Held)
    engine.define_stream("s", type="acked")
    sql = "SELECT n FROM s WHERE n > 0"
    await running(engine, rule(sql, {"held": {}}, {"nop": {}}))
    await eventually(lambda: acknowledged)
    assert acknowledged == ["filtered"]
    release.set()
    await eventually(lambda: len(acknowledged) == 2)


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        (rule("SELECT n FROM demo", {"mqqt": {}}), "unknown sink 'mqqt'.*\n.*did you mean 'mqtt'"),
        (rule("SELECT n FROM demo", {"mqtt": {"topicc": "x"}}), "unknown key 'topicc'.*topic"),
        (rule("SELECT n FROM demo", {"nop": {"dataFiled": "x"}}), "did you mean 'dataField'"),
        (rule("SELECT n FROM demo", {"mqtt": {"server": "tcp://h"}}), "topic"),
        (rule("SELECT n FROM demo", {"mqtt": {"topic": "a/#"}}), "no topic to publish to"),
        (rule("SELECT n FROM demo", {"memory": {"topic": "{{.a"}}), "'{{' without '}}'"),
        (rule("SELECT n FROM demo", {"nop": {"format": "xml"}}), "format|key"),
        (rule("SELECT n FROM demo", {"log": {"format": "xml"}}), "unknown format 'xml'"),
        (rule("SELECT n FROM demo", {"log": {"fields": ["a"], "excludeFields": ["b"]}}), "both"),
        (
            rule("SELECT n FROM demo", {"log": {"enableCache": True, "maxDiskCache": 100}}),
            "maxDiskCache",
        ),
        (rule("SELECT n FROM demo", {"log": {"sendSingle": "perhaps"}}), "sendSingle"),
        (rule("SELECT n FROM demo", qos=3), "qos"),
        (rule("SELECT n FROM demo", bufferLength=-1), "bufferLength"),
    ],
)
async def test_a_wrong_rule_is_refused_and_nothing_starts(
    engine: Engine, collected: Rows, definition: dict[str, Any], message: str
) -> None:
    with pytest.raises((ConfigError, PluginError), match=message):
        await engine.start(definition)
    assert not engine.rules


async def test_the_engine_leaves_no_task_and_no_signal_handler_behind(tmp_path: Path) -> None:
    before = asyncio.all_tasks()
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    async with Engine(tmp_path) as engine:
        engine.define_stream("s", type="simulator", data=[{"n": 1}], interval=1)
        await running(engine, rule("SELECT n FROM s", {"nop": {}}))
        assert handlers == [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    assert asyncio.all_tasks() == before
    assert engine.rules["r"].status.state == "stopped"


async def test_an_error_in_the_block_stops_the_engine_at_once(tmp_path: Path) -> None:
    engine = Engine(tmp_path)

    async def fail_inside() -> None:
        async with engine:
            engine.define_stream("s", type="simulator", data=[{"n": 1}], interval=1)
            await running(engine, rule("SELECT n FROM s", {"nop": {}}))
            raise LookupError

    with pytest.raises(LookupError):
        await fail_inside()
    assert engine.rules["r"].status.state == "stopped"


async def test_deleting_a_rule_forgets_its_state(engine: Engine, collected: Rows) -> None:
    sql = "SELECT accumulateWordCount(t) AS n FROM demo"
    for restart in (engine.stop, engine.delete, engine.delete):
        await running(engine, rule(sql))
        await engine.push("demo", [{"t": "a b"}])
        await restart("r")
    assert collected == [{"n": 2}, {"n": 4}, {"n": 2}]


async def test_the_state_of_a_plugin_is_put_counted_and_deleted(
    engine: Engine, collected: Rows
) -> None:
    class Remember(Function):
        def exec(self, ctx: Any, verb: str, value: Any) -> Any:
            if verb == "put":
                ctx.put_state("x", value)
            elif verb == "count":
                return ctx.incr_counter("x", value)
            elif verb == "delete":
                ctx.delete_state("x")
            return [ctx.get_state("x"), ctx.get_counter("x")]

    engine.plugins.register(PluginKind.FUNCTION, "remember", Remember)
    await running(engine, rule("SELECT remember(verb, value) AS r FROM demo"))
    steps = [("get", 0), ("put", {"a": [1]}), ("count", 2), ("count", 3), ("get", 0)]
    steps += [("delete", 0), ("get", 0)]
    await engine.push("demo", [{"verb": verb, "value": value} for verb, value in steps])
    await engine.stop("r")
    assert [row["r"] for row in collected] == [
        [None, 0],
        [{"a": [1]}, 0],
        2,
        5,
        [{"a": [1]}, 5],
        [None, 0],
        [None, 0],
    ]


async def test_a_random_source_stays_in_its_range_and_skips_what_it_gave(engine: Engine) -> None:
    engine.define_stream(
        "dice", type="random", pattern={"n": 10}, seed=6, interval="1ms", deduplicate=-1
    )
    seen: list[int] = []
    async for row in engine.query("SELECT n FROM dice"):
        seen.append(row["n"])
        if len(seen) == 6:
            break
    assert sorted(seen) == [10, 11, 12, 13, 14, 15]


async def test_event_time_needs_a_timestamp(engine: Engine, collected: Rows) -> None:
    with pytest.raises(ConfigError, match="isEventTime needs a stream with a timestamp"):
        await engine.start(rule("SELECT n FROM demo", isEventTime=True))


async def test_a_connection_that_comes_back_shows_in_the_status(engine: Engine) -> None:
    release = anyio.Event()

    class Flaky(Sink[Config]):
        async def collect(self, batch: Batch) -> None:
            if not release.is_set():
                raise NotConnected("gone for now")

    class Shaky(Source[Config]):
        runs = 0

        async def run(self, emit: Any) -> None:
            self.runs += 1
            if self.runs == 1:
                raise NotConnected("not there")
            await emit(Batch([{"n": 1}]))
            await anyio.sleep_forever()

    engine.plugins.register(PluginKind.SINK, "flaky", Flaky)
    engine.plugins.register(PluginKind.SOURCE, "shaky", Shaky)
    engine.define_stream("s", type="shaky")
    started = await engine.start(rule("SELECT n FROM s", {"flaky": {}}))
    await eventually(lambda: "gone for now" in started.status.message)
    assert started.status.state == "connecting"
    release.set()
    await eventually(lambda: started.status.state == "running")
    assert all(each.connected for each in started.status.connections.values())


async def test_the_account_balances_with_a_limit_and_errors_among_the_results(
    engine: Engine,
) -> None:
    class Picky(Sink[Config]):
        async def collect(self, batch: Batch) -> None:
            raise Rejected("nothing today")

    engine.plugins.register(PluginKind.SINK, "picky", Picky)
    definition = rule_from(rule("SELECT n + 1 AS m FROM demo", {"picky": {}}, sendError=True))
    (started,) = await engine.start_all([definition], limit=ResultLimit(3))
    await eventually(lambda: started.status.state == "running")
    await engine.push("demo", [{"n": "x"}, {"n": "y"}, {"n": 1}, {"n": 2}, {"n": "z"}])
    await engine.stop("r")
    balance = started.metrics.balance()
    assert balance.holds, balance
    assert (balance.errors, balance.delivered, balance.dropped) == (3, 0, 2)


async def test_a_shared_source_that_has_ended_is_made_anew(engine: Engine, collected: Rows) -> None:
    engine.define_stream(
        "s", type="simulator", data=[{"n": 1}], interval=0, loop=False, shared=True
    )
    for name in ("a", "b"):
        started = await engine.start(rule("SELECT n FROM s", rule_id=name))
        await started.finished.wait()
        assert (started.status.state, started.status.message) == ("stopped", "done")
    assert collected == [{"n": 1}, {"n": 1}]
