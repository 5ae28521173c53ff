"""What windows and joins cost: beside a bare loop, with longer windows, with more rows.

    python benchmarks/windows.py [--case NAME] [--json FILE]

``groups`` and ``total`` run a whole engine (a source in memory, the queue, the query, a sink) and,
in turns, a loop that decodes the same columns of the same bytes and updates a dict. ``sliding``
shows what a row costs when its window gets longer, ``memory`` what a window keeps, ``join`` how
long one takes. Ratios count; they hardly depend on the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from workload import PAYLOADS

from engine.api import Batch, Config, Emit, Sink, Source
from engine.engine import Engine
from engine.registry import PluginKind

_HERE = Path(__file__).parent
BATCH = 512
REPEAT = 5
Figures = dict[str, Any]


class _Feed(Source[Config]):
    """Gives prepared payloads, a batch at a time; time passes by ``step`` ms with each batch."""

    def __init__(self, payloads: list[bytes], batch: int, start: int, step: int) -> None:
        self._payloads = payloads
        self._batch = batch
        self._start = start
        self._step = step

    async def run(self, emit: Emit) -> None:
        now = self._start
        for at in range(0, len(self._payloads), self._batch):
            await emit(Batch(payloads=self._payloads[at : at + self._batch], received_at=now))
            now += self._step


class _Count(Sink[Config]):
    def __init__(self) -> None:
        self.rows = 0

    async def collect(self, batch: Batch) -> None:
        self.rows += len(batch)


async def run_engine(
    sql: str, payloads: list[bytes], *, batch: int = BATCH, step: int = 10
) -> tuple[float, int]:
    """Return the CPU seconds that a rule takes for some messages, and how many rows came out."""
    sink = _Count()
    async with Engine() as engine:
        now = engine.clock.now() + 3_600_000  # ahead, so that no timer of the clock fires
        engine.plugins.register(PluginKind.SOURCE, "feed", _Feed(payloads, batch, now, step))
        engine.plugins.register(PluginKind.SINK, "count", sink)
        engine.define('CREATE STREAM demo () WITH (TYPE="feed")')
        before = time.process_time()
        rule = await engine.start({"id": "bench", "sql": sql, "actions": [{"count": {}}]})
        await rule.finished.wait()
        seconds = time.process_time() - before
    return seconds, sink.rows


def device_payloads(count: int, devices: int) -> list[bytes]:
    """Return messages of 870 bytes from some devices."""
    numbers = random.Random(1)
    made = []
    large = PAYLOADS["large"]
    for _ in range(min(count, 2000)):
        message = large.build(numbers)
        message["deviceId"] = f"press-{numbers.randrange(devices):03}.stamping"
        made.append(msgspec.json.encode(message))
    return [made[index % len(made)] for index in range(count)]


def small_payloads(count: int) -> list[bytes]:
    numbers = random.Random(2)
    made = [msgspec.json.encode(PAYLOADS["small"].build(numbers)) for _ in range(2000)]
    return [made[index % len(made)] for index in range(count)]


class _Columns(msgspec.Struct):
    deviceId: str  # noqa: N815  # the name in the message
    temperature: float


class _Temperature(msgspec.Struct):
    temperature: float


def bare_groups(payloads: list[bytes]) -> float:
    """Decode two columns and keep count, sum and maximum by device, as by hand."""
    before = time.process_time()
    decode = msgspec.json.Decoder(_Columns).decode
    groups: dict[str, list[Any]] = {}
    for at in range(0, len(payloads), BATCH):
        for row in map(decode, payloads[at : at + BATCH]):
            value = row.temperature
            group = groups.get(row.deviceId)
            if group is None:
                groups[row.deviceId] = [1, value, value]
                continue
            group[0] += 1
            group[1] += value
            if value > group[2]:
                group[2] = value
    for group in groups.values():
        group[1] / group[0]
    return time.process_time() - before


def bare_total(payloads: list[bytes]) -> float:
    before = time.process_time()
    decode = msgspec.json.Decoder(_Temperature).decode
    total: dict[str, Any] = {"count": 0, "sum": 0, "max": None}
    for at in range(0, len(payloads), BATCH):
        for row in map(decode, payloads[at : at + BATCH]):
            value = row.temperature
            total["count"] += 1
            total["sum"] += value
            if total["max"] is None or value > total["max"]:
                total["max"] = value
    return time.process_time() - before


def compare(sql: str, payloads: list[bytes], bare: Callable[[list[bytes]], float]) -> Figures:
    """Return messages per CPU second of engine and bare loop, best of several, and their ratio."""
    engine_seconds, bare_seconds = [], []
    for _ in range(REPEAT):
        gc.collect()
        engine_seconds.append(asyncio.run(run_engine(sql, payloads))[0])
        gc.collect()
        bare_seconds.append(bare(payloads))
    engine, by_hand = min(engine_seconds), min(bare_seconds)
    return {
        "engine_per_s": round(len(payloads) / engine),
        "bare_per_s": round(len(payloads) / by_hand),
        "ratio": round(by_hand / engine, 3),
    }


def groups() -> Figures:
    """Tumbling 1 s, avg, count and max of 100 devices, messages of 870 bytes."""
    sql = (
        "SELECT deviceId, avg(temperature) AS a, count(*) AS n, max(temperature) AS m "
        "FROM demo GROUP BY deviceId, TUMBLINGWINDOW(ss, 1)"
    )
    return {**compare(sql, device_payloads(200_000, 100), bare_groups), "target": 0.5}


def total() -> Figures:
    """Tumbling 1 s, avg, count and max of all, small messages."""
    sql = (
        "SELECT avg(temperature) AS a, count(*) AS n, max(temperature) AS m "
        "FROM demo GROUP BY TUMBLINGWINDOW(ss, 1)"
    )
    return {**compare(sql, small_payloads(400_000), bare_total), "target": 0.4}


def sliding() -> Figures:
    """A result for each row of a sliding window, of 5,000 to 40,000 rows in it."""
    sql = (
        "SELECT count(*) AS n, sum(temperature) AS s, avg(temperature) AS a, "
        "min(temperature) AS lo, max(temperature) AS hi FROM demo GROUP BY SLIDINGWINDOW(ss, 10)"
    )
    costs: dict[str, float] = {}
    for rows in (5_000, 10_000, 20_000, 40_000):
        payloads = small_payloads(rows * 3)
        # so many rows arrive in 10 s, ten at a time
        step = max(1, 100_000 // rows)
        seconds, _ = asyncio.run(run_engine(sql, payloads, batch=10, step=step))
        costs[str(rows)] = round(seconds / len(payloads) * 1e6, 2)
    return {"us_per_row": costs, "ratio_40k_to_5k": round(costs["40000"] / costs["5000"], 2)}


def memory() -> Figures:
    """Resident memory after 1, 10 and 100 times 20,000 rows in one tumbling window."""
    found = {}
    for times in (1, 10, 100):
        code = f"import windows; windows.print_memory({times * 20_000})"
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=_HERE
        )
        found[f"{times}x"] = f"{int(done.stdout) / 1024:.1f} MB"
    return found


def print_memory(rows: int) -> None:
    """Run a window over so many rows and print the resident memory in KB."""
    sql = (
        "SELECT avg(temperature) AS a, count(*) AS n, max(temperature) AS m, stddev(humidity) AS d "
        "FROM demo GROUP BY TUMBLINGWINDOW(hh, 1)"
    )
    payloads = small_payloads(20_000)

    class Many(_Feed):
        async def run(self, emit: Emit) -> None:
            for _ in range(rows // 20_000):
                await super().run(emit)

    async def main() -> None:
        async with Engine() as engine:
            now = engine.clock.now() + 3_600_000
            engine.plugins.register(PluginKind.SOURCE, "feed", Many(payloads, BATCH, now, 0))
            engine.plugins.register(PluginKind.SINK, "count", _Count())
            engine.define('CREATE STREAM demo () WITH (TYPE="feed")')
            rule = await engine.start({"id": "bench", "sql": sql, "actions": [{"count": {}}]})
            await rule.finished.wait()

    asyncio.run(main())
    with open("/proc/self/status") as status:
        resident = next(line for line in status if line.startswith("VmRSS"))
    print(resident.split()[1])


def join() -> Figures:
    """A window join of 10,000 by 10,000 rows on a key."""
    sql = (
        "SELECT demo.id AS i, demo.a, other.b FROM demo INNER JOIN other ON demo.id = other.id "
        "GROUP BY COUNTWINDOW(20000)"
    )
    rows = 10_000

    async def main() -> tuple[float, int]:
        sink = _Count()
        async with Engine() as engine:
            now = engine.clock.now()
            for name, column in (("demo", "a"), ("other", "b")):
                made = [
                    msgspec.json.encode({"id": number, column: number}) for number in range(rows)
                ]
                engine.plugins.register(
                    PluginKind.SOURCE, f"feed_{name}", _Feed(made, BATCH, now, 0)
                )
                engine.define(f'CREATE STREAM {name} () WITH (TYPE="feed_{name}")')
            engine.plugins.register(PluginKind.SINK, "count", sink)
            before = time.process_time()
            rule = await engine.start({"id": "bench", "sql": sql, "actions": [{"count": {}}]})
            await rule.finished.wait()
            return time.process_time() - before, sink.rows

    best = min(asyncio.run(main()) for _ in range(3))
    return {"seconds": round(best[0], 3), "rows": best[1], "target": 1.0}


CASES: dict[str, Callable[[], Figures]] = {
    "groups": groups,
    "total": total,
    "sliding": sliding,
    "memory": memory,
    "join": join,
}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", choices=CASES, action="append", help="only this case")
    parser.add_argument("--json", metavar="FILE", help="write all figures to a file")
    options = parser.parse_args()
    found = {}
    for name in options.case or CASES:
        found[name] = CASES[name]()
        print(f"{name:8} {json.dumps(found[name])}")
    if options.json:
        with open(options.json, "w") as file:
            json.dump(found, file, indent=2)
    return 0


if __name__ == "__main__":
    sys.exit(main())
