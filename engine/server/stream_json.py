"""Streams and tables as eKuiper's clients know them."""

from __future__ import annotations

from typing import Any

import msgspec

from engine.catalog import Stream
from engine.schemas.registry import SchemaRegistry
from engine.server.secrets import masked
from engine.sql.ast import ArrayType, FieldDef, StructType, Type

_STREAM, _TABLE = 0, 1
_OPTION_NAMES = {"schemaId": "schemaid"}
"""Where eKuiper's JSON spells an option otherwise than its documents."""


def described(stream: Stream) -> dict[str, Any]:
    """Return a definition: columns, options that were given, 0 for a stream, 1 for a table."""
    return {
        "Name": stream.name,
        "StreamFields": [_field(field) for field in stream.schema.fields] or None,
        "Options": _options(stream),
        "StreamType": _TABLE if stream.kind == "table" else _STREAM,
    }


def detail_of(stream: Stream) -> dict[str, str]:
    """Return name, source type and format, as in the list with details."""
    return {
        "name": stream.name,
        "type": stream.source_type,
        "format": stream.options.format.lower(),
    }


def schema_of(stream: Stream, schemas: SchemaRegistry) -> dict[str, Any]:
    """Return the columns in a form like JSON Schema: those declared, else those of its format.

    Raises:
        ConfigError: its format has a schema that can't be used.
    """
    fields = stream.schema.fields
    if not fields:
        message = schemas.message(stream.options.format, stream.options.schema_id)
        fields = () if message is None else message.columns
    return {field.name: _column(field) for field in fields}


def _options(stream: Stream) -> dict[str, Any]:
    values = msgspec.to_builtins(stream.options)
    found: dict[str, Any] = {}
    for name in sorted(stream.given):
        value = masked(values[name]) if name == "extra" else values[name]
        if name == "extra":
            value = msgspec.json.encode(value).decode()
        found[_OPTION_NAMES.get(name, name)] = value
    return found


def _field(field: FieldDef) -> dict[str, Any]:
    return {"FieldType": _type(field.type), "Name": field.name}


def _type(declared: Type) -> str | dict[str, Any]:
    if isinstance(declared, ArrayType):
        return {"Type": "array", "ElementType": _type(declared.element)}
    if isinstance(declared, StructType):
        return {"Type": "struct", "Fields": [_field(field) for field in declared.fields]}
    return declared.name.lower()


def _column(field: FieldDef) -> dict[str, Any]:
    column = _schema(field.type)
    if field.has_default:
        column["default"] = _text(field.default)
    return column


def _schema(declared: Type) -> dict[str, Any]:
    if isinstance(declared, ArrayType):
        return {"type": "array", "items": _schema(declared.element)}
    if isinstance(declared, StructType):
        return {
            "type": "struct",
            "properties": {field.name: _column(field) for field in declared.fields},
        }
    return {"type": declared.name.lower()}


def _text(value: Any) -> str:
    """Return a default as text; eKuiper has no other form of it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
