"""The JSON Schema of a configuration as lines for people."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

_WORDS = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "nothing",
}
_DEEPEST = 3


def outline(schema: Mapping[str, Any]) -> list[str]:
    """Return a line for each property: its name, what it takes, its default.

    The properties of a mapping that is declared follow it, indented.
    """
    rows = list(_rows(schema, schema.get("$defs", {}), 0))
    width = max((len(name) for name, _ in rows), default=0)
    return [f"{name:<{width}}  {text}" for name, text in rows]


def _rows(
    schema: Mapping[str, Any], known: Mapping[str, Any], depth: int
) -> Iterator[tuple[str, str]]:
    schema = _resolved(schema, known)
    required = schema.get("required", ())
    for name, one in schema.get("properties", {}).items():
        text = _kind(one, known)
        if name in required:
            text += ", required"
        elif one.get("default") is not None and not isinstance(one["default"], dict):
            text += f"; default {json.dumps(one['default'], ensure_ascii=False)}"
        yield "  " * depth + name, text
        if depth < _DEEPEST:
            for part in (one, *one.get("anyOf", ())):
                yield from _rows(part, known, depth + 1)


def _resolved(schema: Mapping[str, Any], known: Mapping[str, Any]) -> Mapping[str, Any]:
    name = schema.get("$ref", "").rpartition("/")[2]
    found: Mapping[str, Any] = known.get(name, {}) if name else schema
    return found


def _kind(one: Mapping[str, Any], known: Mapping[str, Any]) -> str:
    """Return what a property takes, in words."""
    if "description" in one:
        return str(one["description"])
    if "anyOf" in one:
        kinds = [_kind(part, known) for part in one["anyOf"]]
        return " or ".join(kind for kind in kinds if kind != _WORDS["null"])
    one = _resolved(one, known)
    if "enum" in one:
        return " or ".join(json.dumps(value, ensure_ascii=False) for value in one["enum"])
    types = one.get("type", "anything")
    words = [_WORDS.get(kind, kind) for kind in ([types] if isinstance(types, str) else types)]
    text = " or ".join(words)
    items = one.get("items")
    return f"{text} of {_kind(items, known)}" if isinstance(items, dict) and items else text
