"""What the system tests have in common: engines as processes, numbered messages, accounts."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import msgspec

from engine.mqtt import Link, PublishInterrupted, Subscription

CHECKOUT = Path(__file__).parent.parent.parent
_ACCOUNT = re.compile(r"^rule (\S+): (in .+)$", re.MULTILINE)
_INCOMING = frozenset({"in", "made", "recovered"})


def start_engine(path: Path, root: Path) -> subprocess.Popen[bytes]:
    """Run a rule file; what the process says is appended to ``engine.log`` in the root."""
    with (root / "engine.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "engine", str(path), "--root", str(root)],
            stdout=log,
            stderr=log,
            cwd=CHECKOUT,
        )


@contextmanager
def running(path: Path, root: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a rule file; the process is killed at the end if it is still there."""
    process = start_engine(path, root)
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


def log_of(root: Path) -> str:
    """Return what the engine has said so far."""
    path = root / "engine.log"
    return path.read_text() if path.exists() else ""


async def until(condition: Callable[[], object], seconds: float = 30) -> None:
    """Wait for something that another process does."""
    with anyio.fail_after(seconds):
        while not condition():
            await anyio.sleep(0.02)


async def stop_engine(process: subprocess.Popen[bytes], root: Path) -> None:
    """End an engine politely; fail if it had ended by itself."""
    assert process.poll() is None, log_of(root)[-3000:]
    process.terminate()
    await until(lambda: process.poll() is not None)
    assert process.returncode in (0, -15, 143), log_of(root)[-3000:]


async def publish_numbers(
    link: Link, numbers: Iterable[int], *, batch: int = 250, pause: float = 0.0
) -> None:
    """Publish ``{"n": …}`` to topic ``in`` until the broker has confirmed all, in order."""
    waiting = [msgspec.json.encode({"n": number}) for number in numbers]
    while waiting:
        part = waiting[:batch]
        try:
            await link.publish("in", part, qos=1)
        except PublishInterrupted as error:
            confirmed = set(range(len(part))) - set(error.unconfirmed)
            waiting = [part[i] for i in range(len(part)) if i not in confirmed] + waiting[batch:]
            await anyio.sleep(0.02)
            continue
        waiting = waiting[batch:]
        await anyio.sleep(pause)


async def collect_numbers(subscription: Subscription, into: list[int]) -> None:
    """Take all messages, for ever; confirm them once they are noted."""
    while True:
        arrivals = await subscription.read()
        into += [msgspec.json.decode(payload)["n"] for payload in arrivals.payloads]
        subscription.acknowledge(arrivals)


def account(root: Path, rule: str) -> dict[str, int]:
    """Return the last account of a rule in ``engine.log``, once it is seen to balance."""
    text = (root / "engine.log").read_text()
    assert "does not balance" not in text
    lines = [line for name, line in _ACCOUNT.findall(text) if name == rule]
    assert lines, text[-3000:]
    found = {name: int(number) for name, number in re.findall(r"(\w+) (\d+)", lines[-1])}
    outgoing = sum(count for name, count in found.items() if name not in _INCOMING)
    assert sum(found.get(name, 0) for name in _INCOMING) == outgoing, lines[-1]
    return found
