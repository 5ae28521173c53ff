"""Sections, connections, import and export, metadata."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest

from tests.server.support import DEMO, Running, Start, rule

EXPORTED = {
    "streams": {"demo": DEMO},
    "tables": {"names": 'CREATE TABLE names (id BIGINT) WITH (TYPE="memory", DATASOURCE="n")'},
    "rules": {
        "rule1": json.dumps(rule("rule1")),
        "rule2": json.dumps(rule("rule2", "SELECT * FROM nowhere")),
    },
    "nativePlugins": {"functions_image": '{"name":"image","file":"https://x.example/a.zip"}'},
    "portablePlugins": {},
    "sourceConfig": {"mqtt": '{"td":{"qos":1,"password":"public"}}'},
    "sinkConfig": {},
    "connectionConfig": {"mqtt": '{"con1":{"server":"tcp://127.0.0.1:1","password":"hush"}}'},
    "Service": {},
    "Schema": {},
    "uploads": {},
    "scripts": {},
}


async def test_sections_are_kept_used_and_shown_without_secrets(start: Start) -> None:
    async with start() as server:
        path = "/metadata/sources/mqtt/confKeys/mine"
        await server.json("PUT", path, {"mine": {"qos": 1, "password": "hush"}})
        shown = await server.json("GET", "/metadata/sources/yaml/mqtt")
        assert shown["mine"] == {"qos": 1, "password": "***"}
        await server.json("PUT", path, {**shown["mine"], "qos": 2})
    async with start() as server:
        kept = server.service.engine.properties.sections("sources", "mqtt")["mine"]  # type: ignore[arg-type]
        assert kept == {"qos": 2, "password": "hush"}
        await server.json("PUT", "/metadata/sinks/mqtt/confKeys/out", {"topic": "t"})
        assert await server.json("GET", "/metadata/resources") == {"mqtt": ["out"]}
        await server.json("DELETE", path)
        assert "mine" not in await server.json("GET", "/metadata/sources/yaml/mqtt")
        assert (await server.refused("DELETE", path))[0] == 404


async def test_a_connection_is_counted_while_it_is_used(server: Running) -> None:
    await server.stream()
    body = {"id": "con", "typ": "mqtt", "props": {"server": "tcp://127.0.0.1:1", "password": "p"}}
    answer = await server.client.post("/connections", json=body)
    assert answer.status_code == 201
    action = {"mqtt": {"connectionSelector": "con", "topic": "t"}}
    await server.json("POST", "/rules", {**rule("a"), "actions": [action]})
    with anyio.fail_after(10):
        while (await server.json("GET", "/connections/con"))["status"] != "disconnected":
            await anyio.sleep(0.01)
    (found,) = await server.json("GET", "/connections")
    assert found["props"] == {"server": "tcp://127.0.0.1:1", "password": "***"}
    assert (found["refCount"], found["isNamed"]) == (1, True)
    assert found["err"]
    assert (await server.refused("DELETE", "/connections/con"))[0] == 400
    assert (await server.refused("PUT", "/connections/con", body))[0] == 400
    await server.json("DELETE", "/rules/a")
    assert await server.json("DELETE", "/connections/con") == "success"
    assert (await server.refused("GET", "/connections/con"))[0] == 404


async def test_a_connection_can_be_tried(server: Running) -> None:
    check = "/metadata/sinks/connection/mqtt"
    lost = {"server": "tcp://127.0.0.1:1", "topic": "t"}
    assert (await server.refused("POST", check, lost))[0] == 400
    assert (await server.refused("POST", check, {"nosuch": 1}))[0] == 400
    assert (await server.refused("POST", "/metadata/sinks/connection/nosuch", {}))[0] == 400
    assert await server.json("POST", "/metadata/sinks/connection/nop", {}) == "success"
    assert await server.json("GET", "/rules") == []


async def test_an_export_of_the_reference_can_be_imported(server: Running) -> None:
    body = {"content": json.dumps(EXPORTED)}
    answer = await server.client.post("/data/import", json=body)
    assert answer.status_code == 400
    failures = answer.json()["ConfigResponse"]
    assert "unknown stream nowhere" in failures["rules"]["rule2"]
    assert "functions_image" in failures["nativePlugins"]
    assert await server.json("GET", "/data/import/status") == failures
    assert await server.json("GET", "/streams") == ["demo"]
    assert await server.json("GET", "/tables") == ["names"]
    assert [each["id"] for each in await server.json("GET", "/rules")] == ["rule1"]
    assert (await server.json("GET", "/connections/con1"))["typ"] == "mqtt"
    assert "hush" not in (await server.client.get("/data/export")).text


async def test_what_was_exported_can_be_imported_again(server: Running) -> None:
    await server.client.post("/data/import", json={"content": json.dumps(EXPORTED)})
    await server.json("POST", "/rules", rule("other"))
    everything = (await server.client.get("/data/export")).json()
    (await server.client.post("/data/import?partial=1", json={"content": json.dumps(everything)}))
    exported = await server.service.transfer.export(secrets=True)
    assert exported["connectionConfig"] == {
        "mqtt": '{"con1":{"server":"tcp://127.0.0.1:1","password":"hush"}}'
    }
    yaml = (await server.client.get("/v2/data/export")).text
    await server.json("POST", "/data/import", {"content": "{}"})
    assert await server.json("GET", "/rules") == []
    await server.json("POST", "/v2/data/import", {"content": yaml})
    assert (await server.client.get("/data/export")).json()["rules"].keys() == {"other", "rule1"}
    some = await server.client.post("/data/export", json=["rule1"])
    assert some.json()["rules"].keys() == {"rule1"}
    assert some.json()["streams"].keys() == {"demo"}
    assert some.json()["tables"] == {}


@pytest.mark.parametrize(
    ("section", "entry", "reason"),
    [
        ("streams", 5, "expected a CREATE statement"),
        ("streams", "CREATE", "1:"),
        ("tables", DEMO, "creates a stream, not a table"),
        ("rules", [], "expected a mapping"),
        ("rules", {"sql": "SELECT 1 FROM demo", "actions": 5}, "actions"),
        ("rules", {"id": "other"}, "the path says 'x'"),
        ("sourceConfig", 5, "mapping of properties"),
        ("sourceConfig", {"key": 5}, "mapping of properties"),
        ("sinkConfig", "[" * 100_000, "mapping of properties"),
        ("connectionConfig", '{"con": [1]}', "mapping of properties"),
        ("uploads", "{}", "with their content"),
        ("uploads", "[" * 100_000, "with their content"),
    ],
)
async def test_what_an_import_cannot_take_is_reported_and_the_rest_is_there(
    server: Running, section: str, entry: Any, reason: str
) -> None:
    await server.stream('CREATE STREAM gone () WITH (TYPE="memory", DATASOURCE="gone")')
    good: dict[str, Any] = {
        "streams": {"demo": DEMO},
        "rules": {"good": rule("good")},
        "connectionConfig": {"mqtt": {"fine": {"server": "tcp://127.0.0.1:1"}}},
        "uploads": {"note.txt": {"content": "kept"}},
    }
    content = json.dumps({**good, section: {"x": entry, **good.get(section, {})}})
    answer = await server.client.post("/data/import", json={"content": content})
    assert answer.status_code == 400
    failures = answer.json()["ConfigResponse"]
    assert [key for key, found in failures.items() if found] == [section]
    (told,) = failures[section].values()
    assert reason in told
    assert await server.json("GET", "/streams") == ["demo"]
    assert [each["id"] for each in await server.json("GET", "/rules")] == ["good"]
    assert [each["id"] for each in await server.json("GET", "/connections")] == ["fine"]
    exported = (await server.client.get("/data/export")).json()
    assert not exported["sourceConfig"]
    assert not exported["sinkConfig"]


async def test_a_file_that_cannot_be_read_changes_nothing(server: Running) -> None:
    await server.stream()
    for content in ("{", "[]", '{"rules": 5}', '{"ruels": {}}', ""):
        assert (await server.refused("POST", "/data/import", {"content": content}))[0] == 400
    assert await server.json("GET", "/streams") == ["demo"]


async def test_an_import_may_go_on_after_its_answer(server: Running) -> None:
    async def ended(job_id: str) -> Any:
        with anyio.fail_after(10):
            while True:
                task = await server.json("GET", f"/async/task/{job_id}")
                if task["status"] not in ("pending", "running"):
                    return task
                await anyio.sleep(0.01)

    body = {"content": json.dumps(EXPORTED)}
    job_id = (await server.json("POST", "/async/data/import", body))["id"]
    task = await ended(job_id)
    assert (task["id"], task["status"]) == (job_id, "failed")
    assert "imported 1 streams, 1 tables and 1 rules" in task["message"]
    assert task["updatedTimestamp"] >= task["createdTimestamp"] > 0
    body = {"content": json.dumps({"streams": {"demo": DEMO}})}
    job_id = (await server.json("POST", "/async/data/import?partial=1", body))["id"]
    assert (await ended(job_id))["status"] == "completed"
    await server.json("POST", f"/async/task/{job_id}/cancel")
    assert (await ended(job_id))["status"] == "completed"
    many = {"rules": {f"r{n}": json.dumps(rule(f"r{n}")) for n in range(200)}}
    body = {"content": json.dumps(many)}
    job_id = (await server.json("POST", "/async/data/import?partial=1", body))["id"]
    await server.json("POST", f"/async/task/{job_id}/cancel")
    assert (await ended(job_id))["status"] == "cancelled"
    assert len(await server.json("GET", "/rules")) < 200
    assert (await server.refused("GET", "/async/task/nosuch"))[0] == 404


async def test_a_rule_set_is_imported_from_an_upload(server: Running) -> None:
    content = json.dumps(
        {"streams": {"demo": DEMO}, "tables": {}, "rules": {"a": json.dumps(rule("a"))}}
    )
    await server.json("POST", "/config/uploads", {"name": "set.json", "content": content})
    answer = await server.json("POST", "/ruleset/import", {"file": "file://set.json"})
    assert answer == "imported 1 streams, 0 tables and 1 rules"


async def test_forms_find_properties_and_functions(server: Running) -> None:
    names = {each["name"] for each in await server.json("GET", "/metadata/sources")}
    assert {"mqtt", "memory", "simulator"} <= names
    assert "ruletest" not in {each["name"] for each in await server.json("GET", "/metadata/sinks")}
    fields: list[dict[str, Any]] = (await server.json("GET", "/metadata/sources/mqtt"))[
        "properties"
    ]["default"]
    assert next(f for f in fields if f["name"] == "server")["default"] == "tcp://127.0.0.1:1883"
    categories = await server.json("GET", "/metadata/functions")
    functions = {each["name"]: each for group in categories for each in group["functions"]}
    assert functions["abs"]["args"][0]["type"] == "number"
    assert functions["sum"]["aggregate"] is True
    for path in ("/metadata/nosuch", "/metadata/sources/nosuch"):
        assert (await server.refused("GET", path))[0] == 404
    described = await server.json("GET", "/plugins/sinks/mqtt")
    assert described["name"] == "mqtt"
    assert "version" in described
    assert (await server.refused("GET", "/plugins/sinks/nosuch"))[0] == 404


async def test_several_requests_in_one(server: Running) -> None:
    parts = [
        {"method": "POST", "path": "/streams", "body": json.dumps({"sql": DEMO})},
        {"method": "GET", "path": "/streams/none"},
        {"method": "GET", "path": "/streams"},
        {"method": "POST", "path": "/batch/req", "body": "[]"},
    ]
    answers = await server.json("POST", "/batch/req", parts)
    assert [each["code"] for each in answers] == [201, 404, 200, 400]
    assert answers[2]["response"] == '["demo"]'
