"""Plugins over HTTP, as far as they can be looked at."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Response, get
from litestar.params import FromPath

from engine.registry import Origin, PluginKind
from engine.server.http.document import NAMES, OBJECT, documented
from engine.server.http.replies import Serving, json
from engine.server.problems import missing
from engine.server.service import Service
from engine.server.trials import SINK as TRIAL_SINK

_KINDS = {kind.value: kind for kind in PluginKind}


@get("/plugins/{role:str}", operation_class=documented(reply=NAMES))
async def list_plugins(service: Serving, role: FromPath[str]) -> Response[bytes]:
    """Return the names of the plugins that were installed or put into the root."""
    if role in ("portables", "wasm"):
        return json([])
    kind = kind_of(role)
    described = service.engine.plugins.describe_all(kind)
    own = [each.name for each in described if each.origin is not Origin.BUNDLED]
    return json([name for name in own if name != TRIAL_SINK])


@get("/plugins/{role:str}/{name:str}", operation_class=documented(reply=OBJECT))
async def describe_plugin(
    service: Serving, role: FromPath[str], name: FromPath[str]
) -> Response[bytes]:
    """Return all that is known of a plugin, its version above all."""
    kind = kind_of(role)
    if not service.engine.plugins.has(kind, name):
        raise missing(f"{kind.singular} plugin {name}")
    described = service.engine.plugins.describe(kind, name)
    found: dict[str, Any] = msgspec.to_builtins(described)
    return json(found)


@get("/plugins/{role:str}/prebuild", operation_class=documented(reply=OBJECT))
async def list_prebuilt(role: FromPath[str]) -> Response[bytes]:
    """Return the plugins that could be installed by name; none are offered."""
    kind_of(role)
    return json({})


@get("/plugins/udfs", operation_class=documented(reply=NAMES))
async def list_functions(service: Serving) -> Response[bytes]:
    """Return the functions of plugins."""
    return json(sorted(_functions(service)))


@get("/plugins/udfs/{name:str}", operation_class=documented(reply=OBJECT))
async def describe_function(service: Serving, name: FromPath[str]) -> Response[bytes]:
    """Return the plugin that a function comes from."""
    known = _functions(service)
    if name not in known:
        raise missing(f"function {name}")
    return json({"name": name, "plugin": known[name]})


ROUTES = [list_plugins, describe_plugin, list_prebuilt, list_functions, describe_function]


def kind_of(role: str) -> PluginKind:
    """Return the kind of plugins that a path names.

    Raises:
        Problem: there is no such kind.
    """
    if role not in _KINDS:
        portable = "one written for eKuiper's Python SDK is a source, sink or function here"
        hint = portable if role == "portables" else f"there are {', '.join(_KINDS)}"
        raise missing(f"plugins of kind {role}", hint=hint)
    return _KINDS[role]


def _functions(service: Service) -> dict[str, str]:
    described = service.engine.plugins.describe_all(PluginKind.FUNCTION)
    return {function: each.name for each in described for function in each.functions}
