"""Durable rules that read files go on where their last checkpoint is."""

from __future__ import annotations

from pathlib import Path

import anyio

from engine import Engine
from engine.api import Batch, Config, Sink
from engine.registry import PluginKind
from tests.conftest import Rows, eventually
from tests.files.test_file_source import define, lines_of, start


async def test_a_durable_rule_goes_on_in_the_file_and_reads_what_was_appended(
    tmp_path: Path,
) -> None:
    seen: Rows = []

    class Collect(Sink[Config]):
        async def collect(self, batch: Batch) -> None:
            seen.extend(batch.rows or ())

    for appended in (range(10), range(0), range(10, 20)):
        with (tmp_path / "f").open("a") as file:
            file.write(lines_of(*appended))
        async with Engine(tmp_path) as engine:
            engine.plugins.register(PluginKind.SINK, "collect", Collect)
            define(engine, datasource="f")
            rule = await start(engine, "SELECT n, acc_count(n) AS c FROM f", qos=2)
            await rule.finished.wait()
    assert seen == [{"n": number, "c": number + 1} for number in range(20)]


async def test_a_table_is_read_whole_again_when_the_query_has_changed(
    tmp_path: Path,
) -> None:
    """The rows of a table are state of the query; without them its file must be read anew."""
    seen: Rows = []

    class Collect(Sink[Config]):
        async def collect(self, batch: Batch) -> None:
            seen.extend(batch.rows or ())

    (tmp_path / "names.json").write_text('[{"id": 1, "name": "one"}, {"id": 2, "name": "two"}]')
    table = "CREATE TABLE names () WITH (DATASOURCE='names.json', EXTRA='{\"path\": \"\"}')"
    for join in ("INNER", "INNER", "LEFT"):
        async with Engine(tmp_path) as engine:
            engine.plugins.register(PluginKind.SINK, "collect", Collect)
            engine.define_stream("demo", type="memory", datasource="demo")
            engine.define(table)
            sql = f"SELECT name FROM demo {join} JOIN names ON demo.n = names.id"
            rule = await start(engine, sql, qos=1)
            seen.clear()
            await eventually(lambda: rule.status.state == "running")  # noqa: B023
            with anyio.fail_after(5):
                while {"name": "two"} not in seen:
                    await engine.push("demo", [{"n": 2}])
                    await anyio.sleep(0.01)
            await engine.stop("r")
