"""A recorded expectation on its way from what the reference gives to what we want.

Each emission is put next to the window it belongs to, so that a correction can tell what is wrong
with it and take what is right from the model.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from engine.sql import ast
from engine.sql.walk import walk
from tests.conformance.calls import Query
from tests.conformance.cases import Case, Expectation, Results
from tests.conformance.compare import is_error, same_value
from tests.conformance.model.query import ERROR, QueryModel
from tests.conformance.model.rows import Unsupported
from tests.conformance.model.scope import WINDOW_VALUES
from tests.conformance.model.windows import Firing

Place = tuple[int, int, int]
"""When something is emitted, and where among the emissions of that instant."""


@dataclass(slots=True)
class Entry:
    """One emission; ``firing`` is its window, None if that can't be told."""

    place: Place
    rows: list[Any]
    firing: Firing | None = None

    @property
    def at(self) -> int:
        return self.place[0]

    @property
    def is_error(self) -> bool:
        """Whether there is an error instead of rows."""
        return len(self.rows) == 1 and (self.rows[0] == ERROR or is_error(self.rows[0]))


@dataclass(slots=True)
class Draft:
    """The emissions of a case so far."""

    case: Case
    query: Query
    model: QueryModel
    entries: list[Entry] = field(default_factory=list)
    missing: list[Firing] = field(default_factory=list)
    """Windows for which the reference has no emission although it should have one."""
    is_final: bool = False
    """Whether the reference's death or refusal doesn't count any more."""

    @property
    def select(self) -> ast.Select:
        """The query."""
        return self.model.select

    def rows_of(self, firing: Firing) -> list[Any] | None:
        """Return what a window should give; None for nothing, or if the model doesn't know."""
        try:
            return self.model.given(firing).rows
        except Unsupported:
            return None

    def insert(self, firing: Firing, rows: list[Any]) -> None:
        """Add the emission of a window that has none."""
        self.entries.append(Entry(self.place_of(firing), copy.deepcopy(rows), firing))
        self.entries.sort(key=lambda entry: entry.place)
        if firing in self.missing:
            self.missing.remove(firing)

    def replace(self, firing: Firing) -> None:
        """Let a window give what the model says, errors included.

        Raises:
            Unsupported: the model doesn't know.
        """
        given = self.model.given(firing)
        own = [entry for entry in self.entries if entry.firing == firing]
        place = own[0].place if own else self.place_of(firing)
        self.entries = [entry for entry in self.entries if entry.firing != firing]
        self.entries += [Entry(place, [ERROR], firing) for _ in range(given.errors)]
        if given.rows is not None:
            self.entries.append(Entry(place, copy.deepcopy(given.rows), firing))
        self.entries.sort(key=lambda entry: entry.place)
        if firing in self.missing:
            self.missing.remove(firing)

    def take(self, entry: Entry, name: str) -> None:
        """Take a field of all rows of an emission from the model."""
        rows = None if entry.firing is None else self.rows_of(entry.firing)
        if rows is None or entry.is_error:
            return
        for row, other in self.pairs(entry, rows, changing=name):
            put(row, name, other.get(name))

    def pairs(
        self, entry: Entry, rows: list[Any], changing: str = ""
    ) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        """Yield the rows of an emission with those of the model; one field may differ in all."""
        if len(rows) != len(entry.rows):
            return
        if self.case.expect.row_order != "any":
            yield from zip(entry.rows, rows, strict=True)
            return
        left = list(rows)
        for row in entry.rows:
            best = max(left, key=lambda other: _likeness(row, other, changing))
            left.remove(best)
            yield row, best

    def looks_empty(self, entry: Entry) -> bool:
        """Tell whether the reference's emission is that of a window without rows."""
        if not entry.rows:
            return True
        if entry.is_error or len(entry.rows) != 1 or self.select.group_by:
            return False
        row = entry.rows[0]
        for item in self.select.items:
            name = item.expr.name.lower() if isinstance(item.expr, ast.Call) else ""
            if name == "count" and item.name not in row:
                return True
            if name == "collect" and row.get(item.name, 0) is None:
                return True
        firing = entry.firing
        return firing is not None and not self.model.passing(firing) and self.model.is_grouped

    def place_of(self, firing: Firing) -> Place:
        """Return where the emission of a window belongs."""
        return firing.at, firing.cause + 1, 1 + self.model.firings.index(firing)

    def state(self) -> Any:
        """Return what can be compared to see if a correction has changed anything."""
        return [
            self.is_final,
            [(entry.at, msgspec.to_builtins(entry.rows)) for entry in self.entries],
        ]

    def expectation(self) -> Expectation:
        """Return the expectation as it is now."""
        sends_errors = self.model.sends_errors
        results = [
            Results(entry.at, entry.rows)
            for entry in self.entries
            if sends_errors or not entry.is_error
        ]
        wrong = {entry.at for entry in self.entries if entry.is_error}
        errors = [error for error in self.case.expect.runtime_errors if error["at"] in wrong]
        changed = {"error": "", "stage": ""} if self.is_final else {}
        return msgspec.structs.replace(
            self.case.expect, results=results, runtime_errors=errors, **changed
        )


def draft(case: Case, query: Query, model: QueryModel) -> Draft:
    """Return the expectation of a case with the window of each emission.

    Raises:
        Unsupported: the query has something that the model doesn't know.
    """
    found = Draft(case, query, model)
    windows: dict[int, list[Firing]] = {}
    for firing in model.firings:
        if model.is_emitted(firing):
            windows.setdefault(firing.at, []).append(firing)
    given: dict[int, list[Results]] = {}
    for results in case.expect.results:
        given.setdefault(results.at, []).append(results)
    failed = {error["at"] for error in case.expect.runtime_errors}
    for at in sorted({*windows, *given}):
        emitted, due = given.get(at, []), windows.get(at, [])
        matches = _match(found, emitted, due)
        place: Place = (at, -1, 0)
        for results, match in zip(emitted, matches, strict=True):
            place = place if match is None else found.place_of(match)
            rows = msgspec.to_builtins(results.rows)
            found.entries.append(Entry(place, rows, match))
        for firing in due:
            if firing in matches:
                continue
            if at in failed and not model.sends_errors:
                found.insert(firing, [ERROR])
            else:
                found.missing.append(firing)
    return found


def _match(draft: Draft, emitted: Sequence[Results], due: Sequence[Firing]) -> list[Firing | None]:
    """Return the window of each emission of an instant."""
    ends = [_end_of(draft, results) for results in emitted]
    if all(end is not None for end in ends):
        known = {firing.end: firing for firing in due}
        if len(known) == len(due):
            return [known.get(end or 0) for end in ends]
    if len(emitted) >= len(due):
        # what comes before the windows are errors of rows, or windows that shouldn't be
        return [*[None] * (len(emitted) - len(due)), *due]
    matches: list[Firing | None] = []
    left = list(due)
    for results in emitted:
        match = next((firing for firing in left if _is_alike(draft, results, firing)), None)
        if match is not None:
            del left[: left.index(match) + 1]
        matches.append(match)
    return matches


def _end_of(draft: Draft, results: Results) -> int | None:
    """Return the end of the window of an emission, where the query shows it."""
    for item in draft.select.items:
        is_end = isinstance(item.expr, ast.Call) and item.expr.name.lower() in (
            "window_end",
            "window_trigger",
        )
        if is_end and results.rows and isinstance(results.rows[0], dict):
            end = results.rows[0].get(item.name)
            return end if isinstance(end, int) else None
    return None


def _is_alike(draft: Draft, results: Results, firing: Firing) -> bool:
    """Tell whether an emission may be that of a window; the bounds of windows don't count."""
    rows = draft.rows_of(firing)
    if rows is None or len(rows) != len(results.rows):
        return False
    names = [
        item.name
        for item in draft.select.items
        if WINDOW_VALUES.keys().isdisjoint(
            node.name.lower() for node in walk(item.expr) if isinstance(node, ast.Call)
        )
    ]
    return all(any(_are_same(row, other, names) for other in rows) for row in results.rows)


def _are_same(row: Any, other: Any, names: Sequence[str]) -> bool:
    return all(same_value(row.get(name), other.get(name)) for name in names)


def _likeness(row: dict[str, Any], other: dict[str, Any], changing: str) -> int:
    return sum(
        name in other and same_value(value, other[name])
        for name, value in row.items()
        if name != changing
    )


def put(row: dict[str, Any], name: str, value: Any) -> None:
    """Give a row a field; null isn't shown."""
    if value is None:
        row.pop(name, None)
    else:
        row[name] = value
