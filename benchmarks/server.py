"""Figures of the server: creating, listing, updating and deleting rules; memory; disturbance.

    python benchmarks/server.py [--rules 1000]

Each figure is printed with the limit that it has to keep. The server is a process of its own; the
client is this one.
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
STREAM = 'CREATE STREAM demo () WITH (TYPE="memory", DATASOURCE="demo", FORMAT="json")'
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


async def all_of(count: int, call: Callable[[int], Awaitable[httpx.Response]]) -> float:
    """Make calls, several at a time; returns the seconds."""
    numbers = iter(range(count))

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


async def measure_calls(rules: int) -> None:
    """Create, list, update and delete rules."""
    with tempfile.TemporaryDirectory() as root, served(root) as (pid, url):
        async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as client:
            await client.post("/streams", json={"sql": STREAM})
            report("memory, no rule", resident(pid), "MB")
            first, before = min(100, rules), processor(pid)
            seconds = await all_of(first, lambda n: client.post("/rules", json=rule(n)))
            await asyncio.sleep(1)
            report(f"memory, {first} idle rules", resident(pid), "MB", 120)
            rest = rules - first
            seconds += await all_of(rest, lambda n: client.post("/rules", json=rule(n + first)))
            report(f"create {rules} rules", seconds, "s", 5 * rules / 1000)
            report("  of it the server's processor", processor(pid) - before, "s")
            times = []
            for _ in range(20):
                started = time.perf_counter()
                answer = await client.get("/rules")
                times.append(time.perf_counter() - started)
                assert len(answer.json()) == rules
            report(f"list {rules} rules (median)", 1000 * sorted(times)[10], "ms", 50)
            started = time.perf_counter()
            text = (await client.get("/metrics")).text
            lines = text.count("\n")
            report(f"metrics, {lines} lines", 1000 * (time.perf_counter() - started), "ms")
            report(f"memory, {rules} idle rules", resident(pid), "MB")
            seconds = await all_of(
                rules, lambda n: client.put(f"/rules/rule{n}", json=rule(n, "t > 60"))
            )
            report(f"update {rules} running rules", seconds, "s")
            seconds = await all_of(rules, lambda n: client.delete(f"/rules/rule{n}"))
            report(f"delete {rules} rules", seconds, "s")


async def measure_disturbance(seconds: float) -> None:
    """Measure whether rules fall behind their pace while a client asks for their status."""
    rates: dict[bool, list[float]] = {False: [], True: []}
    with tempfile.TemporaryDirectory() as root, served(root) as (_, url):
        async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as client:
            await busy(client)
            for turn in range(6):
                is_polled = bool(turn % 2)
                rates[is_polled].append(await rate(client, seconds, polled=is_polled))
    quiet, polled = (sorted(rates[key])[1] for key in (False, True))
    report("rows a second, nobody asking", quiet, "/s")
    report("rows a second, status asked every second", polled, "/s")
    # the simulators pace this load, so that it says only that nothing falls behind; what a client
    # costs a rule that is flooded is not measured here
    report("less, of a paced load", 100 * (1 - polled / quiet), "%")


async def busy(client: httpx.AsyncClient) -> None:
    """Start twenty rules with a row every millisecond each."""
    rows = [{"t": n} for n in range(1000)]
    section = {"data": rows, "interval": 1, "loop": True}
    await client.put("/metadata/sources/simulator/confKeys/fast", json=section)
    sql = 'CREATE STREAM fast () WITH (TYPE="simulator", CONF_KEY="fast")'
    await client.post("/streams", json={"sql": sql})
    for number in range(20):
        body = {"id": f"busy{number}", "sql": "SELECT t FROM fast", "actions": [{"nop": {}}]}
        answer = await client.post("/rules", json=body)
        assert answer.is_success, answer.text


async def rate(client: httpx.AsyncClient, seconds: float, *, polled: bool) -> float:
    """Return how many rows all rules take in a second."""

    async def total() -> int:
        found = (await client.get("/metrics")).text
        return sum(
            int(line.rpartition(" ")[2])
            for line in found.splitlines()
            if line.startswith("kuiper_source_records_in_total{")
        )

    before, started = await total(), time.perf_counter()
    until = started + seconds
    while (left := until - time.perf_counter()) > 0:
        if polled:
            await client.get("/rules/busy0/status")
            await client.get("/rules")
        await asyncio.sleep(min(1.0, left))
    return (await total() - before) / (time.perf_counter() - started)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rules", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=4, help="of each disturbance run")
    options = parser.parse_args()
    asyncio.run(measure_calls(options.rules))
    asyncio.run(measure_disturbance(options.seconds))


if __name__ == "__main__":
    main()
