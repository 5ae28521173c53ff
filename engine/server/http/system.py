"""The server itself over HTTP: how it is, its log level, its end, its tokens, its metrics."""

from __future__ import annotations

import logging
import platform
import sys
import time
from typing import Any

import msgspec
from litestar import Response, delete, get, patch, post
from litestar.openapi.spec import Schema
from litestar.openapi.spec.enums import OpenAPIType
from litestar.params import FromPath
from litestar.response import Stream

from engine import __version__
from engine.server.credentials import RoleName
from engine.server.exposition import CONTENT_TYPE, exposition
from engine.server.http.document import BOOLEAN, OBJECT, OBJECTS, STRING, an_object, documented
from engine.server.http.replies import AnyRequest, Serving, body_of, json, text
from engine.server.problems import Problem
from engine.server.process import cpu_seconds, resident_bytes, total_bytes
from engine.server.service import Service

logger = logging.getLogger(__name__)

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_FIXED = ("consoleLog", "fileLog", "timezone", "metricsDumpConfig")
_LEVELS = ("debug", "info", "warn", "warning", "error")
_ROLE = Schema(type=OpenAPIType.STRING, enum=["read", "write", "admin"])
_Token = documented(an_object(["name"], name=STRING, role=_ROLE), reply=OBJECT)


class Settings(msgspec.Struct, frozen=True, rename="camel"):
    """What can be changed while the server runs, and what the reference can change beside it."""

    log_level: str = ""
    debug: bool | None = None
    console_log: Any = None
    file_log: Any = None
    timezone: Any = None
    metrics_dump_config: Any = None


class TokenDef(msgspec.Struct, frozen=True):
    """An API token to be made."""

    name: str
    role: RoleName = "write"


@get("/", operation_class=documented(reply=OBJECT))
async def information(service: Serving) -> Response[bytes]:
    """Return version, system and use of resources."""
    return json(_information(service))


@post("/", status_code=200, operation_class=documented(reply=OBJECT))
async def information_by_post(service: Serving) -> Response[bytes]:
    """Return the same; eKuiper answers both."""
    return json(_information(service))


@get("/ping")
async def ping() -> Response[str]:
    """Answer, if the server runs."""
    return text("")


@get("/healthz", operation_class=documented(reply=OBJECT))
async def healthz() -> Response[bytes]:
    """Answer, if the event loop turns."""
    return json({"status": "ok"})


@get("/ready", operation_class=documented(reply=OBJECT))
async def ready(service: Serving) -> Response[bytes]:
    """Answer 200 once everything has been recovered, 503 before and while stopping."""
    is_ready = service.is_ready
    return json({"ready": is_ready}, 200 if is_ready else 503)


@post("/stop", status_code=200)
async def stop(service: Serving) -> Response[str]:
    """End the server after its rules have drained."""
    service.stop()
    return text("stop success")


@patch(
    "/configs",
    status_code=204,
    operation_class=documented(an_object(logLevel=STRING, debug=BOOLEAN)),
)
async def configure(request: AnyRequest) -> Response[None]:
    """Change the log level; what can't be changed here is named in the log."""
    given = await body_of(request, Settings)
    fixed = (given.console_log, given.file_log, given.timezone, given.metrics_dump_config)
    names = [n for n, v in zip(_FIXED, fixed, strict=True) if v is not None]
    if names:
        logger.warning("PATCH /configs: %s can't be changed while it runs", ", ".join(names))
    level = "debug" if given.debug else given.log_level.lower()
    if level and level not in _LEVELS:
        raise Problem(f"unknown log level {level[:40]!r}", hint=f"one of {', '.join(_LEVELS)}")
    if level:
        logging.getLogger().setLevel("WARNING" if level == "warn" else level.upper())
    return Response(None, status_code=204)


@get("/metrics")
async def metrics(service: Serving) -> Stream:
    """Return the metrics of all rules and of the process, for Prometheus."""
    return Stream(exposition(service.engine, service.started), media_type=CONTENT_TYPE)


@get("/tokens", operation_class=documented(reply=OBJECTS))
async def list_tokens(service: Serving) -> Response[bytes]:
    """Return the names and roles of all API tokens."""
    return json(service.credentials.tokens())


@post("/tokens", operation_class=_Token)
async def create_token(service: Serving, request: AnyRequest) -> Response[bytes]:
    """Make an API token; this answer is the only one that ever has it."""
    given = await body_of(request, TokenDef)
    token = await service.credentials.create(given.name, given.role)
    return json({"name": given.name, "role": given.role, "token": token}, 201)


@delete("/tokens/{name:str}", status_code=200)
async def revoke_token(service: Serving, name: FromPath[str]) -> Response[str]:
    """Let an API token in no more."""
    await service.credentials.revoke(name)
    return text("success")


ROUTES = [
    information,
    information_by_post,
    ping,
    healthz,
    ready,
    stop,
    configure,
    metrics,
    list_tokens,
    create_token,
    revoke_token,
]


def _information(service: Service) -> dict[str, Any]:
    machine = platform.machine()
    uptime = time.time() - service.started
    used = 100 * cpu_seconds() / max(uptime, 1)
    return {
        "version": __version__,
        "os": sys.platform,
        "arch": _ARCHITECTURES.get(machine, machine),
        "upTimeSeconds": int(uptime),
        "cpuUsage": f"{used:.1f}%",
        "memoryUsed": str(resident_bytes()),
        "memoryTotal": str(total_bytes()),
    }
