"""Nothing is lost when the engine is killed: real processes, a real broker, kill -9."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import anyio
import msgspec
import pytest

from engine.mqtt import Link, LinkSettings, Subscription
from tests.mosquitto import Mosquitto
from tests.system.support import start_engine

MESSAGES = 50_000
ROUNDS = 20
RULE = """\
streams:
  numbers:
    {{type: mqtt, datasource: in, format: json, server: "{server}", qos: 1,
     clientid: reader, enableClientSession: true}}
rules:
  - id: copy
    sql: "{sql}"
    options: {{qos: {qos}, checkpointInterval: 1s}}
    actions:
      - mqtt: {{server: "{server}", topic: out, qos: 1, sendSingle: true}}
"""


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path, "max_queued_messages 0\n") as broker:
        yield broker


async def publish_all(link: Link, started: anyio.Event) -> None:
    """Publish numbered messages, with pauses so that they last for all rounds."""
    batch = 250
    for first in range(0, MESSAGES, batch):
        numbers = range(first, first + batch)
        await link.publish(
            ["in"] * batch, [msgspec.json.encode({"n": number}) for number in numbers], qos=1
        )
        started.set()
        await anyio.sleep(0.05)


async def kill_again_and_again(path: Path, root: Path, seed: int) -> subprocess.Popen[bytes]:
    """Kill the engine at random instants, start it again at once; return the last process."""
    instants = random.Random(seed)
    process = start_engine(path, root)
    for _ in range(ROUNDS):
        await anyio.sleep(instants.uniform(0.05, 1.2))
        process.kill()
        process.wait(10)
        process = start_engine(path, root)
    return process


async def collect(subscription: Subscription, into: list[bytes]) -> None:
    while True:
        arrivals = await subscription.read()
        into += arrivals.payloads
        subscription.acknowledge(arrivals)


async def run_rounds(
    broker: Mosquitto, root: Path, sql: str, qos: int, done: object
) -> list[dict[str, int]]:
    """Run a rule over all messages while it is killed; return what came out until ``done``."""
    path = root / "rule.yaml"
    path.write_text(RULE.format(server=broker.url, sql=sql, qos=qos))
    received: list[bytes] = []
    assert callable(done)
    settings = LinkSettings(server=broker.url, client_id="collector", persistent_session=True)
    async with Link(settings) as listener, Link(LinkSettings(server=broker.url)) as sender:
        subscription = await listener.subscribe([("out", 1)], wait=True)
        await sender.wait_connected()
        first = start_engine(path, root)
        await anyio.sleep(3)  # the session of the reader is there from now on
        first.kill()
        first.wait(10)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(collect, subscription, received)
            tasks.start_soon(publish_all, sender, anyio.Event())
            last = await kill_again_and_again(path, root, seed=qos)
            try:
                with anyio.fail_after(120):
                    while not done(received):
                        await anyio.sleep(0.2)
            finally:
                last.terminate()
                last.wait(20)
            tasks.cancel_scope.cancel()
    return [msgspec.json.decode(payload) for payload in received]


@pytest.mark.timeout(240)
async def test_no_message_is_missing_at_least_once(broker: Mosquitto, tmp_path: Path) -> None:
    def done(received: list[bytes]) -> bool:
        return len(set(received)) >= MESSAGES

    rows = await run_rounds(broker, tmp_path, "SELECT n FROM numbers", 1, done)
    assert {row["n"] for row in rows} == set(range(MESSAGES))


@pytest.mark.timeout(240)
async def test_state_has_counted_each_message_once(broker: Mosquitto, tmp_path: Path) -> None:
    def done(received: list[bytes]) -> bool:
        return any(msgspec.json.decode(payload)["c"] >= MESSAGES for payload in received[-300:])

    sql = "SELECT n, acc_count(n) AS c, acc_sum(n) AS s FROM numbers"
    rows = await run_rounds(broker, tmp_path, sql, 2, done)
    assert max(row["c"] for row in rows) == MESSAGES
    assert {row["n"] for row in rows} == set(range(MESSAGES))
    assert max(row["s"] for row in rows) == sum(range(MESSAGES))
