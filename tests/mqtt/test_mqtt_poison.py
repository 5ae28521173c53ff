"""A message that a broker can't take is given up alone, however the broker says so."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import anyio
import mqtt5
import pytest

from engine import Engine
from engine.backoff import Backoff
from engine.mqtt import Link, LinkSettings
from engine.run.rule import Rule
from tests.conftest import eventually
from tests.mosquitto import Mosquitto
from tests.mqtt.standin import Peer, Standin
from tests.relay import Relay

LIMITS = "message_size_limit 1000\nmax_packet_size 1500\n"


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path_factory.mktemp("mosquitto"), LIMITS) as broker:
        yield broker


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.mqtt.link.Backoff", lambda: Backoff(0.005, 0.02))


async def started(engine: Engine, server: str, **properties: Any) -> Rule:
    sink = {"server": server, "topic": "out/all", "qos": 1, "sendSingle": True, **properties}
    return await engine.start({"id": "r", "sql": "SELECT * FROM demo", "actions": [{"mqtt": sink}]})


async def push(engine: Engine, rows: list[dict[str, Any]]) -> None:
    with anyio.fail_after(10):
        while not await engine.push("demo", rows):
            await anyio.sleep(0.002)


@pytest.mark.parametrize(
    ("version", "row"),
    [
        ("5", {"x": "x" * 1200}),
        ("3.1.1", {"x": "x" * 2000}),
        ("5", {"topic": "out/" + "a/" * 250}),
        ("3.1.1", {"topic": "out/" + "a/" * 250}),
        ("5", {"topic": "out/\1"}),
        ("3.1.1", {"topic": "out/\uffff"}),
        ("5", {"property": "a\0"}),
        ("5", {"property": "\1"}),
        ("5", {"property": "\U0001fffe"}),
    ],
)
async def test_all_but_one_arrive_in_order(
    engine: Engine, broker: Mosquitto, version: str, row: dict[str, str]
) -> None:
    plain = {"topic": "out/x", "property": "a", "x": ""}
    rows = [{**plain, "n": n} for n in range(24)]
    rows[3].update(row)
    more: dict[str, Any] = {"topic": "{{.topic}}", "protocolVersion": version}
    if version == "5":
        more["properties"] = {"p": "{{.property}}"}
    async with Link(LinkSettings(server=broker.url)) as link:
        subscription = await link.subscribe([("out/#", 1)], wait=True)
        rule = await started(engine, broker.url, fields=["n", "x"], **more)
        await push(engine, rows)
        await eventually(lambda: sum(rule.metrics.dropped.values()) == 1, 20)
        await eventually(lambda: not rule.metrics.pending, 20)
        await push(engine, [{**plain, "n": 24}])
        found: list[bytes] = []
        with anyio.fail_after(10):
            while b'{"n":24,"x":""}' not in found:
                arrivals = await subscription.read()
                found += arrivals.payloads
                subscription.acknowledge(arrivals)
    assert list(dict.fromkeys(found)) == [b'{"n":%d,"x":""}' % n for n in range(25) if n != 3]
    assert rule.metrics.balance().holds


async def dying(broker: Standin, times: int) -> None:
    """Take the connection, and break it at the first message, so many times."""
    for _ in range(times):
        peer = await broker.accept()
        await peer.greet()
        await peer.expect(mqtt5.PublishPacket)
        peer.abort()


async def confirming(peer: Peer) -> list[bytes]:
    found: list[bytes] = []
    while isinstance(packet := await peer.packet(), mqtt5.PublishPacket):
        found.append(packet.payload)
        peer.send(mqtt5.PubAckPacket(packet.packet_id or 0).write())
    return found


async def all_arrive(engine: Engine, rule: Rule, peer: Peer) -> None:
    """Check that a connection gets the three messages, and that none was given up."""
    await peer.greet()
    taking = asyncio.create_task(confirming(peer))
    await eventually(lambda: not rule.metrics.pending)
    assert not rule.metrics.dropped
    await engine.stop("r")
    assert await taking == [b'{"n":0}', b'{"n":1}', b'{"n":2}']


async def test_a_broker_that_is_down_in_between_gets_all_in_the_end(engine: Engine) -> None:
    async with Standin() as broker:
        rule = await started(engine, broker.url)
        await push(engine, [{"n": n} for n in range(3)])
        for _ in range(8):
            await dying(broker, 1)
            (await broker.accept()).abort()  # it is there, but not yet ready
        await all_arrive(engine, rule, await broker.accept())


async def test_a_few_breaks_are_no_reason_to_refuse_anything(engine: Engine) -> None:
    async with Standin() as broker:
        rule = await started(engine, broker.url)
        await push(engine, [{"n": n} for n in range(3)])
        await dying(broker, 4)
        await all_arrive(engine, rule, await broker.accept())


async def test_who_shares_the_connection_loses_nothing(engine: Engine, broker: Mosquitto) -> None:
    rule = await started(engine, broker.url, protocolVersion="3.1.1")
    sink = {"server": broker.url, "topic": "out/b", "qos": 1, "protocolVersion": "3.1.1"}
    engine.define_stream("other", type="memory", datasource="other")
    other = await engine.start(
        {"id": "b", "sql": "SELECT * FROM other", "actions": [{"mqtt": sink}]}
    )
    await push(engine, [{"x": "x" * 2000}])
    pushed = 0
    while not rule.metrics.dropped:
        pushed += await engine.push("other", [{"n": pushed}])
        await anyio.sleep(0.01)
    await eventually(lambda: pushed and not other.metrics.pending)
    assert not other.metrics.dropped


async def test_a_bad_line_is_no_reason_to_refuse_anything(
    engine: Engine, broker: Mosquitto
) -> None:
    async with Relay(broker.port) as relay:
        rule = await started(engine, relay.url, protocolVersion="3.1.1")
        await push(engine, [{"n": 0}])
        await eventually(lambda: not rule.metrics.pending)
        pushed = 1
        while relay.cuts < 12:
            pushed += await engine.push("demo", [{"n": pushed}])
            await anyio.sleep(0.03)
            if pushed % 5 == 0:
                relay.cut()
        await eventually(lambda: not rule.metrics.pending)
        assert not rule.metrics.dropped
