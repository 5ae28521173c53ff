"""What a rule remembers over a restart of the engine, and what it doesn't."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from engine import Engine
from engine.api import Batch, Config, Row, Sink
from engine.registry import PluginKind
from tests.conftest import eventually

COUNT = "SELECT n, acc_count(n) AS c FROM demo"


class _Rows(Sink[Config]):
    def __init__(self) -> None:
        self.rows: list[Row] = []

    async def collect(self, batch: Batch) -> None:
        self.rows += batch.rows or []


async def run_once(root: Path, sql: str, numbers: Sequence[int | Row], **options: Any) -> list[Any]:
    """Run a rule in an engine of its own over some rows; return its results."""
    sink = _Rows()
    async with Engine(root) as engine:
        engine.plugins.register(PluginKind.SINK, "rows", sink)
        engine.define_stream("demo", type="memory", datasource="demo")
        rule = {"id": "r", "sql": sql, "actions": [{"rows": {}}], "options": {"qos": 1, **options}}
        started = await engine.start(rule)
        await eventually(lambda: started.status.state == "running")
        rows = [row if isinstance(row, dict) else {"n": row} for row in numbers]
        await engine.push("demo", rows)
        await eventually(lambda: started.metrics.pending == 0)
    return sink.rows


async def test_a_rule_goes_on_counting_after_a_restart(tmp_path: Path) -> None:
    first = await run_once(tmp_path, COUNT, [1, 2, 3])
    second = await run_once(tmp_path, COUNT, [4, 5])
    assert [row["c"] for row in first + second] == [1, 2, 3, 4, 5]


async def test_without_qos_a_restart_forgets(tmp_path: Path) -> None:
    await run_once(tmp_path, COUNT, [1, 2, 3], qos=0)
    assert [row["c"] for row in await run_once(tmp_path, COUNT, [4], qos=0)] == [1]


async def test_an_open_window_is_kept(tmp_path: Path) -> None:
    sql = "SELECT collect(n) AS l FROM demo GROUP BY COUNTWINDOW(4)"
    assert await run_once(tmp_path, sql, [1, 2, 3]) == []
    assert await run_once(tmp_path, sql, [4, 5]) == [{"l": [1, 2, 3, 4]}]


async def test_how_results_are_written_may_change(tmp_path: Path) -> None:
    await run_once(tmp_path, COUNT, [1, 2, 3])
    changed = "SELECT n * 10 AS ten, acc_count(n) AS total FROM demo"
    assert await run_once(tmp_path, changed, [4]) == [{"ten": 40, "total": 4}]


@pytest.mark.parametrize(
    "changed",
    [
        "SELECT n, acc_count(n) OVER (WHEN n > 1) AS c FROM demo",
        "SELECT n, acc_sum(n) AS c FROM demo",
        "SELECT n, acc_count(n) AS c FROM demo WHERE acc_count(n) < 100",
    ],
)
async def test_a_query_that_no_longer_fits_its_state_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, changed: str
) -> None:
    await run_once(tmp_path, COUNT, [1, 2, 3])
    rows = await run_once(tmp_path, changed, [1])
    assert rows[0]["c"] in (0, 1)
    assert "the query has changed since the last checkpoint" in caplog.text


WORDS = "accumulateWordCount(a, ' ')"
OTHERS = "accumulateWordCount(b, ' ')"
WINDOW = "FROM demo GROUP BY COUNTWINDOW(1)"
RANK = "rank() OVER (ORDER BY a)"
TEXTS = [{"a": "1 2 3", "b": "1", "n": 1}]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (f"SELECT {WORDS} AS x FROM demo", f"SELECT {OTHERS} AS x FROM demo", [1]),
        (
            f"SELECT {WORDS} AS x, {OTHERS} AS y FROM demo",
            f"SELECT {OTHERS} AS x, {WORDS} AS y FROM demo",
            [1, 3],
        ),
        (f"SELECT {WORDS} AS x FROM demo", f"SELECT abs(n) AS n, {WORDS} AS x FROM demo", [1, 3]),
        (
            "SELECT a AS t, accumulateWordCount(t, ' ') AS x FROM demo",
            "SELECT b AS t, accumulateWordCount(t, ' ') AS x FROM demo",
            ["1", 1],
        ),
        (
            f"SELECT {WORDS} AS x, n FROM demo WHERE {OTHERS} > 0",
            f"SELECT n FROM demo WHERE {OTHERS} > 1",
            [],
        ),
        (
            f"SELECT accumulateWordCount(max(a), ' ') AS x {WINDOW}",
            f"SELECT accumulateWordCount(max(b), ' ') AS x {WINDOW}",
            [1],
        ),
        (
            f"SELECT n {WINDOW} HAVING accumulateWordCount(max(a), ' ') > 0",
            f"SELECT n {WINDOW} HAVING accumulateWordCount(max(b), ' ') > 1",
            [],
        ),
        (
            f"SELECT accumulateWordCount(a, cast(row_number(), 'string')) AS x {WINDOW}",
            f"SELECT accumulateWordCount(a, cast({RANK}, 'string')) AS x {WINDOW}",
            [1],
        ),
    ],
)
async def test_the_state_of_a_plugin_function_belongs_to_its_call(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, old: str, new: str, expected: list[Any]
) -> None:
    await run_once(tmp_path, old, TEXTS * 2)
    rows = await run_once(tmp_path, new, TEXTS)
    assert [value for row in rows for value in row.values()] == expected
    assert "the query has changed since the last checkpoint" in caplog.text


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (f"SELECT {WORDS} AS x FROM demo", f"SELECT  {WORDS} AS words, n  FROM demo"),
        (f"SELECT {WORDS} AS x FROM demo", f"SELECT n, {WORDS} + 0 AS x FROM demo"),
        (
            f"SELECT accumulateWordCount(max(a), ' ') AS x {WINDOW}",
            f"SELECT accumulateWordCount(max(a), ' ') AS x {WINDOW} HAVING max(a) != ''",
        ),
    ],
)
async def test_what_is_around_the_call_of_a_plugin_function_may_change(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, old: str, new: str
) -> None:
    await run_once(tmp_path, old, TEXTS * 2)
    (row,) = await run_once(tmp_path, new, TEXTS)
    assert 9 in row.values()
    assert "has changed" not in caplog.text


async def test_a_damaged_file_is_said_loudly_and_the_rule_begins_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await run_once(tmp_path, COUNT, [1, 2, 3])
    (tmp_path / "data" / "checkpoints.db").write_bytes(b"nonsense" * 1000)
    assert [row["c"] for row in await run_once(tmp_path, COUNT, [4])] == [1]
    assert "damaged" in caplog.text or "not a database" in caplog.text
