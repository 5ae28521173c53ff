"""Streams, tables and connections from their values in a file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Literal

from engine.config.convert import config_from, expected, shown, unknown_key
from engine.config.document import parse
from engine.config.positions import Positions
from engine.config.rule import ColumnDef, PropertySet, StreamDef, StreamOptions
from engine.errors import ConfigError

StreamKind = Literal["stream", "table"]

_ID = re.compile(r"[A-Za-z0-9_-]+")
_CREATE = re.compile(r"(?:\s|--[^\n]*\n|/\*.*?\*/)*CREATE\s", re.IGNORECASE | re.DOTALL)
_OPTIONS = {name.lower(): name for name in StreamOptions.__struct_encode_fields__}


def check_id(text: str, what: str, places: Positions, *path: str) -> None:
    """Refuse an id with other characters than letters, digits, ``_`` and ``-``.

    Raises:
        ConfigError: at the key that ``path`` ends with, or at the value at ``places``.
    """
    if _ID.fullmatch(text):
        return
    raise ConfigError(
        f"{shown(text)} can't be the {what}",
        at=places.of_key(*path),
        hint="use letters, digits, '_' and '-'",
    )


def entries(value: Any, what: str, places: Positions) -> Iterator[tuple[str, Any, Positions]]:
    """Yield name, value and places of each entry of a section; no value is no entries.

    Raises:
        ConfigError: the section isn't a mapping.
    """
    if value is None:
        return
    if not isinstance(value, dict):
        raise expected("a mapping of names", value, what, places)
    for name, item in value.items():
        yield name, item, places.below(name)


def streams_from(value: Any, kind: StreamKind, places: Positions) -> Iterator[StreamDef]:
    """Yield the definitions in a ``streams`` or ``tables`` section.

    Raises:
        ConfigError: one of them is malformed.
    """
    for name, item, place in entries(value, f"{kind}s", places):
        check_id(name, f"name of a {kind}", places, name)
        yield _stream(name, kind, item, place, places)


def _stream(
    name: str, kind: StreamKind, value: Any, place: Positions, section: Positions
) -> StreamDef:
    at = section.of_key(name)
    label = f"{kind} {name}"
    if isinstance(value, dict) and "sql" in value:
        for key in value:
            if key != "sql":
                raise unknown_key(key, ["sql"], f"{label} beside 'sql'", place)
        value, place = value["sql"], place.below("sql")
        if not isinstance(value, str):
            raise expected("a CREATE statement", value, label, place)
    if isinstance(value, str):
        if not _CREATE.match(value):
            raise expected(f"'CREATE {kind.upper()} …'", value, label, place)
        return StreamDef(name=name, kind=kind, sql=value, at=at, where=place, sql_where=place)
    if not isinstance(value, dict):
        raise expected("a CREATE statement or a mapping", value, label, place)
    return _from_mapping(name, kind, value, place, section)


def _from_mapping(
    name: str, kind: StreamKind, value: dict[str, Any], place: Positions, section: Positions
) -> StreamDef:
    label = f"{kind} {name}"
    names = _option_names(value, label, place)
    options = {names[key]: item for key, item in value.items() if key in names}
    option_places = place.renamed(names)
    if "extra" in options:
        options["extra"] = _extra(options["extra"], label, option_places)
    return StreamDef(
        name=name,
        kind=kind,
        options=config_from(options, StreamOptions, where=label, positions=option_places),
        given=frozenset(options),
        schema=_schema(value.get("schema"), label, place.below("schema")),
        properties={k: v for k, v in value.items() if k not in names and k != "schema"},
        at=section.of_key(name),
        where=place,
    )


def _option_names(value: dict[str, Any], label: str, place: Positions) -> dict[str, str]:
    """Map the spellings used (``CONF_KEY``, ``confKey`` …) to the options' own names."""
    names: dict[str, str] = {}
    for key in value:
        name = _OPTIONS.get(key.replace("_", "").lower())
        if name is None:
            continue
        if name in names.values():
            raise ConfigError(f"{label}: {name} is given twice", at=place.of_key(key))
        names[key] = name
    return names


def _extra(value: Any, label: str, places: Positions) -> Any:
    """Return the properties in EXTRA, which eKuiper takes as JSON text."""
    if not isinstance(value, str):
        return value
    inner = parse(value, is_json=True, outer=places.below("extra"))
    if not isinstance(inner.value, dict):
        raise expected("a JSON object", inner.value, f"{label}.extra", inner.positions)
    return inner.value


def _schema(value: Any, label: str, places: Positions) -> tuple[ColumnDef, ...] | None:
    if value is None:
        return None
    columns = []
    for name, kind, place in entries(value, f"{label}.schema", places):
        if not isinstance(kind, str):
            what = "a type such as bigint or array(float)"
            raise expected(what, kind, f"{label}.schema.{name}", place)
        columns.append(ColumnDef(name=name, type=kind, at=places.of_key(name), where=place))
    return tuple(columns)


def connections_from(value: Any, places: Positions) -> Iterator[PropertySet]:
    """Yield the named property sets of a ``connections`` section.

    Raises:
        ConfigError: one of them isn't a mapping or its ``type`` isn't text.
    """
    for name, item, place in entries(value, "connections", places):
        properties = _properties(item, f"connection {name}", place)
        kind = properties.pop("type", "")
        if not isinstance(kind, str):
            raise expected("text", kind, f"connection {name}.type", place.below("type"))
        yield PropertySet(
            name=name, type=kind, properties=properties, at=places.of_key(name), where=place
        )


def sections_from(value: Any, what: str, places: Positions) -> Iterator[PropertySet]:
    """Yield what an export's ``sourceConfig``, ``sinkConfig`` or ``connectionConfig`` holds.

    Both forms are read: ``{type: {key: properties}}`` and ``{type.key: properties}``.

    Raises:
        ConfigError: one of them isn't a mapping.
    """
    for name, item, place in entries(value, what, places):
        kind, dot, key = name.partition(".")
        if dot:
            properties = _properties(item, f"{what}.{name}", place)
            at = places.of_key(name)
            yield PropertySet(name=key, type=kind, properties=properties, at=at, where=place)
            continue
        for key, inner, inner_place in entries(item, f"{what}.{name}", place):
            properties = _properties(inner, f"{what}.{name}.{key}", inner_place)
            at = place.of_key(key)
            yield PropertySet(name=key, type=kind, properties=properties, at=at, where=inner_place)


def _properties(value: Any, what: str, places: Positions) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise expected("a mapping of properties", value, what, places)
    return dict(value)
