"""State counts each message once though the connection to the broker is lost again and again."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from engine import Engine
from engine.mqtt import Link, LinkSettings
from tests.conftest import eventually
from tests.mosquitto import Mosquitto
from tests.relay import Relay

MESSAGES = 5_000
CUTS = 6
BATCH = 50


async def publish_all(broker: Mosquitto, *, same: bool) -> None:
    async with Link(LinkSettings(server=broker.url)) as sender:
        await sender.wait_connected()
        for first in range(0, MESSAGES, BATCH):
            numbers = [1 if same else number for number in range(first, first + BATCH)]
            payloads = [msgspec.json.encode({"n": number}) for number in numbers]
            await sender.publish("in", payloads, qos=1)
            await anyio.sleep(0.03)


@pytest.mark.parametrize("version", ["5", "3.1.1"])
@pytest.mark.parametrize("same", [False, True], ids=["numbered", "all the same"])
async def test_messages_repeated_after_a_lost_connection_count_once(
    tmp_path: Path, engine: Engine, collected: list[dict[str, Any]], version: str, same: bool
) -> None:
    instants = random.Random(version)
    with Mosquitto(tmp_path, "max_queued_messages 0\n") as broker:
        async with Relay(broker.port) as relay, anyio.create_task_group() as tasks:
            engine.define_stream(
                "numbers",
                type="mqtt",
                datasource="in",
                server=relay.url,
                qos=1,
                clientid="reader",
                enableClientSession=True,
                protocolVersion=version,
            )
            rule = await engine.start(
                {
                    "id": "count",
                    "sql": "SELECT acc_count(n) AS c, acc_sum(n) AS s FROM numbers",
                    "actions": [{"collect": {}}],
                    "options": {"qos": 2, "checkpointInterval": "300ms"},
                }
            )
            await eventually(lambda: rule.status.state.value == "running")
            tasks.start_soon(lambda: publish_all(broker, same=same))
            while relay.cuts < CUTS:
                await anyio.sleep(instants.uniform(0.05, 0.4))
                relay.cut()
            await eventually(lambda: collected[-1:] and collected[-1]["c"] >= MESSAGES, 30)
            await anyio.sleep(0.5)  # for any that come once more
            assert rule.metrics.received == MESSAGES
            await engine.stop("count")
    assert collected[-1]["c"] == MESSAGES
    assert collected[-1]["s"] == (MESSAGES if same else sum(range(MESSAGES)))
