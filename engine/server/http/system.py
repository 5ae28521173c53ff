"""The server itself over HTTP: how it is, what can be changed, its end, its tokens."""

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

from engine import __version__
from engine.config.zone import named_zone
from engine.server.credentials import RoleName
from engine.server.http.document import BOOLEAN, OBJECT, OBJECTS, STRING, an_object, documented
from engine.server.http.replies import AnyRequest, Serving, body_of, json, text
from engine.server.problems import Problem
from engine.server.process import cpu_seconds, resident_bytes, total_bytes
from engine.server.service import Service

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_LEVELS = ("debug", "info", "warn", "warning", "error")
_ROLE = Schema(type=OpenAPIType.STRING, enum=["read", "write", "admin"])
_Token = documented(an_object(["name"], name=STRING, role=_ROLE), reply=OBJECT)


class MetricsDumpSetting(msgspec.Struct, frozen=True):
    """Whether metrics are written down."""

    enable: bool


class Settings(msgspec.Struct, frozen=True, rename="camel"):
    """What can be changed while the server runs, until it ends."""

    log_level: str = ""
    debug: bool | None = None
    console_log: bool = True
    file_log: bool = False
    timezone: str = ""
    """For the schedules of rules that are defined from now on."""
    metrics_dump_config: MetricsDumpSetting | None = None


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
    operation_class=documented(
        an_object(logLevel=STRING, debug=BOOLEAN, timezone=STRING, metricsDumpConfig=OBJECT)
    ),
)
async def configure(service: Serving, request: AnyRequest) -> Response[None]:
    """Change the log level, the time zone, and whether metrics are written down."""
    given = await body_of(request, Settings)
    level = "debug" if given.debug else given.log_level.lower()
    if level and level not in _LEVELS:
        raise Problem(f"unknown log level {level[:40]!r}", hint=f"one of {', '.join(_LEVELS)}")
    if given.file_log or not given.console_log:
        raise Problem(
            "the log goes to the standard error of the server",
            hint="send that into a file; log files of rules are their option logFilename",
        )
    zone = named_zone(given.timezone) if given.timezone else None
    if zone is not None:
        service.engine.zone = zone
    if given.metrics_dump_config is not None:
        service.metrics_dump.is_enabled = given.metrics_dump_config.enable
    if level:
        logging.getLogger().setLevel("WARNING" if level == "warn" else level.upper())
    return Response(None, status_code=204)


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
