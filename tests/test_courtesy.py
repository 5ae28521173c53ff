"""Threads get on although the event loop is never idle."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from anyio import to_thread

from engine import Engine
from engine.api import Batch, Config, Emit, Source
from engine.registry import PluginKind
from tests.conftest import eventually


class Flood(Source[Config]):
    """Gives rows for ever, as fast as they are taken."""

    async def run(self, emit: Emit) -> None:
        while True:
            await emit(Batch([{"n": 1}]))
            await anyio.lowlevel.checkpoint()


def write(path: Path) -> None:
    """Work as of a checkpoint: a thread that needs the interpreter's lock again and again."""
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE t (n)")
    for number in range(5):
        with database:
            database.execute("INSERT INTO t VALUES (?)", (number,))
    database.close()


@pytest.mark.parametrize("rules", [1, 3])
async def test_threads_are_not_starved_by_flooded_rules(
    engine: Engine, tmp_path: Path, rules: int
) -> None:
    engine.plugins.register(PluginKind.SOURCE, "flood", Flood)
    engine.define_stream("flood", type="flood")
    for number in range(rules):
        sql = "SELECT n FROM flood"
        await engine.start({"id": f"r{number}", "sql": sql, "actions": [{"nop": {}}]})
    await eventually(lambda: all(rule.metrics.received > 100 for rule in engine.rules.values()))
    with anyio.fail_after(3):  # it takes 0.05 s; without courtesy some ten
        await to_thread.run_sync(write, tmp_path / "some.db", abandon_on_cancel=True)
