"""A real HTTP server for tests, which replies as it is told and writes down what it was asked."""

from __future__ import annotations

import ssl
import subprocess
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple, Self

Reply = tuple[int, bytes]


class Asked(NamedTuple):
    """A request; the names of headers are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: str
    """Bytes that aren't UTF-8 are there as surrogates."""


class Server:
    """``replies`` are by path, else ``otherwise``; a callable is called for each request."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.replies: dict[str, Reply | Callable[[], Reply]] = {}
        self.otherwise: Callable[[Asked], Reply] = lambda asked: (404, b"")
        self.headers: Mapping[str, str] = {}
        """Of all replies."""
        self.requests: list[Asked] = []
        self.connections: set[tuple[str, int]] = set()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                asked = Asked(
                    self.command, self.path, headers, body.decode(errors="surrogateescape")
                )
                server.requests.append(asked)
                server.connections.add(self.client_address)
                reply = server.replies.get(self.path) or (lambda: server.otherwise(asked))
                status, content = reply() if callable(reply) else reply
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", content.decode())
                for name, value in server.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = answer  # noqa: N815

            def log_message(self, *args: Any) -> None:
                """Keep the test's output clean."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        if tls is not None:
            self._http.socket = tls.wrap_socket(self._http.socket, server_side=True)
        self.port = self._http.server_port
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,))
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    @property
    def paths(self) -> list[str]:
        return [asked.path for asked in self.requests]

    @property
    def bodies(self) -> list[str]:
        return [asked.body for asked in self.requests]


def certificate(folder: Path) -> ssl.SSLContext:
    """Make a certificate for 127.0.0.1, ``own.pem``, and return the context of its server."""
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
        "-subj /CN=own -addext subjectAltName=IP:127.0.0.1 -keyout own.key -out own.pem"
    )
    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(folder / "own.pem", folder / "own.key")
    return tls
