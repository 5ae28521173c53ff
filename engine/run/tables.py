"""The lookup tables of an engine: one open source for each, for all rules that join it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from engine.catalog import Stream
from engine.clock import Clock
from engine.errors import ConfigError, EngineError
from engine.lookup.link import LookupLink
from engine.lookup.options import LookupOptions
from engine.lookup.table import LookupTable
from engine.sql.ast import Column
from engine.sql.plan import Join, Plan

logger = logging.getLogger(__name__)

MakeLink = Callable[[Stream], tuple[LookupLink, LookupOptions]]
"""Makes the plugin instance behind a table."""
_NONE = None, None


class LookupTables:
    """Tables that are open from their definition on, since some gather their rows."""

    def __init__(self, make: MakeLink, clock: Clock) -> None:
        self._make = make
        self._clock = clock
        self._open: dict[str, tuple[LookupLink, LookupOptions]] = {}
        self._failures: dict[str, EngineError] = {}

    async def open(self, tables: Iterable[Stream]) -> None:
        """Open those that aren't; a table that can't work stops the rules that join it only."""
        for table in tables:
            if table.name in self._open:
                continue
            try:
                link, options = self._make(table)
                await link.open()
            except EngineError as error:
                if str(error) != str(self._failures.get(table.name)):
                    logger.error("table %s: %s", table.name, error)
                self._failures[table.name] = error
                continue
            self._failures.pop(table.name, None)
            self._open[table.name] = link, options

    def prepare(self, table: Stream) -> None:
        """Make a table without opening it, to see whether rules could join it."""
        try:
            self._open[table.name] = self._make(table)
        except EngineError as error:
            self._failures[table.name] = error

    def differs(self, name: str, others: LookupTables) -> bool:
        """Tell whether others would ask a table, if it is open, in another way."""
        if name not in self._open:
            return False
        (link, options), (other, other_options) = self._open[name], others._open.get(name, _NONE)
        return other is None or (link.config, options) != (other.config, other_options)

    async def close(self, name: str) -> None:
        """Let go of a table, if it is open."""
        link, _ = self._open.pop(name, (None, None))
        if link is not None:
            await link.close()

    async def close_all(self) -> None:
        """Let go of all tables."""
        for name in list(self._open):
            await self.close(name)

    def of(self, plan: Plan, tables: Callable[[str], Stream]) -> dict[str, LookupTable]:
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
            link, options = self._open[scan.stream]
            found[scan.label] = LookupTable(
                link,
                [key.name for key in side.right_keys if isinstance(key, Column)],
                () if scan.whole else [use.name for use in scan.columns],
                cache=options.make_cache(),
                clock=self._clock,
                schema=tables(scan.stream).schema,
            )
        return found
