"""The lookup tables of an engine: one open source for each, for all rules that join it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from engine.catalog import Stream
from engine.clock import Clock
from engine.errors import ConfigError, EngineError
from engine.lookup.link import LookupLink
from engine.lookup.options import LookupOptions
from engine.lookup.table import LookupTable
from engine.run.reports import Report, Reports
from engine.sql.ast import Column
from engine.sql.plan import Join, Plan

logger = logging.getLogger(__name__)

MakeLink = Callable[[Stream, Report], tuple[LookupLink, LookupOptions]]
"""Makes the plugin instance behind a table, given who hears of its connection."""


@dataclass(frozen=True, slots=True)
class _Open:
    """A table that rules can join."""

    link: LookupLink
    options: LookupOptions
    reports: Reports


@dataclass(frozen=True, slots=True)
class JoinedTable:
    """A lookup table as one rule joins it."""

    name: str
    table: LookupTable
    reports: Reports
    """Of its connection."""

    @property
    def runner(self) -> str:
        """The name under which its connection is reported."""
        return runner_of(self.name)


def runner_of(table: str) -> str:
    """Return the name of the source behind a table."""
    return f"source[{table}]"


class LookupTables:
    """Tables that are open from their definition on, since some gather their rows."""

    def __init__(self, make: MakeLink, clock: Clock) -> None:
        self._make = make
        self._clock = clock
        self._open: dict[str, _Open] = {}
        self._failures: dict[str, EngineError] = {}

    async def open(self, tables: Iterable[Stream]) -> None:
        """Open those that aren't; a table that can't work stops the rules that join it only."""
        for table in tables:
            if table.name in self._open:
                continue
            try:
                made = self._made(table)
                await made.link.open()
            except EngineError as error:
                if str(error) != str(self._failures.get(table.name)):
                    logger.error("table %s: %s", table.name, error)
                self._failures[table.name] = error
                continue
            self._failures.pop(table.name, None)
            self._open[table.name] = made

    def prepare(self, table: Stream) -> None:
        """Make a table without opening it, to see whether rules could join it."""
        try:
            self._open[table.name] = self._made(table)
        except EngineError as error:
            self._failures[table.name] = error

    def _made(self, table: Stream) -> _Open:
        reports = Reports()
        return _Open(*self._make(table, reports), reports)

    def differs(self, name: str, others: LookupTables) -> bool:
        """Tell whether others would ask a table, if it is open, in another way."""
        mine, other = self._open.get(name), others._open.get(name)
        if mine is None:
            return False
        if other is None:
            return True
        return (mine.link.config, mine.options) != (other.link.config, other.options)

    async def close(self, name: str) -> None:
        """Let go of a table, if it is open."""
        found = self._open.pop(name, None)
        if found is not None:
            await found.link.close()

    async def close_all(self) -> None:
        """Let go of all tables."""
        for name in list(self._open):
            await self.close(name)

    def of(self, plan: Plan, tables: Callable[[str], Stream]) -> dict[str, JoinedTable]:
        """Return the lookup tables of a query by label.

        Raises:
            EngineError: one of them can't work.
        """
        join = plan.find(Join)
        found = {}
        for side in join.sides if join is not None else ():
            scan = side.scan
            if scan.role != "lookup":
                continue
            if scan.stream in self._failures:
                raise self._failures[scan.stream]
            if scan.stream not in self._open:
                raise ConfigError(f"the lookup table {scan.stream} isn't open")
            known = self._open[scan.stream]
            table = LookupTable(
                known.link,
                [key.name for key in side.right_keys if isinstance(key, Column)],
                () if scan.whole else [use.name for use in scan.columns],
                cache=known.options.make_cache(),
                clock=self._clock,
                schema=tables(scan.stream).schema,
            )
            found[scan.label] = JoinedTable(scan.stream, table, known.reports)
        return found
