"""Metrics as Prometheus reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from engine.api import Batch, Config, Emit, Offset, Source
from engine.registry import PluginKind
from engine.run import lag
from engine.run.metrics import LATENCY_BUCKETS, OperatorMetrics
from engine.server import exposition
from tests.server.support import Running, rule

parser = pytest.importorskip("prometheus_client.parser")
DASHBOARD = Path(__file__).parents[2] / "docs" / "grafana.json"


async def families(server: Running) -> dict[str, dict[tuple[str, ...], float]]:
    """Return all samples by name and the values of their labels."""
    answer = await server.client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in parser.text_string_to_metric_families(answer.text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return found


async def test_rules_and_the_process_are_measured(server: Running) -> None:
    await server.paced()
    await server.json("POST", "/rules", rule("a", "SELECT n FROM paced WHERE n > 4"))
    with anyio.fail_after(10):
        while server.service.engine.rules["a"].metrics.delivered < 20:
            await anyio.sleep(0.01)
    found = await families(server)
    assert found["kuiper_rule_status"] == {("a",): 1}
    assert found["kuiper_source_records_in_total"]["a", "source", "paced", "0"] >= 20
    outcomes = found["headrace_rule_rows_total"]
    assert outcomes["a", "delivered"] >= 20
    assert outcomes["a", "filtered"] > 0
    buckets = found["kuiper_op_process_latency_us_hist_bucket"]
    count = found["kuiper_op_process_latency_us_hist_count"]
    key = ("a", "op", "3_project", "0")
    values = [value for labels, value in buckets.items() if labels[:4] == key]
    assert values == sorted(values)
    assert values[-1] == count[key]
    assert found["process_resident_memory_bytes"][()] > 1e7
    await server.json("DELETE", "/rules/a")
    assert "kuiper_rule_status" not in await families(server)


async def test_the_lag_of_sources_is_measured_by_partition(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Log(Source[Config]):
        async def run(self, emit: Emit) -> None:
            await emit(Batch([{"n": 1}]))
            await anyio.sleep_forever()

        def position(self) -> Mapping[str, Offset]:
            return {'say "a"': 4, "b": 7, "c": "x"}

        async def seek(self, offsets: Mapping[str, Offset]) -> None: ...

        async def head(self) -> Mapping[str, Offset]:
            return {'say "a"': 9, "b": 7, "c": "y"}

    monkeypatch.setattr(lag, "_EVERY", 10)
    server.service.engine.plugins.register(PluginKind.SOURCE, "log", Log)
    await server.stream('CREATE STREAM s () WITH (TYPE="log", FORMAT="json")')
    await server.json("POST", "/rules", rule("a", "SELECT n FROM s"))
    with anyio.fail_after(10):
        while "headrace_source_lag" not in (found := await families(server)):
            await anyio.sleep(0.01)
    assert found["headrace_source_lag"] == {("a", "s", 'say "a"'): 5, ("a", "s", "b"): 0}
    status = await server.json("GET", "/rules/a/status")
    assert status["source_s_0_lag"] == 5
    status = await server.json("GET", "/v2/rules/a/status")
    assert [each["lag"] for each in status["operators"][0]["partitions"]] == [5, 0, None]


async def test_data_goes_on_while_metrics_are_written(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    await server.stream()
    rules = 50
    for number in range(rules):
        await server.json("POST", "/rules", rule(f"r{number}"))
    for made in server.service.engine.rules.values():
        assert made.parts is not None
        made.parts.metrics.took(1_000_000)
    monkeypatch.setattr(exposition, "_AT_ONCE", 0)
    turns = 0

    async def work() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(work)
        pieces = [piece async for piece in exposition.exposition(server.service.engine, 0)]
        tasks.cancel_scope.cancel()
    assert turns > len(pieces) > rules
    samples: list[str] = []
    for family in parser.text_string_to_metric_families(b"".join(pieces).decode()):
        samples += [sample.name for sample in family.samples]
    assert samples.count("kuiper_rule_status") == rules
    assert samples.count("kuiper_op_process_latency_us_hist_sum") == rules
    assert samples.count("kuiper_op_process_latency_us_hist_bucket") == rules * LATENCY_BUCKETS


async def test_the_dashboard_asks_for_metrics_that_exist(server: Running) -> None:
    await server.paced()
    await server.json("POST", "/rules", rule("a", "SELECT n FROM paced"))
    text = (await server.client.get("/metrics")).text
    declared = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    declared |= {
        "headrace_rule_dropped_total",
        "headrace_rule_errors_total",
        "headrace_rule_pending",
        "headrace_source_lag",
        "kuiper_conn_status_gauge",
        "kuiper_op_process_latency_us_hist",
        "kuiper_sink_process_latency_us_hist",
        "kuiper_source_connection_status",
        "kuiper_sink_connection_status",
    }
    dashboard = json.loads(DASHBOARD.read_text())
    queries = [
        target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])
    ]
    assert len(queries) > 8
    for query in queries:
        assert any(name in query for name in declared), query


@pytest.mark.parametrize(
    ("nanoseconds", "bucket"),
    [(0, 0), (9_999, 0), (10_000, 1), (19_999, 1), (20_000, 2), (10**12, LATENCY_BUCKETS - 1)],
)
def test_latencies_are_sorted_into_doubling_buckets(nanoseconds: int, bucket: int) -> None:
    metrics = OperatorMetrics()
    metrics.took(nanoseconds)
    assert metrics.latencies.index(1) == bucket
