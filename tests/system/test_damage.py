"""Full disks, locked and corrupt files, malformed messages: a clear word, and work goes on."""

from __future__ import annotations

import re
import resource
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import msgspec
import pytest

from engine.mqtt import Link, LinkSettings
from tests.mosquitto import Mosquitto
from tests.system.support import (
    account,
    log_of,
    publish_numbers,
    running,
    stop_engine,
    until,
)

STREAM = """\
streams:
  numbers:
    {{type: mqtt, datasource: in, format: json, server: "{server}", qos: 1,
     clientid: reader, enableClientSession: true}}
"""
SUM = """\
rules:
  - id: sum
    sql: SELECT n, acc_count(n) AS c, acc_sum(n) AS s FROM numbers
    options: {qos: 2, checkpointInterval: 100ms}
    actions: [file: {path: out.jsonl, sendSingle: true}]
"""
COPY = """\
rules:
  - id: copy
    sql: SELECT n FROM numbers
    options: {qos: 1, deadLetter: {file: {path: letters.jsonl}}}
    actions: [file: {path: out.jsonl, sendSingle: true}]
"""


class Field:
    def __init__(self, folder: Path, broker: Mosquitto, sender: Link, rules: str) -> None:
        self.folder = folder
        self.sender = sender
        self.path = folder / "rule.yaml"
        self.path.write_text(STREAM.format(server=broker.url) + rules)
        self._log = folder / f"mosquitto-{broker.port}.log"

    def subscribed(self) -> bool:
        return "Sending SUBACK to reader" in self._log.read_text()

    @property
    def rows(self) -> list[dict[str, int]]:
        """What the sink has written."""
        path = self.folder / "out.jsonl"
        text = path.read_bytes() if path.exists() else b""
        return [msgspec.json.decode(line) for line in text.splitlines() if line.endswith(b"}")]


@asynccontextmanager
async def field(folder: Path, rules: str) -> AsyncIterator[Field]:
    with Mosquitto(folder, "max_queued_messages 0\n") as broker:
        async with Link(LinkSettings(server=broker.url)) as sender:
            await sender.wait_connected()
            yield Field(folder, broker, sender, rules)


@pytest.mark.timeout(90)
async def test_state_is_right_though_checkpoints_find_no_room_for_a_while(tmp_path: Path) -> None:
    async with field(tmp_path, SUM) as here:
        with running(here.path, tmp_path) as process:
            await until(here.subscribed)
            await publish_numbers(here.sender, range(100))
            await until(lambda: len(here.rows) == 100)
            size = (tmp_path / "data" / "checkpoints.db-wal").stat().st_size
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size, -1))
            await publish_numbers(here.sender, range(100, 200))
            await until(lambda: len(here.rows) == 200, 10)
            await until(lambda: "failed: " in log_of(tmp_path))
            assert "the disk" in log_of(tmp_path)
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (-1, -1))
            await publish_numbers(here.sender, range(200, 300))
            await until(lambda: len(here.rows) == 300)
            await until(lambda: "is saved, after" in log_of(tmp_path))
            await anyio.sleep(0.5)
            process.kill()
            process.wait(10)
        with running(here.path, tmp_path) as process:
            await publish_numbers(here.sender, range(300, 400))
            await until(lambda: here.rows[-1]["c"] == 400)
            await stop_engine(process, tmp_path)
    assert here.rows[-1]["s"] == sum(range(400))
    account(tmp_path, "sum")


@pytest.mark.timeout(90)
async def test_rows_flow_while_another_process_locks_the_checkpoints(tmp_path: Path) -> None:
    async with field(tmp_path, SUM) as here:
        with running(here.path, tmp_path) as process:
            await until(here.subscribed)
            await publish_numbers(here.sender, range(100))
            await until(lambda: len(here.rows) == 100)
            locker = sqlite3.connect(tmp_path / "data" / "checkpoints.db", isolation_level=None)
            locker.execute("BEGIN IMMEDIATE")
            await publish_numbers(here.sender, range(100, 200))
            await until(lambda: len(here.rows) == 200, 5)
            await until(lambda: "another process has locked it" in log_of(tmp_path))
            locker.execute("ROLLBACK")
            locker.close()
            await publish_numbers(here.sender, range(200, 300))
            await until(lambda: len(here.rows) == 300)
            await stop_engine(process, tmp_path)
        with running(here.path, tmp_path) as process:
            await publish_numbers(here.sender, range(300, 400))
            await until(lambda: here.rows[-1]["n"] == 399)
            await stop_engine(process, tmp_path)
    assert (here.rows[-1]["c"], here.rows[-1]["s"]) == (400, sum(range(400)))
    assert len(here.rows) == 400
    account(tmp_path, "sum")


@pytest.mark.timeout(90)
@pytest.mark.parametrize("name", ["checkpoints.db", "checkpoints.db-wal"])
async def test_corrupt_checkpoints_are_told_and_the_rule_starts(tmp_path: Path, name: str) -> None:
    async with field(tmp_path, SUM) as here:
        with running(here.path, tmp_path) as process:
            await until(here.subscribed)
            await publish_numbers(here.sender, range(100))
            await until(lambda: len(here.rows) == 100)
            if name == "checkpoints.db":  # the log is merged into it at the end
                await stop_engine(process, tmp_path)
            process.kill()
            process.wait(10)
        path = tmp_path / "data" / name
        data = bytearray(path.read_bytes())
        for at in range(100, len(data), 97):
            data[at] ^= 0xFF
        path.write_bytes(data)
        with running(here.path, tmp_path) as process:
            await publish_numbers(here.sender, range(100, 200))
            await until(lambda: here.rows[-1]["n"] == 199)
            await stop_engine(process, tmp_path)
    said = log_of(tmp_path)
    assert "Traceback" not in said
    assert here.rows[-1]["c"] <= 200
    if name == "checkpoints.db":  # of a torn log SQLite takes what is whole, and says nothing
        assert "damaged" in said
        assert here.rows[-1]["c"] == 100
    account(tmp_path, "sum")


@pytest.mark.timeout(90)
async def test_ten_thousand_malformed_messages_cost_no_good_one(tmp_path: Path) -> None:
    bad = [b"{", b"\xff\xfe\x00", b'{"n": 01}', b"", b'"text"', b"[1, 2", b'{"n": 1} x', b"nul"]
    async with field(tmp_path, COPY) as here:
        with running(here.path, tmp_path) as process:
            await until(here.subscribed)
            for turn in range(100):
                mixed = [bad[(turn + i) % len(bad)] for i in range(100)]
                good = [b'{"n": %d}' % n for n in range(turn * 50, turn * 50 + 50)]
                payloads = [p for i in range(50) for p in (mixed[2 * i], good[i], mixed[2 * i + 1])]
                await here.sender.publish("in", payloads, qos=1)
            await until(lambda: len(here.rows) == 5_000)
            await stop_engine(process, tmp_path)
    assert [row["n"] for row in here.rows] == list(range(5_000))
    balance = account(tmp_path, "copy")
    assert (balance["in"], balance["out"], balance["errors"]) == (15_000, 5_000, 10_000)
    letters = (tmp_path / "letters.jsonl").read_bytes().splitlines()
    told = re.search(r"rule=copy dead letters lost: (\d+), at last: ", log_of(tmp_path))
    assert letters
    assert len(letters) + (int(told[1]) if told else 0) == 10_000
    assert msgspec.json.decode(letters[0])["operator"] == "decode"
    assert len(log_of(tmp_path).splitlines()) < 200, "one line for each would fill the disk"
