"""What a lookup source must do, tried out as the engine will use it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.api import CURRENT_USE, Config, Row
from engine.catalog import resolve
from engine.config.positions import NOWHERE
from engine.config.streams import streams_from
from engine.registry import PluginKind, PluginRegistry
from engine.run.properties import Properties
from engine.testing.stand import Problems, Stand, Trial


def check_lookup(
    plugin: Any,
    root: Path | str = ".",
    properties: Mapping[str, Any] | None = None,
    *,
    keys: Sequence[Mapping[str, Any]],
    expected: Sequence[list[Row]] | None = None,
    wrong: Sequence[Mapping[str, Any]] = (),
    seconds: float = 5.0,
) -> list[list[Row]]:
    """Check a lookup source against the contract; return the rows found for each of ``keys``.

    Args:
        plugin: its name, for a plugin that a rule with this root finds, or the class itself.
        root: the folder with ``plugins/`` and ``etc/``.
        properties: those of a table.
        keys: what to look for, one mapping of the same columns for each case.
        expected: the rows for each of them.
        wrong: properties that must be refused, one mapping for each case.
        seconds: how long any single thing may take.

    Raises:
        ContractBroken: something is wrong.
        PluginError: the plugin can't be loaded.
    """
    stand = Stand(PluginKind.SOURCE, plugin, root, Problems(), seconds=seconds)
    if isinstance(plugin, str):
        stand.plugin = PluginRegistry(stand.root).lookup_source(plugin)
    check = _LookupCheck(stand, dict(properties or {}), keys)
    stand.run(lambda: check.all(wrong, expected))
    return check.found


class _LookupCheck:
    def __init__(
        self, stand: Stand, properties: Mapping[str, Any], keys: Sequence[Mapping[str, Any]]
    ) -> None:
        self.found: list[list[Row]] = []
        self._stand = stand
        self._properties = properties
        self._columns = list(keys[0])
        self._values = [[key[column] for column in self._columns] for key in keys]

    async def all(
        self, wrong: Sequence[Mapping[str, Any]], expected: Sequence[list[Row]] | None
    ) -> None:
        stand = self._stand
        stand.check_unknown(self._properties, self._configure)
        stand.check_wrong(wrong, self._configure)
        await stand.close(self._trial(), "without an open() before it")
        trial = self._trial()
        stand.check_apart(trial.instance, self._trial().instance)
        CURRENT_USE.set(trial.use)
        await stand.within("open()", trial.instance.open())
        for values in self._values:
            rows = await stand.within("lookup()", self._lookup(trial, values))
            self._look_at(rows)
            self.found.append(rows or [])
        many = await stand.within("lookup_many()", self._lookup_many(trial))
        if many is not None and list(many) != self.found:
            stand.problems.note(f"lookup_many() gives {many!r}, lookup() one by one {self.found!r}")
        await stand.close(trial, "after lookup()")
        if expected is not None and self.found != [*expected]:
            stand.problems.note(f"it finds {self.found!r}, not {list(expected)!r}")
        await stand.stop_at_each_step("lookup()", self._trial, self._opened_and_asked)

    def _configure(self, properties: Mapping[str, Any]) -> Config:
        name = self._stand.plugin.name
        section = {"check": {"kind": "lookup", "key": self._columns[0], **properties, "type": name}}
        (definition,) = streams_from(section, "table", NOWHERE)
        return Properties(self._stand.root).for_lookup(resolve(definition), self._stand.plugin)[0]

    def _trial(self) -> Trial:
        return self._stand.trial(self._configure(self._properties))

    async def _lookup(self, trial: Trial, values: Sequence[Any]) -> list[Row]:
        found: list[Row] = await trial.instance.lookup([], self._columns, values)
        return found

    async def _lookup_many(self, trial: Trial) -> list[list[Row]]:
        found: list[list[Row]] = await trial.instance.lookup_many([], self._columns, self._values)
        return found

    async def _opened_and_asked(self, trial: Trial) -> None:
        await trial.instance.open()
        await self._lookup(trial, self._values[0])

    def _look_at(self, rows: Any) -> None:
        if rows is None:
            return
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            self._stand.problems.note(f"lookup() returns {rows!r}, no list of dicts")
