"""External services as functions of queries; the other side is a real HTTP server."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import anyio
import pytest

from engine import ConfigError, Engine
from tests.conftest import Rows, eventually

PROTO = """
syntax = "proto3";
message Point { double x = 1; double y_axis = 2; }
message Sum { double sum = 1; }
service Points { rpc Add(Point) returns (Sum); }
"""


class Service:
    """What was asked, and what is answered."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, Any]] = []
        self.answers: dict[str, tuple[int, str, bytes]] = {}
        self.delay = 0.0
        self.released = threading.Event()
        self.url = ""


@pytest.fixture
def service() -> Iterator[Service]:
    made = Service()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            value = json.loads(body) if body else None
            made.requests.append((self.command, self.path, value))
            if self.path == "/wait":
                made.released.wait(20)
            echo = json.dumps({"got": value, "as": self.headers.get("x-key")}).encode()
            status, kind, answer = made.answers.get(self.path, (200, "application/json", echo))
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = do_PUT = answer  # noqa: N815  # the names that the server calls

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    made.url = f"http://127.0.0.1:{server.server_port}"
    yield made
    made.released.set()
    server.shutdown()
    server.server_close()
    thread.join()


def describe(root: Path, interfaces: dict[str, Any], name: str = "svc") -> None:
    folder = root / "etc" / "services"
    (folder / "schemas").mkdir(parents=True, exist_ok=True)
    (folder / "schemas" / "points.proto").write_text(PROTO)
    (folder / f"{name}.json").write_text(json.dumps({"interfaces": interfaces}))


def rest(service: Service, **more: Any) -> dict[str, Any]:
    return {"address": service.url, "protocol": "rest", "schemaless": True, **more}


async def results(engine: Engine, sql: str, rows: Rows) -> Rows:
    engine.define_stream("given", replace=True, type="simulator", data=rows, loop=False, interval=0)
    return [row async for row in engine.query(sql)]


async def test_a_schemaless_service_is_called_by_method_and_path(
    engine: Engine, tmp_path: Path, service: Service
) -> None:
    options = {"headers": {"X-Key": "k"}}
    describe(tmp_path, {"ask": rest(service, options=options)})
    sql = (
        "SELECT ask('post', '/a', n) AS one, ask('put', 'b', n, 'x') AS more, "
        "ask('get', '/c')->got AS none FROM given WHERE n > 1"
    )
    assert await results(engine, sql, [{"n": 1}, {"n": 2}]) == [
        {"one": {"got": 2, "as": "k"}, "more": {"got": [2, "x"], "as": "k"}}
    ]
    assert service.requests == [("POST", "/a", 2), ("PUT", "/b", [2, "x"]), ("GET", "/c", None)]


async def test_a_described_service_has_its_rpcs_as_functions(
    engine: Engine, tmp_path: Path, service: Service
) -> None:
    described = {
        "address": f"{service.url}/api",
        "protocol": "rest",
        "schemaType": "protobuf",
        "schemaFile": "points.proto",
    }
    describe(tmp_path, {"points": described})
    describe(
        tmp_path,
        {"points": {**described, "functions": [{"name": "plus", "serviceName": "Add"}]}},
        "other",
    )
    rows = [{"p": {"x": 1, "yAxis": 2}}]
    sql = "SELECT Add(p->x, 5)->got AS fields, plus(p)->got AS whole FROM given"
    assert await results(engine, sql, rows) == [
        {"fields": {"x": 1, "yAxis": 5}, "whole": {"x": 1, "yAxis": 2}}
    ]
    assert {path for _, path, _ in service.requests} == {"/api/Add"}


@pytest.mark.parametrize(
    ("call", "answer", "why", "reason"),
    [
        (
            "ask('get', '/bad')",
            (500, "text/plain", b"broken"),
            "/bad answered 500: broken",
            "the service answered 500",
        ),
        (
            "ask('get', '/bad')",
            (200, "application/json", b"{"),
            "the answer is no JSON",
            "the answer of the service is no JSON",
        ),
        (
            "ask('get', '/bad')",
            (200, "text/html", b"x"),
            "neither JSON nor plain text",
            "the answer of the service has a wrong type",
        ),
        ("ask(n, '/bad')", (200, "text/plain", b""), "method must be string", "ask"),
        (
            "Add(1, 2, 3)",
            (200, "text/plain", b""),
            "Add takes an object or x, yAxis, not 3 values",
            "Add takes an object or x, yAxis, not 3 values",
        ),
    ],
)
async def test_a_call_that_fails_is_an_error_of_its_row_and_made_once(
    engine: Engine,
    tmp_path: Path,
    service: Service,
    call: str,
    answer: Any,
    why: str,
    reason: str,
) -> None:
    points = {"address": service.url, "protocol": "rest", "schemaFile": "points.proto"}
    describe(tmp_path, {"ask": rest(service), "points": points})
    service.answers["/bad"] = answer
    engine.define_stream(
        "given", type="simulator", data=[{"n": 1}, {"n": 2}], loop=False, interval=0
    )
    sql = f"SELECT CASE WHEN n = 1 THEN {call} ELSE ask('get', '/good') END AS r FROM given"
    rule = await engine.start({"id": "a", "sql": sql, "actions": [{"nop": {}}]})
    await rule.finished.wait()
    balance = rule.metrics.balance()
    assert (balance.errors, balance.delivered, balance.holds) == (1, 1, True)
    assert rule.metrics.errors == {("query", reason): 1}
    assert why in rule.metrics.last_error
    assert len(service.requests) == len(set(map(str, service.requests)))


async def test_plain_text_and_nothing_are_answers(
    engine: Engine, tmp_path: Path, service: Service
) -> None:
    describe(tmp_path, {"ask": rest(service)})
    service.answers = {
        "/t": (200, "text/plain; charset=utf-8", "ä".encode()),
        "/n": (204, "", b""),
    }
    sql = "SELECT ask('get', '/t') AS t, ask('get', '/n') AS n FROM given"
    assert await results(engine, sql, [{"a": 1}]) == [{"t": "ä"}]


async def test_a_service_that_is_slow_holds_up_its_own_rule_only(
    engine: Engine, tmp_path: Path, service: Service, collected: Rows
) -> None:
    describe(tmp_path, {"ask": rest(service)})
    slow = {"id": "slow", "sql": "SELECT ask('get', '/wait') AS r FROM demo"}
    quick = {"id": "quick", "sql": "SELECT n FROM demo"}
    for rule in (slow, quick):
        await engine.start({**rule, "actions": [{"collect": {}}]})
    with anyio.fail_after(5):
        while await engine.push("demo", [{"n": 1}]) < 2:
            await anyio.sleep(0.001)
    await eventually(lambda: {"n": 1} in collected)
    await eventually(lambda: service.requests)
    assert not any("r" in row for row in collected)
    started = time.monotonic()
    await engine.stop("slow", drain=0)
    assert time.monotonic() - started < 2  # nobody waits for the call on its way
    service.released.set()


async def test_an_unreachable_service_is_tried_as_often_as_told(
    engine: Engine, tmp_path: Path
) -> None:
    nobody = {"address": "http://127.0.0.1:1", "protocol": "rest", "schemaless": True}
    options = {"retryCount": 3, "retryInterval": "10ms"}
    describe(tmp_path, {"ask": {**nobody, "options": options}})
    engine.define_stream("given", type="simulator", data=[{"n": 1}], loop=False, interval=0)
    started = time.monotonic()
    rule = await engine.start(
        {"id": "a", "sql": "SELECT ask('get', '/') FROM given", "actions": [{"nop": {}}]}
    )
    await rule.finished.wait()
    assert "http://127.0.0.1:1/" in rule.metrics.last_error
    assert time.monotonic() - started >= 0.02


@pytest.mark.parametrize(
    ("interface", "why"),
    [
        ({"protocol": "grpc"}, "interface i: protocol grpc isn't supported"),
        ({"protocol": "msgpack-rpc"}, "interface i: protocol msgpack-rpc isn't supported"),
        ({"protocol": "soap"}, "protocol"),
        ({"address": "tcp://a:1"}, "'tcp://a:1' is no http or https address"),
        ({"address": "http://a:99999"}, "'http://a:99999' is no http or https address"),
        ({"schemaless": False}, "nothing says what its functions are"),
        ({"schemaless": False, "schemaFile": "no.proto"}, "there is no "),
        ({"schemaless": False, "schemaFile": "../svc.json"}, "leads out of the folder"),
        ({"options": {"header": {}}}, "header"),
    ],
)
def test_a_service_that_cannot_be_called_is_refused(
    tmp_path: Path, interface: dict[str, Any], why: str
) -> None:
    engine = Engine(tmp_path)
    usual = {"address": "http://127.0.0.1:1", "protocol": "rest", "schemaless": True}
    describe(tmp_path, {"i": {**usual, **interface}})
    assert engine.services.names() == []
    with pytest.raises(ConfigError) as raised:
        engine.services.try_out(tmp_path / "etc" / "services" / "svc.json")
    assert why in str(raised.value)


async def test_a_changed_description_counts_for_what_starts_afterwards(
    engine: Engine, tmp_path: Path, service: Service
) -> None:
    describe(tmp_path, {"ask": rest(service)})
    assert engine.services.names() == ["ask"]
    describe(tmp_path, {"other": rest(service)})
    assert engine.services.names() == ["other"]
    assert engine.functions.get("ask") is None
    (tmp_path / "etc" / "services" / "svc.json").unlink()
    assert engine.services.names() == []


async def test_a_query_that_waits_has_no_lookup_tables(
    engine: Engine, tmp_path: Path, service: Service
) -> None:
    describe(tmp_path, {"ask": rest(service)})
    engine.define(
        'CREATE TABLE zones () WITH (TYPE="memory", DATASOURCE="z", KIND="lookup", KEY="id")'
    )
    sql = "SELECT ask('get', '/') FROM demo INNER JOIN zones ON demo.id = zones.id"
    with pytest.raises(ConfigError, match="a query with lookup tables can't call functions"):
        engine.check({"id": "a", "sql": sql, "actions": [{"nop": {}}]})
