"""What forms need to know of plugins and functions, in the shape of eKuiper's metadata."""

from __future__ import annotations

from typing import Any

from engine.plugin.describe import PluginDescription
from engine.registry import PluginKind, PluginRegistry
from engine.server.problems import missing
from engine.server.trials import SINK as TRIAL_SINK
from engine.sql.functions import FunctionRegistry, FunctionSpec
from engine.sql.kinds import Kind

_CONTROLS = {"boolean": "radio", "array": "list", "object": "textarea"}
_TYPES = {
    "boolean": "bool",
    "integer": "int",
    "number": "float",
    "array": "list_string",
    "object": "object",
}


def plugin_list(
    plugins: PluginRegistry, kind: PluginKind, *, lookup: bool = False, connected_only: bool = False
) -> list[dict[str, Any]]:
    """Return name and description of all sources or sinks.

    ``lookup``: the sources of lookup tables; ``connected_only``: what has a server to connect to.
    """
    found = []
    for each in plugins.describe_all(kind):
        if each.name == TRIAL_SINK or (lookup and "lookup" not in each.roles):
            continue
        if not connected_only or "server" in (each.schema or {}).get("properties", {}):
            found.append({"name": each.name, "about": _about(each)})
    return found


def plugin_metadata(plugins: PluginRegistry, kind: PluginKind, name: str) -> dict[str, Any]:
    """Return the properties of a source or sink as fields of a form.

    Raises:
        Problem: there is none of that name.
    """
    if not plugins.has(kind, name):
        raise missing(f"{kind.singular} {name}")
    described = plugins.describe(kind, name)
    fields = _fields(described.schema or {})
    properties: Any = {"default": fields} if kind is PluginKind.SOURCE else fields
    return {
        "about": _about(described),
        "name": described.name,
        "version": described.version,
        "properties": properties,
        "schema": described.schema,
    }


def function_metadata(functions: FunctionRegistry) -> list[dict[str, Any]]:
    """Return all functions by category."""
    by_category: dict[str, list[dict[str, Any]]] = {}
    for spec in sorted(functions, key=lambda spec: spec.name):
        by_category.setdefault(spec.category, []).append(_function(spec))
    return [
        {"name": category, "functions": members}
        for category, members in sorted(by_category.items())
    ]


def _about(described: PluginDescription) -> dict[str, Any]:
    return {
        "trial": False,
        "installed": True,
        "description": {"en_US": described.doc},
        "version": described.version,
        "error": described.error,
    }


def _function(spec: FunctionSpec) -> dict[str, Any]:
    return {
        "name": spec.name,
        "example": spec.example or spec.signature,
        "aggregate": spec.kind == "aggregate",
        "hint": {"en_US": spec.doc},
        "args": [
            {
                "name": parameter.name,
                "optional": parameter.optional or parameter.variadic,
                "type": str(parameter.kind),
                "control": "field",
            }
            for parameter in spec.parameters
        ],
        "return": {"type": str(spec.result) if isinstance(spec.result, Kind) else "any"},
    }


def _fields(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the properties of a JSON Schema as fields of a form."""
    schema = _resolved(schema, schema)
    required = set(schema.get("required", ()))
    return [
        _field(name, _resolved(found, schema), optional=name not in required)
        for name, found in schema.get("properties", {}).items()
    ]


def _field(name: str, found: dict[str, Any], *, optional: bool) -> dict[str, Any]:
    kind = found.get("type", "string")
    kind = kind[0] if isinstance(kind, list) else kind
    field: dict[str, Any] = {
        "name": name,
        "default": found.get("default"),
        "optional": optional,
        "control": "select" if "enum" in found else _CONTROLS.get(kind, "text"),
        "type": _TYPES.get(kind, "string"),
        "hint": {"en_US": found.get("description", "")},
        "label": {"en_US": name},
    }
    if "enum" in found:
        field["values"] = found["enum"]
    return field


def _resolved(found: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    reference = found.get("$ref", "")
    if not reference:
        return found
    name = reference.rpartition("/")[2]
    definition: dict[str, Any] = root.get("$defs", {}).get(name, {})
    return {"$defs": root.get("$defs", {}), **definition}
