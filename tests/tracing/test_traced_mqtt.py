"""Trace contexts cross a real broker in the user properties of MQTT 5."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine import Engine
from engine.mqtt import Link, LinkSettings, Subscription
from tests.conftest import eventually
from tests.mosquitto import Mosquitto
from tests.tracing.support import SAMPLED, SPAN, TRACE, names, rule, spans, trees


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path) as broker:
        yield broker


async def read(subscription: Subscription, count: int) -> dict[bytes, dict[str, str]]:
    """Return the user properties of messages by payload."""
    found: dict[bytes, dict[str, str]] = {}
    async with asyncio.timeout(10):
        while len(found) < count:
            arrivals = await subscription.read()
            properties = arrivals.properties or [None] * len(arrivals)
            for payload, own in zip(arrivals.payloads, properties, strict=True):
                found[payload] = dict(own or {})
    return found


@pytest.mark.parametrize("properties", [{}, {"n": "{{.n}}"}, {"site": "north"}])
async def test_a_message_goes_on_with_its_trace(
    engine: Engine, broker: Mosquitto, properties: dict[str, str]
) -> None:
    server = {"server": broker.url}
    engine.define_stream("raw", type="mqtt", datasource="in", **server)
    action = {"topic": "out", "sendSingle": True, "properties": properties, **server}
    await engine.start(rule("SELECT n FROM raw", {"mqtt": action}, trace={"strategy": "head"}))
    await eventually(lambda: engine.rules["r"].status.state == "running")
    async with Link(LinkSettings(server=broker.url)) as link:
        out = await link.subscribe([("out", 0)], wait=True)
        await link.publish(
            "in",
            [b'{"n":1}', b'{"n":2}', b'{"n":3}'],
            user_properties=[None, {"traceparent": SAMPLED, "who": "me"}, None],
        )
        found = await read(out, 3)
    await eventually(lambda: trees(engine) and "mqtt_0" in names(trees(engine)[0]))
    (tree,) = trees(engine)
    assert (tree["TraceID"], tree["ParentSpanID"]) == (TRACE, SPAN)
    sent = list(spans(tree))[-1]
    common = {key: value.replace("{{.n}}", "2") for key, value in properties.items()}
    version, trace_id, span_id, flags = found[b'{"n":2}'].pop("traceparent").split("-")
    assert (version, trace_id, span_id, flags) == ("00", TRACE, sent["SpanID"], "01")
    assert found[b'{"n":2}'] == common
    assert all("traceparent" not in own for own in found.values())
    assert {*map(len, found.values())} == {len(properties)}


async def test_a_query_can_read_the_trace_context(engine: Engine, broker: Mosquitto) -> None:
    engine.define_stream("raw", type="mqtt", datasource="in", server=broker.url)
    rows = engine.query("SELECT n, meta(traceparent) AS t FROM raw")
    first = asyncio.ensure_future(anext(rows))
    await eventually(lambda: [r for r in engine.rules.values() if r.status.state == "running"])
    async with Link(LinkSettings(server=broker.url)) as link:
        await link.wait_connected()
        while not first.done():
            await link.publish("in", [b'{"n":1}'], user_properties={"traceparent": SAMPLED})
            await asyncio.sleep(0.01)
    assert await first == {"n": 1, "t": SAMPLED}
    await rows.aclose()
