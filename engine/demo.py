"""The main job on one screen: a fleet publishes, a rule filters and converts, alerts come back."""

from __future__ import annotations

import contextlib
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import msgspec

from engine.broker import embedded_broker
from engine.command import print_account
from engine.engine import Engine
from engine.mqtt import Link, LinkSettings

_INTERVAL = 0.5  # seconds between the readings of a device
_SQL = (
    "SELECT device, round(temperature * 1.8 + 32, 1) AS fahrenheit, meta(topic) AS topic "
    "FROM demo WHERE temperature > 50"
)


async def run_demo(seconds: float, broker: str, devices: int) -> bool:
    """Run the demo for some seconds; return whether it failed.

    Raises:
        EngineError: the embedded broker can't be started, or the address of another is malformed.
    """
    with _broker(broker) as server:
        _say(f"broker      {server}")
        _say(f"rule        {_SQL}")
        _say(f"fleet       {devices} devices publish to sensors/<device>/data\n")
        async with Engine(Path.cwd()) as engine, Link(LinkSettings(server=server)) as link:
            engine.define_stream(
                "demo", type="mqtt", datasource="sensors/+/data", format="json", server=server
            )
            rule = await engine.start(_rule(server))
            received = await _watch_alerts(link, seconds, devices)
            await engine.stop(rule.id)
    _say(f"\n{received} alerts came back over MQTT")
    print_account(rule)
    if not received:
        _say("no alert came back; is the broker reachable? " + (rule.status.message or ""))
    return not received or rule.status.state.is_failure


def _rule(server: str) -> dict[str, Any]:
    return {
        "id": "hot",
        "sql": _SQL,
        "actions": [
            {"mqtt": {"server": server, "topic": "alerts/{{.device}}", "sendSingle": True}},
            {"log": {"sendSingle": True}},
        ],
    }


async def _watch_alerts(link: Link, seconds: float, devices: int) -> int:
    """Let the fleet publish and show what comes back; return how many alerts did."""
    received = 0
    subscription = await link.subscribe([("alerts/#", 0)])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_publish, link, devices)
        with anyio.move_on_after(seconds):
            while True:
                arrivals = await subscription.read()
                for topic, payload in zip(arrivals.topics, arrivals.payloads, strict=True):
                    received += 1
                    _say(f"alert       {topic:<18} {payload.decode()}")
        tasks.cancel_scope.cancel()
    return received


async def _publish(link: Link, devices: int) -> None:
    """Simulate the fleet: temperatures that wander between 30 and 80 °C."""
    # the first one is hot, so that there is an alert at once, however short the demo is
    temperatures = [60 - 20 * number / devices for number in range(devices)]
    await link.wait_connected()
    while True:
        topics: list[str] = []
        payloads: list[bytes] = []
        for number, temperature in enumerate(temperatures):
            temperatures[number] = min(80.0, max(30.0, temperature + random.uniform(-4, 4)))
            reading = {"device": f"d{number + 1}", "temperature": round(temperatures[number], 1)}
            topics.append(f"sensors/d{number + 1}/data")
            payloads.append(msgspec.json.encode(reading))
        await link.publish(topics, payloads)
        await anyio.sleep(_INTERVAL)


@contextlib.contextmanager
def _broker(address: str) -> Iterator[str]:
    if address:
        yield address
        return
    with embedded_broker() as server:
        yield server


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
