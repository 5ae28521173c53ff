"""What a sink can't take waits: in order, bounded, counted, through kill -9 and a full disk."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from engine.mqtt import Link, LinkSettings
from tests.mosquitto import Mosquitto
from tests.system.support import (
    account,
    collect_numbers,
    log_of,
    publish_numbers,
    running,
    start_engine,
    stop_engine,
    until,
)

MESSAGES = 6_000
KILLS = 4
KEEPS = "persistence true\npersistence_location {folder}/\nmax_queued_messages 0\n"
RULE = """\
streams:
  numbers:
    {{type: mqtt, datasource: in, format: json, server: "{source}", qos: 1,
     clientid: reader, enableClientSession: true}}
rules:
  - id: forward
    sql: SELECT n, "{pad}" AS pad FROM numbers
    options: {{qos: 1, checkpointInterval: 200ms}}
    actions:
      - mqtt: {{server: "{sink}", topic: out, qos: 1, sendSingle: true, enableCache: true,
               memoryCacheThreshold: 256, bufferPageSize: 64, {more}}}
"""


class Field:
    """A broker that the rule reads from, and one that it writes to, which is down at first."""

    def __init__(self, folder: Path, near: Mosquitto, far: Mosquitto, sender: Link) -> None:
        self.folder = folder
        self.sender = sender
        self.far = far
        self.received: list[int] = []
        self._near = near

    def rule(self, more: str = "maxDiskCache: 1024000") -> Path:
        path = self.folder / "rule.yaml"
        text = RULE.format(source=self._near.url, sink=self.far.url, more=more, pad=200 * "x")
        path.write_text(text)
        return path

    async def subscribed(self, process: subprocess.Popen[bytes]) -> None:
        """Wait until the session of the rule is there."""
        log = self.folder / f"mosquitto-{self._near.port}.log"
        await until(lambda: "Sending SUBACK to reader" in log.read_text())
        assert process.poll() is None


@asynccontextmanager
async def field(folder: Path) -> AsyncIterator[Field]:
    near_folder = folder
    far_folder = folder / "far"
    far_folder.mkdir()
    far = Mosquitto(far_folder, KEEPS)
    far.start()
    collector = LinkSettings(server=far.url, client_id="collector", persistent_session=True)
    try:
        with Mosquitto(near_folder, "max_queued_messages 0\n") as near:
            async with (
                Link(collector) as listener,
                Link(LinkSettings(server=near.url)) as sender,
                anyio.create_task_group() as tasks,
            ):
                here = Field(folder, near, far, sender)
                subscription = await listener.subscribe([("out", 1)], wait=True)
                far.stop()
                await sender.wait_connected()
                tasks.start_soon(collect_numbers, subscription, here.received)
                yield here
                tasks.cancel_scope.cancel()
    finally:
        far.kill()


def firsts(numbers: list[int]) -> list[int]:
    """Return numbers without those that have come before."""
    return list(dict.fromkeys(numbers))


@pytest.mark.timeout(120)
async def test_what_waits_for_a_sink_survives_kill_9_and_arrives_in_order(tmp_path: Path) -> None:
    async with field(tmp_path) as here:
        path = here.rule()
        part = MESSAGES // KILLS
        for turn in range(KILLS):
            with running(path, tmp_path) as process:
                await here.subscribed(process)
                await publish_numbers(here.sender, range(turn * part, (turn + 1) * part))
                if turn:
                    await until(lambda: any((tmp_path / "data").rglob("*.seg")))
                await anyio.sleep(0.3 * turn)  # killed at different depths of its work
        assert not here.received
        with running(path, tmp_path) as process:
            here.far.start()
            await until(lambda: len(set(here.received)) == MESSAGES)
            await stop_engine(process, tmp_path)
    assert firsts(here.received) == list(range(MESSAGES))
    balance = account(tmp_path, "forward")
    assert balance["pending"] == 0
    assert balance["recovered"] + balance["in"] == balance["out"]
    assert not any((tmp_path / "data" / "cache").rglob("*.seg"))


@pytest.mark.timeout(120)
async def test_a_bounded_cache_keeps_the_newest_and_counts_what_it_drops(tmp_path: Path) -> None:
    async with field(tmp_path) as here:
        path = here.rule("maxDiskCache: 1024")
        with running(path, tmp_path) as process:
            await here.subscribed(process)
            await publish_numbers(here.sender, range(MESSAGES))
            await anyio.sleep(1)
            here.far.start()
            await until(lambda: here.received[-1:] == [MESSAGES - 1])
            await stop_engine(process, tmp_path)
    balance = account(tmp_path, "forward")
    assert balance["in"] == MESSAGES
    assert balance["dropped"] > MESSAGES // 2, "a small part fits in"
    assert balance["out"] == len(here.received) == MESSAGES - balance["dropped"]
    # what was on its way to the sink when it filled up is kept; all others are the newest
    assert here.received == sorted(here.received)
    assert here.received[-900:] == list(range(MESSAGES - 900, MESSAGES))


@pytest.mark.timeout(120)
async def test_a_full_disk_costs_the_oldest_rows_and_no_more(tmp_path: Path) -> None:
    async with field(tmp_path) as here:
        path = here.rule()
        process = start_engine(path, tmp_path)
        try:
            await here.subscribed(process)
            # bytes that any file may have from now on, too few for a page of rows
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (10_000, -1))
            await publish_numbers(here.sender, range(MESSAGES))
            await until(lambda: "takes no rows: " in log_of(tmp_path))
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (-1, -1))
            await anyio.sleep(0.5)
            await publish_numbers(here.sender, range(MESSAGES, MESSAGES + 100))
            here.far.start()
            await until(lambda: here.received[-1:] == [MESSAGES + 99])
            await stop_engine(process, tmp_path)
        finally:
            process.kill()
            process.wait(10)
    balance = account(tmp_path, "forward")
    assert balance["out"] + balance["dropped"] == balance["in"]
    assert len(here.received) == balance["out"]
    assert here.received == sorted(here.received)
