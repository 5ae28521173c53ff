"""A file is read on after kill -9: the state counts each line once, no line is missing."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

from tests.system.support import account, start_engine

LINES = 300_000
KILLS = 5
RULE = """\
streams:
  numbers: {type: file, path: "", datasource: numbers.jsonl, fileType: lines}
rules:
  - id: sum
    sql: SELECT n, acc_count(n) AS c, acc_sum(n) AS s FROM numbers
    options: {qos: 2, checkpointInterval: 50ms}
    actions: [file: {path: out.jsonl, sendSingle: true}]
"""


def size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def test_state_has_counted_each_line_of_a_file_once(tmp_path: Path) -> None:
    path, out = tmp_path / "rule.yaml", tmp_path / "out.jsonl"
    path.write_text(RULE)
    with (tmp_path / "numbers.jsonl").open("wb") as file:
        file.writelines(b'{"n": %d}\n' % number for number in range(LINES))
    for _ in range(KILLS):
        before = size_of(out)
        process = start_engine(path, tmp_path)
        deadline = time.monotonic() + 20
        while size_of(out) < before + 500_000 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert process.poll() is None, "it was killed in the middle of the file"
        process.kill()
        process.wait(10)
    process = start_engine(path, tmp_path)
    assert process.wait(60) == 0
    whole = [line for line in out.read_bytes().splitlines() if line.endswith(b"}")]
    rows = [msgspec.json.decode(line) for line in whole]
    assert (rows[-1]["c"], rows[-1]["s"]) == (LINES, sum(range(LINES)))
    assert max(row["c"] for row in rows) == LINES
    assert {row["n"] for row in rows} == set(range(LINES))
    assert len(rows) > LINES, "the kills made it repeat something"
    assert account(tmp_path, "sum")["in"] < LINES, "it went on where a checkpoint was"
