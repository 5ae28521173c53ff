"""The MQTT sink against the reference broker: what is computed for each message."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anyio
import pytest

from engine import ConfigError, Engine
from engine.mqtt import Link, LinkSettings
from tests.conftest import eventually
from tests.mosquitto import Mosquitto

ROWS = [{"device": "a", "site": "x"}, {"device": "b", "site": "y"}, {"device": "c"}]


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path_factory.mktemp("mosquitto")) as broker:
        yield broker


async def published(
    engine: Engine, broker: Mosquitto, expected: int, **properties: Any
) -> list[tuple[str, bytes, Any]]:
    """Run a rule over the rows; return topic, payload and user properties of what comes."""
    settings = LinkSettings(server=broker.url)
    async with Link(settings) as link:
        subscription = await link.subscribe([("out/#", 1)], wait=True)
        sink = {"server": broker.url, "sendSingle": True, **properties}
        rule = await engine.start(
            {"id": "r", "sql": "SELECT * FROM demo", "actions": [{"mqtt": sink}]}
        )
        with anyio.fail_after(10):
            while not await engine.push("demo", ROWS):
                await anyio.sleep(0.002)
            found: list[tuple[str, bytes, Any]] = []
            while len(found) < expected:
                arrivals = await subscription.read()
                given = arrivals.properties or [None] * len(arrivals)
                found += zip(arrivals.topics, arrivals.payloads, given, strict=True)
                subscription.acknowledge(arrivals)
        await eventually(lambda: not rule.metrics.pending)
        await engine.stop("r")
        assert rule.metrics.balance().holds
        assert sum(rule.metrics.dropped.values()) == len(ROWS) - expected
        await subscription.close()
        return found


@pytest.mark.parametrize("qos", [0, 1])
async def test_user_properties_and_topic_are_those_of_the_message(
    engine: Engine, broker: Mosquitto, qos: int
) -> None:
    found = await published(
        engine,
        broker,
        3,
        topic="out/{{.device}}",
        qos=qos,
        properties={"device": "{{.device}}", "site": '{{.site | default "none"}}', "kind": "test"},
        fields=["device"],
    )
    assert found == [
        (
            f"out/{row['device']}",
            b'{"device":"%s"}' % row["device"].encode(),
            {"device": row["device"], "site": row.get("site", "none"), "kind": "test"},
        )
        for row in ROWS
    ]


async def test_fixed_user_properties_are_those_of_all_messages(
    engine: Engine, broker: Mosquitto
) -> None:
    found = await published(engine, broker, 3, topic="out/all", properties={"kind": "test"})
    assert [(topic, given) for topic, _, given in found] == [("out/all", {"kind": "test"})] * 3


async def test_a_message_without_the_field_of_a_property_fails_alone(
    engine: Engine, broker: Mosquitto
) -> None:
    found = await published(engine, broker, 2, topic="out/all", properties={"site": "{{.site}}"})
    assert [given["site"] for _, _, given in found] == ["x", "y"]


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        ({"properties": {"site": "{{.site"}}, r"properties\.site"),
        ({"properties": {"a": "b"}, "protocolVersion": "3.1.1"}, r"by MQTT 3\.1\.1"),
    ],
)
async def test_properties_that_cannot_be_sent_are_refused(
    engine: Engine, properties: dict[str, Any], message: str
) -> None:
    sink = {"topic": "out", **properties}
    with pytest.raises(ConfigError, match=message):
        await engine.start({"id": "r", "sql": "SELECT * FROM demo", "actions": [{"mqtt": sink}]})
