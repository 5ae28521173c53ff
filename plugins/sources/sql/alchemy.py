"""Other databases, through SQLAlchemy (the extra ``sql``) and its drivers."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import sqlalchemy
from sqlalchemy import exc
from sqlalchemy.sql import operators

from engine.api import ConfigError, EngineError, NotConnected, Row, RowError

from .database import Columns, Logger, no_table
from .template import SqlTemplate

_MOST_KEYS = 128  # in one statement; each is a SELECT in it, and PostgreSQL plans many badly
_SCHEMES = {"postgres": "postgresql", "pg": "postgresql", "sqlserver": "mssql"}
"""Schemes that eKuiper's users write, by what SQLAlchemy calls them."""
_PLAIN = (bool, int, float, str, bytes, list, dict, datetime, type(None))


class Alchemy:
    """A database behind a SQLAlchemy engine; see ``Database``."""

    def __init__(self, address: str, logger: Logger) -> None:
        """Find the driver; connects to nothing.

        Raises:
            ConfigError: the address is malformed or there is no driver for it.
        """
        scheme, _, rest = address.partition("://")
        self._logger = logger
        self._statements: dict[tuple[Any, ...], Any] = {}
        try:
            url = sqlalchemy.make_url(f"{_SCHEMES.get(scheme, scheme)}://{rest}")
            self._engine = sqlalchemy.create_engine(url, pool_pre_ping=True)
        except exc.NoSuchModuleError:
            hint = "such as postgresql+psycopg://, mysql+pymysql://"
            raise ConfigError(f"dburl: unknown database {scheme!r}", hint=hint) from None
        except (exc.ArgumentError, ValueError):  # they may show the password
            raise ConfigError(f"dburl: {scheme}://… is no address of a database") from None
        except ImportError as error:
            hint = f"install it: {sys.executable} -m pip install {error.name}"
            what = f"dburl: the driver {error.name} of {scheme}:// is missing"
            raise ConfigError(what, hint=hint) from None
        self._name = url.render_as_string(hide_password=True)

    def open(self, table: str) -> None:
        with self._explained():
            if not table:
                self._engine.connect().close()
                return
            self._find_table(table)

    def _find_table(self, table: str) -> None:
        inspector = sqlalchemy.inspect(self._engine)
        schema, _, name = table.rpartition(".")
        places: list[tuple[str | None, str]] = [(None, table)]
        if schema in inspector.get_schema_names():
            places.append((schema, name))
        for place, plain in places:
            try:
                self._table = sqlalchemy.Table(
                    plain, sqlalchemy.MetaData(), schema=place, autoload_with=self._engine
                )
            except exc.NoSuchTableError:
                continue
            self._columns = Columns(table, list(self._table.c.keys()), self._logger)
            return
        raise no_table(table, [*inspector.get_table_names(), *inspector.get_view_names()])

    def find(
        self, fields: Sequence[str], keys: Sequence[str], rows_of_values: Sequence[Sequence[Any]]
    ) -> list[list[Row]]:
        names = self._columns.picked(fields, keys)
        found: list[list[Row]] = [[] for _ in rows_of_values]
        with self._explained(), self._engine.connect() as connection:
            for indexes in _alike(rows_of_values):
                part = [rows_of_values[index] for index in indexes]
                statement = self._statement(names, keys, part)
                for number, *cells in connection.execute(statement, _parameters(part)):
                    if number < len(part):
                        found[indexes[number]].append(_row(names, cells))
        return found

    def _statement(
        self, names: Sequence[str], keys: Sequence[str], part: Sequence[Sequence[Any]]
    ) -> Any:
        """Return the query for several keys, whose first column is the number of the key.

        One SELECT for each, for how a value is compared depends on the column in every dialect.
        Making a statement costs more than running it, so it is kept for keys of the same types.
        """
        example = part[0]
        size = _size_for(len(part))
        kept = (*names,), (*keys,), (*map(type, example),), size
        if kept not in self._statements:
            columns = self._table.c
            picked = [columns[name] for name in names]
            types = [
                columns[key].type.coerce_compared_value(operators.eq, value)
                for key, value in zip(keys, example, strict=True)
            ]
            selects = [
                sqlalchemy.select(
                    sqlalchemy.literal_column(str(number)).label("n_"), *picked
                ).where(
                    *(
                        columns[key] == sqlalchemy.bindparam(_mark(number, place), type_=type_)
                        for place, (key, type_) in enumerate(zip(keys, types, strict=True))
                    )
                )
                for number in range(size)
            ]
            self._statements[kept] = selects[0] if size == 1 else sqlalchemy.union_all(*selects)
        return self._statements[kept]

    def query(self, template: SqlTemplate, values: Sequence[Any]) -> list[Row]:
        first, *rest = [text.replace(":", "\\:") for text in template.texts]
        statement = first + "".join(f":p{number}{text}" for number, text in enumerate(rest))
        bound = {f"p{number}": value for number, value in enumerate(values)}
        with self._explained(), self._engine.connect() as connection:
            result = connection.execute(sqlalchemy.text(statement), bound)
            names = list(result.keys())
            return [_row(names, cells) for cells in result]

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn errors of the database into those of the contract."""
        try:
            yield
        except exc.SQLAlchemyError as error:
            raise self._translated(error) from error

    def _translated(self, error: exc.SQLAlchemyError) -> EngineError:
        reason = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
        is_gone = isinstance(error, exc.DBAPIError) and error.connection_invalidated
        passing = (exc.OperationalError, exc.InterfaceError, exc.TimeoutError)
        if is_gone or isinstance(error, passing):
            return NotConnected(f"{self._name}: {reason}", kind="not connected")
        return RowError(f"{self._name}: {reason}", kind="the query failed")


def _alike(rows_of_values: Sequence[Sequence[Any]]) -> Iterator[list[int]]:
    """Yield the indexes of keys whose values have the same types, no more than fit together."""
    groups: dict[tuple[type, ...], list[int]] = {}
    for index, values in enumerate(rows_of_values):
        groups.setdefault((*map(type, values),), []).append(index)
    for indexes in groups.values():
        for start in range(0, len(indexes), _MOST_KEYS):
            yield indexes[start : start + _MOST_KEYS]


def _size_for(count: int) -> int:
    """Return how many keys the statement for ``count`` of them takes: the next power of two."""
    return 1 << (count - 1).bit_length()


def _parameters(part: Sequence[Sequence[Any]]) -> dict[str, Any]:
    """Return the values by their marks; the last key fills what the statement has too many of."""
    return {
        _mark(number, place): value
        for number in range(_size_for(len(part)))
        for place, value in enumerate(part[min(number, len(part) - 1)])
    }


def _mark(number: int, place: int) -> str:
    return f"k{number}_{place}"


def _row(names: Sequence[str], cells: Sequence[Any]) -> Row:
    return {name: _plain(cell) for name, cell in zip(names, cells, strict=True)}


def _plain(value: Any) -> Any:
    """Return a value of a database as rows hold it: what has no counterpart becomes text."""
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, memoryview):
        return bytes(value)
    return value.isoformat() if isinstance(value, date) else str(value)
