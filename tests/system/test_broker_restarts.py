"""The broker is killed and started again under load: nothing is missing at QoS 1, nobody helps."""

from __future__ import annotations

import random
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

from engine.mqtt import Link, LinkSettings
from tests.mosquitto import Mosquitto
from tests.relay import Relay
from tests.system.support import (
    account,
    collect_numbers,
    publish_numbers,
    running,
    stop_engine,
    until,
)

RESTARTS = 10
MESSAGES = 20_000
"""At least: they come until the last restart is over, however long that takes."""
BATCH = 100
BROKER = """\
persistence true
persistence_location {folder}/
autosave_interval 0
max_queued_messages 0
"""
RULE = """\
streams:
  numbers:
    {{type: mqtt, datasource: in, format: json, server: "{server}", qos: 1,
     clientid: reader, enableClientSession: true}}
rules:
  - id: copy
    sql: SELECT n FROM numbers
    options: {{qos: 1, checkpointInterval: 1s}}
    actions:
      - mqtt: {{server: "{server}", topic: out, qos: 1, sendSingle: true}}
"""


async def kill_and_restart(broker: Mosquitto, relay: Relay) -> None:
    """Kill a broker that forgets nothing which it has confirmed.

    Mosquitto saves at intervals only. So that what goes missing is not its doing, nothing comes
    out of it any more from when it saves until it is killed.
    """
    relay.hold()
    await to_thread.run_sync(broker.save)
    broker.kill()
    relay.cut()
    await to_thread.run_sync(broker.start)
    relay.release()


class Load:
    """Publishes numbers, without a gap, until it is told that they are enough."""

    def __init__(self, sender: Link) -> None:
        self.total = 1  # the 0 has been published before
        self.is_enough = False
        self.has_ended = False
        self._sender = sender

    async def publish(self) -> None:
        while self.total < MESSAGES or not self.is_enough:
            numbers = range(self.total, self.total + BATCH)
            await publish_numbers(self._sender, numbers, batch=BATCH, pause=0.03)
            self.total = numbers.stop
        self.has_ended = True


@pytest.mark.timeout(120)
async def test_nothing_is_missing_though_the_broker_is_killed_ten_times(tmp_path: Path) -> None:
    received: list[int] = []
    instants = random.Random(7)
    path = tmp_path / "rule.yaml"
    with Mosquitto(tmp_path, BROKER) as broker:
        async with Relay(broker.port) as relay:
            path.write_text(RULE.format(server=relay.url))
            collector = LinkSettings(
                server=relay.url, client_id="collector", persistent_session=True
            )
            with running(path, tmp_path) as process:
                async with (
                    Link(collector) as listener,
                    Link(LinkSettings(server=relay.url)) as sender,
                    anyio.create_task_group() as tasks,
                ):
                    subscription = await listener.subscribe([("out", 1)], wait=True)
                    tasks.start_soon(collect_numbers, subscription, received)
                    await sender.wait_connected()
                    while not received:  # until the rule has subscribed
                        await publish_numbers(sender, [0])
                        await anyio.sleep(0.2)
                    load = Load(sender)
                    tasks.start_soon(load.publish)
                    for _ in range(RESTARTS):
                        await anyio.sleep(instants.uniform(0.2, 0.9))
                        before = len(received)
                        await kill_and_restart(broker, relay)
                        await until(lambda before=before: len(received) > before)
                    load.is_enough = True
                    await until(lambda: load.has_ended and len(set(received)) == load.total)
                    await stop_engine(process, tmp_path)
                    tasks.cancel_scope.cancel()
    assert set(received) == set(range(load.total))
    balance = account(tmp_path, "copy")
    assert balance["in"] >= load.total >= MESSAGES
    assert balance["out"] == balance["in"]
