"""The rest sink against a real HTTP server."""

from __future__ import annotations

import gzip
import json
import logging
import socket
import threading
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import anyio
import pytest

from engine import ConfigError, Engine
from engine.clock import VirtualClock
from engine.run.rule import Rule
from tests.conftest import eventually
from tests.http_server import Asked, Reply, Server, certificate

OK: Reply = 200, b""


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        server.otherwise = lambda asked: OK
        yield server


async def start(engine: Engine, url: str, **properties: Any) -> Rule:
    sink = {"url": url, "sendSingle": True, "resendInterval": "10ms", **properties}
    rule = await engine.start({"id": "r", "sql": "SELECT * FROM demo", "actions": [{"rest": sink}]})
    await eventually(lambda: rule.status.state in ("running", "stopped by error"))
    return rule


async def push(engine: Engine, *rows: dict[str, Any]) -> None:
    with anyio.fail_after(5):
        while not await engine.push("demo", list(rows)):
            await anyio.sleep(0.002)


async def send(engine: Engine, url: str, *rows: dict[str, Any], **properties: Any) -> Rule:
    """Run a rule over a batch until the sink is done with it."""
    rule = await start(engine, url, **properties)
    await push(engine, *rows)
    await eventually(lambda: rule.metrics.received and not rule.metrics.pending)
    assert rule.metrics.balance().holds
    return rule


def rows(*numbers: int) -> list[dict[str, Any]]:
    return [{"n": number} for number in numbers]


async def test_each_message_is_a_request_over_one_connection(
    engine: Engine, server: Server
) -> None:
    rule = await send(engine, server.url + "/in", *rows(*range(20)))
    assert rule.metrics.delivered == 20
    assert [json.loads(body) for body in server.bodies] == rows(*range(20))
    assert {(asked.method, asked.path) for asked in server.requests} == {("POST", "/in")}
    assert server.requests[0].headers["content-type"] == "application/json"
    assert len(server.connections) == 1


@pytest.mark.parametrize("concurrency", [1, 3])
@pytest.mark.parametrize(
    ("headers", "body"),
    [({"Content-Encoding": "gzip"}, b"this is not gzip"), ({}, b"x" * 5000)],
)
async def test_the_status_counts_though_the_body_cant_be_read(
    engine: Engine,
    server: Server,
    caplog: pytest.LogCaptureFixture,
    headers: dict[str, str],
    body: bytes,
    concurrency: int,
) -> None:
    server.headers = headers
    statuses = iter([503, 429, 200, 404, 201])
    server.otherwise = lambda asked: (next(statuses, 200), body)
    rule = await send(
        engine, server.url, *rows(1, 2, 3, 4), maxResponse=1000, concurrency=concurrency
    )
    await engine.stop("r")
    assert (rule.metrics.delivered, rule.metrics.dropped) == (
        3,
        {("sink[rest_0]", "rejected"): 1},
    )
    assert len(server.requests) == 6
    assert "running" not in caplog.text


async def test_a_code_in_a_body_that_cant_be_read_refuses_the_message(
    engine: Engine, server: Server
) -> None:
    server.otherwise = lambda asked: (200, b"x" * 5000)
    rule = await send(engine, server.url, *rows(1), maxResponse=1000, responseType="body")
    assert rule.metrics.dropped == {("sink[rest_0]", "rejected"): 1}
    assert "more than 1000 bytes" in rule.metrics.last_error


async def test_url_method_and_headers_are_those_of_the_message(
    engine: Engine, server: Server
) -> None:
    await send(
        engine,
        server.url + "/devices/{{.id}}?q={{.q | urlquery}}",
        {"id": 1, "how": "put", "q": "a b&c"},
        {"id": 2, "how": "DELETE", "q": "ü"},
        method="{{.how}}",
        headers={"X-Id": "no {{.id}}", "X-Fixed": "yes"},
    )
    asked = [(a.method, a.path, a.headers["x-id"], a.headers["x-fixed"]) for a in server.requests]
    assert asked == [
        ("PUT", "/devices/1?q=a+b%26c", "no 1", "yes"),
        ("DELETE", "/devices/2?q=%C3%BC", "no 2", "yes"),
    ]


@pytest.mark.parametrize(
    ("properties", "content_type", "body"),
    [
        ({}, "application/json", '{"a":1,"b":"x"}'),
        ({"sendSingle": False}, "application/json", '[{"a":1,"b":"x"}]'),
        ({"format": "urlencoded"}, "application/x-www-form-urlencoded", "a=1&b=x"),
        ({"format": "delimited"}, "text/plain; charset=utf-8", "1,x"),
        ({"dataTemplate": "<a>{{.a}}</a>", "bodyType": "xml"}, "application/xml", "<a>1</a>"),
        (
            {"dataTemplate": "a={{.a}}", "bodyType": "form"},
            "application/x-www-form-urlencoded",
            "a=1",
        ),
        ({"headers": {"content-type": "text/odd"}}, "text/odd", '{"a":1,"b":"x"}'),
        ({"bodyType": "none"}, None, ""),
        ({"method": "get"}, None, ""),
        ({"method": "get", "bodyType": "json"}, "application/json", '{"a":1,"b":"x"}'),
    ],
)
async def test_the_body_is_of_its_type(
    engine: Engine,
    server: Server,
    properties: dict[str, Any],
    content_type: str | None,
    body: str,
) -> None:
    await send(engine, server.url, {"a": 1, "b": "x"}, **properties)
    (asked,) = server.requests
    assert (asked.headers.get("content-type"), asked.body) == (content_type, body)


async def test_a_form_has_the_message_as_one_of_its_fields(engine: Engine, server: Server) -> None:
    await send(
        engine,
        server.url,
        {"id": 7},
        bodyType="formdata",
        fileFieldName="upload",
        formData={"device": "no {{.id}}", "kind": "test"},
    )
    (asked,) = server.requests
    boundary = asked.headers["content-type"].partition("multipart/form-data; boundary=")[2]
    parts = [part.strip() for part in asked.body.split("--" + boundary)[1:-1]]
    assert parts == [
        'Content-Disposition: form-data; name="device"\r\n\r\nno 7',
        'Content-Disposition: form-data; name="kind"\r\n\r\ntest',
        (
            'Content-Disposition: form-data; name="upload"; filename="upload"\r\n'
            'Content-Type: application/json\r\n\r\n{"id":7}'
        ),
    ]


async def test_a_compressed_body_says_so(engine: Engine, server: Server) -> None:
    await send(engine, server.url, {"a": 1}, compression="gzip")
    (asked,) = server.requests
    assert asked.headers["content-encoding"] == "gzip"
    assert gzip.decompress(asked.body.encode(errors="surrogateescape")) == b'{"a":1}'


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503, 599])
async def test_troubles_of_the_server_are_waited_out_in_order(
    engine: Engine, server: Server, status: int
) -> None:
    seen: list[str] = []

    def answer(asked: Asked) -> Reply:
        seen.append(asked.body)
        return (status, b"") if len(seen) in (3, 4, 7) else OK

    server.otherwise = answer
    rule = await send(engine, server.url, *rows(0, 1, 2, 3, 4, 5))
    assert [json.loads(body)["n"] for body in seen] == [0, 1, 2, 2, 2, 3, 4, 4, 5]
    assert rule.metrics.delivered == 6


@pytest.mark.parametrize("reply", [(400, b""), (401, b""), (404, b""), (302, b"/elsewhere")])
async def test_what_the_server_refuses_is_given_up_alone(
    engine: Engine, server: Server, reply: Reply
) -> None:
    server.otherwise = lambda asked: reply if '"n":2' in asked.body else OK
    rule = await send(engine, server.url + "/in?token=hush", *rows(1, 2, 3))
    assert rule.metrics.delivered == 2
    assert rule.metrics.dropped == {("sink[rest_0]", "rejected"): 1}
    assert rule.parts
    reason = rule.parts.sinks[0].metrics.last_exception
    assert reason == f"POST {server.url}/in replied {reply[0]}"


async def test_what_is_refused_before_an_interruption_is_counted_too(
    engine: Engine, server: Server
) -> None:
    troubles = iter([(503, b"")] * 3)

    def answer(asked: Asked) -> Reply:
        if '"n":1' in asked.body:
            return 400, b""
        return next(troubles, OK) if '"n":2' in asked.body else OK

    server.otherwise = answer
    rule = await send(engine, server.url, *rows(0, 1, 2, 3))
    assert (rule.metrics.delivered, sum(rule.metrics.dropped.values())) == (3, 1)
    taken = [json.loads(body)["n"] for body in server.bodies]
    assert [number for number in taken if number not in (1, 2)] == [0, 3]


async def test_nobody_there_is_waited_out(engine: Engine, server: Server, tmp_path: Path) -> None:
    server.__exit__()
    rule = await start(engine, f"http://u:hush@127.0.0.1:{server.port}/?key=hush", timeout="1s")
    await push(engine, *rows(1))
    await eventually(lambda: f"http://127.0.0.1:{server.port}" in str(rule.status.connections))
    assert "hush" not in str(rule.status.connections)
    assert rule.metrics.pending == 1
    await engine.stop_all(drain=0)


async def test_what_waits_in_the_cache_keeps_its_address_and_headers(
    engine: Engine, server: Server
) -> None:
    server.otherwise = lambda asked: (503, b"")
    rule = await start(engine, server.url + "/{{.n}}", headers={"X-N": "{{.n}}"}, enableCache=True)
    await push(engine, *rows(1, 2))
    await push(engine, *rows(3))
    assert rule.parts
    metrics = rule.parts.sinks[0].metrics
    await eventually(lambda: metrics.processed == 3)
    await engine.stop("r")
    assert rule.metrics.balance().cached == 3
    server.otherwise = lambda asked: OK
    server.requests.clear()
    await engine.restart("r")
    await eventually(lambda: len(server.requests) == 3)
    found = [(asked.path, asked.headers["x-n"], asked.body) for asked in server.requests]
    assert found == [(f"/{n}", str(n), f'{{"n":{n}}}') for n in (1, 2, 3)]


async def test_a_late_reply_is_waited_out(engine: Engine, server: Server) -> None:
    again = threading.Event()

    def answer(asked: Asked) -> Reply:
        if len(server.requests) == 1:
            again.wait(10)
        again.set()
        return OK

    server.otherwise = answer
    rule = await send(engine, server.url, *rows(1), timeout="200ms")
    assert rule.metrics.delivered == 1
    assert len(server.requests) >= 2


async def test_the_reply_may_tell_success_in_its_body(engine: Engine, server: Server) -> None:
    replies = iter([b'{"code":201}', b'{"code":503}', b'{"code":200}', b'{"code":400}', b"no"])
    server.otherwise = lambda asked: (200, next(replies))
    rule = await send(engine, server.url, *rows(1, 2, 3, 4), responseType="body")
    assert [json.loads(body)["n"] for body in server.bodies] == [1, 2, 2, 3, 4]
    assert (rule.metrics.delivered, rule.metrics.dropped) == (
        2,
        {("sink[rest_0]", "rejected"): 2},
    )


@pytest.mark.parametrize("form", ["seconds", "date"])
async def test_a_server_is_left_alone_for_as_long_as_it_wants(
    tmp_path: Path, server: Server, form: str
) -> None:
    begin = 1_704_067_200_000
    clock = VirtualClock(begin)
    async with Engine(tmp_path, clock=clock, drain=0.1) as engine:
        engine.define_stream("demo", type="memory", datasource="demo")
        rule = await start(engine, server.url)
        server.headers = {
            "Retry-After": "60" if form == "seconds" else formatdate(begin / 1000 + 60, usegmt=True)
        }
        server.otherwise = lambda asked: (503, b"")
        await push(engine, *rows(1))
        await eventually(lambda: len(server.requests) == 1)
        server.otherwise = lambda asked: OK
        for _ in range(59):
            await clock.advance_to(clock.now() + 1_000)
            await anyio.sleep(0.001)
        assert len(server.requests) == 1
        assert "wants to be left alone" in str(rule.status.connections)
        with anyio.fail_after(5):
            while rule.metrics.delivered < 1:
                await clock.advance_to(clock.now() + 100)
                await anyio.sleep(0.002)
        assert clock.now() >= begin + 60_000


async def test_several_requests_may_be_on_their_way(engine: Engine, server: Server) -> None:
    failing = {"4", "9"}

    def answer(asked: Asked) -> Reply:
        number = str(json.loads(asked.body)["n"])
        if number in failing:
            failing.discard(number)
            return 503, b""
        return (400, b"") if number == "7" else OK

    server.otherwise = answer
    rule = await send(engine, server.url, *rows(*range(30)), concurrency=8)
    assert (rule.metrics.delivered, sum(rule.metrics.dropped.values())) == (29, 1)
    assert {json.loads(body)["n"] for body in server.bodies} == set(range(30))
    assert 1 < len(server.connections) <= 8


@pytest.mark.parametrize(
    ("row", "properties"),
    [
        ({"x": "a\nX-Evil: 1"}, {"headers": {"X-Row": "{{.x}}"}}),
        ({"x": "TRACE"}, {"method": "{{.x}}"}),
        ({"x": None}, {"headers": {"X-Row": "{{.x}}"}}),
    ],
)
async def test_messages_of_which_no_request_can_be_made_fail_alone(
    engine: Engine, server: Server, row: dict[str, Any], properties: dict[str, Any]
) -> None:
    rule = await send(engine, server.url, row, {"x": "PUT"}, **properties)
    assert (rule.metrics.delivered, sum(rule.metrics.dropped.values())) == (1, 1)


# -- tokens ------------------------------------------------------------------------------------


class Door:
    """A server that lets in who has the token of the day."""

    def __init__(self, server: Server) -> None:
        self.day = 1
        self.server = server
        self.is_refreshable = True
        server.otherwise = self.answer

    def answer(self, asked: Asked) -> Reply:
        if asked.path in ("/token", "/refresh"):
            if asked.path == "/refresh" and not self.is_refreshable:
                return 400, b""
            self.day += asked.path == "/refresh"
            reply = {"data": {"token": f"t{self.day}"}, "refresh": f"r{self.day}", "seconds": 100}
            return 200, json.dumps(reply).encode()
        return (200 if asked.headers.get("authorization") == f"Bearer t{self.day}" else 401), b""

    @property
    def oauth(self) -> dict[str, Any]:
        return {
            "access": {
                "url": self.server.url + "/token",
                "body": '{"password":"hush"}',
                "headers": {"X-App": "x"},
                "expire": "{{.seconds}}",
            },
            "refresh": {
                "url": self.server.url + "/refresh",
                "headers": {"X-Refresh": "{{.refresh}}"},
                "body": "{{.data.token}}",
            },
        }

    @property
    def properties(self) -> dict[str, Any]:
        return {"oAuth": self.oauth, "headers": {"Authorization": "Bearer {{.data.token}}"}}


async def test_a_token_is_got_and_refreshed_in_time(tmp_path: Path, server: Server) -> None:
    door = Door(server)
    clock = VirtualClock(1_704_067_200_000)
    async with Engine(tmp_path, clock=clock, drain=0.1) as engine:
        engine.define_stream("demo", type="memory", datasource="demo")
        rule = await start(engine, server.url + "/in", **door.properties)
        for delivered, seconds in enumerate((0, 49, 1, 49, 1), start=1):
            await clock.advance_to(clock.now() + seconds * 1000)
            await push(engine, *rows(delivered))
            await eventually(lambda: rule.metrics.delivered == delivered)  # noqa: B023
    assert server.paths == ["/token", "/in", "/in", "/refresh", "/in", "/in", "/refresh", "/in"]
    token, refresh = server.requests[0], server.requests[3]
    assert (token.method, token.body, token.headers["x-app"]) == (
        "POST",
        '{"password":"hush"}',
        "x",
    )
    assert (refresh.body, refresh.headers["x-refresh"]) == ("t1", "r1")


@pytest.mark.parametrize("is_refreshable", [True, False])
async def test_a_token_that_is_refused_is_replaced(
    engine: Engine, server: Server, caplog: pytest.LogCaptureFixture, is_refreshable: bool
) -> None:
    door = Door(server)
    rule = await start(engine, server.url + "/in", **door.properties)
    door.day, door.is_refreshable = 5, is_refreshable
    await push(engine, *rows(1))
    await eventually(lambda: rule.metrics.delivered == 1)
    after = ["/refresh"] if is_refreshable else ["/refresh", "/token"]
    assert server.paths == ["/token", "/in", *after, "/in"]
    told = [record.getMessage() for record in caplog.records if "refresh" in record.getMessage()]
    assert len(told) == (not is_refreshable)
    if told:
        assert "oAuth.refresh: POST" in told[0]
        assert "replied 400" in told[0]


async def test_why_nothing_is_refreshed_is_told_once(
    engine: Engine, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    door = Door(server)
    rule = await start(engine, server.url + "/in", **door.properties)
    door.day, door.is_refreshable = 5, False
    server.replies["/token"] = 500, b""
    await push(engine, *rows(1))
    await eventually(lambda: server.paths.count("/refresh") > 3)
    assert caplog.text.count("oAuth.access is asked for another token") == 1
    del server.replies["/token"]
    await eventually(lambda: rule.metrics.delivered == 1)


@pytest.mark.parametrize("seconds", ["Infinity", "1e999", "nan", "-1"])
async def test_a_token_that_never_expires_is_kept(
    engine: Engine, server: Server, seconds: str
) -> None:
    properties = Door(server).properties
    properties["oAuth"]["access"]["expire"] = seconds
    rule = await start(engine, server.url + "/in", **properties)
    await push(engine, *rows(1))
    await eventually(lambda: rule.metrics.delivered == 1)
    assert server.paths == ["/token", "/in"]


@pytest.mark.parametrize("reply", [(401, b""), (500, b""), (200, b"[]"), (200, b"?"), (200, b"{}")])
async def test_without_a_token_results_wait(engine: Engine, server: Server, reply: Reply) -> None:
    door = Door(server)
    server.replies["/token"] = reply
    sink = {"url": server.url + "/in?key=hush", "resendInterval": "10ms", **door.properties}
    rule = await engine.start({"id": "r", "sql": "SELECT * FROM demo", "actions": [{"rest": sink}]})
    await eventually(lambda: "oAuth" in str(rule.status.connections))
    assert "hush" not in str(rule.status.connections)
    del server.replies["/token"]
    await eventually(lambda: rule.status.state == "running")
    await push(engine, *rows(1))
    await eventually(lambda: rule.metrics.delivered == 1)


# -- security ----------------------------------------------------------------------------------


async def test_a_certificate_is_trusted_if_we_are_told_to(engine: Engine, tmp_path: Path) -> None:
    with Server(certificate(tmp_path)) as server:
        server.otherwise = lambda asked: OK
        rule = await send(engine, server.url, *rows(1), rootCaPath="own.pem")
        assert rule.metrics.delivered == 1
        await engine.stop("r")
        rule = await start(engine, server.url)
        await push(engine, *rows(1))
        await eventually(lambda: "certificate" in str(rule.status.connections).lower())
        await engine.stop_all(drain=0)


@pytest.mark.parametrize("allowed", ["127.0.0.0/8", "127.0.0.1"])
async def test_private_networks_that_are_named_may_be_asked(
    tmp_path: Path, server: Server, allowed: str
) -> None:
    async with Engine(tmp_path, private_hosts=[allowed], drain=0.1) as engine:
        engine.define_stream("demo", type="memory", datasource="demo")
        rule = await send(engine, server.url + "/in", *rows(1, 2))
        assert rule.metrics.delivered == len(server.requests) == 2


@pytest.mark.parametrize("allowed", [[], ["10.0.0.0/8", "example"]])
async def test_other_private_networks_are_not_asked(
    tmp_path: Path, server: Server, allowed: list[str]
) -> None:
    async with Engine(tmp_path, private_hosts=allowed, drain=0.1) as engine:
        engine.define_stream("demo", type="memory", datasource="demo")
        rule = await start(engine, server.url + "/{{.n}}")
        assert rule.status.state == "stopped by error"
        assert f"{server.url}/: 127.0.0.1 is in a private network" in rule.status.message
        await engine.delete("r")
        # only the row tells the host
        rule = await send(engine, "http://{{.host}}/", {"host": f"127.0.0.1:{server.port}"})
        assert (rule.metrics.delivered, sum(rule.metrics.dropped.values())) == (0, 1)
        assert rule.parts
        assert "in a private network" in rule.parts.sinks[0].metrics.last_exception
        assert not server.requests


async def test_a_connection_is_for_the_host_whose_certificate_was_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses = socket.getaddrinfo

    def look_up(host: str | bytes, *more: Any, **options: Any) -> Any:
        is_other = host in ("other.test", b"other.test")
        return addresses("127.0.0.1" if is_other else host, *more, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    with Server(certificate(tmp_path)) as server:
        server.otherwise = lambda asked: OK
        async with Engine(tmp_path, private_hosts=["127.0.0.0/8"], drain=0) as engine:
            engine.define_stream("demo", type="memory", datasource="demo")
            url = f"https://{{{{.host}}}}:{server.port}/"
            own, other = {"host": "127.0.0.1"}, {"host": "other.test"}
            rule = await send(engine, url, own, own, rootCaPath="own.pem")
            await push(engine, other)
            await eventually(
                lambda: (
                    "certificate" in str(rule.status.connections).lower()
                    or len(server.requests) > 2
                )
            )
            hosts = [asked.headers["host"] for asked in server.requests]
            assert hosts == [f"127.0.0.1:{server.port}"] * 2
            assert len(server.connections) == 1
            await engine.stop_all(drain=0)


async def test_a_computed_address_that_cannot_be_asked_refuses_its_message(
    engine: Engine, server: Server
) -> None:
    addresses = ["h:99999/", "/x", "h:port/", server.url.removeprefix("http://")]
    batch = [{"a": address} for address in addresses]
    rule = await send(engine, "http://{{.a}}", *batch)
    assert rule.metrics.dropped == {("sink[rest_0]", "rejected"): 3}
    assert rule.metrics.delivered == 1
    assert rule.metrics.last_error == (
        "sink[rest_0]: POST http://h:99999/: the port must be from 1 to 65535; "
        "POST /x: the address names no host; "
        "no request can be made: Invalid port: 'port'"
    )


@pytest.mark.parametrize("is_told", [True, False])
async def test_logs_have_bodies_only_if_asked_for_and_never_secrets(
    engine: Engine, server: Server, caplog: pytest.LogCaptureFixture, is_told: bool
) -> None:
    caplog.set_level(logging.INFO)
    door = Door(server)
    url = server.url + "/in?key=hush"
    server.replies["/in?key=hush"] = 200, b"thanks"
    await send(engine, url, *rows(1), debugResp=is_told, **door.properties)
    text = caplog.text
    assert ('{"n":1}' in text) is ("thanks" in text) is is_told
    assert "hush" not in text
    assert "Bearer" not in text


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        ({"url": "ftp://h/x"}, "url 'ftp://h/x' can't be asked"),
        ({"url": "{{.url}}"}, "can't be asked"),
        ({"url": "http://h/{{.id"}, "url: "),
        ({"url": "http://h:99999/x"}, "its port must be from 1 to 65535"),
        ({"url": "http://h:0/{{.id}}"}, "its port must be from 1 to 65535"),
        ({"url": "http://h:port"}, "its port must be from 1 to 65535"),
        ({"url": "http:///{{.id}}"}, "it names no host"),
        ({"url": "http://[::1/x"}, "its host is malformed"),
        ({"url": "http://h/\n"}, "it holds a control character"),
        ({"url": "http://me:hush@h:0/?also=hush"}, "url 'http://h:0/' can't be asked"),
        ({"oAuth": {"access": {"url": "http://h:99999"}}}, "oAuth.access.url 'http://h:99999'"),
        ({"method": "TRACE"}, "method 'TRACE' is unknown"),
        ({"bodyType": "formdata"}, "bodyType formdata has no fields"),
        ({"bodyType": "form"}, "bodyType form is for format urlencoded"),
        ({"bodyType": "json", "format": "delimited"}, "bodyType json is for format json"),
        ({"concurrency": 0}, "concurrency"),
        ({"rootCaPath": "none.pem"}, "rootCaPath: there is no file"),
        ({"renegotiationSupport": "freely"}, "renegotiationSupport"),
        ({"oAuth": {"access": {"url": "token"}}}, "oAuth.access.url 'token' can't be asked"),
        ({"oAuth": {"access": {"url": "http://h", "body": "{{"}}}, "{{"),
        ({"oAuth": {"access": {"url": "http://h"}}, "headers": {"A": "{{.x"}}, "{{"),
        ({"oAuth": {}}, "'access' is missing"),
    ],
)
async def test_wrong_configurations_are_refused(
    engine: Engine, properties: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        await start(engine, **{"url": "http://h", **properties})
    assert message in str(caught.value)
