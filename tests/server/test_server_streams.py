"""Streams and tables over HTTP: the shapes that eKuiper's clients know."""

from __future__ import annotations

import json

import pytest

from tests.server.support import DEMO, Running, Start, rule

TYPED = (
    "CREATE STREAM typed (n BIGINT, tags ARRAY(STRING), at STRUCT(x FLOAT, deep ARRAY(STRUCT("
    'y BOOLEAN)))) WITH (DATASOURCE="t/1", TYPE="mqtt", FORMAT="JSON", SHARED="true")'
)


async def test_a_stream_lives_from_its_creation_to_its_deletion(server: Running) -> None:
    created = await server.client.post("/streams", json={"sql": DEMO})
    assert (created.status_code, created.text) == (201, "Stream demo is created.")
    assert await server.json("GET", "/streams") == ["demo"]
    assert await server.json("GET", "/streamdetails") == [
        {"name": "demo", "type": "memory", "format": "json"}
    ]
    assert await server.json("DELETE", "/streams/demo") == "Stream demo is dropped."
    assert await server.json("GET", "/streams") == []
    assert (await server.refused("GET", "/streams/demo"))[:2] == (404, 1002)


async def test_a_definition_has_the_shape_of_the_reference(server: Running) -> None:
    await server.stream(TYPED)
    boolean = {"Type": "struct", "Fields": [{"Name": "y", "FieldType": "boolean"}]}
    inner = [
        {"Name": "x", "FieldType": "float"},
        {"Name": "deep", "FieldType": {"Type": "array", "ElementType": boolean}},
    ]
    assert await server.json("GET", "/streams/typed") == {
        "Name": "typed",
        "StreamFields": [
            {"Name": "n", "FieldType": "bigint"},
            {"Name": "tags", "FieldType": {"Type": "array", "ElementType": "string"}},
            {"Name": "at", "FieldType": {"Type": "struct", "Fields": inner}},
        ],
        "Options": {"datasource": "t/1", "format": "JSON", "type": "mqtt", "shared": True},
        "StreamType": 0,
    }
    schema = await server.json("GET", "/streams/typed/schema")
    assert schema["n"] == {"type": "bigint"}
    assert schema["tags"] == {"type": "array", "items": {"type": "string"}}
    assert schema["at"]["properties"]["x"] == {"type": "float"}


async def test_tables_are_apart_from_streams_and_can_be_listed_by_kind(server: Running) -> None:
    lookup = 'CREATE TABLE zones () WITH (TYPE="memory", DATASOURCE="z", KIND="lookup", KEY="id")'
    scan = 'CREATE TABLE names (id BIGINT) WITH (TYPE="memory", DATASOURCE="n")'
    for sql in (lookup, scan):
        await server.json("POST", "/tables", {"sql": sql})
    assert await server.json("GET", "/tables") == ["names", "zones"]
    assert await server.json("GET", "/tables?kind=lookup") == ["zones"]
    assert [d["name"] for d in await server.json("GET", "/tabledetails?kind=scan")] == ["names"]
    assert (await server.json("GET", "/tables/zones"))["StreamType"] == 1
    assert (await server.refused("GET", "/streams/zones"))[0] == 404
    assert (await server.refused("POST", "/streams", {"sql": scan}))[0] == 400


async def test_mistakes_are_told_with_their_place_and_change_nothing(server: Running) -> None:
    status, code, message = await server.refused("POST", "/streams", {"sql": "CREATE STREM x"})
    assert (status, code) == (400, 2001)
    assert "1:8" in message
    await server.stream()
    assert (await server.refused("POST", "/streams", {"sql": DEMO}))[:2] == (400, 3000)
    assert (await server.refused("PUT", "/streams/other", {"sql": DEMO}))[0] == 400
    for body in (None, [], {}, {"sql": 5}):
        assert (await server.refused("POST", "/streams", body))[:2] == (400, 1004)
    assert await server.json("GET", "/streams") == ["demo"]


async def test_a_stream_that_a_rule_reads_can_only_be_dropped_by_force(server: Running) -> None:
    await server.stream()
    await server.json("POST", "/rules", rule("reader", triggered=False))
    status, _, message = await server.refused("DELETE", "/streams/demo")
    assert status == 400
    assert "reader" in message
    await server.json("DELETE", "/streams/demo?force=true")
    assert await server.json("GET", "/streams") == []


async def test_an_update_needs_a_greater_version(server: Running) -> None:
    def versioned(version: str) -> dict[str, str]:
        return {"sql": DEMO.replace("FORMAT", f'VERSION="{version}", FORMAT')}

    await server.json("POST", "/streams", versioned("2"))
    assert (await server.refused("PUT", "/streams/demo", versioned("2")))[0] == 400
    await server.json("PUT", "/streams/demo", versioned("3"))
    assert (await server.json("GET", "/streams/demo"))["Options"]["version"] == "3"


async def test_an_update_can_be_bound_to_what_the_client_has_seen(server: Running) -> None:
    await server.stream()
    seen = (await server.client.get("/streams/demo")).headers["etag"]
    again = await server.client.get("/streams/demo", headers={"If-None-Match": seen})
    assert again.status_code == 304
    changed = {"sql": DEMO.replace("FORMAT", 'KEY="id", FORMAT')}
    old = {"If-Match": seen}
    await server.json("PUT", "/streams/demo", changed, headers=old)
    assert (await server.refused("PUT", "/streams/demo", {"sql": DEMO}, headers=old))[0] == 412
    assert (await server.refused("DELETE", "/streams/demo", headers=old))[0] == 412
    taken = {"If-None-Match": "*"}
    assert (await server.refused("PUT", "/streams/demo", {"sql": DEMO}, headers=taken))[0] == 412


async def test_secrets_of_a_stream_are_not_shown(server: Running) -> None:
    await server.stream(
        'CREATE STREAM s () WITH (TYPE="mqtt", DATASOURCE="a", '
        'EXTRA="{\\"password\\": \\"hush\\", \\"username\\": \\"me\\"}")'
    )
    exports = [("GET", "/data/export"), ("GET", "/v2/data/export"), ("POST", "/ruleset/export")]
    for method, path in [("GET", "/streams/s"), *exports]:
        answer = await server.client.request(method, path)
        assert answer.is_success
        assert "hush" not in answer.text
        assert "***" in answer.text
        assert "me" in answer.text


async def test_streams_and_tables_survive_a_restart(start: Start) -> None:
    async with start() as first:
        await first.stream()
        await first.stream(TYPED)
        await first.json("DELETE", "/streams/demo")
        temporary = DEMO.replace("demo", "gone", 1).replace("FORMAT", 'TEMP="true", FORMAT')
        await first.stream(temporary)
        shown = await first.json("GET", "/streams/typed")
    async with start() as second:
        assert await second.json("GET", "/streams") == ["typed"]
        assert await second.json("GET", "/streams/typed") == shown


async def test_secrets_in_a_malformed_statement_are_not_shown(
    server: Running, caplog: pytest.LogCaptureFixture
) -> None:
    sql = (
        'CREATE STREAM s (a bigint) WITH (TYPE="mqtt", PASSWORD="hush1", '
        'SERVER="tcp://u:hush2@h:1")'
    )
    _, code, message = await server.refused("POST", "/streams", {"sql": sql})
    assert code == 2001
    _, excerpt, caret, *_ = message.splitlines()
    assert excerpt[caret.index("^") :].startswith('PASSWORD="*****", SERVER="tcp://u:*****@')
    content = json.dumps({"streams": {"s": sql}})
    answer = await server.client.post("/data/import", json={"content": content})
    status = await server.client.get("/data/import/status")
    for text in (message, answer.text, status.text, caplog.text):
        assert "no option PASSWORD" in text
        assert "hush" not in text
