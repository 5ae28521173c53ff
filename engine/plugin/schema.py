"""The JSON Schema of a plugin's configuration, from the type that it declares."""

from __future__ import annotations

from functools import reduce
from operator import or_
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import msgspec

from engine.api import Config, Duration, Size, Template

_OWN_TYPES: dict[type[Any], dict[str, Any]] = {
    Duration: {
        "type": ["string", "number"],
        "description": "a duration such as '1m30s', or milliseconds",
    },
    Size: {
        "type": ["string", "integer"],
        "description": "a size such as '64KiB', or bytes",
    },
    Template: {"type": "string", "description": "text that may hold {{.field}}"},
}


def config_schema(kind: type[Config]) -> dict[str, Any]:
    """Return the JSON Schema of a configuration as it stands in files.

    Raises:
        TypeError: a field's type can't be described.
    """
    return msgspec.json.schema(_plain(kind, {}), schema_hook=_OWN_TYPES.__getitem__)


def _plain(kind: Any, known: dict[Any, Any]) -> Any:
    """Return a type whose Structs, at any depth, have defaults as they are written in files.

    (msgspec describes types of our own by the hook, but not values of them.)
    """
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return known.get(kind) or _twin(kind, known)
    arguments = get_args(kind)
    if not arguments:
        return kind
    origin = get_origin(kind)
    if origin is Annotated:
        return Annotated[_plain(arguments[0], known), *arguments[1:]]
    plain = [_plain(argument, known) for argument in arguments]
    if plain == list(arguments):
        return kind
    if origin in (Union, UnionType):
        return reduce(or_, plain)
    return origin[tuple(plain)]


def _twin(kind: type[msgspec.Struct], known: dict[Any, Any]) -> type[msgspec.Struct]:
    known[kind] = kind  # a Struct inside of itself stays as it is
    hints = get_type_hints(kind, include_extras=True)
    fields: list[Any] = []
    for field in msgspec.structs.fields(kind):
        plain = _plain(hints[field.name], known)
        if field.default is not msgspec.NODEFAULT:
            fields.append((field.name, plain, _written(field.default)))
        elif field.default_factory is not msgspec.NODEFAULT:
            fields.append((field.name, plain, msgspec.field(default_factory=field.default_factory)))
        else:
            fields.append((field.name, plain))
    config = kind.__struct_config__
    names = dict(zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True))
    known[kind] = msgspec.defstruct(
        kind.__name__,
        fields,
        rename=names,
        kw_only=True,
        tag=config.tag,
        tag_field=config.tag_field,
        forbid_unknown_fields=config.forbid_unknown_fields,
        namespace={"__doc__": kind.__doc__} if kind.__doc__ and kind is not Config else None,
    )
    twin: type[msgspec.Struct] = known[kind]
    return twin


def _written(value: Any) -> Any:
    """Return a default as one would write it in a file."""
    if isinstance(value, Duration):
        return round(value * 1000)
    if isinstance(value, Size):
        return int(value)
    return str(value) if isinstance(value, Template) else value
