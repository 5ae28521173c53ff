"""Getting packages from a real HTTP server that does all kinds of things."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from engine.errors import PluginError
from engine.packages import FetchLimits
from engine.packages.fetch import FETCH_LIMITS, fetch

CONTENT = bytes(range(256)) * 500
Answer = Callable[[BaseHTTPRequestHandler], None]


class Server:
    """Answers every request as told."""

    def __init__(self) -> None:
        self.answer: Answer = lambda request: reply(request, CONTENT)
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Tests are quiet."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()


def reply(
    request: BaseHTTPRequestHandler, content: bytes, *, size: int | None = None, status: int = 200
) -> None:
    request.send_response(status)
    request.send_header("Content-Length", str(len(content) if size is None else size))
    request.end_headers()
    request.wfile.write(content)


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.http.shutdown()
    made.http.server_close()


def failure(place: str, folder: Path, limits: FetchLimits = FETCH_LIMITS, **more: str) -> str:
    with pytest.raises(PluginError) as caught:
        fetch(place, folder, limits=limits, **more)
    return str(caught.value)


def test_a_file_comes_as_it_is_with_its_checksum(server: Server, tmp_path: Path) -> None:
    digest = hashlib.sha256(CONTENT).hexdigest()
    got = fetch(f"{server.url}/a/geo.zip?token=secret", tmp_path, sha256=digest.upper())
    assert (got.path.name, got.path.read_bytes(), got.sha256) == ("geo.zip", CONTENT, digest)
    assert got.source == f"{server.url}/a/geo.zip"


def test_a_path_and_a_file_url_are_copied(tmp_path: Path) -> None:
    source = tmp_path / "with space.zip"
    source.write_bytes(CONTENT)
    (tmp_path / "out").mkdir()
    for place in (str(source), source.as_uri()):
        got = fetch(place, tmp_path / "out")
        assert (got.path.parent.name, got.path.read_bytes()) == ("out", CONTENT)
        assert got.source == str(source)


def test_another_checksum_is_refused(server: Server, tmp_path: Path) -> None:
    assert "its SHA-256 is" in failure(f"{server.url}/geo.zip", tmp_path, sha256="0" * 64)


def test_passwords_are_never_shown(server: Server, tmp_path: Path) -> None:
    seen: list[str | None] = []

    def refuse(request: BaseHTTPRequestHandler) -> None:
        seen.append(request.headers["Authorization"])
        reply(request, b"", status=403)

    server.answer = refuse
    url = server.url.replace("http://", "http://user:secret@")
    shown = failure(f"{url}/geo.zip?key=secret", tmp_path)
    assert "403" in shown
    assert "secret" not in shown
    assert seen == ["Basic dXNlcjpzZWNyZXQ="]


def test_what_is_too_large_is_refused_at_once_or_while_it_comes(
    server: Server, tmp_path: Path
) -> None:
    limits = FetchLimits(size=1000)
    assert "more than 1,000" in failure(f"{server.url}/geo.zip", tmp_path, limits)

    def endless(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        for _ in range(100):
            request.wfile.write(CONTENT)

    server.answer = endless
    with pytest.raises(PluginError, match="more than 1,000 bytes"):
        fetch(f"{server.url}/geo.zip", tmp_path, limits=limits)


def test_a_silent_server_is_given_up(server: Server, tmp_path: Path) -> None:
    server.answer = lambda request: time.sleep(1)
    begun = time.monotonic()
    shown = failure(f"{server.url}/geo.zip", tmp_path, FetchLimits(silence=0.1))
    assert time.monotonic() - begun < 1
    assert "timed out" in shown or "nothing came" in shown


def test_a_server_that_trickles_is_given_up(server: Server, tmp_path: Path) -> None:
    def trickle(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        for _ in range(100):
            request.wfile.write(b"x")
            request.wfile.flush()
            time.sleep(0.02)

    server.answer = trickle
    limits = FetchLimits(total=0.2)
    assert "took longer than 0.2 s" in failure(f"{server.url}/geo.zip", tmp_path, limits)


def test_half_a_file_is_no_file(server: Server, tmp_path: Path) -> None:
    server.answer = lambda request: reply(request, CONTENT, size=len(CONTENT) + 10)
    assert "the connection broke" in failure(f"{server.url}/geo.zip", tmp_path)


def test_a_redirection_is_followed_to_http_only(server: Server, tmp_path: Path) -> None:
    def redirect(request: BaseHTTPRequestHandler) -> None:
        if request.path == "/real.zip":
            reply(request, CONTENT)
            return
        request.send_response(302)
        request.send_header("Location", targets[-1])
        request.send_header("Content-Length", "0")
        request.end_headers()

    server.answer = redirect
    targets = [f"{server.url}/real.zip"]
    assert fetch(f"{server.url}/geo.zip", tmp_path).path.read_bytes() == CONTENT
    for target in ("file:///etc/passwd", "ftp://127.0.0.1/geo.zip"):
        targets.append(target)
        assert failure(f"{server.url}/geo.zip", tmp_path)


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("ftp://127.0.0.1/geo.zip", "not from ftp"),
        ("data://x", "not from data"),
        ("missing.zip", "No such file"),
        ("http://127.0.0.1:1/geo.zip", "refused"),
    ],
)
def test_other_places_are_refused(tmp_path: Path, place: str, why: str) -> None:
    assert why in failure(place, tmp_path)
