"""Named connections over HTTP."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Response, delete, get, post, put
from litestar.params import FromPath

from engine.server.configs import ConnectionDef
from engine.server.http.document import OBJECT, STRING, an_object, documented
from engine.server.http.replies import (
    AnyRequest,
    Serving,
    body_of,
    check_name,
    condition,
    flag,
    json,
    stored,
    text,
)
from engine.server.problems import missing
from engine.server.sandbox import Role, check_connection

_Connection = documented(an_object(["id", "typ"], id=STRING, typ=STRING, props=OBJECT))
_Properties = documented(OBJECT)
_ROLES: dict[str, Role] = {"sources": "sources", "lookups": "lookups", "sinks": "sinks"}


@get("/connections")
async def list_connections(service: Serving, request: AnyRequest) -> Response[bytes]:
    """Return all named connections; ``forceAll=true``: and those of rules that have no name."""
    return json(service.connections.all(anonymous=flag(request, "forceAll")))


@post("/connections", operation_class=_Connection)
async def create_connection(service: Serving, request: AnyRequest) -> Response[str]:
    """Define a connection."""
    given = await body_of(request, ConnectionDef)
    await service.configs.put_connection(given, replace=False)
    service.connections.check_soon()
    return text("success", 201)


@get("/connections/{name:str}")
async def get_connection(
    service: Serving, request: AnyRequest, name: FromPath[str]
) -> Response[bytes]:
    """Return a connection, without its secrets."""
    shown = msgspec.json.encode(service.connections.shown(name))
    return stored(request, shown, service.configs.connection_text(name))


@put("/connections/{name:str}", operation_class=_Connection)
async def replace_connection(
    service: Serving, request: AnyRequest, name: FromPath[str]
) -> Response[str]:
    """Replace a connection that no rule uses."""
    given = await body_of(request, ConnectionDef)
    check_name(given.id or name, name)
    given = msgspec.structs.replace(given, id=name)
    await service.configs.put_connection(given, condition(request), replace=True)
    service.connections.check_soon()
    return text("success")


@delete("/connections/{name:str}", status_code=200)
async def drop_connection(
    service: Serving, request: AnyRequest, name: FromPath[str]
) -> Response[str]:
    """Forget a connection that no rule uses."""
    await service.configs.drop_connection(name, condition(request))
    return text("success")


@get("/connections/{name:str}/status")
async def connection_status(service: Serving, name: FromPath[str]) -> Response[bytes]:
    """Return how a connection is doing, since when, and its last error."""
    return json(service.connections.status(name))


@post("/connections/{name:str}/check", status_code=200)
async def check_named(service: Serving, name: FromPath[str]) -> Response[bytes]:
    """Look how a connection is doing now; if no rule uses it, by opening it."""
    return json(await service.connections.check(name))


@post("/metadata/{role:str}/connection/{plugin:str}", status_code=200, operation_class=_Properties)
async def connect(
    service: Serving, request: AnyRequest, role: FromPath[str], plugin: FromPath[str]
) -> Response[str]:
    """Try to connect a source, a lookup table or a sink with some properties."""
    if role not in _ROLES:
        raise missing(f"metadata of {role}")
    properties = await body_of(request, dict[str, Any])
    await check_connection(service.engine, _ROLES[role], plugin, properties)
    return text("success")


ROUTES = [
    list_connections,
    create_connection,
    get_connection,
    replace_connection,
    drop_connection,
    connection_status,
    check_named,
    connect,
]
