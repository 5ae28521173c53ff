"""Rows are traced from source to sink, a few of many, and nothing else about them changes."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from engine import ConfigError, Engine
from engine.api import Batch, Config, NotConnected, Rejected, Sink
from engine.clock import VirtualClock, settled
from engine.config.rule import TraceOptions
from engine.registry import PluginKind
from tests.conftest import Rows, eventually
from tests.tracing.support import SAMPLED, SPAN, TRACE, UNSAMPLED, names, rule, spans, trees

START = 1_704_067_200_000  # 2024-01-01T00:00:00Z


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(START)


@pytest.fixture
async def engine(tmp_path: Path, clock: VirtualClock) -> AsyncIterator[Engine]:
    async with Engine(tmp_path, clock=clock, drain=5) as engine:
        engine.define_stream("demo", type="memory", datasource="demo")
        yield engine


async def started(engine: Engine, definition: dict[str, Any]) -> None:
    await engine.start(definition)
    await settled()


async def push(engine: Engine, *rows: dict[str, Any], **meta: Any) -> None:
    await engine.push("demo", rows, **meta)
    await settled()


def sink(engine: Engine, failure: Exception) -> None:
    """Register a sink ``failing`` that takes nothing."""

    class Failing(Sink[Config]):
        async def collect(self, batch: Batch) -> None:
            raise failure

    engine.plugins.register(PluginKind.SINK, "failing", Failing)


async def test_a_trace_has_the_operators_of_the_rule(engine: Engine, collected: Rows) -> None:
    await started(engine, rule("SELECT n * 2 AS d FROM demo", {"collect": {}}, {"nop": {}}))
    await push(engine, {"n": 4})
    (tree,) = trees(engine)
    assert names(tree) == ["demo", "2_decoder", "3_project", "collect_0", "nop_1"]
    source, decoder, query, *_ = spans(tree)
    assert source["ParentSpanID"] == "0" * 16
    assert source["Attribute"] == {"rule": "r", "metadata": '{"topic":"demo"}'}
    assert decoder["Attribute"]["data"] == '{"n":4}'
    assert query["Attribute"]["data"] == '{"d":8}'
    assert source["StartTime"] == "2024-01-01T00:00:00.000000000Z"
    assert all("Error" not in span for span in spans(tree))
    topology = engine.topology("r")
    assert {f"source_{source['Name']}", f"op_{query['Name']}"} <= {
        *topology.sources,
        *topology.edges,
    }


async def test_a_trace_goes_on_through_a_memory_topic(engine: Engine, collected: Rows) -> None:
    engine.define_stream("hot", type="memory", datasource="hot")
    await started(engine, rule("SELECT * FROM demo", {"memory": {"topic": "hot"}}))
    head = rule("SELECT n FROM hot", trace={"strategy": "head"})
    await started(engine, {**head, "id": "next"})
    await push(engine, {"n": 1})
    (tree,) = trees(engine)
    assert trees(engine, "next") == [tree]
    assert names(tree)[3:] == ["memory_0", "hot", "2_decoder", "3_project", "collect_0"]
    assert collected == [{"n": 1}]


async def test_what_becomes_of_a_row_is_said(engine: Engine, collected: Rows) -> None:
    await started(engine, rule("SELECT n / 2 AS half FROM demo WHERE n > 0"))
    await push(engine, {"n": 0}, {"n": "x"}, {"n": 2})
    filtered, failed, passed = (list(spans(tree))[2] for tree in trees(engine))
    assert filtered["Attribute"]["outcome"] == "filtered"
    assert "Error" in failed
    assert not filtered["ChildSpan"]
    assert passed["ChildSpan"]
    assert passed["Attribute"]["results"] == "1"


async def test_no_secret_and_nothing_long_gets_into_a_trace(
    engine: Engine, collected: Rows
) -> None:
    await started(engine, rule())
    url = f"http://me:{'p' * 300}@host/"
    await push(
        engine, {"password": "hunter2", "in": [{"apiKey": "k3y"}], "url": url, "s": "s" * 5000}
    )
    (tree,) = trees(engine)
    text = str(tree)
    assert not any(secret in text for secret in ("hunter2", "k3y", "ppp"))
    assert max(len(value) for span in spans(tree) for value in span["Attribute"].values()) < 2100
    assert collected[0]["s"] == "s" * 5000


async def test_only_so_many_rows_a_second_are_traced(
    engine: Engine, clock: VirtualClock, collected: Rows
) -> None:
    await started(engine, rule("SELECT n FROM demo", trace={"rate": 2}))
    await push(engine, *({"n": n} for n in range(1000)))
    assert len(trees(engine)) == 2
    await push(engine, {"n": 1000})
    assert len(trees(engine)) == 2
    await clock.advance_to(START + 500)
    await push(engine, {"n": 1001}, {"n": 1002})
    assert len(trees(engine)) == 3
    assert collected == [{"n": n} for n in range(1003)]


async def test_the_head_strategy_follows_sampled_traces_only(
    engine: Engine, collected: Rows
) -> None:
    await started(engine, rule(trace={"strategy": "head"}))
    await push(engine, {"n": 1})
    await push(engine, {"n": 2}, traceparent=UNSAMPLED)
    await push(engine, {"n": 3}, traceparent=UNSAMPLED[:-2] + "zz")
    await push(engine, {"n": 4}, traceparent="0" * 54 + "1")
    await push(engine, {"n": 5}, traceparent=7)
    assert trees(engine) == []
    await push(engine, {"n": 6}, traceparent=SAMPLED)
    (tree,) = trees(engine)
    assert (tree["TraceID"], tree["ParentSpanID"]) == (TRACE, SPAN)
    assert list(spans(tree))[1]["Attribute"]["data"] == '{"n":6}'
    assert [row["n"] for row in collected] == [1, 2, 3, 4, 5, 6]


async def test_traces_that_come_along_go_before_new_ones(engine: Engine, collected: Rows) -> None:
    engine.define_stream("hot", type="memory", datasource="hot")
    await started(engine, {**rule("SELECT n FROM hot", trace={"rate": 1}), "id": "next"})
    await started(
        engine, rule("SELECT n FROM demo", {"memory": {"topic": "hot"}}, trace={"strategy": "head"})
    )
    await push(engine, {"n": 1}, {"n": 2}, traceparent=SAMPLED)
    assert [tree["TraceID"] for tree in trees(engine, "next")] == [TRACE]


async def test_the_result_of_a_window_names_the_traces_of_its_rows(
    engine: Engine, clock: VirtualClock, collected: Rows
) -> None:
    await started(engine, rule("SELECT count(*) AS c FROM demo GROUP BY TUMBLINGWINDOW(ss, 10)"))
    await push(engine, {"n": 1}, {"n": 2})
    await clock.advance_to(START + 10_000)
    assert collected == [{"c": 2}]
    first, second, window = trees(engine)
    assert [list(spans(tree))[2]["Attribute"]["outcome"] for tree in (first, second)] == [
        "held"
    ] * 2
    assert names(window) == ["3_project", "collect_0"]
    assert [link["TraceID"] for link in window["Links"]] == [first["TraceID"], second["TraceID"]]
    assert window["StartTime"] == "2024-01-01T00:00:10.000000000Z"


async def test_the_row_that_closes_a_window_has_its_result(engine: Engine, collected: Rows) -> None:
    await started(engine, rule("SELECT sum(n) AS s FROM demo GROUP BY COUNTWINDOW(2)"))
    await push(engine, {"n": 1}, {"n": 2})
    first, second = trees(engine)
    assert names(second) == ["demo", "2_decoder", "3_project", "collect_0"]
    assert [link["TraceID"] for link in list(spans(second))[2]["Links"]] == [first["TraceID"]]


async def test_a_sink_that_refuses_a_row_is_the_end_of_its_trace(engine: Engine) -> None:
    sink(engine, Rejected("too hot for tcp://me:hunter2@host"))
    await started(engine, rule("SELECT n FROM demo", {"failing": {}}))
    await push(engine, {"n": 1})
    assert list(spans(trees(engine)[0]))[-1]["Error"] == ("rejected: too hot for tcp://me:***@host")


async def test_a_row_that_goes_into_a_cache_says_so(engine: Engine) -> None:
    sink(engine, NotConnected("nobody there"))
    await started(engine, rule("SELECT n FROM demo", {"failing": {"enableCache": True}}))
    await engine.push("demo", [{"n": 1}])
    # the cache is opened by a thread, which may take its time
    await eventually(lambda: (found := trees(engine)) and list(spans(found[0]))[-1].get("Events"))
    (event,) = list(spans(trees(engine)[0]))[-1]["Events"]
    assert event["Name"] == "cached"


async def test_gathered_rows_keep_their_traces(engine: Engine, collected: Rows) -> None:
    seen: list[Batch] = []

    class Seeing(Sink[Config]):
        async def collect(self, batch: Batch) -> None:
            seen.append(batch)

    engine.plugins.register(PluginKind.SINK, "seeing", Seeing)
    await started(
        engine,
        rule(
            "SELECT n FROM demo",
            {"seeing": {"batchSize": 3, "sendSingle": True}},
            trace={"rate": 1},
        ),
    )
    await push(engine, {"n": 1}, {"n": 2})
    assert seen == []
    await push(engine, {"n": 3})
    (tree,) = trees(engine)
    (batch,) = seen
    assert {context.split("-")[1] for context in batch.traces.values()} == {tree["TraceID"]}
    assert list(spans(tree))[-1]["Name"] == "seeing_0"


async def test_rules_that_share_a_stream_have_traces_of_their_own(
    engine: Engine, collected: Rows
) -> None:
    engine.define_stream("s", type="memory", datasource="s", shared=True)
    await started(engine, {**rule("SELECT n FROM s"), "id": "a"})
    await started(engine, {**rule("SELECT n + 1 AS m FROM s"), "id": "b"})
    await engine.push("s", [{"n": 1}])
    await settled()
    (a,), (b,) = trees(engine, "a"), trees(engine, "b")
    assert a["TraceID"] != b["TraceID"]
    assert names(a) == names(b) == ["s", "s_2_decoder", "3_project", "collect_0"]


async def test_a_row_that_is_joined_with_a_table_is_traced(engine: Engine, collected: Rows) -> None:
    table = 'CREATE TABLE t () WITH (TYPE="memory", DATASOURCE="t", KIND="lookup", KEY="id")'
    engine.define(table)
    sql = "SELECT demo.id, t.name FROM demo INNER JOIN t ON demo.id = t.id"
    await started(engine, rule(sql, trace={"rate": 1}))
    await engine.push("t", [{"id": 1, "name": "one"}, {"id": 2, "name": "two"}])
    await push(engine, {"id": 2}, {"id": 3}, {"id": 1})
    assert collected == [{"id": 2, "name": "two"}, {"id": 1, "name": "one"}]
    (tree,) = trees(engine)
    assert list(spans(tree))[2]["Attribute"]["data"] == '{"id":2,"name":"two"}'


async def test_rows_of_tables_are_not_traced(engine: Engine, collected: Rows) -> None:
    engine.define('CREATE TABLE t () WITH (TYPE="memory", DATASOURCE="t")')
    await started(engine, rule("SELECT demo.n FROM demo INNER JOIN t ON demo.n = t.n"))
    engine.define_stream("feed", type="memory", datasource="t")
    await engine.push("feed", [{"n": 1}])
    await settled()
    assert trees(engine) == []
    await push(engine, {"n": 1}, {"n": 2})
    assert names(trees(engine)[0])[-1] == "collect_0"
    assert list(spans(trees(engine)[1]))[-1]["Attribute"]["outcome"] == "filtered"


async def test_a_window_that_is_traced_outlives_a_restart(engine: Engine, collected: Rows) -> None:
    sql = "SELECT sum(n) AS s FROM demo GROUP BY COUNTWINDOW(3)"
    await started(engine, rule(sql, qos=1))
    await push(engine, {"n": 1}, {"n": 2})
    await engine.restart("r")
    await settled()
    await push(engine, {"n": 4})
    assert collected == [{"s": 7}]
    assert engine.status("r").balance.holds


async def test_tracing_is_begun_and_ended_while_a_rule_runs(
    engine: Engine, collected: Rows
) -> None:
    await started(engine, rule("SELECT n FROM demo", trace=None))
    await push(engine, {"n": 1})
    engine.trace("r", TraceOptions())
    await push(engine, {"n": 2})
    await engine.restart("r")
    await settled()
    await push(engine, {"n": 3})
    engine.trace("r", None)
    await push(engine, {"n": 4})
    traced = [list(spans(tree))[1]["Attribute"]["data"] for tree in trees(engine)]
    assert traced == ['{"n":2}', '{"n":3}']
    with pytest.raises(ConfigError, match="there is no rule nobody"):
        engine.trace("nobody", None)


async def test_the_switch_of_ekuiper_is_known(engine: Engine, collected: Rows) -> None:
    await started(engine, rule(trace=None, enableRuleTracer=True))
    await push(engine, {"n": 1})
    assert len(trees(engine)) == 1


async def test_without_opentelemetry_a_rule_says_what_to_install(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "engine.tracing.store", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(ConfigError, match=r"OpenTelemetry(.|\n)*headrace\[tracing\]"):
        await engine.start(rule("SELECT n FROM demo", {"nop": {}}))


async def test_a_wrong_option_is_refused(engine: Engine) -> None:
    for wrong in ({"rate": 0}, {"strategy": "tail"}, {"ratio": 1}):
        with pytest.raises(ConfigError, match="trace"):
            await engine.start(rule("SELECT n FROM demo", {"nop": {}}, trace=wrong))
