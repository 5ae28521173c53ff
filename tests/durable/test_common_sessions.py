"""Rules whose streams have one clientid, and so one session, while one of them is renewed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine import Engine
from engine.api import Batch, Config, NotConnected, Sink
from engine.mqtt import Link, LinkSettings
from engine.registry import PluginKind
from tests.conftest import eventually
from tests.mosquitto import Mosquitto

COUNT = 60  # more than Mosquitto sends unacknowledged before MQTT 5


class Absent(Sink[Config]):
    async def collect(self, batch: Batch) -> None:
        raise NotConnected("nobody there")


@pytest.mark.parametrize("version", ["5", "3.1.1"])
@pytest.mark.parametrize("qos", [1, 2])
async def test_a_renewed_rule_gets_what_it_had_not_confirmed_and_stops_no_other(
    tmp_path: Path, engine: Engine, collected: list[dict[str, Any]], version: str, qos: int
) -> None:
    engine.drain = 0.2
    engine.plugins.register(PluginKind.SINK, "absent", Absent)
    with Mosquitto(tmp_path) as broker:
        for name in ("one", "two"):
            engine.define_stream(
                name,
                type="mqtt",
                datasource=name,
                server=broker.url,
                qos=1,
                clientid="edge",
                enableClientSession=True,
                protocolVersion=version,
            )

        def rule(name: str, sink: str) -> dict[str, Any]:
            sql = f"SELECT acc_count(n) AS c, n, '{name}' AS rule FROM {name}"
            options = {"qos": qos, "checkpointInterval": "100ms"}
            return {"id": name, "sql": sql, "actions": [{sink: {}}], "options": options}

        def numbers(name: str) -> list[int]:
            return [row["n"] for row in collected if row["rule"] == name]

        one = await engine.start(rule("one", "collect"))
        two = await engine.start(rule("two", "absent"))
        async with Link(LinkSettings(server=broker.url)) as sender:
            await sender.wait_connected()
            await eventually(lambda: broker.log.count("SUBACK") >= 2)
            rows = [b'{"n":%d}' % n for n in range(COUNT)]
            await sender.publish("two", rows, qos=1)
            await eventually(lambda: two.metrics.received)
            await engine.update(rule("two", "collect"))
            await sender.publish("one", rows, qos=1)
            await eventually(lambda: len(numbers("one")) == COUNT)
            await eventually(lambda: len(numbers("two")) == COUNT)
        assert numbers("one") == numbers("two") == list(range(COUNT))
        assert one.metrics.received == COUNT
        await engine.stop("one")
        await engine.stop("two")
