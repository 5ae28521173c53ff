"""Scripts and external services over HTTP: who may define them, what survives, what is shown."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest

from tests.server.support import Running, Start, rule

SCRIPT = {"id": "area", "script": "function area(x, y) { return x * y; }", "isAgg": False}
SERVICE = {
    "interfaces": {
        "ask": {
            "address": "http://127.0.0.1:1",
            "protocol": "rest",
            "schemaless": True,
            "options": {"headers": {"Authorization": "hush"}},
        }
    }
}


def described(*schemas: str) -> dict[str, Any]:
    """Return a service with an interface for each schema."""
    interface = {"address": "http://127.0.0.1:1", "protocol": "rest", "schemaType": "protobuf"}
    return {
        "interfaces": {
            f"by_{number}": {**interface, "schemaFile": file} for number, file in enumerate(schemas)
        }
    }


def proto(rpc: str, imported: str = "types.proto") -> str:
    return (
        f'syntax = "proto3"; /* import "none.proto"; */ import "{imported}";\n'
        f"service Any {{ rpc {rpc}(Point) returns (Point); }}\n"
    )


TYPES = 'syntax = "proto3"; message Point { double x = 1; }'


@pytest.fixture
async def known(start: Start) -> AsyncIterator[Running]:
    """A server, called by a known administrator."""
    async with start(authentication=True) as server:
        await authenticate(server)
        yield server


async def authenticate(server: Running, name: str = "me") -> None:
    token = await server.service.credentials.create(name, "admin")
    server.client.headers["Authorization"] = token


async def test_a_script_lives_from_its_creation_to_its_deletion(start: Start) -> None:
    async with start(authentication=True) as server:
        await authenticate(server)
        created = await server.client.post("/udf/javascript", json=SCRIPT)
        assert (created.status_code, created.text) == (
            201,
            "javascript function area is created",
        )
        assert (await server.refused("POST", "/udf/javascript", SCRIPT))[0] == 400
    async with start(authentication=True) as server:
        await authenticate(server, "you")
        assert await server.json("GET", "/udf/javascript") == ["area"]
        shown = await server.json("GET", "/udf/javascript/area")
        assert shown == {**SCRIPT, "description": ""}
        await server.stream()
        await server.json("POST", "/rules/validate", rule("a", "SELECT area(a, b) FROM demo"))
        categories = await server.json("GET", "/metadata/functions")
        names = {f["name"] for group in categories for f in group["functions"]}
        assert "area" in names
        changed = {**SCRIPT, "script": "function area() { return 1; }"}
        await server.json("PUT", "/udf/javascript/area", changed)
        status, _, message = await server.refused(
            "PUT", "/udf/javascript/area", {**SCRIPT, "script": "function ("}
        )
        assert status == 400
        assert "SyntaxError" in message
        assert (await server.json("GET", "/udf/javascript/area"))["script"] == changed["script"]
        await server.json("DELETE", "/udf/javascript/area")
        assert (await server.refused("GET", "/udf/javascript/area"))[0] == 404
        assert (await server.refused("DELETE", "/udf/javascript/area"))[0] == 404
        body = rule("a", "SELECT area(a, b) FROM demo")
        assert (await server.client.post("/rules/validate", json=body)).status_code == 422


async def test_a_service_lives_from_its_creation_to_its_deletion(known: Running) -> None:
    body = {"name": "asking", "content": json.dumps(SERVICE)}
    assert await known.json("POST", "/services", body) == "service asking is created"
    assert (await known.refused("POST", "/services", body))[0] == 400
    assert await known.json("GET", "/services") == ["asking"]
    shown = await known.json("GET", "/services/asking")
    assert shown["interfaces"]["ask"]["options"]["headers"] == {"Authorization": "***"}
    function = {
        "FuncName": "ask",
        "ServiceName": "asking",
        "InterfaceName": "ask",
        "MethodName": "ask",
        "Addr": "http://127.0.0.1:1",
    }
    assert await known.json("GET", "/services/functions") == [function]
    assert await known.json("GET", "/services/functions/ask") == function
    await known.stream()
    sql = "SELECT ask('get', '/') AS r FROM demo"
    await known.json("POST", "/rules/validate", rule("a", sql))
    status, _, message = await known.refused("POST", "/services", {**body, "name": "again"})
    assert status == 400
    assert "ask is a function of asking already" in message
    named = {"name": "functions", "content": json.dumps({"interfaces": {}})}
    assert (await known.refused("POST", "/services", named))[0] == 400
    exported = (await known.client.get("/data/export")).json()
    assert "hush" not in json.dumps(exported)
    await known.json("POST", "/data/import?partial=1", {"content": json.dumps(exported)})
    kept = (known.service.engine.services.folder / "asking.json").read_text()
    assert "hush" in kept
    await known.json("DELETE", "/services/asking")
    for path in ("/services/asking", "/services/functions/ask"):
        assert (await known.refused("GET", path))[0] == 404
    await known.json("POST", "/data/import", {"content": json.dumps(exported)})
    assert await known.json("GET", "/services") == ["asking"]


@pytest.mark.parametrize("is_text", [True, False])
async def test_a_service_that_comes_back_keeps_its_secrets(known: Running, is_text: bool) -> None:
    await known.json("POST", "/services", {"name": "asking", "content": SERVICE})
    shown = await known.json("GET", "/services/asking")
    shown["interfaces"]["ask"]["address"] = "http://127.0.0.1:2"
    body = {"content": json.dumps(shown) if is_text else shown}
    await known.json("PUT", "/services/asking", body)
    kept = (known.service.engine.services.folder / "asking.json").read_text()
    assert "hush" in kept
    assert "127.0.0.1:2" in kept


async def test_a_service_that_is_no_json_is_refused_with_its_place(known: Running) -> None:
    for content in ('{"interfaces": {},\n ]', "[]"):
        body = {"name": "broken", "content": content}
        answer = await known.client.post("/services", json=body)
        assert answer.status_code == 400, answer.text
        assert "broken.json" in answer.text


@pytest.mark.parametrize(
    ("path", "first", "second"),
    [
        ("/udf/javascript/area", SCRIPT, {**SCRIPT, "description": "of a rectangle"}),
        ("/services/asking", {"content": SERVICE}, {"content": {**SERVICE, "about": {"a": 1}}}),
    ],
)
async def test_a_function_is_changed_only_if_nobody_has_changed_it_since(
    known: Running, path: str, first: Any, second: Any
) -> None:
    await known.json("PUT", path, first, headers={"If-None-Match": "*"})
    assert (await known.refused("PUT", path, second, headers={"If-None-Match": "*"}))[0] == 412
    seen = (await known.client.get(path)).headers["etag"]
    unchanged = await known.client.get(path, headers={"If-None-Match": seen})
    assert unchanged.status_code == 304
    await known.json("PUT", path, second, headers={"If-Match": seen})
    for method, body in (("PUT", first), ("DELETE", None)):
        assert (await known.refused(method, path, body, headers={"If-Match": seen}))[0] == 412
    seen = (await known.client.get(path)).headers["etag"]
    await known.json("DELETE", path, headers={"If-Match": seen})
    assert (await known.refused("PUT", path, first, headers={"If-Match": seen}))[0] == 412


async def test_an_export_has_with_each_service_the_schemas_that_it_needs(known: Running) -> None:
    given = {
        "adding": {"add.proto": proto("Add"), "types.proto": TYPES},
        "asking": {},
        "taking": {
            "far/take.proto": proto("Take", "more/own.proto"),
            "far/more/own.proto": TYPES,
        },
    }
    contents = {
        "adding": described("add.proto"),
        "asking": SERVICE,
        "taking": described("far/take.proto"),
    }
    for name, files in given.items():
        await known.json("PUT", f"/services/{name}", {"content": contents[name], "files": files})
    exported = (await known.client.get("/data/export")).json()
    found = {name: json.loads(text)["files"] for name, text in exported["Service"].items()}
    assert found == given
    await known.json("POST", "/data/import", {"content": json.dumps(exported)})
    names = [function["FuncName"] for function in await known.json("GET", "/services/functions")]
    assert names == ["Add", "Take", "ask"]


async def test_services_share_schemas_and_none_changes_those_of_another(known: Running) -> None:
    folder = known.service.engine.services.folder / "schemas"
    adding = {"add.proto": proto("Add"), "types.proto": TYPES}
    taking = {"take.proto": proto("Take"), "types.proto": TYPES}
    path = "/services/taking"
    await known.json(
        "PUT", "/services/adding", {"content": described("add.proto"), "files": adding}
    )
    other = {**taking, "types.proto": TYPES.replace("double", "float")}
    body = {"content": described("take.proto"), "files": other}
    status, _, message = await known.refused("PUT", path, body)
    assert status == 400
    assert "types.proto is a schema of adding already" in message
    await known.json("PUT", path, {**body, "files": taking})
    await known.json("DELETE", "/services/adding")
    assert sorted(each.name for each in folder.iterdir()) == ["take.proto", "types.proto"]
    moved = {"in/take.proto": proto("Take"), "types.proto": TYPES}
    await known.json("PUT", path, {"content": described("in/take.proto"), "files": moved})
    assert sorted(each.name for each in folder.iterdir()) == ["in", "types.proto"]
    await known.json("DELETE", path)
    assert list(folder.iterdir()) == []


async def test_of_two_services_with_the_same_function_only_one_is_taken(
    known: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = known.service.engine.services
    functions, both = services.functions, threading.Barrier(2, timeout=0.3)

    def looked_up_together() -> Any:
        found = functions()
        with suppress(threading.BrokenBarrierError):
            both.wait()
        return found

    monkeypatch.setattr(services, "functions", looked_up_together)
    answers = await asyncio.gather(
        *(
            known.client.post("/services", json={"name": name, "content": SERVICE})
            for name in ("one", "two")
        )
    )
    monkeypatch.undo()
    assert sorted(answer.status_code for answer in answers) == [201, 400]
    assert len(await known.json("GET", "/services")) == 1


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/udf/javascript", SCRIPT),
        ("PUT", "/udf/javascript/area", SCRIPT),
        ("DELETE", "/udf/javascript/area", None),
        ("POST", "/services", {"name": "a", "content": json.dumps(SERVICE)}),
        ("PUT", "/schemas/custom/a", {"content": "class A: pass"}),
    ],
)
async def test_nobody_unknown_defines_what_the_server_runs(
    server: Running, method: str, path: str, body: Any
) -> None:
    status, _, message = await server.refused(method, path, body)
    assert status == 403
    assert "authentication: true" in message


async def test_tokens_are_only_for_callers_who_are_known(start: Start) -> None:
    async with start() as server:
        for method in ("GET", "POST"):
            status, _, message = await server.refused(method, "/tokens", {"name": "x"})
            assert status == 403
            assert "authentication: true" in message
        part = {"method": "POST", "path": "/tokens", "body": '{"name": "x", "role": "admin"}'}
        assert (await server.json("POST", "/batch/req", [part]))[0]["code"] == 403
        assert server.service.credentials.tokens() == []


@pytest.mark.parametrize("path", ["//tokens", "/%2Ftokens", "///tokens//", "//schemas//custom"])
async def test_a_path_with_more_slashes_is_judged_like_any_other(start: Start, path: str) -> None:
    body = {"name": "x", "role": "admin", "content": "class A: pass"}
    async with start() as server:
        assert (await server.refused("POST", server.url + path, body))[0] == 403
    async with start(authentication=True) as server:
        token = await server.service.credentials.create("writer", "write")
        server.client.headers["Authorization"] = token
        assert (await server.refused("POST", server.url + path, body))[0] == 403
        assert [each["name"] for each in server.service.credentials.tokens()] == ["writer"]
        if "tokens" in path:
            assert (await server.refused("GET", server.url + path))[0] == 403


async def test_an_import_takes_code_from_known_administrators_only(
    start: Start,
) -> None:
    content = {"scripts": {"area": json.dumps(SCRIPT)}, "Service": {"s": {"content": SERVICE}}}
    body = {"content": json.dumps(content)}
    async with start(authentication=True) as server:
        await authenticate(server)
        await server.json("POST", "/data/import", body)
        assert await server.json("GET", "/udf/javascript") == ["area"]
    async with start() as server:
        answer = await server.client.post("/data/import?partial=1", json=body)
        failures = answer.json()["ConfigResponse"]
        assert "known administrator" in failures["scripts"]["area"]
        assert "known administrator" in failures["Service"]["s"]
        await server.json("POST", "/data/import", {"content": "{}"})
        assert await server.json("GET", "/udf/javascript") == ["area"]  # they stay, too
        everything = await server.client.get("/data/export")
        await server.json("POST", "/data/import", {"content": everything.text})
        assert await server.json("GET", "/services") == ["s"]
