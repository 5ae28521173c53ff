"""The door of the server: every call passes it before anything is done for it."""

from __future__ import annotations

import ipaddress
import re
from http import HTTPStatus
from typing import Any

import msgspec
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from engine.server.audit import AuditLog
from engine.server.credentials import Caller, Credentials, Role
from engine.server.limits import RateLimit
from engine.server.problems import GENERAL, Problem
from engine.server.settings import ServerSettings

_SLASHES = re.compile(r"/{2,}")
_OPEN = frozenset({"/", "/ping", "/healthz", "/ready"})
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_ADMINISTRATION = (
    "/stop",
    "/configs",
    "/tracer",
    "/data/",
    "/v2/data/",
    "/async/",
    "/ruleset/import",
)
_CODE = ("/plugins", "/udf", "/services", "/schemas/custom")
"""What these take is run by the server."""
_CREDENTIALS = "/tokens"
_NOBODY = Caller("anybody", Role.ADMIN, is_known=False)
_FAILURES_PER_SECOND = 0.2
_FAILURES_AT_ONCE = 10


class Guard:
    """Lets calls through to the application, or answers them itself."""

    def __init__(
        self,
        app: ASGIApp,
        settings: ServerSettings,
        credentials: Credentials,
        audit: AuditLog,
    ) -> None:
        self._app = app
        self._settings = settings
        self._credentials = credentials
        self._audit = audit
        self._calls = RateLimit(settings.rate_limit)
        self._failures = RateLimit(_FAILURES_PER_SECOND, _FAILURES_AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection as ASGI has it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        # the router reads //tokens as /tokens: what is judged here must be what is called
        scope["path"] = _SLASHES.sub("/", scope["path"])
        call = _Call(scope)
        try:
            caller = self._admit(call)
        except Problem as problem:
            self._audit.note(call.who, call.address, call.method, call.path, problem.status)
            await _refuse(problem, send, is_socket=call.method == "WEBSOCKET")
            return
        scope["user"] = caller
        scope["headrace.door"] = self  # type: ignore[typeddict-unknown-key]

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start" and call.method not in _READING:
                self._audit.note(
                    caller.name, call.address, call.method, call.path, message["status"]
                )
            await send(message)

        await self._app(scope, receive, sending)

    def _admit(self, call: _Call) -> Caller:
        """Return who is calling.

        Raises:
            Problem: the call must not go on.
        """
        if not self._calls.allows(call.address):
            raise Problem(
                "too many calls", status=HTTPStatus.TOO_MANY_REQUESTS, headers={"Retry-After": "1"}
            )
        self._check_origin(call)
        if not self._settings.authentication:
            self._check_host(call)
            caller = _NOBODY
        elif call.path in _OPEN or call.method == "OPTIONS":
            return _NOBODY
        else:
            caller = self._authenticate(call)
        self._authorise(call, caller)
        return caller

    def _authenticate(self, call: _Call) -> Caller:
        if self._failures.is_exhausted(call.address):
            raise Problem(
                "too many failed calls",
                status=HTTPStatus.TOO_MANY_REQUESTS,
                headers={"Retry-After": "5"},
            )
        caller = self._credentials.caller(call.token)
        if caller is None:
            self._failures.allows(call.address)
            raise Problem(
                "who are you?",
                status=HTTPStatus.UNAUTHORIZED,
                hint="send a valid token in the header Authorization",
                headers={"WWW-Authenticate": "Bearer"},
            )
        call.who = caller.name
        return caller

    def _authorise(self, call: _Call, caller: Caller) -> None:
        needed = _role_for(call)
        if caller.role < needed:
            raise Problem(
                f"{caller.name} may not do this: it takes the role {needed.name.lower()}",
                status=HTTPStatus.FORBIDDEN,
            )
        if not caller.is_known and _is_for_known(call):
            raise Problem(
                "tokens, and what the server runs, are for callers who are known",
                status=HTTPStatus.FORBIDDEN,
                hint="set 'authentication: true' in etc/server.yaml and send a token",
            )

    def _check_origin(self, call: _Call) -> None:
        """Refuse what web pages of others send, though they can't read the answer."""
        origin = call.header("origin")
        if not origin or call.method in ("GET", "HEAD"):
            return
        allowed = self._settings.origins
        host = origin.partition("://")[2]
        if "*" not in allowed and origin not in allowed and host != call.header("host"):
            raise Problem(
                f"the page {origin[:100]} may not call this server",
                status=HTTPStatus.FORBIDDEN,
                hint="name it under 'origins' in etc/server.yaml",
            )

    def _check_host(self, call: _Call) -> None:
        """Refuse names that are not ours: a page elsewhere may let its name point here."""
        host = call.header("host")
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        name = name.strip("[]").lower()
        known = ("localhost", self._settings.host.lower(), *self._settings.allowed_hosts)
        if name and name not in known and not _is_address(name):
            raise Problem(
                f"this server isn't {name[:100]}",
                status=HTTPStatus.FORBIDDEN,
                hint="name it under 'allowedHosts' in etc/server.yaml",
            )


class _Call:
    """One call, as far as the door looks at it."""

    def __init__(self, scope: Scope) -> None:
        self.path: str = scope["path"].rstrip("/") or "/"
        self.method: str = str(scope.get("method", "WEBSOCKET"))
        client: Any = scope.get("client")
        self.address: str = client[0] if client else ""
        self.who = ""
        """The name of the caller, once it is known."""
        self._headers = scope["headers"]
        self._query: bytes = scope["query_string"]

    def header(self, name: str) -> str:
        """Return a header, "" if it isn't there."""
        wanted = name.encode()
        return next((v.decode("latin-1") for k, v in self._headers if k.lower() == wanted), "")

    @property
    def token(self) -> str:
        """The token; pages can give it to websockets and event streams in the query only."""
        given = self.header("authorization")
        if not given and (self.method == "WEBSOCKET" or self.path.endswith("/results")):
            for part in self._query.split(b"&"):
                if part.startswith(b"token="):
                    return part[6:].decode("latin-1")
        return given


def _role_for(call: _Call) -> Role:
    if call.path.startswith(_CREDENTIALS):
        return Role.ADMIN
    if call.method in (*_READING, "WEBSOCKET"):
        return Role.READ
    if call.path.startswith((*_ADMINISTRATION, *_CODE)):
        return Role.ADMIN
    return Role.WRITE


def _is_for_known(call: _Call) -> bool:
    """Tell whether a call would outlive a time without authentication, or run somebody's code."""
    changes_code = call.method not in _READING and call.path.startswith(_CODE)
    return changes_code or call.path.startswith(_CREDENTIALS)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


async def _refuse(problem: Problem, send: Send, *, is_socket: bool) -> None:
    if is_socket:
        await send({"type": "websocket.close", "code": 1008, "reason": problem.message[:120]})
        return
    body = msgspec.json.encode({"error": problem.code or GENERAL, "message": str(problem)})
    headers = {"content-type": "application/json", **problem.headers}
    await send(
        {
            "type": "http.response.start",
            "status": problem.status,
            "headers": [(k.lower().encode(), v.encode()) for k, v in headers.items()],
        }
    )
    await send({"type": "http.response.body", "body": body, "more_body": False})
