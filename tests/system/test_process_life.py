"""A running process: signals, reloading, schedules, what is left when it ends."""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

CHECKOUT = Path(__file__).parent.parent.parent
RULES = """\
streams:
  s: {type: simulator, data: [{n: 1}], interval: 5ms, loop: true}
rules:
  - {id: a, sql: SELECT n AS a FROM s, actions: [print: {sendSingle: true}]}
  - {id: b, sql: SELECT n AS b FROM s, actions: [print: {sendSingle: true}]}
"""
SLOW = """\
import anyio, pathlib
from engine.api import Config, Sink

class Slow(Sink[Config]):
    async def collect(self, batch):
        (self.ctx.root_path / "seen").touch()
        while not (self.ctx.root_path / "release").exists():
            await anyio.sleep(0.01)
"""


class Process:
    """``headrace`` with its output, line by line."""

    def __init__(self, *arguments: str | Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "engine", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=CHECKOUT,
        )
        self.errors: list[str] = []
        self._rows: queue.Queue[str] = queue.Queue()
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self._readers = [
            threading.Thread(target=_each_line, args=(self.process.stdout, self._rows.put)),
            threading.Thread(target=_each_line, args=(self.process.stderr, self.errors.append)),
        ]
        for reader in self._readers:
            reader.start()

    def row(self) -> str:
        """Return the next row that it printed."""
        return self._rows.get(timeout=20)

    def rows_until(self, wanted: str) -> None:
        """Wait for a row."""
        deadline = time.monotonic() + 20
        while self.row() != wanted:
            assert time.monotonic() < deadline, f"no {wanted}: {self.log}"

    def no_rows_but(self, wanted: str, count: int = 50) -> None:
        """Check that, once what was on its way has come, there are no others."""
        time.sleep(0.1)
        while not self._rows.empty():
            self._rows.get()
        assert {self.row() for _ in range(count)} == {wanted}

    def says(self, text: str) -> str:
        """Wait for a line on standard error; return it."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            for line in self.errors:
                if re.search(text, line):
                    return line
            time.sleep(0.01)
        raise AssertionError(f"no {text!r} in {self.log}")

    @property
    def log(self) -> str:
        return "\n".join(self.errors)

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def ended(self, seconds: float = 20) -> int:
        """Return the exit code."""
        code = self.process.wait(seconds)
        for reader in self._readers:
            reader.join(seconds)
        return code


def _each_line(stream: IO[str], take: Callable[[str], object]) -> None:
    with stream:
        for line in stream:
            take(line.rstrip("\n"))


Start = Callable[..., Process]


@pytest.fixture
def start() -> Iterator[Start]:
    processes: list[Process] = []

    def begin(*arguments: str | Path) -> Process:
        processes.append(Process(*arguments))
        return processes[-1]

    yield begin
    for process in processes:
        process.process.kill()
        process.ended()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rules.yaml"
    path.write_text(RULES)
    return path


def balance_of(process: Process, rule: str) -> dict[str, int]:
    """Return the numbers of a rule's account."""
    line = process.says(f"rule {rule}: in ")
    return {name: int(number) for name, number in re.findall(r"(\w+) (\d+)", line)}


# -- stopping ----------------------------------------------------------------------------------


@pytest.fixture
def slow_rule(tmp_path: Path) -> Path:
    folder = tmp_path / "plugins" / "sinks"
    folder.mkdir(parents=True)
    (folder / "slow.py").write_text(SLOW)
    path = tmp_path / "slow.yaml"
    path.write_text(
        RULES.split("rules:")[0]
        + "rules:\n  - {id: a, sql: SELECT n FROM s, actions: [slow: {}]}\n"
    )
    return path


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_drains_and_accounts_for_every_row(
    start: Start, slow_rule: Path, tmp_path: Path, number: signal.Signals
) -> None:
    process = start(slow_rule, "--root", tmp_path, "--drain", "20s")
    wait_for(tmp_path / "seen")
    time.sleep(0.1)
    process.send(number)
    time.sleep(0.2)
    assert process.process.poll() is None  # rows are inside
    (tmp_path / "release").touch()
    assert process.ended() == 0
    account = balance_of(process, "a")
    assert account["in"] == account["out"] > 1
    assert account["dropped"] == account["errors"] == account["pending"] == 0


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_stops_at_once_and_says_what_is_left(
    start: Start, slow_rule: Path, tmp_path: Path, second: signal.Signals
) -> None:
    process = start(slow_rule, "--root", tmp_path, "--drain", "1h")
    wait_for(tmp_path / "seen")
    time.sleep(0.1)
    process.send(signal.SIGTERM)
    time.sleep(0.2)
    assert process.process.poll() is None
    process.send(second)
    assert process.ended(5) == 0
    account = balance_of(process, "a")
    assert account["in"] == account["pending"] > 1
    assert account["out"] == 0
    assert "Traceback" not in process.log


def test_signals_end_a_reload_that_waits_for_a_rule_to_drain(
    start: Start, slow_rule: Path, tmp_path: Path
) -> None:
    process = start(slow_rule, "--root", tmp_path, "--drain", "1h")
    wait_for(tmp_path / "seen")
    slow_rule.write_text(slow_rule.read_text().replace("SELECT n FROM", "SELECT n + 1 AS n FROM"))
    process.send(signal.SIGHUP)
    time.sleep(0.3)  # the rule drains before it has its new definition
    process.send(signal.SIGTERM)
    time.sleep(0.2)
    assert process.process.poll() is None
    process.send(signal.SIGTERM)
    assert process.ended(5) == 0
    assert "reloaded" not in process.log
    account = balance_of(process, "a")
    assert account["in"] == account["pending"] > 0


def test_the_time_for_draining_is_bounded(start: Start, slow_rule: Path, tmp_path: Path) -> None:
    process = start(slow_rule, "--root", tmp_path, "--drain", "300ms")
    wait_for(tmp_path / "seen")
    process.send(signal.SIGTERM)
    assert process.ended(5) == 0
    assert balance_of(process, "a")["pending"] > 0


def test_the_last_checkpoint_is_taken_when_a_signal_stops_the_process(
    start: Start, tmp_path: Path
) -> None:
    path = tmp_path / "rules.yaml"
    sql = 'SELECT accumulateWordCount("x") AS n FROM s'
    path.write_text(
        RULES.split("rules:")[0] + f"rules:\n  - id: a\n    sql: {sql}\n"
        "    actions: [print: {sendSingle: true}]\n    options: {qos: 1, checkpointInterval: 1h}\n"
    )
    last = 0
    for _ in range(2):
        process = start(path, "--root", tmp_path)
        rows = [json.loads(process.row())["n"] for _ in range(10)]
        assert rows == list(range(last + 1, last + 11))
        process.send(signal.SIGTERM)
        assert process.ended() == 0
        last = balance_of(process, "a")["out"] + last


# -- reloading ---------------------------------------------------------------------------------


def test_sighup_applies_the_files_again(start: Start, file: Path) -> None:
    process = start(file)
    process.rows_until('{"b":1}')
    file.write_text(RULES.replace("n AS b", "n + 1 AS b"))
    process.send(signal.SIGHUP)
    process.rows_until('{"b":2}')
    assert process.says("reloaded") == "reloaded: 1 replaced (b), 1 unchanged"
    file.write_text(RULES.replace("id: b", "id: c").replace("AS b", "AS c"))
    process.send(signal.SIGHUP)
    process.rows_until('{"c":1}')
    process.send(signal.SIGTERM)
    assert process.ended() == 0
    accounts = [balance_of(process, rule) for rule in "abc"]
    assert all(account["in"] == account["out"] > 0 for account in accounts)


def test_a_bad_file_changes_nothing_and_says_why(start: Start, file: Path) -> None:
    process = start(file)
    process.rows_until('{"b":1}')
    file.write_text(RULES.replace("FROM s, actions", "FROM nowhere, actions"))
    process.send(signal.SIGHUP)
    line = process.says("not reloaded")
    assert line.startswith("not reloaded, all goes on as before: ")
    assert "rules.yaml:4:37: unknown stream nowhere" in line
    process.rows_until('{"a":1}')
    process.rows_until('{"b":1}')
    process.send(signal.SIGTERM)
    assert process.ended() == 0


def test_watch_applies_files_when_they_change(start: Start, tmp_path: Path) -> None:
    folder = tmp_path / "rules"
    folder.mkdir()
    (folder / "one.yaml").write_text(RULES)
    (folder / "link.yaml").symlink_to(tmp_path / "nowhere")
    process = start(folder, "--watch")
    process.rows_until('{"a":1}')
    (folder / "one.yaml").write_text("streams: {")
    process.says("not reloaded.*one.yaml")
    process.rows_until('{"a":1}')
    (folder / "one.yaml").write_text(RULES.replace("n AS a", "n + 1 AS a"))
    process.rows_until('{"a":2}')
    rule = "rules:\n  - {id: c, sql: SELECT n AS c FROM s, actions: [print: {sendSingle: true}]}\n"
    (folder / "two.yaml").write_text(rule)
    process.rows_until('{"c":1}')
    (folder / "one.yaml").write_text(RULES.split("rules:")[0])
    process.says(r"reloaded: 2 stopped \(a, b\), 1 unchanged")
    process.no_rows_but('{"c":1}')
    process.send(signal.SIGTERM)
    assert process.ended() == 0


def test_with_watch_the_end_of_all_rules_is_not_the_end(start: Start, file: Path) -> None:
    once = RULES.replace("interval: 5ms, loop: true", "interval: 0, loop: false")
    file.write_text(once)
    process = start(file, "--watch")
    assert {process.row(), process.row()} == {'{"a":1}', '{"b":1}'}
    time.sleep(0.3)
    file.write_text(once.replace("n AS a", "n + 1 AS a"))
    assert process.row() == '{"a":2}'
    process.send(signal.SIGTERM)
    assert process.ended() == 0


def test_a_process_waits_for_the_schedule_of_its_rules(start: Start, file: Path) -> None:
    once = RULES.replace("interval: 5ms, loop: true", "interval: 0, loop: false")
    file.write_text(once.replace("id: a,", 'id: a, options: {cron: "@every 1s"},'))
    process = start(file)
    assert process.row() == '{"b":1}'
    assert [process.row() for _ in range(2)] == ['{"a":1}'] * 2
    process.send(signal.SIGTERM)
    assert process.ended() == 0


def test_a_terminal_that_is_closed_stops_the_process(file: Path) -> None:
    """The signal is that of a reload, but nobody is left who would stop it."""
    log = file.with_suffix(".log")
    master, slave = os.openpty()
    with log.open("wb") as output:
        command = [sys.executable, "-m", "engine", str(file)]
        process = subprocess.Popen(
            # the leader of a session gets the first terminal that it opens as its own
            ["sh", "-c", 'exec "$@" <"$0"', os.ttyname(slave), *command],
            stdout=output,
            stderr=output,
            cwd=CHECKOUT,
            start_new_session=True,
        )
    try:
        _wait_for_text(log, '{"a":1}')
        process.send_signal(signal.SIGHUP)
        _wait_for_text(log, "reloaded: 2 unchanged")
        os.close(slave)
        os.close(master)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
    assert re.search(r"rule a: in \d+ = out \d+ .* pending 0", log.read_text())


def _wait_for_text(log: Path, text: str) -> None:
    deadline = time.monotonic() + 20
    while text not in log.read_text():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)
