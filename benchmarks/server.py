"""Figures of the server: rules created, listed, updated, stopped, recovered and deleted; memory;
what those who look on cost.

    python benchmarks/server.py [--rules 1000] [--seconds 4]

Each figure is printed with the limit that it has to keep. The server is a process of its own; the
client is this one, and takes processor time, too.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

CHECKOUT = Path(__file__).parents[1]
STREAM = 'CREATE STREAM demo () WITH (TYPE="memory", DATASOURCE="demo", FORMAT="json", SHARED="{}")'
CLIENTS = 8
"""Calls under way at the same time."""


@contextmanager
def served(root: str) -> Iterator[tuple[int, str]]:
    """Run a server; yields its process id and address."""
    command = [sys.executable, "-m", "engine", "serve", "--port", "0", "--root", root]
    environ = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    # its log goes into a file: a pipe that nobody reads fills up and then stops the server
    log = Path(root, "server.log")
    with (
        log.open("w") as stderr,
        subprocess.Popen(command, cwd=CHECKOUT, env=environ, stderr=stderr) as process,
    ):
        try:
            yield process.pid, address(process, log)
        finally:
            process.terminate()
            process.wait(30)


def address(process: subprocess.Popen[bytes], log: Path) -> str:
    """Return where a server listens, once it does."""
    while process.poll() is None:
        if found := re.search(r"listening on (http://\S+)", log.read_text()):
            return found[1]
        time.sleep(0.02)
    raise SystemExit(f"the server has ended: {log.read_text()}")


def rule(number: int, condition: str = "t > 50") -> dict[str, Any]:
    """Return one of the rules."""
    sql = f"SELECT t, t * {number} AS x FROM demo WHERE {condition}"
    return {"id": f"rule{number}", "sql": sql, "actions": [{"nop": {}}]}


def resident(pid: int) -> float:
    """Return the memory of a process in MB."""
    pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGESIZE") / 1e6


def processor(pid: int) -> float:
    """Return the processor time of a process in seconds, which other work doesn't lengthen."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def all_of(wanted: range, call: Callable[[int], Awaitable[httpx.Response]]) -> float:
    """Make calls, several at a time; returns the seconds."""
    numbers = iter(wanted)

    async def client() -> None:
        for number in numbers:
            answer = await call(number)
            assert answer.is_success, answer.text

    started = time.perf_counter()
    await asyncio.gather(*[client() for _ in range(CLIENTS)])
    return time.perf_counter() - started


def report(what: str, value: float, unit: str, limit: float | None = None) -> None:
    """Print a figure."""
    kept = ""
    if limit is not None:
        verdict = "ok" if value < limit else "TOO MUCH"
        kept = f"   (limit {limit:g} {unit}: {verdict})"
    print(f"{what:<46}{value:9.1f} {unit}{kept}")


async def measure_calls(rules: int, *, is_shared: bool) -> None:
    """Create, list, update, stop, start, recover and delete rules of one stream."""
    scale = rules / 1000
    print(f"-- {rules} rules, {'one source for all' if is_shared else 'a source for each'}")
    with tempfile.TemporaryDirectory() as root:
        with served(root) as (pid, url):
            async with connected(url) as client:
                await client.post("/streams", json={"sql": STREAM.format(is_shared)})
                bare, used = resident(pid), processor(pid)
                report("memory, no rule", bare, "MB")
                first = min(100, rules)
                seconds = await all_of(range(first), create(client))
                await asyncio.sleep(1)
                report(f"memory, {first} idle rules", resident(pid), "MB", 120)
                seconds += await all_of(range(first, rules), create(client))
                report("create", seconds, "s", 5 * scale)
                report("  of it the server's processor", processor(pid) - used, "s")
                await asyncio.sleep(1)
                each = 1000 * (resident(pid) - bare) / rules
                report("memory of an idle rule", each, "kB", 60)
                await measure_reading(client, rules)
                numbers, used = range(rules), processor(pid)
                seconds = await all_of(
                    numbers, lambda n: client.put(f"/rules/rule{n}", json=rule(n, "t > 60"))
                )
                report("update while they run", seconds, "s", 8 * scale)
                report("  of it the server's processor", processor(pid) - used, "s")
                seconds = await all_of(numbers, lambda n: client.post(f"/rules/rule{n}/stop"))
                seconds += await until_all(client, "stopped")
                report("stop", seconds, "s", 3 * scale)
                await all_of(numbers, lambda n: client.post(f"/rules/rule{n}/start"))
                started = time.perf_counter()
        report("end of the server", time.perf_counter() - started, "s")
        started = time.perf_counter()
        with served(root) as (_, url):
            async with connected(url) as client:
                await until_all(client, "running")
                report("start of the server with all rules", time.perf_counter() - started, "s", 5)
                seconds = await all_of(numbers, lambda n: client.delete(f"/rules/rule{n}"))
                report("delete while they run", seconds, "s", 5 * scale)


def connected(url: str) -> httpx.AsyncClient:
    """Return a client of a server."""
    return httpx.AsyncClient(base_url=url, timeout=60, trust_env=False)


def create(client: httpx.AsyncClient) -> Callable[[int], Awaitable[httpx.Response]]:
    """Return what creates the rule of a number."""
    return lambda number: client.post("/rules", json=rule(number))


async def until_all(client: httpx.AsyncClient, state: str) -> float:
    """Wait until all rules are in a state; returns the seconds."""
    started = time.perf_counter()
    while any(each["status"] != state for each in (await client.get("/rules")).json()):
        await asyncio.sleep(0.05)
    return time.perf_counter() - started


async def measure_reading(client: httpx.AsyncClient, rules: int) -> None:
    """Read of all rules what can be read, and what others wait meanwhile."""
    times = []
    for _ in range(20):
        started = time.perf_counter()
        answer = await client.get("/rules")
        times.append(time.perf_counter() - started)
        assert len(answer.json()) == rules
    report("list (median)", 1000 * sorted(times)[10], "ms", 50)
    for path in ("/metrics", "/rules/status/all"):
        waits: list[float] = []
        reading = asyncio.create_task(client.get(path))
        started = time.perf_counter()
        while not reading.done():
            before = time.perf_counter()
            await client.get("/ping")
            waits.append(time.perf_counter() - before)
        report(f"{path}", 1000 * (time.perf_counter() - started), "ms")
        report("  longest wait of another call meanwhile", 1000 * max(waits), "ms", 20)


async def measure_disturbance(seconds: float) -> None:
    """Measure what a client that asks for the status every second costs rules that are flooded.

    Turns with and without it follow each other. What is compared are rows for a second of the
    server's processor, which other work on the machine changes little.
    """
    rates: dict[bool, list[float]] = {False: [], True: []}
    print(f"-- {_BUSY} flooded rules")
    with tempfile.TemporaryDirectory() as root, served(root) as (pid, url):
        async with connected(url) as client:
            await flood(client)
            for turn in range(10):
                is_polled = bool(turn % 2)
                found = await rate(client, pid, seconds, polled=is_polled)
                if turn > 1:  # the first of each warms up
                    rates[is_polled].append(found)
    quiet, polled = (sum(rates[key]) / len(rates[key]) for key in (False, True))
    report("rows for a second, nobody asking", quiet, "")
    report("rows for a second, status asked every second", polled, "")
    report("less", 100 * (1 - polled / quiet), "%", 5)


_BUSY = 100
"""Rules with a row every millisecond each, which is more than the server can do."""


async def flood(client: httpx.AsyncClient) -> None:
    """Start rules that have more to do than they can."""
    section = {"data": [{"t": n} for n in range(1000)], "interval": 1, "loop": True}
    await client.put("/metadata/sources/simulator/confKeys/fast", json=section)
    sql = 'CREATE STREAM fast () WITH (TYPE="simulator", CONF_KEY="fast")'
    await client.post("/streams", json={"sql": sql})
    for number in range(_BUSY):
        body = {"id": f"busy{number}", "sql": "SELECT t FROM fast", "actions": [{"nop": {}}]}
        answer = await client.post("/rules", json=body)
        assert answer.is_success, answer.text


async def rate(client: httpx.AsyncClient, pid: int, seconds: float, *, polled: bool) -> float:
    """Return how many rows all rules take for a second of the server's processor."""

    async def total() -> tuple[int, float]:
        found = (await client.get("/metrics")).text
        rows = sum(
            int(line.rpartition(" ")[2])
            for line in found.splitlines()
            if line.startswith("kuiper_source_records_in_total{")
        )
        return rows, processor(pid)

    rows, used = await total()
    until = time.perf_counter() + seconds
    while (left := until - time.perf_counter()) > 0:
        started = time.perf_counter()
        if polled:
            await client.get("/rules/busy0/status")
            await client.get("/rules")
        left = min(1.0 - (time.perf_counter() - started), left)
        await asyncio.sleep(max(0, left))
    rows_then, used_then = await total()
    return (rows_then - rows) / (used_then - used)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rules", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=4, help="of each disturbance run")
    options = parser.parse_args()
    for is_shared in (True, False):
        asyncio.run(measure_calls(options.rules, is_shared=is_shared))
    asyncio.run(measure_disturbance(options.seconds))


if __name__ == "__main__":
    main()
