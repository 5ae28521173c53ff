"""The plugins that the manual shows work as it says."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from engine import Engine
from engine.registry import PluginKind
from engine.testing import check_sink, check_source
from tests.conftest import Rows, eventually
from tests.plugins.folder import PluginRoot

PAGE = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def block(containing: str) -> str:
    (found,) = [block for block in BLOCKS if containing in block]
    return str(found)


async def test_the_lookup_source(root: PluginRoot) -> None:
    root.write("sources", "zones.py", block("class Zones("))
    zones = root.registry.lookup_source("zones").instance()
    found = await zones.lookup_many(["name"], ["id"], [[2], [3]])
    assert found == [[{"id": 2, "name": "roof"}], []]


async def test_the_table_of_functions(engine: Engine, collected: Rows) -> None:
    PluginRoot(engine.root).write("functions", "degrees.py", block("functions = {"))
    sql = "SELECT celsius(t) AS c, fahrenheit(t) AS f FROM demo"
    started = await engine.start({"id": "r", "sql": sql, "actions": [{"collect": {}}]})
    await eventually(lambda: started.status.state == "running")
    await engine.push("demo", [{"t": 50}])
    await eventually(lambda: collected == [{"c": 10, "f": 122}])


def test_the_aggregate(root: PluginRoot) -> None:
    root.write("functions", "spread.py", block("class Spread("))
    spec = Engine(root.path).functions.get("spread")
    assert spec is not None
    assert spec.accumulator is not None
    older, newer = spec.accumulator(), spec.accumulator()
    for value in (4, None, 9):
        older.add(value)
    newer.add(2)
    assert (older.result(), newer.result(), older.merge(newer).result()) == (5, 0, 7)


async def test_the_source_in_a_thread(engine: Engine, collected: Rows) -> None:
    PluginRoot(engine.root).write("sources", "tail.py", block("class Tail("))
    log = engine.root / "some.log"
    log.write_text("one\n")
    engine.define_stream("lines", type="tail", path="some.log")
    rule = {"id": "r", "sql": "SELECT line FROM lines", "actions": [{"collect": {}}]}
    started = await engine.start(rule)
    await eventually(lambda: started.status.state == "running")
    with log.open("a") as file:
        file.write("two\n")
    await eventually(lambda: collected == [{"line": "one"}, {"line": "two"}])
    await engine.stop("r")
    assert started.status.state == "stopped"


async def test_the_source_with_offsets(engine: Engine, collected: Rows) -> None:
    PluginRoot(engine.root).write("sources", "journal.py", block("class Journal("))
    journal = engine.root / "log.jsonl"
    journal.write_text('{"n": 1}\n{"n": 2}\n')
    engine.define_stream("lines", type="journal", path="log.jsonl")
    rule = {"id": "r", "sql": "SELECT n FROM lines", "actions": [{"collect": {}}]}
    for number in (3, 4):
        started = await engine.start({**rule, "options": {"qos": 1}})
        await eventually(lambda number=number: {"n": number - 1} in collected)
        await engine.stop("r")
        assert started.status.state == "stopped"
        assert journal.with_suffix(".done").read_text() == str(journal.stat().st_size)
        with journal.open("a") as file:
            file.write(f'{{"n": {number}}}\n')
    assert collected == [{"n": 1}, {"n": 2}, {"n": 3}]


def test_the_source_with_offsets_keeps_the_contract(root: PluginRoot) -> None:
    root.write("sources", "journal.py", block("class Journal("))
    journal = root.path / "log.jsonl"
    journal.write_text('{"n": 1}\n{"n": 2}\n{"n": 3}\n')
    seen = check_source("journal", root.path, {"path": str(journal)}, rows=3, wrong=[{}])
    assert len(seen.payloads) == 3


def test_the_sink_that_knows_what_it_has_had(root: PluginRoot) -> None:
    root.write("sinks", "once.py", block("class Once("))
    database = root.path / "rows.db"

    def received() -> list[Any]:
        with closing(sqlite3.connect(database)) as db:
            try:
                return db.execute("SELECT row FROM results").fetchall()
            except sqlite3.OperationalError:
                return []

    check_sink("once", root.path, {"path": str(database)}, received=received, wrong=[{}])


def test_every_snippet_is_run() -> None:
    run = ("Counter(", "Record(", "Zones(", "Change(", "functions = {", "Spread(", "Tail(")
    run += ("Journal(", "Once(", "CompassPoint(", "# /// script")
    tests = ("def test_counter(", "def test_record(", "def test_change(")
    known = [block(one if one[0] in "f#d" else f"class {one}") for one in (*run, *tests)]
    assert sorted(known) == sorted(BLOCKS)


def test_the_inline_metadata(root: PluginRoot) -> None:
    root.write("functions", "geo.py", block("# /// script").replace("numpy>=2", "msgspec"))
    described = root.registry.describe(PluginKind.FUNCTION, "geo")
    assert described.dependencies == ("msgspec",)
    assert described.requires_engine == ">=1.0,<2"
    assert "expected the symbol Geo" in described.error
