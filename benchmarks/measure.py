"""One run: a stand-in broker, a subject (the engine or the bare loop), a flood, and what it took.

When is everything processed? The subject says nothing by itself (a nop sink shows nothing), so it
is watched from outside: the kernel has taken the whole flood, no byte of it waits in a socket on
either side, and for a while the subject has used no CPU and published nothing. The clock stops
where that quiet began, to within 5 ms. SIGTERM comes only then, so it can't cost a message; and the
balance that the subject prints at its exit is held against what was sent, written and published.

CPU time is read from the kernel's clock of the process, user and system, of all its threads: the
sum in /proc/PID/stat, but in nanoseconds.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Literal, Self

import yaml
from msgspec import json
from standin import State
from workload import OUT_TOPIC, Case, Payload

Subject = Literal["engine", "bare"]

_HERE = Path(__file__).parent
_POLL = 0.005
_QUIET = 0.2  # seconds without work after which a subject is done
_IDLE_CPU = 0.004  # seconds of CPU that timers may use in that time
_START_WITHIN = 30.0
_FINISH_WITHIN = 300.0
_EXIT_WITHIN = 30.0
_BALANCE = re.compile(
    r"rule bench: in (\d+) = out (\d+) \+ filtered (\d+)"
    r" \+ dropped (\d+) \+ errors (\d+) \+ pending (\d+)"
)


class BenchmarkError(Exception):
    """A subject did not do what was asked, so that its time means nothing."""


@dataclass(frozen=True)
class Run:
    """What one run of one subject took."""

    messages: int
    cpu: float
    """Seconds, from the flood's beginning to the end of work."""
    elapsed: float
    start_up: float
    """Seconds from the start of the process to its SUBSCRIBE."""
    peak_rss: int
    """Bytes."""
    results: int
    last_result: float | None
    """Seconds from the flood's beginning to the last PUBLISH that came back."""


def measure(subject: Subject, case: Case, payload: Payload, count: int) -> Run:
    """Time one run.

    Raises:
        BenchmarkError: the subject failed, lost messages, or miscounted.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="headrace-bench-")))
        broker = stack.enter_context(_Broker(payload, count))
        write = _command_of_engine if subject == "engine" else _command_of_bare
        command = write(case, payload, broker.port, folder)
        process = stack.enter_context(_Process(command, folder))
        subscribed_at = _wait_subscribed(broker, process)
        cpu = process.cpu()
        broker.flood()
        quiet, state = _wait_quiet(broker, process)
        peak_rss = process.peak_rss()
        balance = process.stop()
        wrong = _flaws(balance, broker.state(), case, payload, count, folder)
        if wrong:
            raise process.failed(f"lost or miscounted messages: {'; '.join(wrong)}")
    assert state.began_at is not None
    return Run(
        messages=count,
        cpu=quiet.cpu - cpu,
        elapsed=quiet.at - state.began_at,
        start_up=subscribed_at - process.started_at,
        peak_rss=peak_rss,
        results=state.results,
        last_result=state.last_result_at and state.last_result_at - state.began_at,
    )


# What to run


def _command_of_engine(case: Case, payload: Payload, port: int, folder: Path) -> list[str]:
    server = f"tcp://127.0.0.1:{port}"
    sinks = {
        "nop": {},
        "file": {"path": str(folder / "out.jsonl"), "sendSingle": True},
        "mqtt": {"server": server, "topic": OUT_TOPIC, "sendSingle": True},
    }
    demo = {"type": "mqtt", "datasource": "sensors/+/data", "format": "json", "server": server}
    rule = {"id": "bench", "sql": case.sql(payload), "actions": [{case.sink: sinks[case.sink]}]}
    path = folder / "rule.yaml"
    path.write_text(yaml.safe_dump({"streams": {"demo": demo}, "rules": [rule]}))
    return [sys.executable, "-m", "engine", str(path)]


def _command_of_bare(case: Case, payload: Payload, port: int, folder: Path) -> list[str]:
    command = [sys.executable, str(_HERE / "bare.py"), "--case", case.name]
    command += ["--payload", payload.name, "--port", str(port)]
    return [*command, "--file", str(folder / "out.jsonl")]


# The two processes


class _Broker:
    """The stand-in, in its own process."""

    def __init__(self, payload: Payload, count: int) -> None:
        command = [sys.executable, str(_HERE / "standin.py")]
        command += ["--payload", payload.name, "--count", str(count)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.port = json.decode(self._read(), type=int)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        try:
            self._process.wait(_EXIT_WITHIN)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def flood(self) -> None:
        self._order(b"flood\n")

    def state(self) -> State:
        self._order(b"state\n")
        return json.decode(self._read(), type=State)

    def _order(self, order: bytes) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(order)
            self._process.stdin.flush()
        except BrokenPipeError:
            raise BenchmarkError("the stand-in broker has died") from None

    def _read(self) -> bytes:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise BenchmarkError("the stand-in broker has died")
        return line


class _Process:
    """A subject at work; what it says goes to a file."""

    def __init__(self, command: Sequence[str], folder: Path) -> None:
        self._output = folder / "output.txt"
        with self._output.open("wb") as output:
            self.started_at = time.monotonic()
            self._process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=output)
        self._clock = ~self._process.pid << 3 | 2  # what clock_getcpuclockid() gives for a process

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def cpu(self) -> float:
        """Return the CPU seconds used so far."""
        if self._process.poll() is not None:
            raise self.failed("ended by itself")
        return time.clock_gettime(self._clock)

    def peak_rss(self) -> int:
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
        assert found is not None
        return int(found[1]) * 1024

    def stop(self) -> list[int]:
        """End the subject as a user would and return the numbers of its balance."""
        self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(_EXIT_WITHIN)
        except subprocess.TimeoutExpired:
            raise self.failed(f"did not end within {_EXIT_WITHIN:g} s of SIGTERM") from None
        if code:
            raise self.failed(f"ended with {code}")
        found = _BALANCE.search(self._output.read_text())
        if found is None:
            raise self.failed("printed no balance")
        return [int(number) for number in found.groups()]

    def failed(self, what: str) -> BenchmarkError:
        return BenchmarkError(f"the subject {what}\n{self._output.read_text()}")


# Watching


@dataclass(frozen=True)
class _Moment:
    at: float
    cpu: float
    results: int


def _wait_subscribed(broker: _Broker, process: _Process) -> float:
    deadline = time.monotonic() + _START_WITHIN
    while (subscribed_at := broker.state().subscribed_at) is None:
        if time.monotonic() > deadline:
            raise process.failed("did not subscribe")
        process.cpu()
        time.sleep(_POLL)
    return subscribed_at


def _wait_quiet(broker: _Broker, process: _Process) -> tuple[_Moment, State]:
    """Return the moment from which on nothing was left to do."""
    deadline = time.monotonic() + _FINISH_WITHIN
    quiet = _Moment(time.monotonic(), 0.0, 0)
    while True:
        state = broker.state()
        now = _Moment(time.monotonic(), process.cpu(), state.results)
        is_through = state.is_flooded and not state.unread
        if not is_through or now.cpu - quiet.cpu > _IDLE_CPU or now.results != quiet.results:
            quiet = now
        elif now.at - quiet.at >= _QUIET:
            return quiet, state
        if now.at > deadline:
            raise process.failed(f"was not done after {_FINISH_WITHIN:g} s: {state}")
        time.sleep(_POLL)


def _flaws(
    balance: Sequence[int], state: State, case: Case, payload: Payload, count: int, folder: Path
) -> list[str]:
    """Return what tells that a message was lost or counted wrongly."""
    received, delivered, filtered, *lost = balance
    passing = payload.passing(count)
    expected = {"in": (received, count), "out": (delivered, passing), "lost": (sum(lost), 0)}
    expected["filtered"] = (filtered, count - passing)
    if case.sink == "mqtt":
        expected["published"] = (state.results, passing)
    elif case.sink == "file":
        written = (folder / "out.jsonl").read_bytes().count(b"\n")
        expected["lines in the file"] = (written, passing)
    return [f"{name} {is_}, not {due}" for name, (is_, due) in expected.items() if is_ != due]
