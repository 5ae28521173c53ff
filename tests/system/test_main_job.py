"""The main job on a real Mosquitto: `python -m engine rule.yaml` and the embedded engine."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from engine import Engine
from engine.broker import free_port
from engine.mqtt import Link, LinkSettings
from tests.conftest import Rows, eventually
from tests.mosquitto import Mosquitto

CHECKOUT = Path(__file__).parent.parent.parent
RULE = """\
streams:
  demo: {{type: mqtt, datasource: "sensors/+/data", format: json, server: "{server}"{more}}}
rules:
  - id: hot
    sql: >-
      SELECT device, temperature * 1.8 + 32 AS f, meta(topic) AS topic
      FROM demo WHERE temperature > 50
    actions:
      - mqtt: {{server: "{server}", topic: "alerts/{{{{.device}}}}", sendSingle: true{more}}}
      - log: {{}}
"""


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path) as broker:
        yield broker


def start_process(path: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "engine", str(path), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=CHECKOUT,
    )


def reading(device: str, temperature: Any) -> bytes:
    return msgspec.json.encode({"device": device, "temperature": temperature})


@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_readings_become_alerts(broker: Mosquitto, tmp_path: Path, version: str) -> None:
    path = tmp_path / "rule.yaml"
    path.write_text(RULE.format(server=broker.url, more=f', protocolVersion: "{version}"'))
    process = start_process(path)
    try:
        alerts: dict[str, Any] = {}
        async with Link(LinkSettings(server=broker.url)) as link:
            subscription = await link.subscribe([("alerts/#", 0)], wait=True)
            await link.wait_connected()
            with anyio.fail_after(20):
                while len(alerts) < 2:  # until the rule has subscribed
                    await link.publish(
                        ["sensors/a/data", "sensors/b/data", "sensors/c/data"],
                        [reading("a", 60), reading("b", 20), reading("c", 51.5)],
                    )
                    with anyio.move_on_after(0.1):
                        arrivals = await subscription.read()
                        alerts |= zip(arrivals.topics, arrivals.payloads, strict=True)
        assert msgspec.json.decode(alerts["alerts/a"]) == {
            "device": "a",
            "f": 140,
            "topic": "sensors/a/data",
        }
        assert set(alerts) == {"alerts/a", "alerts/c"}
    finally:
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "sink result for rule hot: [{" in errors
    assert "dropped 0 + errors 0 + pending 0" in errors


def test_the_demo_runs_on_another_broker(broker: Mosquitto) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "engine", "demo", "--seconds", "2", "--broker", broker.url],
        capture_output=True,
        text=True,
        timeout=50,
        cwd=CHECKOUT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "alert       alerts/d" in done.stdout
    assert "+ dropped 0 + errors 0 + pending 0" in done.stderr


def test_a_qos_1_rule_confirms_what_the_broker_has_taken(broker: Mosquitto, tmp_path: Path) -> None:
    path = tmp_path / "rule.yaml"
    path.write_text(RULE.format(server=broker.url, more=", qos: 1"))
    at_broker = ["-h", "127.0.0.1", "-p", str(broker.port)]
    process = start_process(path)
    listener = subprocess.Popen(
        ["mosquitto_sub", *at_broker, "-q", "1", "-t", "alerts/#", "-C", "3", "-W", "20"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 20
        while listener.poll() is None and time.monotonic() < deadline:
            payload = '{"device": "d1", "temperature": 60}'
            publish = ["mosquitto_pub", *at_broker, "-q", "1", "-t", "sensors/d1/data"]
            subprocess.run([*publish, "-m", payload], check=True)
        assert listener.communicate()[0].count('{"device":"d1"') == 3
    finally:
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=20)
        listener.kill()
        listener.wait()
    assert "dropped 0 + errors 0 + pending 0" in errors


def test_the_mosquitto_example_works_as_its_readme_says(tmp_path: Path) -> None:
    port = free_port()
    example = CHECKOUT / "examples" / "mosquitto"
    configuration = (example / "mosquitto.conf").read_text().replace("1883", str(port))
    (tmp_path / "mosquitto.conf").write_text(configuration + "user root\n")
    binary = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
    environment = {**os.environ, "BROKER": f"tcp://127.0.0.1:{port}"}
    processes = [subprocess.Popen([binary, "-c", str(tmp_path / "mosquitto.conf")])]
    try:
        at_broker = ["-h", "127.0.0.1", "-p", str(port)]
        engine = subprocess.Popen(
            [sys.executable, "-m", "engine", str(example / "rule.yaml")],
            cwd=CHECKOUT,
            env=environment,
        )
        processes.append(engine)
        time.sleep(0.2)  # mosquitto_sub gives up when the broker isn't there yet
        listener = subprocess.Popen(
            ["mosquitto_sub", *at_broker, "-t", "alerts/#", "-v", "-C", "1", "-W", "20"],
            stdout=subprocess.PIPE,
            text=True,
        )
        processes.append(listener)
        deadline = time.monotonic() + 20
        while listener.poll() is None and time.monotonic() < deadline:
            payload = '{"device": "d1", "temperature": 60}'
            publish = ["mosquitto_pub", *at_broker, "-t", "sensors/d1/data", "-m", payload]
            subprocess.run(publish, check=False)
        assert listener.communicate()[0] == (
            'alerts/d1 {"device":"d1","f":140,"topic":"sensors/d1/data"}\n'
        )
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(20)


async def start_hot(engine: Engine, server: str, sink: dict[str, Any], **source: Any) -> Any:
    engine.define_stream(
        "sensors", type="mqtt", datasource="sensors/+/data", format="json", server=server, **source
    )
    return await engine.start(
        {"id": "r", "sql": "SELECT device, temperature AS t FROM sensors", "actions": [sink]}
    )


async def test_a_broker_that_is_down_at_start_is_waited_for(
    engine: Engine, collected: Rows, tmp_path: Path
) -> None:
    port = free_port()
    rule = await start_hot(engine, f"tcp://127.0.0.1:{port}", {"collect": {}})
    await eventually(lambda: rule.status.state == "connecting" and rule.status.message)
    assert "source[sensors]" in rule.status.message
    with Mosquitto(tmp_path, port=port):
        await eventually(lambda: rule.status.state == "running", seconds=20)
        async with Link(LinkSettings(server=f"tcp://127.0.0.1:{port}")) as link:
            await link.wait_connected()
            while not collected:
                await link.publish("sensors/a/data", [reading("a", 1)])
                await anyio.sleep(0.01)
    assert collected[0] == {"device": "a", "t": 1}


async def test_a_broker_killed_and_restarted_is_found_again(
    engine: Engine, collected: Rows, broker: Mosquitto
) -> None:
    rule = await start_hot(engine, broker.url, {"collect": {}})
    for number in range(3):
        async with Link(LinkSettings(server=broker.url)) as link:
            await link.wait_connected()
            with anyio.fail_after(20):
                while {"device": "a", "t": number} not in collected:
                    await link.publish("sensors/a/data", [reading("a", number)])
                    await anyio.sleep(0.01)
        broker.restart()
    assert rule.metrics.balance().holds


async def test_unacknowledged_messages_come_again_after_a_crash(
    broker: Mosquitto, tmp_path: Path
) -> None:
    """Kill before ack: what no sink had confirmed is delivered to the next process."""
    more = (
        ", qos: 1, clientid: durable, enableClientSession: true, sessionExpiryIntervalSeconds: 600"
    )
    path = tmp_path / "rule.yaml"
    rule = RULE.format(server=broker.url, more="").replace("- mqtt:", "- stuck: {} #")
    rule = rule.replace(f'server: "{broker.url}"}}', f'server: "{broker.url}"{more}}}')
    path.write_text(rule)
    folder = tmp_path / "plugins" / "sinks"
    folder.mkdir(parents=True)
    (folder / "stuck.py").write_text(
        "import pathlib, anyio\n"
        "from engine.api import Config, Sink\n"
        "class Stuck(Sink[Config]):\n"
        "    async def collect(self, batch):\n"
        f"        pathlib.Path({str(tmp_path / 'seen')!r}).touch()\n"
        "        await anyio.sleep_forever()\n"
    )
    process = start_process(path, "--root", str(tmp_path))
    async with Link(LinkSettings(server=broker.url)) as link:
        await link.wait_connected()
        with anyio.fail_after(20):
            while not (tmp_path / "seen").exists():
                await link.publish("sensors/a/data", [reading("a", 60)], qos=1)
                await anyio.sleep(0.02)
        process.kill()
        process.communicate()
        path.write_text(rule.replace("- stuck: {} #", "- print: {sendSingle: true} #"))
        again = start_process(path, "--root", str(tmp_path), "--limit", "1", "--log-level", "error")
        output, _ = await anyio.to_thread.run_sync(again.communicate)
    assert output == '{"device":"a","f":140,"topic":"sensors/a/data"}\n'


async def test_refused_credentials_are_reported(
    engine: Engine, collected: Rows, tmp_path: Path
) -> None:
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", passwords, "me", "right"], check=True)
    options = f"password_file {passwords}"
    with Mosquitto(tmp_path, "allow_anonymous false\n", options=options) as broker:
        login = {"username": "me", "password": "wrong"}
        rule = await start_hot(engine, broker.url, {"collect": {}}, **login)
        await eventually(lambda: "not authorised" in rule.status.message)
        assert rule.status.state == "connecting"
        assert "wrong" not in rule.status.message


BAD_PAYLOADS = {
    "malformed JSON": b'{"device": "a", "temp',
    "the payload is not UTF-8 text": b'{"device": "\xff\xfe", "temperature": 60}',
    "empty payload": b"",
    "the payload is neither a JSON object nor an array of objects": b"[1, 2]",
}


async def test_bad_payloads_are_counted_and_good_ones_go_on(
    engine: Engine, collected: Rows, broker: Mosquitto
) -> None:
    rule = await start_hot(engine, broker.url, {"collect": {}})
    big = reading("a" * 10_000_000, 1)
    async with Link(LinkSettings(server=broker.url)) as link:
        await link.wait_connected()
        with anyio.fail_after(30):
            while not collected:
                await link.publish("sensors/a/data", [reading("first", 0)])
                await anyio.sleep(0.01)
            payloads = [*BAD_PAYLOADS.values(), big, reading("last", 2)]
            await link.publish("sensors/a/data", payloads)
            await eventually(lambda: collected[-1]["device"] == "last")
    assert len(collected[-2]["device"]) == 10_000_000
    assert {reason for _, reason in rule.metrics.errors} == set(BAD_PAYLOADS)
    await engine.stop("r")
    assert rule.metrics.balance().holds


async def test_source_and_sink_of_a_broker_share_one_connection(
    engine: Engine, broker: Mosquitto, tmp_path: Path
) -> None:
    sink = {"mqtt": {"server": broker.url, "topic": "out"}}
    rule = await start_hot(engine, broker.url, sink)
    await eventually(lambda: rule.status.state == "running" and len(rule.status.connections) == 2)
    log = next(tmp_path.glob("mosquitto-*.log"))
    await eventually(lambda: "SUBACK" in log.read_text())
    assert log.read_text().count("New client connected") == 1
