"""The streams and tables of an engine: definitions turned into what planning and running need."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from engine.config.positions import NOWHERE, Positions
from engine.config.rule import ColumnDef, StreamDef, StreamOptions
from engine.config.streams import StreamKind, streams_from
from engine.errors import ConfigError, Position, SqlError
from engine.sql.ast import CreateStream, FieldDef
from engine.sql.names import quoted
from engine.sql.schema import Schema

_MANY_ROWS = 9999
"""Rows that are kept of a table in a file."""


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream or table as it will run."""

    name: str
    kind: str
    options: StreamOptions
    schema: Schema
    given: frozenset[str] = frozenset()
    """The options that were written, in camelCase."""
    properties: dict[str, Any] = field(default_factory=dict)
    """For the source plugin."""
    where: Positions = NOWHERE
    at: Position | None = None

    def is_like(self, other: Stream) -> bool:
        """Tell whether another one gives the same, wherever it was written."""
        return self is other or _substance(self) == _substance(other)

    @property
    def source_type(self) -> str:
        """The source plugin."""
        return self.options.type or ("mqtt" if self.kind == "stream" else "file")

    @property
    def is_lookup(self) -> bool:
        """Whether it is a table that is asked by key."""
        return self.kind == "table" and self.options.kind == "lookup"

    @property
    def retain_size(self) -> int:
        """How many rows of a scan table are kept (language specification, section 2)."""
        if self.options.retain_size:
            return self.options.retain_size
        return _MANY_ROWS if self.source_type == "file" else 1


def _substance(stream: Stream) -> tuple[object, ...]:
    return stream.kind, stream.options, stream.schema, stream.given, stream.properties


class Catalog:
    """Streams and tables by name; they share one name space."""

    def __init__(self) -> None:
        self._streams: dict[str, Stream] = {}

    def define(self, definition: StreamDef, *, replace: bool = False) -> Stream:
        """Add a stream or table.

        Raises:
            ConfigError: the name is taken, or the definition is wrong.
            SqlError: the CREATE statement is wrong.
        """
        return self.add(resolve(definition), replace=replace)

    def add(self, stream: Stream, *, replace: bool = False) -> Stream:
        """Add a stream or table that is resolved already.

        Raises:
            ConfigError: the name is taken.
        """
        known = self._streams.get(stream.name)
        if known is not None and not replace:
            raise ConfigError(f"{known.kind} {known.name} is defined already", at=stream.at)
        self._streams[stream.name] = stream
        return stream

    def drop(self, name: str) -> None:
        """Remove a stream; running rules keep it."""
        self._streams.pop(name, None)

    def copy(self) -> Catalog:
        """Return a catalog that can be changed on its own."""
        copied = Catalog()
        copied.become(self)
        return copied

    def become(self, other: Catalog) -> None:
        """Hold what another catalog holds, and nothing else."""
        self._streams = dict(other._streams)

    def __getitem__(self, name: str) -> Stream:
        return self._streams[name]

    def __contains__(self, name: str) -> bool:
        return name in self._streams

    def __iter__(self) -> Iterator[Stream]:
        return iter(self._streams.values())

    def schemas(self) -> dict[str, Schema]:
        """Return what the analyser knows of each stream."""
        return {stream.name: stream.schema for stream in self}

    def tables(self) -> dict[str, str]:
        """Return the tables with what they are in a query: "scan" or "lookup"."""
        return {
            stream.name: "lookup" if stream.options.kind == "lookup" else "scan"
            for stream in self
            if stream.kind == "table"
        }


def resolve(definition: StreamDef) -> Stream:
    """Return a definition with its statement or its schema parsed."""
    if definition.sql:
        return _from_sql(definition)
    return Stream(
        definition.name,
        definition.kind,
        definition.options,
        _schema(_columns(definition), definition.options),
        definition.given,
        definition.properties,
        definition.where,
        definition.at,
    )


def from_statement(create: CreateStream, where: Positions = NOWHERE) -> Stream:
    """Return the stream that a parsed CREATE statement defines."""
    kind: StreamKind = "table" if create.kind.upper() == "TABLE" else "stream"
    section = {create.name: dict(create.options)}
    (definition,) = streams_from(section, kind, NOWHERE)
    return Stream(
        create.name,
        kind,
        definition.options,
        _schema(create.fields, definition.options),
        definition.given,
        definition.properties,
        where,
    )


def _from_sql(definition: StreamDef) -> Stream:
    from engine.sql.parse import parse_create  # sqlglot takes a while to import

    at = definition.sql_at
    place = {"file": at.file, "line": at.line, "column": at.column} if at else {}
    create = parse_create(definition.sql, **place)  # type: ignore[arg-type]
    if create.name != definition.name:
        raise ConfigError(
            f"the statement creates {create.name}, but stands under {definition.name}",
            at=definition.at,
        )
    try:
        stream = from_statement(create, definition.where)
    except ConfigError as error:
        error.at = error.at or at
        raise
    if stream.kind != definition.kind:
        raise ConfigError(f"{stream.name} is a {stream.kind}", at=definition.at)
    return stream


def _schema(fields: tuple[FieldDef, ...], options: StreamOptions) -> Schema:
    return Schema(
        fields, strict=options.strict_validation, timestamp_format=options.timestamp_format
    )


def _columns(definition: StreamDef) -> tuple[FieldDef, ...]:
    return tuple(_column(column) for column in definition.schema or ())


def _column(column: ColumnDef) -> FieldDef:
    from engine.sql.parse import parse_create

    try:
        create = parse_create(f"CREATE STREAM s ({quoted(column.name)} {column.type}) WITH ()")
    except SqlError as error:
        raise ConfigError(
            f"column {column.name}: {error.message}", at=column.at, hint=error.hint
        ) from None
    return create.fields[0]
