"""A lookup table as one rule joins it: batches of keys in, rows out."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

from engine.batch import Row
from engine.clock import Clock
from engine.errors import RowError
from engine.lookup.cache import LookupCache
from engine.lookup.link import Found, LookupLink
from engine.lookup.match import equals_nothing
from engine.sql.keys import typed_key
from engine.sql.schema import Schema


class LookupStatistics(NamedTuple):
    """What a table has done for one rule."""

    keys: int
    """Keys that rows came with."""
    asked: int
    """Those for which the source was asked."""
    failed: int
    """Those of them that ended in an error."""
    hits: int
    """Times that the cache had the answer."""
    misses: int
    evicted: int
    """Answers that the full cache had to let go."""


class LookupTable:
    """Finds the rows of a table for the keys of a batch, asking as little as possible.

    Args:
        link: the table's source.
        key_columns: the columns of the table that the keys are compared with.
        fields: the columns that the query reads, empty for all.
        cache: where answers are kept, None to ask each time; not to be shared with a table that
            has other ``key_columns`` or ``fields``.
        clock: tells the age of what is in the cache.
        schema: the columns that the table declares; rows are converted to them.
    """

    def __init__(
        self,
        link: LookupLink,
        key_columns: Sequence[str],
        fields: Sequence[str] = (),
        *,
        cache: LookupCache | None,
        clock: Clock,
        schema: Schema | None = None,
    ) -> None:
        self._link = link
        self._key_columns = tuple(key_columns)
        self._fields = tuple(fields)
        self._cache = cache
        self._clock = clock
        self._schema = schema or Schema()
        names = self._schema.names
        self._declared = tuple(n for n in names if n in self._fields) if self._fields else names
        self._keys = self._asked = self._failed = 0

    async def find(self, values: Sequence[tuple[Any, ...]]) -> list[Found]:
        """Return for each key the rows that have it, or the error of the row it came from.

        A key is one value for each of the ``key_columns``. Each different key is asked for once;
        one with a null has no rows and isn't asked for. Rows may be given more than once and stay
        in the cache: they mustn't be changed.
        """
        answers: dict[Hashable, Found] = {}
        missing: dict[Hashable, tuple[Any, ...]] = {}
        keys = [None if equals_nothing(value) else typed_key(value) for value in values]
        now = self._clock.now()
        for key, value in zip(keys, values, strict=True):
            if key is None or key in answers or key in missing:
                continue
            cached = self._cache.get(key, now) if self._cache is not None else None
            if cached is None:
                missing[key] = value
            else:
                answers[key] = cached
        if missing:
            await self._ask(missing, answers)
        self._keys += len(keys)
        return [[] if key is None else answers[key] for key in keys]

    def statistics(self) -> LookupStatistics:
        """Return the counts so far."""
        counts = self._keys, self._asked, self._failed
        if self._cache is None:
            return LookupStatistics(*counts, 0, 0, 0)
        cache = self._cache.statistics()
        return LookupStatistics(*counts, cache.hits, cache.misses, cache.evicted)

    async def _ask(
        self, missing: dict[Hashable, tuple[Any, ...]], answers: dict[Hashable, Found]
    ) -> None:
        found = await self._link.ask(self._fields, self._key_columns, list(missing.values()))
        now = self._clock.now()
        for key, rows in zip(missing, found, strict=True):
            answer = answers[key] = self._converted(rows)
            if isinstance(answer, RowError):
                self._failed += 1
            elif self._cache is not None:
                self._cache.put(key, answer, now)
        self._asked += len(missing)

    def _converted(self, rows: Found) -> Found:
        if isinstance(rows, RowError) or not self._schema:
            return rows
        try:
            return [self._as_declared(row) for row in rows]
        except RowError as error:
            return RowError(f"table {self._link.name}: {error.message}")

    def _as_declared(self, row: Row) -> Row:
        return self._schema.convert(row, self._declared)
