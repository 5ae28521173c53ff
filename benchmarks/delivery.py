"""What guarantees cost: acknowledgements, checkpoints, store-and-forward, many idle rules.

    python benchmarks/delivery.py [acks] [checkpoint] [forward] [idle] [slow]

Without a name all of them but ``slow``. Each figure is printed with the limit that it has to keep.
``acks`` needs Mosquitto; there the engine is a process of its own, and its processor time counts.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import linear_regression
from typing import Any

import anyio
import msgspec
from anyio import to_thread

CHECKOUT = Path(__file__).parents[1]
sys.path.insert(0, str(CHECKOUT))

from engine import Engine  # noqa: E402  # this checkout, wherever the script is run
from engine.api import Batch, Config, Emit, NotConnected, Sink, Source  # noqa: E402
from engine.mqtt import Link, LinkSettings  # noqa: E402
from engine.registry import PluginKind  # noqa: E402
from engine.run.rule import Rule  # noqa: E402
from tests.mosquitto import Mosquitto  # noqa: E402

ACKS_LIMIT = 2.5
STALL_LIMIT = 100.0
FORWARD_LIMIT = 50_000.0
IDLE_LIMIT = 60.0
START_LIMIT = 5.0


def report(what: str, value: float, unit: str, *, most: float = 0, least: float = 0) -> None:
    """Print a figure."""
    kept = ""
    if most:
        kept = f"   (limit {most:g}: {'ok' if value <= most else 'TOO MUCH'})"
    elif least:
        kept = f"   (at least {least:g}: {'ok' if value >= least else 'TOO LITTLE'})"
    print(f"{what:<58}{value:>12,.1f} {unit}{kept}", flush=True)


# -- acknowledgements --------------------------------------------------------------------------

MESSAGES = 50_000
ROUNDS = 3
ACKS_RULE = """\
streams:
  demo: {{type: mqtt, datasource: in, format: json, server: "{server}", qos: {qos}{session}}}
rules:
  - id: bench
    sql: SELECT temperature, humidity FROM demo WHERE temperature > 50
    options: {{qos: {qos}, checkpointInterval: 1s}}
    actions: [{sink}]
"""
SINKS = {
    "nop": "nop: {{}}",
    "mqtt": 'mqtt: {{server: "{server}", topic: out, qos: {qos}, sendSingle: true}}',
}


class Subject:
    """An engine process; its processor time is read from the kernel's clock of the process."""

    def __init__(self, path: Path, root: Path) -> None:
        self.log = root / "engine.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "engine", str(path), "--root", str(root)],
                cwd=CHECKOUT,
                stdout=log,
                stderr=log,
            )
        self._clock = ~self.process.pid << 3 | 2  # what clock_getcpuclockid() gives

    def cpu(self) -> float:
        return time.clock_gettime(self._clock)

    async def quiet(self) -> float:
        """Return the processor time once there is no more work."""
        before = self.cpu()
        while True:
            await anyio.sleep(0.4)
            now = self.cpu()
            if now - before < 0.01:
                return before
            before = now

    def stop(self) -> str:
        """Return what it said."""
        self.process.terminate()
        self.process.wait(30)
        return self.log.read_text()


@dataclass(frozen=True)
class Load:
    """How messages come."""

    name: str
    batch: int
    pause: float
    """Seconds between two batches."""


LOADS = (Load("10,000 a second", 50, 0.005), Load("flood", 1000, 0))


async def cost_of(broker: Mosquitto, folder: Path, load: Load, sink: str, qos: int) -> float:
    """Return the microseconds of the engine for a message."""
    session = ", clientid: bench, enableClientSession: true" if qos else ""
    log = folder / f"mosquitto-{broker.port}.log"
    with tempfile.TemporaryDirectory() as root:
        path = Path(root) / "rule.yaml"
        action = SINKS[sink].format(server=broker.url, qos=qos)
        text = ACKS_RULE.format(server=broker.url, qos=qos, session=session, sink=action)
        path.write_text(text)
        subscriptions = log.read_text().count("Sending SUBACK")
        subject = Subject(path, Path(root))
        async with Link(LinkSettings(server=broker.url)) as sender:
            await sender.wait_connected()
            await until(lambda: log.read_text().count("Sending SUBACK") > subscriptions)
            began = await subject.quiet()
            payloads = [
                msgspec.json.encode({"temperature": n % 101, "humidity": n % 97, "id": n})
                for n in range(load.batch)
            ]
            due = time.perf_counter()
            for _ in range(MESSAGES // load.batch):
                await sender.publish("in", payloads, qos=qos)
                due += load.pause
                await anyio.sleep(max(0, due - time.perf_counter()))
            ended = await subject.quiet()
        said = subject.stop()
    found = re.search(r"rule bench: in (\d+) = .* errors 0 \+ pending 0", said)
    assert found, said
    taken = int(found[1])  # of QoS 0 a broker drops what a socket doesn't take
    assert taken >= (MESSAGES if qos else MESSAGES / 2), said
    return 1e6 * (ended - began) / taken


async def measure_acks() -> None:
    """Compare QoS 0 with QoS 1."""
    for load in LOADS:
        for sink in SINKS:
            costs: dict[int, list[float]] = {0: [], 1: []}
            # without a log of each packet, which would take the broker more time than the rest
            config = "max_queued_messages 0\nlog_type subscribe\n"
            with tempfile.TemporaryDirectory() as at, Mosquitto(Path(at), config) as broker:
                for _ in range(ROUNDS):
                    for qos in costs:
                        cost = await cost_of(broker, Path(at), load, sink, qos)
                        costs[qos].append(cost)
            zero, one = (min(costs[qos]) for qos in (0, 1))
            report(f"MQTT to {sink}, {load.name}, QoS 0", zero, "µs a message")
            report(f"MQTT to {sink}, {load.name}, QoS 1", one, "µs a message")
            report("  times", one / zero, "", most=ACKS_LIMIT)


# -- checkpoints -------------------------------------------------------------------------------

KEYS = 100_000
QUERIES = {
    "a window": "SELECT k, count(*) AS c, sum(v) AS s FROM demo GROUP BY k, TUMBLINGWINDOW(hh, 1)",
    "a function": "SELECT k, acc_count(v) OVER (PARTITION BY k) AS c FROM demo",
}


async def worst_gap(seconds: float) -> float:
    """Return by how many milliseconds the loop was late at most."""
    worst, until = 0.0, time.perf_counter() + seconds
    while (before := time.perf_counter()) < until:
        await asyncio.sleep(0.001)
        worst = max(worst, time.perf_counter() - before - 0.001)
    return 1000 * worst


async def measure_checkpoint() -> None:
    """Measure for how long a checkpoint of many keys holds up the rule."""
    for what, sql in QUERIES.items():
        stall = await longest_stall(sql)
        report(f"checkpoint of {KEYS:,} keys of {what}, stall", stall, "ms", most=STALL_LIMIT)


async def longest_stall(sql: str) -> float:
    """Return the longest time, in milliseconds, that checkpoints have kept all else waiting."""
    definition = {
        "id": "bench",
        "sql": sql,
        "options": {"qos": 1, "checkpointInterval": "1s", "maxPartitions": 2 * KEYS},
        "actions": [{"nop": {}}],
    }
    with tempfile.TemporaryDirectory() as root:
        async with Engine(root) as engine:
            engine.define_stream("demo", type="memory", datasource="demo")
            rule = await engine.start(definition)
            await running([rule])
            for first in range(0, KEYS, 500):
                rows = [{"k": f"device-{n}", "v": n} for n in range(first, first + 500)]
                await engine.push("demo", rows)
            await idle(rule)
            assert rule.parts is not None
            checkpoints = rule.parts.checkpoints
            assert checkpoints is not None
            worst = 0.0
            for turn in range(5):
                taken = checkpoints.taken
                rows = [{"k": f"device-{n}", "v": n} for n in range(turn, 3000, 3)]
                await engine.push("demo", rows)
                while checkpoints.taken < taken + 2:  # one of them was taken as a whole
                    worst = max(worst, await worst_gap(0.5))
            await engine.stop("bench")
            return worst


async def running(rules: Sequence[Rule]) -> None:
    """Wait until rules run."""
    await until(lambda: all(rule.status.state == "running" for rule in rules))


async def idle(rule: Rule) -> None:
    """Wait until a rule has nothing to do."""
    await until(lambda: rule.metrics.queued == 0)


async def until(condition: Callable[[], object]) -> None:
    with anyio.fail_after(60):
        while not condition():
            await anyio.sleep(0.002)


# -- store and forward -------------------------------------------------------------------------

ROWS = 300_000


class Gone(Sink[Config]):
    """Never there."""

    takes_payloads = True

    async def collect(self, batch: Batch) -> None:
        raise NotConnected("gone")


class Rows(Source[Config]):
    """Gives all rows as fast as they are taken."""

    _given = 0

    def position(self) -> dict[str, int]:
        return {"": self._given}

    def seek(self, position: dict[str, int]) -> None:
        self._given = position[""]

    async def run(self, emit: Emit) -> None:
        payloads = [b'{"temperature": %d, "humidity": 40, "device": "a"}' % n for n in range(500)]
        while self._given < ROWS:
            await emit(Batch(payloads=list(payloads)))
            self._given += 500


async def all_received(rule: Rule) -> None:
    await until(lambda: rule.metrics.received == ROWS)


async def measure_forward() -> None:
    """Measure how fast results go into the files of a cache."""
    for qos in (0, 1):
        with tempfile.TemporaryDirectory() as root:
            async with Engine(root) as engine:
                engine.plugins.register(PluginKind.SINK, "gone", Gone)
                engine.plugins.register(PluginKind.SOURCE, "rows", Rows)
                engine.define_stream("demo", type="rows")
                began, cpu = time.perf_counter(), time.process_time()
                rule = await engine.start(
                    {
                        "id": "bench",
                        "sql": "SELECT temperature, device FROM demo",
                        "options": {"qos": qos},
                        "actions": [{"gone": {"enableCache": True, "sendSingle": True}}],
                    }
                )
                await all_received(rule)
                await idle(rule)
                await engine.stop("bench")  # the rest of the memory goes to the disk
                seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
                assert rule.metrics.balance().cached == ROWS, rule.metrics.balance()
        report(f"store and forward, qos {qos}, to the disk", ROWS / seconds, "rows/s",
               least=FORWARD_LIMIT)  # fmt: skip
        report("  processor", 1e6 * cpu / ROWS, "µs a row")


# -- idle rules --------------------------------------------------------------------------------

IDLE = 1000


def resident() -> float:
    """Return the memory of this process in KB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 1000


async def measure_idle() -> None:
    """Measure what a rule costs that has nothing to do; all read one shared stream."""
    with tempfile.TemporaryDirectory() as root:
        async with Engine(root) as engine:
            engine.define_stream("demo", type="memory", datasource="demo", shared=True)

            async def start(first: int, count: int) -> list[Rule]:
                return [
                    await engine.start(
                        {
                            "id": f"r{n}",
                            "sql": f"SELECT t, t * {n} AS x FROM demo WHERE t > {n}",
                            "actions": [{"nop": {}}],
                        }
                    )
                    for n in range(first, first + count)
                ]

            rules = await start(0, 10)  # what the first one costs is no rule's
            await running(rules)
            gc.collect()
            before, began = resident(), time.perf_counter()
            rules = await start(10, IDLE)
            await running(rules)
            seconds = time.perf_counter() - began
            await anyio.sleep(0.5)
            gc.collect()
            each = (resident() - before) / IDLE
            report(f"{IDLE} idle rules on one stream, each", each, "KB", most=IDLE_LIMIT)
            report("  started in", seconds, "s", most=START_LIMIT)


# -- a slow sink -------------------------------------------------------------------------------


async def measure_slow() -> None:
    """Measure the memory of a rule whose source is faster than its sink, for a minute."""

    class Flood(Source[Config]):
        async def run(self, emit: Emit) -> None:
            payload = b'{"n": 1, "pad": "' + b"x" * 300 + b'"}'
            while True:
                await emit(Batch(payloads=[payload] * 100))

    class Slow(Sink[Config]):
        async def collect(self, batch: Batch) -> None:
            await anyio.sleep(0.05)

    with tempfile.TemporaryDirectory() as root:
        async with Engine(root) as engine:
            engine.plugins.register(PluginKind.SINK, "slow", Slow)
            engine.plugins.register(PluginKind.SOURCE, "flood", Flood)
            engine.define_stream("demo", type="flood")
            sql = "SELECT n, pad FROM demo"
            await engine.start({"id": "slow", "sql": sql, "actions": [{"slow": {}}]})
            await anyio.sleep(5)
            times: list[float] = []
            sizes: list[float] = []
            began = time.perf_counter()
            while (now := time.perf_counter() - began) < 60:
                times.append(now)
                sizes.append(await to_thread.run_sync(resident))
                await anyio.sleep(0.2)
            slope = linear_regression(times, sizes).slope
            report("slow sink for 60 s, memory grows by", slope, "KB/s", most=10)


PARTS: dict[str, Callable[[], Awaitable[None]]] = {
    "acks": measure_acks,
    "checkpoint": measure_checkpoint,
    "forward": measure_forward,
    "idle": measure_idle,
    "slow": measure_slow,
}


def main() -> None:
    """Measure and print; each part in a process of its own, so that none has another's memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="part", help=", ".join(PARTS))
    asked: list[str] = parser.parse_args().parts or [name for name in PARTS if name != "slow"]
    if unknown := [name for name in asked if name not in PARTS]:
        parser.error(f"unknown part {unknown[0]}; there are {', '.join(PARTS)}")
    if len(asked) == 1:
        made: Any = PARTS[asked[0]]()
        asyncio.run(made)
        return
    for name in asked:
        subprocess.run([sys.executable, __file__, name], check=True)


if __name__ == "__main__":
    main()
