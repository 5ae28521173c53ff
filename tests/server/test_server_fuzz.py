"""Requests that nobody would think of, to every operation of the OpenAPI document."""

from __future__ import annotations

import json
import time
from collections import Counter
from random import Random
from typing import Any

import anyio.to_thread
import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.server.support import DEMO, PACED, Running, Start, rule

schemathesis = pytest.importorskip("schemathesis")

_LEFT_ALONE = ("/stop", "/results", "/test/")
"""These end the server, or answer without an end."""
_EXAMPLES, _FEWER = 12, 3
_SECONDS = 25
"""After this time fewer examples of each operation must do."""
_SENSIBLE = 0.7  # of all places
_SERVICE = {"address": "http://127.0.0.1:1", "protocol": "rest", "schemaless": True}
_SERVICES = json.dumps({"interfaces": {"ask": _SERVICE}})
_BOOK = 'syntax = "proto3"; message Book { string title = 1; }'
_THERE: dict[str, Any] = {
    "/metadata/sources/simulator/confKeys/paced": {"data": [{"n": 1}], "interval": 50},
    "/streams/paced": {"sql": PACED},
    "/tables/names": {"sql": 'CREATE TABLE names (id BIGINT) WITH (TYPE="memory", DATASOURCE="n")'},
    "/rules/a": rule("a", "SELECT n FROM paced", tags=["t"]),
    "/schemas/protobuf/books": {"content": _BOOK},
    "/udf/javascript/area": {"id": "area", "script": "function area(x, y) { return x * y; }"},
    "/services/asking": {"content": _SERVICES},
    "/metadata/sinks/mqtt/confKeys/k": {"topic": "t"},
    "/metadata/connections/mqtt/confKeys/con": {"server": "tcp://127.0.0.1:1"},
}
"""What is there before an operation is tried, by the path that puts it there."""
_NAMES = {
    "/rules": "a",
    "/v2/rules": "a",
    "/streams": "paced",
    "/tables": "names",
    "/schemas": "books",
    "/udf": "area",
    "/services/functions": "ask",
    "/services": "asking",
    "/connections": "con",
    "/config/uploads": "f.txt",
    "/tokens": "other",
    "/ruletest": "trial",
    "/plugins": "nop",
    "/async/task": "0",
}
_WORDS: dict[str, list[Any]] = {
    "kind": ["protobuf", "custom"],
    "role": ["sources", "sinks", "functions", "connections", "lookups"],
    "plugin": ["memory", "nop", "simulator", "mqtt"],
    "key": ["k", "paced"],
    "sql": [
        DEMO,
        PACED,
        _THERE["/tables/names"]["sql"],
        "SELECT * FROM paced",
        "SELECT area(n, 2) AS r, ask('get', '/') FROM paced",
        "SELECT count(*) FROM paced GROUP BY TUMBLINGWINDOW(ss, 1)",
        'CREATE STREAM p () WITH (TYPE="mqtt", FORMAT="protobuf", SCHEMAID="books.Book")',
        "SHOW STREAMS",
        "DROP STREAM paced",
        "SELECT",
    ],
    "actions": [[{"nop": {}}], [{"memory": {"topic": "x"}}, {"nop": {}}], [{}], []],
    "options": [{}, {"qos": 1}, {"qos": "x"}, {"isEventTime": True}],
    "id": ["a", "con", "area", "trial", "fresh", "../x"],
    "name": ["books", "asking", "f.txt", "other", "paced", "fresh"],
    "tags": [["t"], [], ["u", "t"]],
    "script": ["function area(x) { return x; }", "function (", "for (;;);"],
    "content": [
        "{}",
        "[]",
        '{"rules": {"a": 5}}',
        json.dumps({"streams": {"demo": DEMO}, "rules": {"b": json.dumps(rule("b"))}}),
        _BOOK,
        _SERVICES,
        "\ud7ff",
    ],
    "file": ["", "file://f.txt", "file://../x", "http://127.0.0.1:1/a.zip", "ftp://x", "http://["],
    "path": ["/streams", "/rules/a", "/nowhere?x=1", "/batch/req", "//[", ""],
    "method": ["GET", "post", "DELETE", "", "\u00e4"],
    "typ": ["mqtt", ""],
    "version": ["1", "2", "../1", ""],
    "logLevel": ["info", "loud"],
    "functions": [["nop"], []],
    "mockSource": [{"paced": {"data": [{"n": 1}]}}, {"nosuch": {"data": []}}, {"paced": 5}],
}
"""Values worth trying, by the name of the property or parameter."""
_COMPLETE: dict[str, Any] = {
    "/tables": _THERE["/tables/names"],
    "/tables/{name}": _THERE["/tables/names"],
    "/rules": rule("fresh", "SELECT n FROM paced"),
    "/rules/{rule_id}": rule("a", "SELECT n FROM paced WHERE n > 1"),
    "/rules/validate": rule("a", "SELECT area(n, n) AS r FROM paced"),
    "/schemas/{kind}": {"name": "fresh", "content": _BOOK},
    "/schemas/{kind}/{name}": {"content": _BOOK},
    "/udf/javascript": {"id": "fresh", "script": "function fresh() { return 1; }"},
    "/udf/javascript/{name}": _THERE["/udf/javascript/area"],
    "/services": {"name": "fresh", "content": _SERVICES.replace("ask", "fresh")},
    "/services/{name}": {"content": _SERVICES},
    "/connections/{name}": {"typ": "mqtt", "props": {}},
    "/ruletest": {"id": "trial", "sql": "SELECT n FROM paced"},
}
"""Bodies with which an operation succeeds, where single words don't suffice."""


@pytest.mark.timeout(180)
async def test_no_request_makes_the_server_fail(start: Start) -> None:
    """No answer is a 5xx, and each is what the document says of it."""
    async with start(rate_limit=0, authentication=True) as server:
        token = await server.service.credentials.create("me", "admin")
        server.client.headers["Authorization"] = token
        document = json.loads(await server.json("GET", "/openapi/openapi.json"))
        for path in list(document["paths"]):
            if any(word in path for word in _LEFT_ALONE):
                del document["paths"][path]
        tried, failures = await anyio.to_thread.run_sync(_fuzz, document, server.url, token)
        assert (await server.client.get("/ready")).status_code == 200
    assert not failures, "\n\n".join(failures[:5])
    refused = [name for name, codes in tried.items() if all(code >= 400 for code in codes)]
    assert len(refused) < len(tried) / 5, refused


async def test_the_document_describes_what_every_operation_takes_and_gives(
    server: Running,
) -> None:
    document = json.loads(await server.json("GET", "/openapi/openapi.json"))
    for path, item in document["paths"].items():
        for method, operation in item.items():
            name = f"{method} {path}"
            assert operation["description"], name
            assert "default" in operation["responses"], name
            for code, reply in operation["responses"].items():
                assert code == "204" or reply["content"], name


def _make_sensible(case: Any, random: Random) -> None:
    """Put values worth trying into most places of a case for which there are some."""
    path = case.operation.path
    (case.query or {}).pop("stop", None)  # an import may end the server afterwards
    prefixes = (prefix for prefix in _NAMES if path.startswith(prefix))
    known = _NAMES.get(max(prefixes, key=len, default=""), "")
    parameters = case.path_parameters or {}
    for name in parameters:
        words = _WORDS[name] if name in _WORDS and name not in ("id", "name") else [known]
        if random.random() < _SENSIBLE:
            parameters[name] = random.choice(words)
    if path in _COMPLETE and isinstance(case.body, dict) and random.random() < 1 / 2:
        case.body = dict(_COMPLETE[path])
        return
    parts = case.body if isinstance(case.body, list) else [case.body]
    for part in parts:
        if not isinstance(part, dict):
            continue
        for name in sorted(_properties_of(case.operation)):
            if name in _WORDS and random.random() < _SENSIBLE:
                part[name] = random.choice(_WORDS[name])
        for name in [name for name in part if name not in _properties_of(case.operation)]:
            if random.random() < _SENSIBLE:
                del part[name]


def _properties_of(operation: Any) -> set[str]:
    contents = operation.definition.raw.get("requestBody", {}).get("content", {})
    schemas = [content["schema"] for content in contents.values()]
    return {
        name for schema in schemas for name in schema.get("items", schema).get("properties", {})
    }


def _fuzz(
    document: dict[str, Any], url: str, token: str
) -> tuple[dict[str, Counter[int]], list[str]]:
    """Return the statuses that came by operation, and what went wrong."""
    tried: dict[str, Counter[int]] = {}
    failures: list[str] = []
    headers = {"Authorization": token}
    started = time.monotonic()
    with httpx.Client(base_url=url, headers=headers, trust_env=False) as client:
        for found in schemathesis.openapi.from_dict(document).get_all_operations():
            operation = found.ok()
            _restore(client)
            is_late = time.monotonic() - started > _SECONDS
            examples = _FEWER if is_late else _EXAMPLES
            name = f"{operation.method.upper()} {operation.path}"
            tried[name], failed = _try(operation, url, token, examples)
            failures += [f"{name}: {failure}" for failure in failed]
    return tried, failures


def _restore(client: httpx.Client) -> None:
    for path, body in _THERE.items():
        client.put(path, json=body)
    client.post("/config/uploads", json={"name": "f.txt", "content": "{}"})
    client.post("/tokens", json={"name": "other"})
    client.post("/ruletest", json={"id": "trial", "sql": "SELECT n FROM paced"})


def _try(operation: Any, url: str, token: str, examples: int) -> tuple[Counter[int], list[str]]:
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_schema_conformance,
        status_code_conformance,
    )

    checks = [
        not_a_server_error,
        status_code_conformance,
        content_type_conformance,
        response_schema_conformance,
    ]
    codes: Counter[int] = Counter()
    failures: list[str] = []

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(), random=st.randoms(use_true_random=False))
    def call(case: Any, random: Random) -> None:
        _make_sensible(case, random)
        answer = case.call(base_url=url, timeout=20, headers={"Authorization": token})
        codes[answer.status_code] += 1
        try:
            case.validate_response(answer, checks=checks)
        except (Exception, BaseExceptionGroup) as error:  # the latter is what several make
            failures.append(str(error)[:1500])

    call()
    return codes, failures
