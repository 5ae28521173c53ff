"""A disk that is full: nothing is lost or torn, and the engine goes on once there is room."""

from __future__ import annotations

import gzip
import json
import resource
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system.support import account, start_engine

LINES = 60_000
LIMIT = 300_000
"""Bytes that a file may have; for the process it is as if the disk were full."""
RULE = """\
streams:
  numbers: {{type: file, path: "", datasource: numbers.jsonl, fileType: lines}}
rules:
  - id: copy
    sql: SELECT * FROM numbers
    actions: [file: {{path: out, sendSingle: true, resendInterval: 20ms, {options}}}]
"""


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_full(path: Path, limit: int) -> bool:
    """Tell whether nothing more is written although a file isn't much smaller than it may be."""
    if not path.exists() or (size := path.stat().st_size) < limit // 2:
        return False
    time.sleep(0.3)
    return path.stat().st_size == size


def lines(data: bytes) -> list[int]:
    return [json.loads(line)["n"] for line in data.splitlines()]


def items(data: bytes) -> list[int]:
    return [row["n"] for row in json.loads(data)]


def read_between(path: Path, read: Callable[[bytes], list[int]]) -> list[int]:
    """Return what is in a file between two attempts to write more, each of which is undone."""
    deadline = time.monotonic() + 20
    while True:
        try:
            return read(path.read_bytes())
        except (EOFError, ValueError):
            assert time.monotonic() < deadline, "it is torn for good"


@pytest.mark.parametrize(
    ("options", "read"),
    [
        ("fsync: false", lines),
        ("fileType: json", items),
        (
            "compression: gzip, compressionProps: {level: 1}",
            lambda data: lines(gzip.decompress(data)),
        ),
    ],
    ids=["lines", "json", "gzip"],
)
@pytest.mark.parametrize("relief", ["room", "moved"])
def test_what_a_full_disk_does_not_take_is_there_once_it_has_room(
    tmp_path: Path, options: str, read: Callable[[bytes], list[int]], relief: str
) -> None:
    rule, out, log = tmp_path / "rule.yaml", tmp_path / "out", tmp_path / "engine.log"
    rule.write_text(RULE.format(options=options))
    limit = LIMIT // 3 if "gzip" in options else LIMIT
    with (tmp_path / "numbers.jsonl").open("wb") as file:
        file.writelines(b'{"n": %d, "pad": "%x"}\n' % (n, n * 7919) for n in range(LINES))
    process = start_engine(rule, tmp_path)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        wait_until(lambda: is_full(out, limit))
        seen = read_between(out, read)
        assert 0 < len(seen) < LINES
        assert seen == list(range(len(seen)))
        assert process.poll() is None, log.read_text()
        parts = [out]
        if relief == "moved":
            parts.insert(0, out.rename(tmp_path / "part"))
            wait_until(lambda: out.exists() and out.stat().st_size)
        resource.prlimit(
            process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        )
        assert process.wait(30) == 0, log.read_text()
    finally:
        process.kill()
        process.wait(10)
    assert [n for part in parts for n in read(part.read_bytes())] == list(range(LINES))
    assert account(tmp_path, "copy")["out"] == LINES
