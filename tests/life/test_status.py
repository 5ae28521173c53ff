"""What a rule says of itself: state, silence, counts of its operators, topology."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from engine import Engine, EngineError
from engine.api import Batch, Config, NotConnected, Rejected, Sink, Source
from engine.clock import VirtualClock, settled
from engine.registry import PluginKind
from tests.conftest import Rows
from tests.life.support import MINUTE, SECOND, START, Journal, marked, rule, started

# -- the watchdog ------------------------------------------------------------------------------


async def test_silence_shows_and_the_next_row_ends_it(
    engine: Engine, collected: Rows, clock: VirtualClock
) -> None:
    made = await started(engine, rule(expectEvery="30s"))
    await clock.advance_to(START + 30 * SECOND - 1)
    assert made.status.state == "running"
    await clock.advance_to(START + 30 * SECOND)
    status = engine.status("r")
    assert (status.state, status.since) == ("idle", START + 30 * SECOND)
    assert status.message == "no row for 30 s, none at all so far"
    assert (status.flat()["status"], status.flat()["state"]) == ("running", "idle")
    await clock.advance_to(START + MINUTE)
    await engine.push("demo", [{"n": 1}])
    status = engine.status("r")
    assert (status.state, status.since) == ("running", START + MINUTE)
    assert status.last_message == START + MINUTE
    await clock.advance_to(START + 80 * SECOND)
    await engine.push("demo", [{"n": 2}])
    await clock.advance_to(START + 110 * SECOND - 1)
    assert made.status.state == "running"
    await clock.advance_to(START + 110 * SECOND)
    assert made.status.message == "no row for 30 s, the last one came at 2024-01-01T00:01:20Z"
    assert [row["n"] for row in collected] == [1, 2]


async def test_without_the_option_silence_is_no_state(
    engine: Engine, collected: Rows, clock: VirtualClock
) -> None:
    made = await started(engine, rule())
    await clock.advance_to(START + 1000 * MINUTE)
    assert made.status.state == "running"


class Link(Source[Config]):
    """A source whose connection comes and goes as told."""

    async def open(self) -> None:
        LINKS[self.ctx.rule_id] = self
        self.ctx.report_connection(False, "dialling")

    async def run(self, emit: Any) -> None:
        self.emit = emit
        await anyio.sleep_forever()


LINKS: dict[str, Link] = {}


async def test_a_missing_connection_says_more_than_silence(
    engine: Engine, collected: Rows, clock: VirtualClock
) -> None:
    engine.plugins.register(PluginKind.SOURCE, "link", Link)
    engine.define_stream("s", type="link")
    made = await started(engine, rule("SELECT n FROM s", expectEvery="10s"))
    await clock.advance_to(START + MINUTE)
    assert (made.status.state, made.status.message) == ("connecting", "source[s]: dialling")
    link = LINKS["r"]
    link.ctx.report_connection(True)
    assert made.status.state == "running"
    await clock.advance_to(START + MINUTE + 10 * SECOND)
    link.ctx.report_connection(True)  # says nothing new
    assert made.status.state == "idle"
    link.ctx.report_connection(False, "cut")
    assert (made.status.state, made.status.message) == ("connecting", "source[s]: cut")
    link.ctx.report_connection(True)
    await settled()
    assert made.status.state == "running"
    await clock.advance_to(START + MINUTE + 20 * SECOND)
    assert made.status.state == "idle"


async def test_a_restart_begins_a_new_watch(
    engine: Engine, collected: Rows, clock: VirtualClock
) -> None:
    made = await started(engine, rule(expectEvery="30s"))
    await clock.advance_to(START + 20 * SECOND)
    await engine.restart("r")
    await settled()
    await clock.advance_to(START + 40 * SECOND)
    assert made.status.state == "running"
    await clock.advance_to(START + 50 * SECOND)
    assert made.status.state == "idle"
    await engine.stop("r")
    await clock.advance_to(START + 1000 * SECOND)
    assert made.status.state == "stopped"


# -- counts ------------------------------------------------------------------------------------


async def test_every_operator_counts_under_ekuipers_names(
    engine: Engine, clock: VirtualClock
) -> None:
    class Picky(Sink[Config]):
        async def collect(self, batch: Batch) -> None:
            await clock.advance_to(clock.now() + SECOND)
            raise Rejected("not that one", indexes=[0])

    class Bytes(Source[Config]):
        async def run(self, emit: Any) -> None:
            await emit(Batch(payloads=[b'{"n": 1}', b'{"n": 2}', b'{"n": "x"}', b"{", b'{"n": 0}']))
            await anyio.sleep_forever()

    engine.plugins.register(PluginKind.SINK, "picky", Picky)
    engine.plugins.register(PluginKind.SOURCE, "bytes", Bytes)
    engine.define_stream("demo2", type="bytes")
    await started(
        engine,
        rule(
            "SELECT n + 1 AS m FROM demo2 WHERE n + 0 > 0",
            actions=[{"picky": {}}, {"nop": {}, "log": {}}],
        ),
    )
    status = engine.status("r")
    flat = status.flat()
    prefixes = ["source_demo2_0", "op_2_decoder_0", "op_3_project_0", "sink_picky_0_0"]
    prefixes += ["sink_nop_1_0", "sink_log_1_0"]
    metrics = {
        "records_in_total": [5, 5, 4, 2, 2, 2],
        "records_out_total": [5, 4, 2, 1, 2, 2],
        "messages_processed_total": [5, 5, 4, 2, 2, 2],
        "buffer_length": [0, 0, 0, 0, 0, 0],
        "exceptions_total": [0, 1, 1, 1, 0, 0],
    }
    for metric, values in metrics.items():
        assert [flat[f"{prefix}_{metric}"] for prefix in prefixes] == values, metric
    for prefix in prefixes[1:]:
        assert flat[f"{prefix}_last_invocation"] >= START
        assert 0 < flat[f"{prefix}_process_latency_us"] < 1_000_000, prefix
    assert "malformed JSON" in flat["op_2_decoder_0_last_exception"]
    assert flat["op_2_decoder_0_last_exception_time"] == START
    assert flat["sink_picky_0_0_last_exception"] == "not that one"
    assert flat["sink_picky_0_0_last_exception_time"] == START + SECOND
    assert flat["source_demo2_0_connection_status"] == 1
    assert flat["sink_log_1_0_connection_status"] == 1
    assert "op_3_project_0_connection_status" not in flat
    assert set(flat) == {
        *("status", "message", "state"),
        *("lastStartTimestamp", "lastStopTimestamp", "nextStartTimestamp"),
        *(f"{prefix}_{metric}" for prefix in prefixes for metric in OF_ALL),
        *(f"{prefix}_{metric}" for prefix in prefixes if prefix[:3] != "op_" for metric in OF_ENDS),
    }
    assert status.last_error.startswith("sink[picky_0]: not that one")
    assert status.balance.holds
    assert msgspec.json.decode(msgspec.json.encode(status))["operators"][0]["name"] == "demo2"


OF_ALL = [
    "records_in_total",
    "records_out_total",
    "messages_processed_total",
    "process_latency_us",
    "buffer_length",
    "last_invocation",
    "exceptions_total",
    "last_exception",
    "last_exception_time",
]
OF_ENDS = [
    "connection_status",
    "connection_last_connected_time",
    "connection_last_disconnected_time",
    "connection_last_disconnected_message",
    "connection_last_try_time",
]


async def test_what_waits_shows_as_buffer_length(engine: Engine) -> None:
    release = anyio.Event()

    class Slow(Sink[Config]):
        async def collect(self, batch: Batch) -> None:
            await release.wait()

    engine.plugins.register(PluginKind.SINK, "slow", Slow)
    await started(engine, rule(actions=[{"slow": {"bufferLength": 2}}], bufferLength=2))
    for n in range(5):  # with the sink; two in its queue; with the query; in the rule's queue
        await engine.push("demo", [{"n": n}])
        await settled()
    flat = engine.status("r").flat()
    assert flat["sink_slow_0_0_buffer_length"] == 2
    assert flat["op_3_project_0_buffer_length"] == 1
    release.set()


async def test_dropped_rows_are_exceptions_of_the_query(engine: Engine) -> None:
    release = anyio.Event()

    class Slow(Sink[Config]):
        async def collect(self, batch: Batch) -> None:
            await release.wait()

    engine.plugins.register(PluginKind.SINK, "slow", Slow)
    definition = rule(
        actions=[{"slow": {"bufferLength": 1}}], bufferLength=1, overflow="dropNewest"
    )
    await started(engine, definition)
    for n in range(6):
        await engine.push("demo", [{"n": n}])
        await settled()
    flat = engine.status("r").flat()
    assert flat["op_3_project_0_exceptions_total"] == 2
    assert flat["op_3_project_0_last_exception"] == "buffer full, rows dropped"
    release.set()


async def test_the_connection_of_a_source_has_its_history(
    engine: Engine, collected: Rows, clock: VirtualClock
) -> None:
    engine.plugins.register(PluginKind.SOURCE, "link", Link)
    engine.define_stream("s", type="link")
    await started(engine, rule("SELECT n FROM s"))

    def connection() -> list[Any]:
        flat = engine.status("r").flat()
        return [flat[f"source_s_0_{name}"] for name in OF_ENDS]

    assert connection() == [0, 0, START, "dialling", START]
    await clock.advance_to(START + SECOND)
    LINKS["r"].ctx.report_connection(True)
    assert connection() == [1, START + SECOND, START, "dialling", START + SECOND]
    await clock.advance_to(START + 2 * SECOND)
    LINKS["r"].ctx.report_connection(False, "cut")
    expected = [-1, START + SECOND, START + 2 * SECOND, "cut", START + 2 * SECOND]
    assert connection() == expected


async def test_rules_hear_of_the_connection_of_a_stream_that_they_share(
    engine: Engine, collected: Rows
) -> None:
    engine.plugins.register(PluginKind.SOURCE, "link", Link)
    engine.define_stream("s", type="link", shared=True)
    first = await started(engine, rule("SELECT n FROM s", id="a"))
    second = await started(engine, rule("SELECT n FROM s", id="b"))
    for made in (first, second):
        assert (made.status.state, made.status.message) == ("connecting", "source[s]: dialling")
    LINKS["stream:s"].ctx.report_connection(True)
    assert first.status.state == second.status.state == "running"


async def test_a_sink_without_connection_shows_while_the_rule_starts(engine: Engine) -> None:
    class Away(Sink[Config]):
        async def open(self) -> None:
            raise NotConnected("nobody there")

        async def collect(self, batch: Batch) -> None:
            raise AssertionError

    engine.plugins.register(PluginKind.SINK, "away", Away)
    await started(engine, rule(actions=[{"away": {}}]))
    status = engine.status("r")
    assert status.state == "starting"
    assert status.flat()["sink_away_0_0_connection_status"] == 0
    assert status.flat()["sink_away_0_0_connection_last_disconnected_message"] == "nobody there"


async def test_a_new_run_knows_nothing_of_lost_connections(engine: Engine) -> None:
    reports = iter([(False, "gone")])

    class Quiet(Sink[Config]):
        async def open(self) -> None:
            for report in reports:
                self.ctx.report_connection(*report)

        async def collect(self, batch: Batch) -> None:
            raise AssertionError

    engine.plugins.register(PluginKind.SINK, "quiet", Quiet)
    made = await started(engine, rule(actions=[{"quiet": {}}]))
    assert made.status.state == "connecting"
    await engine.restart("r")
    await settled()
    assert made.status.state == "running"


async def test_counts_of_the_last_run_stay_readable(
    engine: Engine, journal: Journal, clock: VirtualClock
) -> None:
    await started(engine, marked())
    await engine.push("demo", [{"n": 1}])
    await clock.advance_to(START + 90 * SECOND)
    assert engine.status("r").uptime == 90
    await engine.stop("r")
    status = engine.status("r")
    assert (status.state, status.uptime) == ("stopped", 0)
    assert status.flat()["sink_journal_0_0_records_in_total"] == 1
    await engine.start("r")
    await settled()
    assert engine.status("r").flat()["sink_journal_0_0_records_in_total"] == 0
    assert engine.status("r").balance.received == 1


async def test_the_cause_of_a_failure_is_told(engine: Engine, journal: Journal) -> None:
    journal.fails = lambda mark: True
    await started(engine, marked("x", tags=["a", "b"], version="7"))
    status = engine.status("r")
    assert status.state == "stopped by error"
    assert status.message.startswith("RuntimeError: x is broken at ")
    assert (status.last_error, status.last_error_at) == (status.message, START)
    assert (status.tags, status.version) == (("a", "b"), "7")


# -- topology ----------------------------------------------------------------------------------


async def test_a_topology_names_operators_as_the_counts_do(engine: Engine, collected: Rows) -> None:
    engine.define_stream("other", type="memory", datasource="other", shared=True)
    join = "demo INNER JOIN other ON demo.n = other.n"
    sql = f"SELECT demo.n FROM {join} GROUP BY TUMBLINGWINDOW(ss, 1)"
    await started(engine, rule(sql, actions=[{"collect": {}}, {"nop": {}}]))
    topology = engine.topology("r")
    assert topology.sources == ("source_demo", "source_other")
    assert topology.edges == {
        "source_demo": ("op_2_decoder",),
        "op_2_decoder": ("op_5_project",),
        "source_other": ("op_other_2_decoder",),
        "op_other_2_decoder": ("op_5_project",),
        "op_5_project": ("sink_collect_0", "sink_nop_1"),
    }
    counted = {operator.id for operator in engine.status("r").operators}
    assert counted == {*topology.edges, "sink_collect_0", "sink_nop_1"}


async def test_a_rule_that_never_ran_has_a_topology(engine: Engine, collected: Rows) -> None:
    await engine.create(rule(triggered=False))
    assert engine.topology("r").sources == ("source_demo",)
    assert engine.status("r").operators == ()
    with pytest.raises(EngineError, match="no rule x"):
        engine.topology("x")


# -- logs --------------------------------------------------------------------------------------


@pytest.fixture
def usual_level() -> Iterator[None]:
    """The level that the command sets."""
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.INFO)
    yield
    root.setLevel(before)


async def test_a_rule_has_a_log_file_and_a_level_of_its_own(
    engine: Engine,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    usual_level: None,
) -> None:

    class Talker(Sink[Config]):
        async def collect(self, batch: Batch) -> None:
            self.ctx.logger.debug("detail")
            self.ctx.logger.info("news")

    engine.plugins.register(PluginKind.SINK, "talker", Talker)
    actions: list[dict[str, Any]] = [{"talker": {}}]
    options: dict[str, dict[str, Any]] = {
        "loud": {"debug": True, "logFilename": "loud.log"},
        "plain": {"logFilename": "plain.log"},
        "none": {},
    }
    for name, given in options.items():
        await started(engine, rule(id=name, actions=actions, **given))
    await engine.push("demo", [{"n": 1}])
    await settled()
    lines = [line for line in caplog.messages if line.endswith(("detail", "news"))]
    assert sorted(lines) == [
        "rule=loud op=sink[talker_0] detail",
        "rule=loud op=sink[talker_0] news",
        "rule=none op=sink[talker_0] news",
        "rule=plain op=sink[talker_0] news",
    ]
    loud = (tmp_path / "log" / "loud.log").read_text().splitlines()
    plain = (tmp_path / "log" / "plain.log").read_text().splitlines()
    assert [line.split()[2:] for line in loud] == [
        ["DEBUG", "engine.plugin", "rule=loud", "op=sink[talker_0]", "detail"],
        ["INFO", "engine.plugin", "rule=loud", "op=sink[talker_0]", "news"],
    ]
    assert [line.split()[-1] for line in plain] == ["news"]
    await engine.stop("loud")
    caplog.clear()
    await engine.push("demo", [{"n": 2}])
    await settled()
    assert sorted(caplog.messages) == [
        "rule=none op=sink[talker_0] news",
        "rule=plain op=sink[talker_0] news",
    ]


async def test_rules_may_share_a_log_file(engine: Engine, tmp_path: Path) -> None:
    class Talker(Sink[Config]):
        async def collect(self, batch: Batch) -> None:
            self.ctx.logger.warning("news")

    engine.plugins.register(PluginKind.SINK, "talker", Talker)
    for name in ("a", "b"):
        await started(engine, rule(id=name, actions=[{"talker": {}}], logFilename="both.log"))
    await engine.stop("a")
    await engine.push("demo", [{"n": 1}])
    await engine.stop("b")
    assert (tmp_path / "log" / "both.log").read_text().count("rule=b") == 1
