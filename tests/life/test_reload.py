"""Rule files applied again and again: by difference, all of it or nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from engine import ConfigError, Engine, EngineError
from engine.api import Batch, Config, Source
from engine.clock import VirtualClock, settled
from engine.config.load import load_text
from engine.config.rule import RuleSet
from engine.registry import PluginKind
from engine.reload import Changes
from engine.run.rule import ResultLimit
from tests.conftest import Rows
from tests.life.support import SECOND, START, Journal

FILE = """\
streams:
  s: {type: memory, datasource: s}
  t: {type: memory, datasource: t, shared: true}
rules:
  - {id: a, sql: SELECT n FROM s, actions: [{journal: {mark: a}}]}
  - {id: b, sql: SELECT n FROM s, actions: [{journal: {mark: b}}]}
  - {id: c, sql: SELECT n FROM t, actions: [{journal: {mark: c}}]}
"""


def text(*changes: tuple[str, str]) -> RuleSet:
    """The file with some text replaced."""
    changed = FILE
    for old, new in changes:
        assert old in changed
        changed = changed.replace(old, new)
    return load_text(changed)


async def applied(engine: Engine, found: RuleSet, **how: Any) -> Changes:
    changes = await engine.apply(found, **how)
    await settled()
    return changes


@pytest.fixture
async def before(engine: Engine, journal: Journal) -> dict[str, Any]:
    """The file in force, and its rules."""
    changes = await applied(engine, text())
    assert changes.started == ("a", "b", "c")
    assert sorted(journal.taken()) == ["open a", "open b", "open c"]
    return dict(engine.rules)


async def test_the_same_file_changes_nothing(
    engine: Engine, journal: Journal, before: dict[str, Any]
) -> None:
    changes = await applied(engine, load_text("# a comment moves everything\n\n" + FILE))
    assert changes == Changes(unchanged=("a", "b", "c"))
    assert str(changes) == "3 unchanged"
    assert journal.taken() == []
    assert dict(engine.rules) == before


async def test_a_statement_that_only_moved_is_the_same(engine: Engine, journal: Journal) -> None:
    file = (
        """streams: {s: 'CREATE STREAM s (n BIGINT) WITH (TYPE="memory", DATASOURCE="s")'}\n"""
        "rules: [{id: a, sql: SELECT n FROM s, actions: [{journal: {mark: a}}]}]\n"
    )
    await applied(engine, load_text(file))
    assert (await applied(engine, load_text("\n\n" + file))).unchanged == ("a",)
    changes = await applied(engine, load_text(file.replace("BIGINT", "FLOAT")))
    assert changes.replaced == ("a",)


async def test_only_what_changed_is_restarted(
    engine: Engine, journal: Journal, before: dict[str, Any]
) -> None:
    await engine.push("s", [{"n": 1}])
    changes = await applied(engine, text(("mark: b", "mark: B")))
    assert changes == Changes(replaced=("b",), unchanged=("a", "c"))
    await engine.push("s", [{"n": 2}])
    await settled()
    assert journal.events == ["row 1", "row 1", "close b", "open B", "row 2", "row 2"]
    assert engine.rules["a"] is before["a"]
    assert engine.rules["a"].metrics.received == 2


async def test_new_rules_start_and_gone_ones_stop(
    engine: Engine, journal: Journal, before: dict[str, Any]
) -> None:
    changes = await applied(engine, text(("id: b", "id: d"), ("mark: b", "mark: d")))
    assert changes == Changes(started=("d",), stopped=("b",), unchanged=("a", "c"))
    assert str(changes) == "1 started (d), 1 stopped (b), 2 unchanged"
    assert journal.taken() == ["close b", "open d"]
    status = engine.status("b")
    assert (status.state, status.message) == ("stopped", "not in the rule files any more")
    again = await applied(engine, text())
    assert again == Changes(started=("b",), stopped=("d",), unchanged=("a", "c"))


async def test_state_of_gone_rules_is_forgotten_only_if_asked(
    engine: Engine, collected: Rows
) -> None:
    with_rule = load_text(
        "streams: {s: {type: memory, datasource: s}}\n"
        "rules:\n"
        "  - {id: w, sql: SELECT accumulateWordCount(t) AS n FROM s, actions: [collect: {}]}\n"
    )
    without = load_text("streams: {s: {type: memory, datasource: s}}\nrules: []\n")
    for forget in (False, True, False):
        await applied(engine, with_rule)
        await engine.push("s", [{"t": "x"}])
        await settled()
        await applied(engine, without, forget=forget)
        assert ("w" in engine.rules) is not forget
    assert collected == [{"n": 1}, {"n": 2}, {"n": 1}]


async def test_a_changed_stream_restarts_the_rules_that_read_it(
    engine: Engine, journal: Journal, before: dict[str, Any]
) -> None:
    changes = await applied(engine, text(("datasource: s", "datasource: elsewhere")))
    assert changes == Changes(replaced=("a", "b"), unchanged=("c",))
    journal.taken()
    assert await engine.push("s", [{"n": 1}]) == 2  # by its name, so to its new topic
    await settled()
    assert journal.taken() == ["row 1", "row 1"]


async def test_a_changed_shared_stream_is_opened_anew(
    engine: Engine, journal: Journal, before: dict[str, Any]
) -> None:
    changes = await applied(
        engine, text(("datasource: t, shared", "datasource: u, shared"), ("id: b", "id: d"))
    )
    assert changes.replaced == ("c",)
    journal.taken()
    await engine.push("t", [{"n": 5}])
    await settled()
    assert journal.taken() == ["row 5"]


async def test_a_rule_of_the_application_follows_the_stream_that_it_reads(
    engine: Engine, journal: Journal, before: dict[str, Any]
) -> None:
    own = {"id": "own", "sql": "SELECT n FROM t", "actions": [{"journal": {"mark": "own"}}]}
    await engine.start(own)
    await settled()
    journal.taken()
    changes = await applied(engine, text(("datasource: t, shared", "datasource: u, shared")))
    assert set(changes.replaced) == {"c", "own"}
    assert sorted(journal.taken()) == ["close c", "close own", "open c", "open own"]
    with pytest.raises(EngineError, match="unknown stream t"):
        await engine.apply(load_text("rules: []\n"))
    assert engine.rules["c"].status.state == "running"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([("SELECT n FROM t", "SELECT n FRM t")], "FRM"),
        ([("datasource: s}", "datasource: s, frmat: json}"), ("mark: b", "mark: B")], "frmat"),
        ([("  s: {type: memory", "  x: {type: memory")], "unknown stream s"),
        ([("mark: c", "mrk: c"), ("mark: a", "mark: A")], "unknown key 'mrk'"),
        ([("type: memory, datasource: s", "type: mqqtt, datasource: s")], "unknown source"),
        ([("id: b, sql", "id: d, options: {cron: x}, sql")], "cron"),
        ([("id: b, sql", "id: b, options: {logFilename: a/b}, sql")], "logFilename"),
        (
            [("id: c, sql: SELECT n FROM t", "id: e, triggered: false, sql: SELECT")],
            "expected an expr",
        ),
        ([("{type: memory, datasource: s}", "'CREATE STREAM s (a INT) WITH ()'")], "INT|type"),
    ],
)
async def test_a_bad_file_changes_nothing(
    engine: Engine,
    journal: Journal,
    before: dict[str, Any],
    changes: list[tuple[str, str]],
    message: str,
) -> None:
    with pytest.raises(EngineError, match=message):
        await engine.apply(text(*changes))
    await settled()
    assert journal.taken() == []
    assert dict(engine.rules) == before
    assert {stream.name for stream in engine.catalog} == {"demo", "s", "t"}
    for stream in ("s", "t"):
        await engine.push(stream, [{"n": 1}])
    await settled()
    assert journal.taken() == ["row 1"] * 3
    assert (await applied(engine, text())).unchanged == ("a", "b", "c")


async def test_when_a_rule_cannot_start_all_goes_back(
    engine: Engine, journal: Journal, before: dict[str, Any]
) -> None:
    journal.fails = lambda mark: mark == "BAD"
    new = text(
        ("datasource: s}", "datasource: elsewhere}"),
        ("mark: a", "mark: A"),
        ("mark: b", "mark: BAD"),
        ("id: c", "id: d"),
    )
    with pytest.raises(EngineError, match="rule b can't start: RuntimeError: BAD is broken") as why:
        await engine.apply(new)
    assert "everything is as it was before" in str(why.value)
    await settled()
    assert dict(engine.rules) == before
    assert {each.status.state for each in before.values()} == {"running"}
    journal.taken()
    await engine.push("s", [{"n": 1}])
    await engine.push("t", [{"n": 2}])
    await settled()
    assert sorted(journal.taken()) == ["row 1", "row 1", "row 2"]
    assert engine.catalog["s"].options.datasource == "s"
    for each in before.values():
        assert each.metrics.balance().holds


async def test_a_new_rule_that_fails_at_run_time_shows_its_failure(
    engine: Engine, journal: Journal, before: dict[str, Any]
) -> None:
    journal.fails = lambda mark: mark == "d"
    rule = "  - {id: d, sql: SELECT n FROM s, actions: [{journal: {mark: d}}]}\n"
    changes = await applied(engine, load_text(FILE + rule))
    assert changes.started == ("d",)
    assert engine.rules["d"].status.message.startswith("RuntimeError: d is broken at ")
    changes = await applied(engine, load_text(FILE + rule.replace("mark: d", "mark: ok")))
    assert changes.replaced == ("d",)
    assert engine.rules["d"].status.state == "running"


async def test_a_rule_that_was_stopped_by_hand_stays_stopped(
    engine: Engine, journal: Journal, before: dict[str, Any]
) -> None:
    await engine.stop("a")
    await applied(engine, text(("mark: a", "mark: A"), ("datasource: s}", "datasource: e}")))
    assert engine.rules["a"].status.state == "stopped"
    assert engine.rules["a"].definition.actions[0].properties == {"mark": "A"}
    await engine.start("a")
    await settled()
    assert journal.taken()[-1] == "open A"


async def test_a_failed_rule_follows_its_stream_unless_it_was_stopped_by_hand(
    engine: Engine, journal: Journal
) -> None:
    journal.fails = lambda mark: mark in ("a", "b")
    await applied(engine, text())
    await engine.stop("a")
    journal.fails = lambda mark: False
    changes = await applied(engine, text(("datasource: s}", "datasource: elsewhere}")))
    assert changes == Changes(replaced=("b",), unchanged=("a", "c"))
    assert engine.rules["a"].status.state == "stopped by error"
    assert engine.rules["b"].status.state == "running"


async def test_triggered_starts_and_stops(
    engine: Engine, journal: Journal, before: dict[str, Any]
) -> None:
    off = text(("id: a, sql", "id: a, triggered: false, sql"))
    await applied(engine, off)
    assert engine.rules["a"].status.state == "stopped"
    await applied(engine, text())
    assert engine.rules["a"].status.state == "running"
    assert journal.taken() == ["close a", "open a"]


async def test_a_file_does_not_take_over_what_the_application_defined(
    engine: Engine, journal: Journal
) -> None:
    engine.define_stream("s", type="memory", datasource="other")
    with pytest.raises(ConfigError, match="stream s is defined already"):
        await engine.apply(text())
    engine.drop_stream("s")
    own = {"id": "a", "sql": "SELECT n FROM demo", "actions": [{"journal": {"mark": "own"}}]}
    await engine.start(own)
    with pytest.raises(ConfigError, match="a rule a that isn't of these files is running"):
        await engine.apply(text())
    assert set(engine.rules) == {"a"}
    assert "t" not in engine.catalog


async def test_a_changed_section_of_dead_letters_restarts_the_rule(
    engine: Engine, journal: Journal, tmp_path: Path
) -> None:
    (tmp_path / "etc" / "sinks").mkdir(parents=True)
    section = tmp_path / "etc" / "sinks" / "file.yaml"
    section.write_text("dead: {path: one}\n")
    letters = "options: {deadLetter: {file: {resourceId: dead}}}}"
    found = text(("[{journal: {mark: a}}]}", "[{journal: {mark: a}}], " + letters))
    await applied(engine, found)
    section.write_text("dead: {path: two}\n")
    changes = await applied(engine, found)
    assert changes == Changes(replaced=("a",), unchanged=("b", "c"))


async def test_a_changed_connection_or_section_restarts_those_that_use_it(
    engine: Engine, collected: Rows, tmp_path: Path
) -> None:
    class HostConfig(Config):
        host: str = ""

    class Told(Source[HostConfig]):
        async def run(self, emit: Any) -> None:
            await emit(Batch([{"host": self.config.host}]))
            await anyio.sleep_forever()

    engine.plugins.register(PluginKind.SOURCE, "told", Told)
    file = (
        "connections: {here: {host: one}, there: {host: two}}\n"
        "streams:\n"
        "  s: {type: told, connectionSelector: here}\n"
        "  t: {type: told, connectionSelector: there}\n"
        "  u: {type: told, confKey: named}\n"
        "rules:\n"
        "  - {id: a, sql: SELECT host FROM s, actions: [collect: {}]}\n"
        "  - {id: b, sql: SELECT host FROM t, actions: [collect: {}]}\n"
        "  - {id: c, sql: SELECT host FROM u, actions: [collect: {}]}\n"
    )
    (tmp_path / "etc" / "sources").mkdir(parents=True)
    section = tmp_path / "etc" / "sources" / "told.yaml"
    section.write_text("named: {host: three}\n")
    await applied(engine, load_text(file))
    assert {row["host"] for row in collected} == {"one", "two", "three"}
    changes = await applied(engine, load_text(file.replace("host: two", "host: four")))
    assert changes == Changes(replaced=("b",), unchanged=("a", "c"))
    assert collected[-1] == {"host": "four"}
    section.write_text("named: {host: five}\n")
    changes = await applied(engine, load_text(file.replace("host: two", "host: four")))
    assert changes == Changes(replaced=("c",), unchanged=("a", "b"))
    with pytest.raises(ConfigError, match="unknown connection 'there'"):
        await engine.apply(load_text(file.replace(" there: {", " their: {")))


async def test_a_changed_lookup_table_is_opened_anew(engine: Engine, collected: Rows) -> None:
    file = (
        "streams: {s: {type: memory, datasource: s}}\n"
        "tables:\n"
        "  names: {type: memory, datasource: names, kind: lookup, key: id}\n"
        "  others: {type: memory, datasource: others, kind: lookup, key: id}\n"
        "rules:\n"
        "  - id: j\n"
        "    sql: SELECT names.name FROM s INNER JOIN names ON s.id = names.id\n"
        "    actions: [collect: {}]\n"
        "  - id: k\n"
        "    sql: SELECT others.name FROM s INNER JOIN others ON s.id = others.id\n"
        "    actions: [nop: {}]\n"
    )
    await applied(engine, load_text(file))
    await engine.push("names", [{"id": 1, "name": "old"}])
    await engine.push("s", [{"id": 1}])
    await settled()
    changes = await applied(engine, load_text(file.replace("datasource: names", "datasource: new")))
    assert changes == Changes(replaced=("j",), unchanged=("k",))
    await engine.push("names", [{"id": 1, "name": "new"}])
    await engine.push("s", [{"id": 1}])
    await settled()
    assert collected == [{"name": "old"}, {"name": "new"}]


async def test_windows_of_unchanged_rules_go_on_and_changed_ones_resume_from_their_checkpoint(
    engine: Engine, collected: Rows, clock: VirtualClock
) -> None:
    file = (
        "streams: {s: {type: memory, datasource: s}}\n"
        "rules:\n"
        "  - id: same\n"
        "    sql: SELECT count(*) AS same FROM s GROUP BY TUMBLINGWINDOW(ss, 10)\n"
        "    actions: [collect: {}]\n"
        "  - id: changed\n"
        "    sql: SELECT count(*) AS changed FROM s GROUP BY TUMBLINGWINDOW(ss, 10)\n"
        "    actions: [collect: {}]\n"
        "    options: {qos: 1}\n"
    )
    await applied(engine, load_text(file))
    await engine.push("s", [{"n": 1}, {"n": 2}])
    await settled()
    await applied(engine, load_text(file.replace("qos: 1", "qos: 1, sendNilField: true")))
    await engine.push("s", [{"n": 3}])
    await settled()
    await clock.advance_to(START + 10 * SECOND)
    assert sorted(collected, key=str) == [{"changed": 3}, {"same": 3}]


async def test_a_limit_counts_over_reloads(engine: Engine, journal: Journal) -> None:
    limit = ResultLimit(3)
    await applied(engine, text(), limit=limit)
    await engine.push("s", [{"n": 1}])  # two rules
    await settled()
    await applied(engine, text(("mark: b", "mark: B")), limit=limit)
    await engine.push("s", [{"n": 2}])
    await settled()
    assert limit.reached.is_set()
    assert len([event for event in journal.events if event.startswith("row")]) == 3


async def test_reloads_at_the_same_time_are_done_one_after_the_other(
    engine: Engine, journal: Journal, before: dict[str, Any]
) -> None:
    async with anyio.create_task_group() as tasks:
        for mark in ("1", "2", "3"):
            tasks.start_soon(engine.apply, text(("mark: b", f"mark: {mark!r}")))
        tasks.start_soon(engine.restart, "b")
        tasks.start_soon(engine.stop, "a")
    await settled()
    assert engine.rules["b"].definition.actions[0].properties == {"mark": "3"}
    assert engine.rules["b"].status.state == "running"
    assert engine.rules["a"].status.state == "stopped"
    assert journal.open == {"a": 0, "b": 1, "c": 1}


async def test_a_rule_stopped_meanwhile_stays_stopped(
    engine: Engine, journal: Journal, before: dict[str, Any]
) -> None:
    hold = engine.rules.life("a").held()  # so that the reload has to wait
    async with anyio.create_task_group() as tasks, hold:
        tasks.start_soon(engine.apply, text(("mark: a", "mark: A"), ("mark: b", "mark: B")))
        await settled()
        await engine.stop("b")
    assert engine.rules["a"].status.state == "running"
    assert engine.rules["b"].status.state == "stopped"
    assert engine.rules["b"].definition.actions[0].properties == {"mark": "B"}


async def test_a_rule_deleted_meanwhile_is_told(
    engine: Engine, journal: Journal, before: dict[str, Any]
) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(engine.delete, "b")
        await anyio.lowlevel.checkpoint()
        with pytest.raises(EngineError, match="rule b was deleted meanwhile"):
            await engine.apply(text(("mark: b", "mark: B")))
    assert set(engine.rules) == {"a", "c"}
    assert (await applied(engine, text())).started == ("b",)


async def test_files_can_be_given_by_their_paths(
    engine: Engine, journal: Journal, tmp_path: Path
) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(FILE)
    assert len((await applied(engine, RuleSet())).unchanged) == 0
    assert (await engine.apply(path)).started == ("a", "b", "c")
    path.write_text("rules: [")
    with pytest.raises(ConfigError, match=r"rules\.yaml:"):
        await engine.apply([path])
