"""Sections of sources and sinks over HTTP, and what forms need to know of plugins."""

from __future__ import annotations

from typing import Any

from litestar import Response, delete, get, put
from litestar.params import FromPath, FromQuery

from engine.registry import PluginKind
from engine.server.configs import ConnectionDef
from engine.server.http.document import OBJECT, OBJECTS, documented
from engine.server.http.replies import AnyRequest, Serving, body_of, json, text
from engine.server.metadata import function_metadata, plugin_list, plugin_metadata
from engine.server.problems import missing

_Properties = documented(OBJECT)
_KINDS = {"sources": PluginKind.SOURCE, "sinks": PluginKind.SINK}


@get("/metadata/functions", operation_class=documented(reply=OBJECTS))
async def list_functions(service: Serving) -> Response[bytes]:
    """Return all functions of SQL, with what forms need to know."""
    return json(function_metadata(service.engine.functions))


@get("/metadata/resources", operation_class=documented(reply=OBJECT))
async def list_resources(service: Serving) -> Response[bytes]:
    """Return the stored sections of sinks, by type."""
    return json(service.configs.resources())


@get("/metadata/connections", operation_class=documented(reply=OBJECTS))
async def connection_types(service: Serving) -> Response[bytes]:
    """Return the types of plugins that connections are for."""
    return json(plugin_list(service.engine.plugins, PluginKind.SINK, connected_only=True))


@get("/metadata/operators", operation_class=documented(reply=OBJECTS))
async def list_operators() -> Response[bytes]:
    """Return the operators of rules drawn as graphs; there are none here."""
    return json([])


@get("/metadata/{role:str}", operation_class=documented(reply=OBJECTS))
async def list_metadata(
    service: Serving, role: FromPath[str], kind: FromQuery[str] = ""
) -> Response[bytes]:
    """Return the sources or sinks; ``kind=lookup``: the sources of lookup tables."""
    return json(plugin_list(service.engine.plugins, _kind(role), lookup=kind == "lookup"))


@get("/metadata/{role:str}/{plugin:str}", operation_class=documented(reply=OBJECT))
async def get_metadata(
    service: Serving, role: FromPath[str], plugin: FromPath[str]
) -> Response[bytes]:
    """Return the properties of a source or sink."""
    return json(plugin_metadata(service.engine.plugins, _kind(role), plugin))


@get("/metadata/{role:str}/yaml/{plugin:str}", operation_class=documented(reply=OBJECT))
async def get_sections(
    service: Serving, role: FromPath[str], plugin: FromPath[str]
) -> Response[bytes]:
    """Return all sections of a source or sink, or the connections of a type."""
    if role == "connections":
        found = [each for each in service.connections.all() if each["typ"] == plugin]
        return json({each["id"]: each["props"] for each in found})
    return json(service.configs.sections(_kind(role), plugin))


@put("/metadata/{role:str}/{plugin:str}/confKeys/{key:str}", operation_class=_Properties)
async def put_section(
    service: Serving,
    request: AnyRequest,
    role: FromPath[str],
    plugin: FromPath[str],
    key: FromPath[str],
) -> Response[str]:
    """Add or replace a section."""
    properties = await body_of(request, dict[str, Any])
    if role == "connections":
        given = ConnectionDef(key, plugin, properties)
        is_known = service.configs.has_connection(key)
        await service.configs.put_connection(given, replace=is_known)
    else:
        await service.configs.put_section(_kind(role), plugin, key, properties)
    return text("success")


@delete("/metadata/{role:str}/{plugin:str}/confKeys/{key:str}", status_code=200)
async def drop_section(
    service: Serving, role: FromPath[str], plugin: FromPath[str], key: FromPath[str]
) -> Response[str]:
    """Forget a section."""
    if role == "connections":
        await service.configs.drop_connection(key)
    else:
        await service.configs.drop_section(_kind(role), plugin, key)
    return text("success")


ROUTES = [
    list_functions,
    list_resources,
    connection_types,
    list_operators,
    list_metadata,
    get_metadata,
    get_sections,
    put_section,
    drop_section,
]


def _kind(role: str) -> PluginKind:
    if role not in _KINDS:
        raise missing(f"metadata of {role}")
    return _KINDS[role]
