"""The wall clock jumps while rules run: nothing is lost, nothing waits for hours."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from engine import Engine
from engine.api import Batch, Config, NotConnected, Sink
from engine.clock import SystemClock
from engine.registry import PluginKind
from tests.conftest import Rows, eventually

HOUR = 3600
JUMPS = (HOUR, -2 * HOUR, 3 * HOUR, -HOUR)
QUERIES = {
    "tumbling": "SELECT count(*) AS c FROM demo GROUP BY TUMBLINGWINDOW(ms, 100)",
    "hopping": "SELECT count(*) AS c FROM demo GROUP BY HOPPINGWINDOW(ms, 100, 100)",
    "session": "SELECT count(*) AS c FROM demo GROUP BY SESSIONWINDOW(ms, 100, 50)",
    "counting": "SELECT count(*) AS c FROM demo GROUP BY COUNTWINDOW(1)",
    "joined": "SELECT count(*) AS c FROM demo INNER JOIN one ON demo.x = one.x"
    " GROUP BY TUMBLINGWINDOW(ms, 100)",
    "single": "SELECT 1 AS c FROM demo",
}


class Wall:
    """A wall clock that can be set."""

    def __init__(self) -> None:
        self.offset = 0.0

    def __call__(self) -> int:
        return time.time_ns() + int(self.offset * 1e9)


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture
async def engine(tmp_path: Path, wall: Wall) -> AsyncIterator[Engine]:
    async with Engine(tmp_path, clock=SystemClock(wall), drain=5) as engine:
        engine.define_stream("demo", type="memory", datasource="demo")
        engine.define("CREATE TABLE one () WITH (TYPE='memory', DATASOURCE='one')")
        yield engine


def gather(engine: Engine) -> dict[str, Rows]:
    """Return where the results of each rule go."""
    found: dict[str, Rows] = {name: [] for name in QUERIES}

    class Gather(Sink[Config]):
        async def collect(self, batch: Batch) -> None:
            found[self.ctx.rule_id].extend(batch.rows or ())

    engine.plugins.register(PluginKind.SINK, "gather", Gather)
    return found


def counted(found: dict[str, Rows]) -> dict[str, int]:
    return {name: sum(row["c"] for row in rows) for name, rows in found.items()}


async def test_every_row_is_in_one_window_whatever_the_clock_does(
    engine: Engine, wall: Wall
) -> None:
    found = gather(engine)
    lingering: dict[str, Any] = {"lingerInterval": "20ms", "batchSize": 1000}
    for name, sql in QUERIES.items():
        action = {"gather": lingering if name == "single" else {}}
        options = {"qos": 1, "checkpointInterval": "50ms"}
        await engine.start({"id": name, "sql": sql, "actions": [action], "options": options})
    await eventually(lambda: all(rule.status.state == "running" for rule in engine.rules.values()))
    one = engine.catalog["one"].options.datasource
    engine.define_stream("feeds_one", type="memory", datasource=one)
    await engine.push("feeds_one", [{"x": 1}])

    pushed = 0
    for jump in JUMPS:
        wall.offset += jump
        for _ in range(20):
            await engine.push("demo", [{"x": 1}] * 5)
            pushed += 5
            await anyio.sleep(0.005)
        taken = {name: engine.checkpoints().newest(name) for name in QUERIES}
        # within a second the jump is noticed; then windows of 100 ms are over
        await eventually(lambda: set(counted(found).values()) == {pushed}, seconds=4)  # noqa: B023
        await engine.push("demo", [{"x": 1}])
        pushed += 1
        await eventually(
            lambda: all(engine.checkpoints().newest(name) > taken[name] for name in QUERIES),  # noqa: B023
            seconds=4,
        )
    await eventually(lambda: set(counted(found).values()) == {pushed})
    await engine.stop_all()
    assert set(counted(found).values()) == {pushed}
    for rule in engine.rules.values():
        assert rule.metrics.balance().holds
        assert not rule.metrics.dropped
        assert not rule.metrics.errors


async def test_windows_of_before_a_restart_end_though_the_clock_was_set_back(
    tmp_path: Path,
) -> None:
    wall = Wall()
    counts: list[int] = []

    class Counts(Sink[Config]):
        async def collect(self, batch: Batch) -> None:
            counts.extend(row["c"] for row in batch.rows or ())

    for offset in (HOUR, 0):
        wall.offset = offset
        async with Engine(tmp_path, clock=SystemClock(wall)) as engine:
            engine.plugins.register(PluginKind.SINK, "counts", Counts)
            engine.define_stream("demo", type="memory", datasource="demo")
            sql = "SELECT count(*) AS c FROM demo GROUP BY TUMBLINGWINDOW(ss, 20)"
            options = {"qos": 1}
            rule = {"id": "r", "sql": sql, "actions": [{"counts": {}}], "options": options}
            started = await engine.start(rule)
            await eventually(lambda: started.status.state == "running")  # noqa: B023
            if offset:
                await engine.push("demo", [{}, {}, {}])
            else:
                await engine.push("demo", [{}])
                await eventually(lambda: counts, seconds=2)
    assert counts == [3]


async def test_a_window_ends_though_no_row_tells_that_the_clock_was_set_back(
    engine: Engine, wall: Wall, collected: Rows
) -> None:
    sql = "SELECT count(*) AS c FROM demo GROUP BY TUMBLINGWINDOW(ss, 20)"
    rule = await engine.start({"id": "r", "sql": sql, "actions": [{"collect": {}}]})
    await eventually(lambda: rule.status.state == "running")
    await engine.push("demo", [{}, {}, {}])
    await anyio.sleep(0.01)
    wall.offset -= HOUR
    await eventually(lambda: collected == [{"c": 3}], seconds=4)


async def test_a_sink_is_tried_again_soon_though_the_clock_was_set_back(
    engine: Engine, wall: Wall
) -> None:
    attempts = 0

    class Absent(Sink[Config]):
        async def collect(self, batch: Batch) -> None:
            nonlocal attempts
            attempts += 1
            if attempts < 5:
                raise NotConnected("not there")

    engine.plugins.register(PluginKind.SINK, "absent", Absent)
    rule = await engine.start({"id": "r", "sql": "SELECT n FROM demo", "actions": [{"absent": {}}]})
    await eventually(lambda: rule.status.state == "running")
    await engine.push("demo", [{"n": 1}])
    for number in range(1, 4):
        await eventually(lambda: attempts > number, seconds=4)  # noqa: B023
        wall.offset -= HOUR
    await eventually(lambda: rule.metrics.delivered == 1, seconds=4)
