"""Named connections: what is known of them, with users and without."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from engine.broker import free_port
from tests.mosquitto import Mosquitto
from tests.server.support import Running, Start, rule


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path) as broker:
        yield broker


async def until(server: Running, name: str, status: str) -> Any:
    """Return how a connection is doing once it is as expected."""
    with anyio.fail_after(20):
        while (found := await server.json("GET", f"/connections/{name}/status"))[
            "status"
        ] != status:
            await anyio.sleep(0.01)
    return found


async def define(running: Running, name: str, kind: str = "mqtt", /, **props: Any) -> None:
    await running.json("POST", "/connections", {"id": name, "typ": kind, "props": props})


async def test_connections_that_nobody_uses_are_checked(start: Start, broker: Mosquitto) -> None:
    async with start(check_connections=0.05) as server:
        await define(server, "there", server=broker.url, clientid="me", enableClientSession=True)
        await define(server, "away", server=f"tcp://127.0.0.1:{free_port()}")
        there, away = (
            await until(server, "there", "connected"),
            await until(server, "away", "disconnected"),
        )
        assert (there["err"], there["lastConnected"]) == ("", there["since"])
        assert away["err"] == away["lastError"]
        assert "127.0.0.1" in away["err"]
        assert away["lastConnected"] == 0
        broker.stop()
        lost = await until(server, "there", "disconnected")
        assert lost["since"] > lost["lastConnected"] >= there["since"]
        broker.start()
        back = await until(server, "there", "connected")
        assert back["since"] >= lost["since"]
        assert back["lastError"] == lost["err"]
        (shown,) = (
            each for each in await server.json("GET", "/connections") if each["id"] == "there"
        )
        assert (shown["status"], shown["err"], shown["refCount"]) == ("connected", "", 0)
        metrics = (await server.client.get("/metrics")).text
        assert 'kuiper_conn_status_gauge{connection="away",type="mqtt"} -1' in metrics
        assert 'kuiper_conn_status_gauge{connection="there",type="mqtt"} 1' in metrics


async def test_a_new_connection_is_checked_at_once(start: Start) -> None:
    async with start(check_connections=3600) as server:
        for number in range(2):
            await define(server, f"c{number}", server=f"tcp://127.0.0.1:{free_port()}")
            await until(server, f"c{number}", "disconnected")


async def test_a_connection_is_checked_when_somebody_asks(
    start: Start, broker: Mosquitto, tmp_path: Path
) -> None:
    async with start(check_connections=0) as server:
        await define(server, "con", server=broker.url)
        assert (await server.json("GET", "/connections/con"))["status"] == "connecting"
        assert (await server.json("POST", "/connections/con/check"))["status"] == "connected"
        away = f"tcp://127.0.0.1:{free_port()}"
        body = {"id": "con", "typ": "mqtt", "props": {"server": away}}
        await server.json("PUT", "/connections/con", body)
        assert (await server.json("GET", "/connections/con"))["status"] == "connecting"
        assert (await server.json("POST", "/connections/con/check"))["status"] == "disconnected"
        for path in ("/connections/nosuch/check", "/connections/nosuch/status"):
            method = "POST" if path.endswith("check") else "GET"
            assert (await server.refused(method, path))[0] == 404
        with sqlite3.connect(tmp_path / "data" / "names.db") as database:
            database.execute("CREATE TABLE names (id INTEGER, name TEXT)")
        database.close()
        await define(server, "base", "sql", dburl="sqlite://data/names.db", datasource="names")
        assert (await server.json("POST", "/connections/base/check"))["status"] == "connected"
        await define(server, "odd", "mqtt", sever=broker.url)
        odd = await server.json("POST", "/connections/odd/check")
        assert "did you mean" in odd["err"] or "sever" in odd["err"]
        await define(server, "unknown", "nosuch")
        assert "nosuch" in (await server.json("POST", "/connections/unknown/check"))["err"]


async def test_a_connection_changes_only_if_nobody_else_has_changed_it(start: Start) -> None:
    async with start(check_connections=0) as server:
        await define(server, "plant", server="tcp://127.0.0.1:1")
        path, body = "/connections/plant", {"typ": "mqtt", "props": {"server": "tcp://127.0.0.1:2"}}
        seen = {"If-Match": (await server.client.get(path)).headers["etag"]}
        await server.json("PUT", path, body, headers=seen)
        for method, given in (("PUT", body), ("DELETE", None)):
            assert (await server.refused(method, path, given, headers=seen))[0] == 412
        now = {"If-Match": (await server.client.get(path)).headers["etag"]}
        await server.json("DELETE", path, headers=now)


async def test_a_broken_file_of_connections_is_no_end(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "etc" / "connections" / "connection.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("mqtt: 5\n")
    async with start(check_connections=0.02) as server:
        status, _, message = await server.refused("GET", "/connections")
        assert (status, "connection.yaml" in message) == (400, True)
        assert (await server.client.get("/metrics")).is_success
        file.write_text(f"mqtt: {{plant: {{server: 'tcp://127.0.0.1:{free_port()}'}}}}\n")
        await until(server, "plant", "disconnected")
        assert (await server.refused("DELETE", "/connections/plant"))[0] == 404


async def test_rules_speak_for_the_connections_that_they_use(
    start: Start, broker: Mosquitto
) -> None:
    async with start(check_connections=0) as server:
        await define(server, "con", server=broker.url, password="hush")
        section = {"connectionSelector": "con"}
        await server.json("PUT", "/metadata/sources/mqtt/confKeys/mine", section)
        await server.stream(
            'CREATE STREAM s () WITH (TYPE="mqtt", DATASOURCE="a", CONF_KEY="mine")'
        )
        action = {"mqtt": {"topic": "t", "server": broker.url, "qos": 1}}
        await server.json("POST", "/rules", {**rule("a", "SELECT * FROM s"), "actions": [action]})
        await until(server, "con", "connected")
        assert (await server.json("GET", "/connections/con"))["refCount"] == 1
        named, anonymous = await server.json("GET", "/connections?forceAll=true")
        assert (named["id"], named["isNamed"]) == ("con", True)
        assert (anonymous["id"], anonymous["isNamed"]) == ("a/sink[mqtt_0]", False)
        assert (anonymous["typ"], anonymous["props"]["topic"]) == ("mqtt", "t")
        broker.kill()
        lost = await until(server, "con", "disconnected")
        assert lost["err"]
        assert (await server.json("POST", "/connections/con/check"))["status"] == "disconnected"
        await server.json("POST", "/rules/a/stop")
        with anyio.fail_after(10):
            while await server.state("a") != "stopped":
                await anyio.sleep(0.01)
        assert [each["id"] for each in await server.json("GET", "/connections?forceAll=1")] == [
            "con"
        ]


async def test_a_broker_and_a_table_can_be_tried(
    start: Start, broker: Mosquitto, tmp_path: Path
) -> None:
    async with start() as server:
        for role in ("sources", "sinks"):
            props = (
                {"server": broker.url, "topic": "t"} if role == "sinks" else {"server": broker.url}
            )
            assert (
                await server.json("POST", f"/metadata/{role}/connection/mqtt", props) == "success"
            )
        table = {"dburl": "sqlite://nowhere/x.db", "datasource": "names"}
        assert (await server.refused("POST", "/metadata/lookups/connection/sql", table))[0] == 400
        assert (await server.refused("POST", "/metadata/others/connection/sql", table))[0] == 404


async def test_a_connection_may_be_chosen_for_all_sinks_of_a_type(start: Start) -> None:
    async with start(check_connections=0) as server:
        await define(server, "con", server=f"tcp://127.0.0.1:{free_port()}")
        section = {"connectionSelector": "con"}
        await server.json("PUT", "/metadata/sinks/mqtt/confKeys/default", section)
        await server.stream()
        await server.json("POST", "/rules", {**rule("a"), "actions": [{"mqtt": {"topic": "t"}}]})
        assert (await server.json("GET", "/connections/con"))["refCount"] == 1
        assert (await server.refused("DELETE", "/connections/con"))[0] == 400
        own = {"mqtt": {"topic": "t", "connectionSelector": "other"}}
        await define(server, "other", server=f"tcp://127.0.0.1:{free_port()}")
        await server.json("PUT", "/rules/a", {**rule("a"), "actions": [own]})
        assert await server.json("DELETE", "/connections/con") == "success"
