"""Durable rules that read files go on where their last checkpoint is."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

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


@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("SELECT n FROM f", "SELECT d.n AS n FROM f AS d"),
        ("SELECT d.n AS n FROM f AS d", "SELECT n FROM f"),
        ("SELECT d.n AS n FROM f AS d", "SELECT g.n AS n FROM f AS g"),
    ],
)
async def test_what_a_query_calls_a_stream_doesnt_matter_for_what_is_read(
    tmp_path: Path, before: str, after: str, qos: int
) -> None:
    (tmp_path / "f").write_text(lines_of(*range(5)))
    assert await _read(tmp_path, "f", before, qos) == [{"n": number} for number in range(5)]
    with (tmp_path / "f").open("a") as file:
        file.write(lines_of(5, 6))
    assert await _read(tmp_path, "f", after, qos) == [{"n": 5}, {"n": 6}]


async def test_another_stream_of_the_same_name_in_the_query_is_read_from_its_start(
    tmp_path: Path,
) -> None:
    for name in ("f", "g"):
        (tmp_path / name).write_text(lines_of(*range(5)))
    assert len(await _read(tmp_path, "f", "SELECT d.n AS n FROM f AS d", 1)) == 5
    assert len(await _read(tmp_path, "g", "SELECT d.n AS n FROM g AS d", 1)) == 5


async def _read(root: Path, file: str, sql: str, qos: int) -> Rows:
    """Return what a rule gives that ends with its file, in an engine of its own."""
    seen: Rows = []

    class Collect(Sink[Config]):
        async def collect(self, batch: Batch) -> None:
            seen.extend(batch.rows or ())

    async with Engine(root) as engine:
        engine.plugins.register(PluginKind.SINK, "collect", Collect)
        engine.define_stream(file, type="file", path="", fileType="lines", datasource=file)
        rule = await start(engine, sql, qos=qos)
        await rule.finished.wait()
    return seen


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
