"""Exports: all of what is defined, uploads too, as JSON and as YAML; or some rules' share of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.server.support import DEMO, Running, Start, rule

BOOK = 'syntax = "proto3"; message Book { string title = 1; }'
BOOKS = (
    'CREATE STREAM books () WITH (TYPE="mqtt", DATASOURCE="b", FORMAT="protobuf", '
    'SCHEMAID="books.Book", CONF_KEY="mine", EXTRA="{\\"password\\": \\"hush\\"}")'
)
SCRIPT = "function {}(x) {{ return x; }}"
BINARY = b"\x00\xff\r\n"
NAMES = {
    "streams": {"books", "demo"},
    "rules": {"plain", "wide"},
    "sourceConfig": {"mqtt"},
    "sinkConfig": {"mqtt"},
    "connectionConfig": {"mqtt"},
    "Service": {"asking", "other"},
    "Schema": {"protobuf_books", "protobuf_other"},
    "uploads": {"bin.dat", "note.txt"},
    "scripts": {"keep", "spare"},
}


@pytest.fixture
async def known(start: Start) -> AsyncIterator[Running]:
    """A server with two of everything, called by a known administrator."""
    async with start(authentication=True) as server:
        token = await server.service.credentials.create("me", "admin")
        server.client.headers["Authorization"] = token
        await _define(server)
        yield server


async def _define(server: Running) -> None:
    for kind in ("sources", "sinks"):
        for key in ("mine", "spare"):
            section = {"password": "hush", "connectionSelector": f"{kind}-{key}"}
            await server.json("PUT", f"/metadata/{kind}/mqtt/confKeys/{key}", section)
            connection = {"server": "tcp://127.0.0.1:1", "password": "hush"}
            body = {"id": f"{kind}-{key}", "typ": "mqtt", "props": connection}
            await server.json("POST", "/connections", body)
    for name in ("books", "other"):
        await server.json("POST", "/schemas/protobuf", {"name": name, "content": BOOK})
    for name, script in (("asking", "keep"), ("other", "spare")):
        interface = {
            "address": "http://127.0.0.1:1",
            "protocol": "rest",
            "schemaless": True,
            "options": {"headers": {"Authorization": "hush"}},
        }
        content = json.dumps({"interfaces": {name: interface}})
        await server.json("POST", "/services", {"name": name, "content": content})
        body = {"id": script, "script": SCRIPT.format(script)}
        await server.json("POST", "/udf/javascript", body)
    await server.stream(BOOKS)
    await server.stream(DEMO)
    action = {"mqtt": {"topic": "t", "resourceId": "mine", "password": "hush"}}
    sql = "SELECT keep(title) AS t, asking('get', '/') AS a FROM books"
    wide = {**rule("wide", sql, triggered=False), "actions": [action]}
    await server.json("POST", "/rules", wide)
    await server.json("POST", "/rules", rule("plain", triggered=False))
    await server.json("POST", "/config/uploads", {"name": "note.txt", "content": "hush"})
    files = {"uploadFile": ("bin.dat", BINARY)}
    assert (await server.client.post("/config/uploads", files=files)).is_success


def _names(found: dict[str, dict[str, Any]]) -> dict[str, set[str]]:
    return {section: set(entries) for section, entries in found.items() if entries}


async def _uploads(server: Running) -> dict[str, bytes]:
    paths = [Path(path) for path in await server.json("GET", "/config/uploads")]
    return {path.name: path.read_bytes() for path in paths}


@pytest.mark.parametrize("version", ["", "/v2"])
async def test_an_export_with_secrets_brings_everything_back(known: Running, version: str) -> None:
    before = (await known.client.get("/data/export?secrets=1")).json()
    assert _names(before) == NAMES
    exported = (await known.client.get(f"{version}/data/export?secrets=1")).text
    await known.json("POST", "/data/import", {"content": "{}"})
    assert _names((await known.client.get("/data/export")).json()) == {}
    assert await _uploads(known) == {}
    await known.json("POST", f"{version}/data/import", {"content": exported})
    assert _names(before) == _names((await known.client.get("/data/export")).json())
    assert (await known.client.get("/data/export?secrets=1")).json() == before
    assert await _uploads(known) == {"note.txt": b"hush", "bin.dat": BINARY}


async def test_an_export_without_secrets_keeps_the_content_of_uploads_to_itself(
    known: Running,
) -> None:
    exported = (await known.client.get("/data/export")).json()
    assert _names(exported) == NAMES
    assert "hush" not in json.dumps(exported)
    del exported["uploads"]["bin.dat"]
    await known.json("POST", "/data/import", {"content": json.dumps(exported)})
    assert await _uploads(known) == {"note.txt": b"hush"}
    await known.json("DELETE", "/config/uploads/note.txt")
    answer = await known.client.post("/data/import", json={"content": json.dumps(exported)})
    assert answer.status_code == 400
    assert "?secrets=1" in answer.json()["ConfigResponse"]["uploads"]["note.txt"]


@pytest.mark.parametrize("version", ["", "/v2"])
@pytest.mark.parametrize("query", ["", "?partial=1"])
async def test_an_export_without_secrets_keeps_those_that_are_here(
    known: Running, version: str, query: str
) -> None:
    before = (await known.client.get("/data/export?secrets=1")).json()
    exported = (await known.client.get(f"{version}/data/export")).text
    assert "hush" not in exported
    answer = await known.client.post(f"{version}/data/import{query}", json={"content": exported})
    failed = {key for key, found in answer.json()["ConfigResponse"].items() if found}
    assert failed == ({"connectionConfig"} if query else set())  # a rule uses them
    after = (await known.client.get("/data/export?secrets=1")).json()
    for section in ("sourceConfig", "sinkConfig", "connectionConfig", "streams", "Service"):
        assert "hush" in str(after[section])
        assert after[section] == before[section]
    assert json.loads(after["rules"]["wide"]) == json.loads(before["rules"]["wide"])


async def test_some_rules_are_exported_with_what_they_need(known: Running) -> None:
    wide = (await known.client.post("/data/export", json=["wide"])).json()
    assert _names(wide) == {
        "streams": {"books"},
        "rules": {"wide"},
        "sourceConfig": {"mqtt"},
        "sinkConfig": {"mqtt"},
        "connectionConfig": {"mqtt"},
        "Service": {"asking"},
        "Schema": {"protobuf_books"},
        "scripts": {"keep"},
    }
    for section in ("sourceConfig", "sinkConfig"):
        assert set(json.loads(wide[section]["mqtt"])) == {"mine"}
    connections = set(json.loads(wide["connectionConfig"]["mqtt"]))
    assert connections == {"sources-mine", "sinks-mine"}
    plain = (await known.client.post("/data/export", json=["plain"])).json()
    assert _names(plain) == {"streams": {"demo"}, "rules": {"plain"}}
    assert (await known.refused("POST", "/data/export", ["none"]))[0] == 404
