"""A sink slower than its source: memory stays flat, other rules go on unless they are to wait."""

from __future__ import annotations

import resource
import time
from pathlib import Path
from statistics import linear_regression
from typing import Any

import anyio
import pytest

from engine import Engine
from engine.api import Batch, Config, Emit, Sink, Source
from engine.registry import PluginKind
from tests.conftest import eventually
from tests.system.support import account, running, stop_engine, until

SECONDS = 12
SETTLE = 4  # seconds until everything is imported and all queues are full
PLUGINS = {
    "sources/flood.py": """\
from engine.api import Batch, Config, Source

class Flood(Source[Config]):
    async def run(self, emit):
        number = 0
        while True:
            pad = b"x" * 300
            rows = [b'{"n": %d, "pad": "%s"}' % (number + i, pad) for i in range(100)]
            await emit(Batch(payloads=rows))
            number += 100
""",
    "sinks/slow.py": """\
import anyio
from engine.api import Config, Sink

class Slow(Sink[Config]):
    async def collect(self, batch):
        (self.ctx.root_path / "seen").touch()
        await anyio.sleep(0.05)
""",
}
RULE = """\
streams:
  flood: {{type: flood, format: json}}
rules:
  - id: slow
    sql: SELECT n, pad FROM flood
    options: {{overflow: {overflow}}}
    actions: [slow: {{}}]
"""


def memory_of(pid: int) -> int:
    """Return the resident bytes of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("overflow", ["block", "dropOldest"])
async def test_memory_is_flat_while_a_source_is_faster_than_its_sink(
    tmp_path: Path, overflow: str
) -> None:
    for name, text in PLUGINS.items():
        path = tmp_path / "plugins" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    path = tmp_path / "rule.yaml"
    path.write_text(RULE.format(overflow=overflow))
    with running(path, tmp_path) as process:
        await until((tmp_path / "seen").exists)
        await anyio.sleep(SETTLE)
        times, sizes = [], []
        began = time.monotonic()
        while (now := time.monotonic() - began) < SECONDS - SETTLE:
            times.append(now)
            sizes.append(memory_of(process.pid) / 1024)
            await anyio.sleep(0.1)
        await stop_engine(process, tmp_path)
    slope = linear_regression(times, sizes).slope
    print(  # noqa: T201  # shown by pytest -s
        f"{overflow}: {sizes[-1] / 1024:.0f} MB, {slope:+.1f} KB/s"
    )
    balance = account(tmp_path, "slow")
    if overflow == "block":
        assert balance["dropped"] == 0
    else:
        assert balance["dropped"] > balance["out"]
    # a leak of one row in a thousand of those that were dropped would be more
    assert slope < 50


class Counting(Source[Config]):
    """Gives numbers without end, one each millisecond."""

    async def run(self, emit: Emit) -> None:
        number = 0
        while True:
            await emit(Batch(rows=[{"n": number}]))
            number += 1
            await anyio.sleep(0.001)


@pytest.mark.parametrize("overflow", ["dropOldest", "dropNewest", "block"])
async def test_a_slow_rule_on_a_shared_stream_holds_up_others_only_if_it_is_to_block(
    engine: Engine, collected: list[dict[str, Any]], overflow: str
) -> None:
    release = anyio.Event()

    class Slow(Sink[Config]):
        async def collect(self, batch: Batch) -> None:
            await release.wait()

    engine.plugins.register(PluginKind.SINK, "slow", Slow)
    engine.plugins.register(PluginKind.SOURCE, "counting", Counting)
    engine.define_stream("numbers", type="counting", shared=True)
    sql = "SELECT n FROM numbers"
    options = {"overflow": overflow, "bufferLength": 10}
    action = {"slow": {"bufferLength": 10}}
    slow = await engine.start({"id": "s", "sql": sql, "options": options, "actions": [action]})
    fast = await engine.start({"id": "f", "sql": sql, "actions": [{"collect": {}}]})
    if overflow == "block":
        await eventually(lambda: slow.metrics.queued >= 10)
        before = len(collected)
        await anyio.sleep(0.3)
        assert len(collected) <= before + 1
        assert not slow.metrics.dropped
    else:
        await eventually(lambda: len(collected) > 200)
        assert slow.metrics.dropped["queue", "full"] > 50
        assert not fast.metrics.dropped
    release.set()
    await engine.stop("s")
    await engine.stop("f")
    assert slow.metrics.balance().holds
    assert fast.metrics.balance().holds
