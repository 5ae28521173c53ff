"""Looking rows up by HTTP, from a real server."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.api import ConfigError, NotConnected, Row, RowError, Use
from engine.clock import SystemClock
from engine.lookup.link import LookupLink
from engine.lookup.options import LookupOptions
from engine.lookup.table import LookupTable
from plugins.sources.httppull import Httppull, HttppullConfig
from tests.http_server import Reply, Server, certificate
from tests.lookup.support import PlainContext, opened

DEVICES: list[Row] = [{"id": 1, "name": "one"}, {"id": 2, "name": "two"}]
Open = Callable[..., Any]


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        server.replies["/all"] = 200, json.dumps(DEVICES).encode()
        yield server


@pytest.fixture
async def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Open]:
    """What opens a source; all are closed in the end."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    made: list[Httppull] = []

    async def open_(url: str, **properties: Any) -> Httppull:
        made.append(Httppull())
        await opened(made[-1], HttppullConfig(url=url, **properties), PlainContext(tmp_path))
        return made[-1]

    yield open_
    for each in made:
        await each.close()


async def test_the_rows_of_the_reply_that_have_the_key_are_found(
    source: Open, server: Server
) -> None:
    table = await source(server.url, datasource="/all")
    assert await table.lookup([], ["id"], [2.0]) == DEVICES[1:]
    assert await table.lookup([], ["id", "name"], [2, "one"]) == []
    assert await table.lookup([], ["id"], ["2"]) == []


async def test_the_key_can_be_part_of_the_request(source: Open, server: Server) -> None:
    server.replies["/devices/a%2F%3Fb%26?n=2.5"] = 200, b'{"name": "odd", "site": "x"}'
    table = await source(server.url + "/devices/{{.id}}?n={{ .n }}")
    assert await table.lookup([], ["id", "n"], ["a/?b&", 2.5]) == [{"name": "odd", "site": "x"}]
    # the server answers for the keys it was asked for, the others are compared
    assert await table.lookup([], ["id", "n", "site"], ["a/?b&", 2.5, "y"]) == []
    assert await table.lookup([], ["id", "n"], ["unknown", 1]) == []  # 404


async def test_body_and_headers_take_values_too(source: Open, server: Server) -> None:
    server.replies["/find"] = 200, b'[{"name": "one"}]'
    table = await source(
        server.url + "/find",
        method="post",
        body='{"id": {{.id}}}',
        headers={"X-Id": "no {{.id}}", "Accept": "application/json"},
    )
    assert await table.lookup([], ["id"], [1]) == [{"name": "one"}]
    ((method, _, headers, body),) = server.requests
    assert (method, body, headers["x-id"]) == ("POST", '{"id": 1}', "no 1")
    assert (headers["content-type"], headers["accept"]) == ("application/json", "application/json")


async def test_redirects_are_followed(source: Open, server: Server) -> None:
    server.replies["/old"] = 302, b"/all"
    table = await source(server.url + "/old")
    assert await table.lookup([], ["id"], [1]) == DEVICES[:1]


@pytest.mark.parametrize("content", [b"", b" \n", b"null", b"[]"])
async def test_an_empty_reply_has_no_rows(source: Open, server: Server, content: bytes) -> None:
    server.replies["/empty"] = 200, content
    table = await source(server.url + "/empty")
    assert await table.lookup([], ["id"], [1]) == []


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        ((404, b""), "replied 404"),  # no key is named, so the address is wrong
        ((403, b"no"), "replied 403"),
        ((200, b"<html>"), "the reply is no JSON"),
        ((200, b"\xff"), "the reply is no JSON"),
        ((200, b"[" * 100_000), "the reply is no JSON"),
        ((200, b"[1]"), "neither an object nor a list of objects"),
        ((200, b"x" * 2000), "more than 1000 bytes"),
        ((302, b"ftp://127.0.0.1/"), "ftp"),
        ((302, b"/odd"), "redirects"),
    ],
)
async def test_replies_that_will_not_get_better_are_errors_of_the_row(
    source: Open, server: Server, reply: Reply, message: str
) -> None:
    server.replies["/odd"] = reply
    limit = {"max_response": 1000} if b"x" in reply[1] else {}
    table = await source(server.url + "/odd?token=secret", **limit)
    server.replies["/odd?token=secret"] = reply
    with pytest.raises(RowError, match=message) as caught:
        await table.lookup([], ["id"], [1])
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
async def test_a_server_in_trouble_is_asked_again(
    source: Open, server: Server, status: int
) -> None:
    server.replies["/all"] = status, b""
    table = await source(server.url + "/all")
    with pytest.raises(NotConnected, match=f"GET http://127.0.0.1:.*/all: {status}"):
        await table.lookup([], ["id"], [1])


async def test_nobody_there_is_not_connected(source: Open) -> None:
    table = await source("http://127.0.0.1:9/x")
    with pytest.raises(NotConnected, match=r"127\.0\.0\.1:9"):
        await table.lookup([], ["id"], [1])


async def test_a_late_reply_is_not_connected(source: Open, server: Server) -> None:
    def late() -> Reply:
        time.sleep(0.3)
        return 200, b"[]"

    server.replies["/late"] = late
    table = await source(server.url + "/late", timeout=0.05)
    with pytest.raises(NotConnected, match=r"no reply within 0\.05 s"):
        await table.lookup([], ["id"], [1])


async def test_the_reply_may_tell_success_in_its_body(source: Open, server: Server) -> None:
    server.replies["/ok"] = 200, b'{"code": 200, "id": 1}'
    server.replies["/bad"] = 200, b'{"code": 500, "id": 1}'
    table = await source(server.url + "/ok", response_type="body")
    assert await table.lookup([], ["id"], [1]) == [{"code": 200, "id": 1}]
    table = await source(server.url + "/bad", response_type="body")
    with pytest.raises(RowError, match="the code in the reply is 500"):
        await table.lookup([], ["id"], [1])


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        ({"url": "ftp://h/x"}, "can't be asked"),
        ({"url": "file:///etc/passwd"}, "can't be asked"),
        ({"url": "{{.url}}"}, "can't be asked"),
        ({"url": "http://h/{{.id"}, "{{"),
    ],
)
def test_wrong_configurations_are_refused(
    tmp_path: Path, properties: dict[str, Any], message: str
) -> None:
    source = Httppull()
    source.config, source.ctx = HttppullConfig(**properties), PlainContext(tmp_path)
    with pytest.raises(ConfigError) as caught:
        source.validate()
    assert message in str(caught.value)


@pytest.fixture
def tls_server(tmp_path: Path) -> Iterator[Server]:
    """A server with a certificate of its own, ``own.pem``."""
    with Server(certificate(tmp_path)) as server:
        server.replies["/all"] = 200, json.dumps(DEVICES).encode()
        yield server


@pytest.mark.parametrize("trust", [{"root_ca_path": "own.pem"}, {"insecure_skip_verify": True}])
async def test_a_certificate_is_trusted_if_we_are_told_to(
    source: Open, tls_server: Server, trust: dict[str, Any]
) -> None:
    table = await source(tls_server.url + "/all", **trust)
    assert await table.lookup([], ["id"], [1]) == DEVICES[:1]
    table = await source(tls_server.url + "/all")
    with pytest.raises(NotConnected, match=r"(?i)certificate"):
        await table.lookup([], ["id"], [1])


async def test_missing_certificates_are_told(source: Open) -> None:
    with pytest.raises(ConfigError, match="TLS can't be set up: rootCaPath"):
        await source("https://127.0.0.1/", root_ca_path="none.pem")


async def test_a_table_asks_for_each_key_once_and_waits_for_the_server(
    source: Open, server: Server, tmp_path: Path
) -> None:
    """All parts together, with a server that comes back after a while."""
    failures = iter([503, 503])
    server.replies["/d/1"] = lambda: (next(failures, 200), b'{"name": "one"}')
    server.replies["/d/2"] = 200, b'{"name": "two"}'
    server.replies["/d/3"] = 400, b""
    http = await source(server.url + "/d/{{.id}}")
    clock = SystemClock()
    use = Use(http.config, PlainContext(tmp_path, clock))
    link = LookupLink("devices", http, use, clock, LookupOptions(cache=True))
    cache = LookupOptions(cache=True).make_cache()
    table = LookupTable(link, ["id"], ["name"], cache=cache, clock=clock)
    one, two, wrong, again = await table.find([(1,), (2,), (3,), (1,)])
    assert (one, two, again) == ([{"name": "one"}], [{"name": "two"}], [{"name": "one"}])
    assert isinstance(wrong, RowError)
    assert await table.find([(1,), (2,)]) == [one, two]
    assert sorted(server.paths) == ["/d/1", "/d/1", "/d/1", "/d/2", "/d/3"]
    await link.close()
