"""Streams and tables of a server: defined by statements, kept over restarts."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Literal

from engine.catalog import Stream, from_statement
from engine.config.version import check_version
from engine.engine import Engine
from engine.errors import ConfigError, EngineError
from engine.server.definitions import Change, Condition, Definitions, Kind, anything
from engine.server.problems import STREAM, Problem, missing
from engine.server.turns import Turns
from engine.sql.ast import CreateStream, Manage

logger = logging.getLogger(__name__)

StreamKind = Literal["stream", "table"]


class Streams:
    """What can be done with streams and tables; each is given by its CREATE statement."""

    def __init__(self, engine: Engine, definitions: Definitions, turns: Turns) -> None:
        self._engine = engine
        self._definitions = definitions
        self._turns = turns

    def recover(self) -> dict[str, str]:
        """Define all that is stored; returns why some of it couldn't be, by name."""
        failures = {}
        for kind in ("stream", "table"):
            for name, sql in self._definitions.all(Kind(kind)).items():
                try:
                    self._engine.catalog.add(self._parse(sql), replace=True)
                except EngineError as error:
                    logger.error("%s %s can't be recovered: %s", kind, name, error)
                    failures[name] = str(error)
        return failures

    # -- reading -------------------------------------------------------------------------------

    def defined(self, kind: StreamKind, table_kind: str = "") -> list[Stream]:
        """Return the streams or tables by name; ``table_kind`` scan or lookup: only those."""
        return [
            stream
            for stream in sorted(self._engine.catalog, key=lambda stream: stream.name)
            if stream.kind == kind and (not table_kind or stream.options.kind == table_kind)
        ]

    def get(self, kind: StreamKind, name: str) -> Stream:
        """Return a stream or table.

        Raises:
            Problem: there is none.
        """
        catalog = self._engine.catalog
        if name not in catalog or catalog[name].kind != kind:
            raise missing(f"{kind} {name}")
        return catalog[name]

    def statement(self, kind: StreamKind, name: str) -> str:
        """Return the statement that defined a stream or table, "" if a file did.

        Raises:
            Problem: there is none.
        """
        self.get(kind, name)
        return self._definitions.get(Kind(kind), name) or ""

    def readers(self, name: str) -> list[str]:
        """Return the rules that read a stream or table, running or not."""
        return sorted(
            rule_id
            for rule_id, rule in self._engine.rules.items()
            if name in self._read_by(rule.definition.sql)
        )

    def _read_by(self, sql: str) -> Iterable[str]:
        from engine.server.queries import streams_of

        return streams_of(sql)

    # -- changing ------------------------------------------------------------------------------

    async def execute(self, sql: str, kind: StreamKind) -> str:
        """Run a statement about streams or tables and return what it says.

        Raises:
            EngineError: it is wrong, or what it names isn't there or is there already.
        """
        from engine.sql.parse import parse

        statement = parse(sql)
        if isinstance(statement, CreateStream):
            return await self.create(sql, kind)
        if isinstance(statement, Manage) and statement.verb == "DROP":
            return await self.drop(_kind(statement.kind), statement.name)
        found = self._engine.execute(sql)
        return "\n".join(found) if isinstance(found, list) else str(found)

    async def create(self, sql: str, kind: StreamKind) -> str:
        """Define a new stream or table.

        Raises:
            EngineError: the statement is wrong or the name is taken.
        """
        stream = self._parse(sql, kind)
        async with self._turns.of(f"stream {stream.name}"):
            known = self._engine.catalog
            if stream.name in known:
                raise Problem(
                    f"{known[stream.name].kind} {stream.name} is defined already", code=STREAM
                )
            await self._store(stream, sql)
        return f"{kind.capitalize()} {stream.name} is created."

    async def replace(
        self, kind: StreamKind, name: str, sql: str, condition: Condition = anything
    ) -> str:
        """Replace a definition, or make it; running rules keep the old one until they restart.

        Raises:
            EngineError: the statement is wrong, or its version isn't greater.
        """
        stream = self.check(kind, name, sql)
        async with self._turns.of(f"stream {name}"):
            condition(self._definitions.get(Kind(kind), name))
            self._check_replaceable(kind, stream)
            await self._store(stream, sql)
        return f"{kind.capitalize()} {name} is replaced."

    def check(self, kind: StreamKind, name: str, sql: str) -> Stream:
        """Return what a statement defines, without defining it.

        Raises:
            EngineError: it is wrong, or defines something else.
        """
        stream = self._parse(sql, kind)
        if stream.name != name:
            raise Problem(f"the statement creates {stream.name}, not {name}", code=STREAM)
        return stream

    async def drop(
        self,
        kind: StreamKind,
        name: str,
        *,
        force: bool = False,
        condition: Condition = anything,
    ) -> str:
        """Forget a stream or table.

        Raises:
            Problem: there is none, or a rule reads it and ``force`` isn't given.
        """
        async with self._turns.of(f"stream {name}"):
            self.get(kind, name)
            condition(self._definitions.get(Kind(kind), name))
            readers = self.readers(name)
            if readers and not force:
                raise Problem(
                    f"{kind} {name} is read by {', '.join(readers)}",
                    code=STREAM,
                    hint="delete these rules first, or add ?force=true",
                )
            await self._definitions.apply(Change(Kind(kind), name, None))
            self._engine.catalog.drop(name)
        return f"{kind.capitalize()} {name} is dropped."

    # -- inside --------------------------------------------------------------------------------

    def _check_replaceable(self, kind: StreamKind, stream: Stream) -> None:
        catalog = self._engine.catalog
        if stream.name not in catalog:
            return
        old = catalog[stream.name]
        if old.kind != kind:
            raise Problem(f"{stream.name} is a {old.kind}", code=STREAM)
        check_version(old.options.version, stream.options.version, f"{kind} {stream.name}")

    async def _store(self, stream: Stream, sql: str) -> None:
        if not stream.options.temp:
            await self._definitions.apply(Change(Kind(stream.kind), stream.name, sql))
        self._engine.catalog.add(stream, replace=True)

    def _parse(self, sql: str, kind: StreamKind | None = None) -> Stream:
        """Return the stream that a statement defines, checked as far as it can be without rules.

        Raises:
            EngineError: it is wrong.
        """
        from engine.sql.parse import parse_create

        stream = from_statement(parse_create(sql))
        if kind is not None and stream.kind != kind:
            raise ConfigError(f"the statement creates a {stream.kind}, not a {kind}")
        return stream


def _kind(word: str) -> StreamKind:
    return "table" if word == "TABLE" else "stream"
