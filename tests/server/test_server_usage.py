"""What a server says of its rules beside their status: time, tables, metrics of the past."""

from __future__ import annotations

import gzip
import io
import time
import zipfile
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import anyio

from engine.clock import VirtualClock
from engine.config.fields import Duration
from engine.server.metrics_dump import MetricsDump, MetricsDumpOptions
from tests.conftest import eventually
from tests.server.support import Running, Start, rule

TABLE = (
    "CREATE TABLE names (id BIGINT, name STRING, password STRING) "
    'WITH (TYPE="memory", DATASOURCE="names", RETAIN_SIZE="2")'
)
JOIN = "SELECT demo.id, names.name, names.password FROM demo INNER JOIN names ON demo.id = names.id"
START = 1_704_067_200_000  # 2024-01-01T00:00:00Z


class NotingClock(VirtualClock):
    """Counts how often somebody began to sleep."""

    sleeps = 0

    async def sleep_until(self, when: int) -> None:
        self.sleeps += 1
        await super().sleep_until(when)


def contents(data: bytes) -> dict[str, str]:
    """Return the texts in a zip file of snapshots by name."""
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        return {name: gzip.decompress(file.read(name)).decode() for name in file.namelist()}


async def test_rows_of_scan_tables_can_be_seen(server: Running) -> None:
    await server.stream()
    await server.json("POST", "/tables", {"sql": TABLE})
    await server.json("POST", "/rules", rule("a", JOIN))
    engine = server.service.engine
    await eventually(lambda: engine.rules["a"].status.state == "running")
    await engine.push("names", [{"id": n, "name": str(n), "password": "hush"} for n in range(3)])
    await eventually(lambda: engine.rules["a"].metrics.windowed == 3)
    (table,) = await server.json("GET", "/rules/a/scantables")
    assert table["emitter"] == "names"
    assert table["content"] == [{"id": n, "name": str(n), "password": "***"} for n in (1, 2)]
    await server.json("POST", "/rules", rule("b"))
    assert await server.json("GET", "/rules/b/scantables") == []
    assert (await server.refused("GET", "/rules/nobody/scantables"))[0] == 404


async def test_rules_say_how_long_they_have_worked(server: Running) -> None:
    await server.stream()
    assert await server.json("GET", "/rules/usage/cpu") == {}
    await server.json("POST", "/rules", rule("a", "SELECT * FROM demo WHERE n > 5"))
    await server.json("POST", "/rules", rule("b", triggered=False))
    engine = server.service.engine
    await eventually(lambda: engine.rules["a"].status.state == "running")
    with anyio.fail_after(20):
        while not (found := await server.json("GET", "/rules/usage/cpu"))["a"]:
            await engine.push("demo", [{"n": n} for n in range(500)])
    assert set(found) == {"a"}


async def test_metrics_of_the_past_can_be_had(start: Start) -> None:
    options = MetricsDumpOptions(enable=True, interval=Duration(0.02))
    async with start(metrics_dump=options) as server:
        assert await server.json("GET", "/metrics/dump/check") == "enabled"
        with anyio.fail_after(10):
            while not (found := contents((await server.client.get("/metrics/dump")).content)):
                await anyio.sleep(0.02)
        (text, *_) = found.values()
        assert text.startswith(f"# {datetime.now(UTC):%Y-}")
        assert "kuiper_rule_count 0" in text
        now = int(time.time())
        past = f"/metrics/dump?startTime={now - 90_000}&endTime={now - 80_000}"
        assert contents((await server.client.get(past)).content) == {}
        assert (await server.refused("GET", "/metrics/dump?startTime=monday"))[0] == 400
        await server.json("PATCH", "/configs", {"metricsDumpConfig": {"enable": False}})
        assert await server.json("GET", "/metrics/dump/check") == "disabled"


async def test_settings_that_cannot_be_changed_are_refused(server: Running) -> None:
    for body in ({"fileLog": True}, {"consoleLog": False}, {"timezone": "Mars/Olympus"}):
        assert (await server.refused("PATCH", "/configs", body))[0] == 400
    await server.json("PATCH", "/configs", {"timezone": "Asia/Tokyo", "consoleLog": True})
    assert str(server.service.engine.zone) == "Asia/Tokyo"


async def test_snapshots_are_kept_for_their_time(tmp_path: Path) -> None:
    folder, clock = tmp_path / "metrics", NotingClock(START)
    taken = iter(range(1000))

    async def take() -> AsyncIterator[bytes]:
        yield b"taken "
        yield b"%d\n" % next(taken)

    options = MetricsDumpOptions(
        enable=True, retained_duration=Duration(2 * 3600), interval=Duration(1800)
    )
    dump = MetricsDump(folder, options, take, clock)

    def found(start: float, end: float) -> dict[str, str]:
        into = io.BytesIO()
        dump.collect(start, end, into)
        return {name[8:19]: text for name, text in contents(into.getvalue()).items()}

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(dump.run)
        for step in range(9):
            text = f"taken {step}\n"
            await eventually(lambda text=text: text in "".join(found(0, 1e12).values()))
            await eventually(lambda step=step: clock.sleeps > step)
            await clock.advance_to(START + (step + 1) * 1_800_000)
        await eventually(lambda: "taken 9" in "".join(found(0, 1e12).values()))
        tasks.cancel_scope.cancel()
    begin = START / 1000
    assert list(found(0, 1e12)) == ["20240101T02", "20240101T03", "20240101T04"]
    assert found(0, 1e12)["20240101T02"] == (
        "# 2024-01-01T02:00:00Z\ntaken 4\n# 2024-01-01T02:30:00Z\ntaken 5\n"
    )
    assert list(found(begin + 2.5 * 3600, begin + 3.5 * 3600)) == ["20240101T02", "20240101T03"]
    (folder / "metrics-nonsense.prom.gz").write_bytes(b"")
    assert list(found(begin + 4 * 3600, begin + 5 * 3600)) == ["20240101T04"]
