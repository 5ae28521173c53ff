"""Look rows up in a table of an SQL database: SQLite by itself, others through SQLAlchemy."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
import msgspec

from engine.api import Config, ConfigError, Duration, LookupSource, Row
from engine.lookup.match import matching

from .database import Database
from .sqlite import Sqlite
from .template import SqlTemplate

_SQLITE = ("sqlite", "sqlite3")
_FILES = (*_SQLITE, "duckdb", "access")
"""Databases of SQLAlchemy's that are files of this machine."""


class TemplateQuery(Config):
    """A statement instead of a table; ``{{.column}}`` is the value that is looked up."""

    template_sql: str = ""
    template_sql_as_in_manual: str = msgspec.field(default="", name="TemplateSql")

    @property
    def text(self) -> str:
        return self.template_sql or self.template_sql_as_in_manual


class SqlConfig(Config):
    """``datasource`` is the table, or ``schema.table``."""

    datasource: str = ""
    dburl: str = ""
    """``sqlite://path`` (below the root unless it begins with ``/``), else a SQLAlchemy URL."""
    url: str = ""
    """Another name of ``dburl``."""
    template_sql_query_cfg: TemplateQuery = msgspec.field(default_factory=TemplateQuery)
    timeout: Duration = Duration(5)
    """How long SQLite may take for one batch of keys, also to wait for who writes."""

    @property
    def address(self) -> str:
        return self.dburl or self.url


class Sql(LookupSource[SqlConfig]):
    """One query for all keys of a batch; the database decides what equals what.

    Values are bound, never pasted into the statement. With a template, which takes one key in each
    query, the keys that it doesn't name are compared here.
    """

    _database: Database | None = None

    def validate(self) -> None:
        config = self.config
        if not config.address:
            raise ConfigError("dburl is missing", hint='such as dburl: "sqlite://devices.db"')
        if config.dburl and config.url:
            raise ConfigError("give dburl or url, not both")
        if "://" not in config.address:
            what = f"dburl {config.address.partition(':')[0]!r} is no URL"
            raise ConfigError(what, hint="such as sqlite://path or postgresql://user@host/name")
        if config.template_sql_query_cfg.text:
            SqlTemplate(config.template_sql_query_cfg.text)
        elif not config.datasource:
            raise ConfigError("there is no table", hint='name it: DATASOURCE="devices"')
        self._connection()

    async def open(self) -> None:
        text = self.config.template_sql_query_cfg.text
        self._template = SqlTemplate(text) if text else None
        self._lock = anyio.Lock(fast_acquire=True)
        self._database = database = self._connection()
        table = "" if self._template else self.config.datasource
        await anyio.to_thread.run_sync(database.open, table)

    async def lookup(
        self, fields: Sequence[str], keys: Sequence[str], values: Sequence[Any]
    ) -> list[Row]:
        (rows,) = await self.lookup_many(fields, keys, [values])
        return rows

    async def lookup_many(
        self, fields: Sequence[str], keys: Sequence[str], rows_of_values: Sequence[Sequence[Any]]
    ) -> list[list[Row]]:
        assert self._database is not None
        if self._template is not None:
            work = partial(_by_template, self._database, self._template, keys, rows_of_values)
        else:
            work = partial(self._database.find, fields, keys, rows_of_values)
        async with self._lock:  # a connection is for one thread at a time
            return await anyio.to_thread.run_sync(work)

    async def close(self) -> None:
        database, self._database = self._database, None
        if database is not None:
            await anyio.to_thread.run_sync(database.close)

    def _connection(self) -> Database:
        address, ctx = self.config.address, self.ctx
        scheme, _, rest = address.partition("://")
        if scheme.lower() in _SQLITE:
            if not rest or rest == ":memory:":
                hint = "name a file: sqlite://devices.db"
                raise ConfigError("a database in memory has no tables to look into", hint=hint)
            return Sqlite(ctx.file(rest), self.config.timeout, ctx.logger)
        if ctx.file_folders is not None and _dialect(scheme) in _FILES:
            what = f"{scheme}:// opens files, which a server confines for sqlite:// alone"
            raise ConfigError(what, hint="write sqlite://path, or ask a database over the network")
        try:
            from .alchemy import Alchemy
        except ImportError as error:
            hint = f"install it: {sys.executable} -m pip install 'headrace[sql]'"
            what = f"databases other than SQLite need {error.name}"
            raise ConfigError(what, hint=hint) from None
        return Alchemy(address, ctx.logger)


def _dialect(scheme: str) -> str:
    return scheme.lower().partition("+")[0]


def _by_template(
    database: Database,
    template: SqlTemplate,
    keys: Sequence[str],
    rows_of_values: Sequence[Sequence[Any]],
) -> list[list[Row]]:
    """Return the rows that a template gives for each key."""
    others = [index for index, key in enumerate(keys) if key not in template.names]
    columns = [keys[index] for index in others]
    found = []
    for values in rows_of_values:
        rows = database.query(template, template.arguments(dict(zip(keys, values, strict=True))))
        rest = [values[index] for index in others]
        found.append(matching(rows, columns, rest) if columns else rows)
    return found
