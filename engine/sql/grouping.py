"""Groups of rows and their aggregates: what a window accumulates for a query with GROUP BY."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from engine.errors import RowError
from engine.sql.functions import FunctionSpec
from engine.sql.kinds import kind_of

Record = tuple[Any, ...]
"""A row with all that came with it and the values that its stage has computed."""

Groups = dict[Hashable, list[Any]]
"""By key: the record of the first row, then an accumulator for each aggregate."""


@dataclass(frozen=True, slots=True)
class AggregateSite:
    """One aggregate of a query: where a record holds its arguments and whether it counts."""

    spec: FunctionSpec
    arguments: int
    filter: int | None = None

    def check(self, values: Sequence[Any]) -> None:
        """Raise ``RowError`` if a value, not null, is of a kind that the aggregate can't take."""
        for index, value in enumerate(values):
            parameter = self.spec.parameter(index)
            if value is not None and not parameter.accepts(value):
                raise RowError(
                    f"{self.spec.name}: {parameter.name} must be {parameter.kind}, "
                    f"not {kind_of(value)}"
                )


class GroupFold:
    """Takes records into groups; see ``engine.ops.fold.Fold``.

    A record that an aggregate can't take leaves all aggregates as they were and is reported.
    """

    def __init__(
        self,
        sites: Sequence[AggregateSite],
        *,
        key: int | None,
        passes: int | None,
        errors: list[RowError],
    ) -> None:
        self._sites = sites
        self._key = key
        self._passes = passes
        self._errors = errors

    def empty(self) -> Groups:
        return {}

    def add(self, state: Groups, rows: Iterable[Record]) -> Groups:
        key_at, passes, sites = self._key, self._passes, self._sites
        key: Hashable = ()
        for record in rows:
            if passes is not None and not record[passes]:
                continue
            if key_at is not None:
                key = record[key_at]
            try:
                for site in sites:
                    site.check(record[site.arguments])
            except RowError as error:
                self._errors.append(error)
                continue
            group = state.get(key)
            if group is None:
                group = state[key] = [record, *(self._accumulator(site) for site in sites)]
            for accumulator, site in zip(group[1:], sites, strict=True):
                if site.filter is None or record[site.filter]:
                    accumulator.add(*record[site.arguments])
        return state

    def merge(self, older: Groups, newer: Groups) -> Groups:
        merged = dict(older)
        for key, group in newer.items():
            known = older.get(key)
            if known is None:
                merged[key] = group
            else:
                pairs = zip(known[1:], group[1:], strict=True)
                merged[key] = [known[0], *(first.merge(second) for first, second in pairs)]
        return merged

    def results(self, group: list[Any]) -> list[Any]:
        """Return the values of the aggregates of a group.

        Raises:
            RowError: an aggregate has no value for what it was given.
        """
        return [accumulator.result() for accumulator in group[1:]]

    def empty_group(self) -> list[Any]:
        """Return the group of no rows, for a query without keys over an empty window."""
        return [None, *(self._accumulator(site) for site in self._sites)]

    def _accumulator(self, site: AggregateSite) -> Any:
        assert site.spec.accumulator is not None
        return site.spec.accumulator()


class RecordFold:
    """Keeps the records of the rows that pass, for queries that need the rows themselves."""

    def __init__(self, *, passes: int | None) -> None:
        self._passes = passes

    def empty(self) -> list[Record]:
        return []

    def add(self, state: list[Record], rows: Iterable[Record]) -> list[Record]:
        passes = self._passes
        state.extend(rows if passes is None else (row for row in rows if row[passes]))
        return state

    def merge(self, older: list[Record], newer: list[Record]) -> list[Record]:
        return [*older, *newer]
