"""A stream that asks an HTTP server again and again."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from engine import ConfigError, Engine
from engine.api import Batch, Config, Sink
from engine.clock import VirtualClock
from engine.registry import PluginKind
from engine.run.rule import Rule
from tests.conftest import Rows, eventually
from tests.http_server import Asked, Reply, Server

START = 1_704_067_200_000


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


class Setting:
    """An engine in virtual time, and what its rule has made of the replies."""

    def __init__(self, engine: Engine, clock: VirtualClock) -> None:
        self.engine = engine
        self.clock = clock
        self.rows: Rows = []
        rows = self.rows

        class Collect(Sink[Config]):
            async def collect(self, batch: Batch) -> None:
                rows.extend(batch.rows or ())

        engine.plugins.register(PluginKind.SINK, "collect", Collect)

    async def start(self, url: str, *, qos: int = 0, **properties: Any) -> Rule:
        self.engine.define_stream(
            "web", type="httppull", replace=True, url=url, **{"interval": "10s", **properties}
        )
        return await self.engine.start(
            {
                "id": "r",
                "sql": "SELECT * FROM web",
                "actions": [{"collect": {}}],
                "options": {"qos": qos, "sendError": True},
            }
        )

    async def tick(self) -> None:
        await self.clock.advance_to(self.clock.now() + 10_000)


@asynccontextmanager
async def setting(root: Path) -> AsyncIterator[Setting]:
    clock = VirtualClock(START)
    async with Engine(root, clock=clock, drain=1) as engine:
        yield Setting(engine, clock)


async def test_the_server_is_asked_at_once_and_after_each_interval(
    tmp_path: Path, server: Server
) -> None:
    replies = iter([b'{"n":1}', b'[{"n":2},{"n":3}]', b"[]", b'{"n":4}'])
    server.otherwise = lambda asked: (200, next(replies))
    async with setting(tmp_path) as here:
        await here.start(server.url, datasource="/all", method="post", body='{"all":true}')
        for expected in ([1], [1, 2, 3], [1, 2, 3], [1, 2, 3, 4]):
            await eventually(lambda: [row["n"] for row in here.rows] == expected)  # noqa: B023
            asked = len(server.requests)
            await here.tick()
            await eventually(lambda: len(server.requests) > asked)  # noqa: B023
    first = server.requests[0]
    assert (first.method, first.path, first.body) == ("POST", "/all", '{"all":true}')
    assert first.headers["content-type"] == "application/json"


async def test_failures_are_counted_and_the_next_reply_is_taken(
    tmp_path: Path, server: Server
) -> None:
    replies: Iterator[Reply] = iter([(500, b""), (200, b"?"), (404, b""), (200, b'{"n":1}')])
    server.otherwise = lambda asked: next(replies)
    async with setting(tmp_path) as here:
        rule = await here.start(server.url + "/x?key=hush")
        for failures in (1, 2, 3):
            await eventually(lambda: len(here.rows) == failures)  # noqa: B023
            await here.tick()
        await eventually(lambda: here.rows[-1].get("n") == 1)
        first, second, third = (row["error"] for row in here.rows[:3])
        assert first.endswith("/x: 500 Internal Server Error")
        assert "/x: the reply is no JSON" in second
        assert third.endswith("/x replied 404")
        assert "hush" not in str(here.rows)
        assert rule.metrics.errors == {
            ("decode", "replied 500"): 1,
            ("decode", "the reply is no JSON"): 1,
            ("decode", "replied 404"): 1,
        }
        assert rule.status.connections["source[web]"].connected


@pytest.mark.parametrize(
    ("reason", "properties"),
    [
        ("no connection", {"url": "http://127.0.0.1:1/"}),
        ("no reply in time", {"datasource": "/slow", "timeout": "20ms"}),
        ("the reply is too long", {"datasource": "/long", "maxResponse": 10}),
        ("the reply is neither an object nor a list of objects", {"datasource": "/number"}),
        ("the code in the reply is no success", {"datasource": "/code", "responseType": "body"}),
        ("a header holds what can't be sent", {"headers": {"a": "b\n"}}),
        ("no address of HTTP", {"datasource": "/moved"}),
        ("template", {"datasource": "/{{.nothing}}"}),
        ("oAuth.access replied 403", {"oAuth": {"access": {"url": "/token"}}}),
        ("oAuth.access: the reply is no JSON", {"oAuth": {"access": {"url": "/text"}}}),
        ("oAuth.access: the reply is no JSON object", {"oAuth": {"access": {"url": "/number"}}}),
    ],
)
async def test_failures_are_counted_by_what_they_are(
    tmp_path: Path, server: Server, reason: str, properties: dict[str, Any]
) -> None:
    goes_on = threading.Event()

    def late() -> Reply:
        goes_on.wait(10)
        return 200, b""

    server.replies = {
        "/slow": late,
        "/long": (200, b"[" + b" " * 20 + b"]"),
        "/number": (200, b"1"),
        "/code": (200, b'{"code": 500}'),
        "/token": (403, b""),
        "/moved": (302, b"http://127.0.0.1:99999/"),
        "/text": (200, b"text"),
    }
    if access := properties.get("oAuth", {}).get("access"):
        access = {"url": server.url + access["url"]}
        properties = {"oAuth": {"access": access}}
    async with setting(tmp_path) as here:
        rule = await here.start(**{"url": server.url, **properties})
        await eventually(lambda: here.rows)
        goes_on.set()
        assert rule.metrics.errors == {("decode", reason): 1}


async def test_a_reply_that_is_the_same_gives_nothing_new(tmp_path: Path, server: Server) -> None:
    replies = iter([b'{"n":1}', b'{"n":1}', b'{"n":2}', b'{"n":1}'])
    server.otherwise = lambda asked: (200, next(replies))
    async with setting(tmp_path) as here:
        await here.start(server.url, incremental=True)
        for number in range(1, 5):
            await eventually(lambda: len(server.requests) == number)  # noqa: B023
            if number < 4:
                await here.tick()
        await eventually(lambda: [row["n"] for row in here.rows] == [1, 2, 1])


def pages(asked: Asked) -> Reply:
    """Reply with the page that is asked for, and what to ask for next."""
    number = int(asked.path.partition("after=")[2])
    return 200, json.dumps([{"n": number, "after": number + 1}]).encode()


@pytest.mark.parametrize("qos", [0, 1])
async def test_states_follow_the_replies_and_belong_to_the_checkpoint(
    tmp_path: Path, server: Server, qos: int
) -> None:
    server.otherwise = pages
    for run in (0, 1):
        async with setting(tmp_path) as here:
            begin = 3 * run if qos else 0
            await here.start(
                server.url + "/p?after={{.after}}",
                qos=qos,
                states={"after": 0},
                headers={"X-After": "{{.after}}"},
            )
            for count in (1, 2, 3):
                await eventually(lambda: len(here.rows) == count)  # noqa: B023
                if count < 3:
                    await here.tick()
            assert [row["n"] for row in here.rows] == list(range(begin, begin + 3))
            await here.engine.stop("r")
    assert server.requests[1].headers["x-after"] == "1"


async def test_states_are_percent_encoded_in_the_address(tmp_path: Path, server: Server) -> None:
    server.otherwise = lambda asked: (200, b'{"id":"a/b&c"}')
    async with setting(tmp_path) as here:
        await here.start(server.url + "/p?id={{.id}}", states={"id": "none"})
        await eventually(lambda: len(here.rows) == 1)
        await here.tick()
        await eventually(lambda: server.paths == ["/p?id=none", "/p?id=a%2Fb%26c"])


async def test_a_token_is_there_for_the_request(tmp_path: Path, server: Server) -> None:
    server.replies["/token"] = 200, b'{"access_token":"t1"}'

    def answer(asked: Asked) -> Reply:
        is_in = asked.headers.get("authorization") == "Bearer t1"
        return (200, b'{"n":1}') if is_in else (401, b"")

    server.otherwise = answer
    async with setting(tmp_path) as here:
        await here.start(
            server.url + "/in",
            oAuth={"access": {"url": server.url + "/token"}},
            headers={"Authorization": "Bearer {{.access_token}}"},
        )
        await eventually(lambda: here.rows == [{"n": 1}])
        server.replies["/token"] = 200, b'{"access_token":"t1","n":2}'
        server.otherwise = lambda asked: (
            answer(asked) if server.paths.count("/token") == 2 else (401, b"")
        )
        await here.tick()
        await eventually(lambda: len(here.rows) == 2)
    assert server.paths == ["/token", "/in", "/in", "/token", "/in"]


async def test_private_networks_are_asked_only_where_that_is_allowed(
    tmp_path: Path, server: Server
) -> None:
    server.otherwise = lambda asked: (200, b'{"n":1}')
    async with Engine(tmp_path, private_hosts=[], drain=0.1) as engine:
        engine.define_stream("web", type="httppull", url=server.url)
        rule = await engine.start({"id": "r", "sql": "SELECT * FROM web", "actions": [{"nop": {}}]})
        await eventually(lambda: rule.status.state == "stopped by error")
        assert "127.0.0.1 is in a private network" in rule.status.message
        assert not server.requests


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        ({"url": "ftp://h"}, "can't be asked"),
        ({"url": "http://h", "datasource": ":99999/x"}, "its port must be from 1 to 65535"),
        ({"url": "http:///x"}, "it names no host"),
        ({"url": "http://h", "bodyType": "formdata"}, "bodyType formdata is for sinks"),
        ({"url": "http://h/{{.x"}, "{{"),
    ],
)
async def test_wrong_configurations_are_refused(
    engine: Engine, properties: dict[str, Any], message: str
) -> None:
    engine.define_stream("web", type="httppull", **properties)
    with pytest.raises(ConfigError) as caught:
        await engine.start({"id": "r", "sql": "SELECT * FROM web", "actions": [{"nop": {}}]})
    assert message in str(caught.value)
