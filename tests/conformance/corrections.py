"""What is put right in a recorded expectation, each for one defect of the reference.

A correction changes only what its defect is about, and puts in its place what the model says. All
that apply to a case are made one after the other, in the order of ``deviations.toml``; those that
changed something are the reasons for which the case may come out different.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from engine.errors import RowError
from engine.sql import ast
from engine.sql.walk import walk
from tests.conformance.calls import Excuse
from tests.conformance.draft import Draft, Entry, put
from tests.conformance.excused import values
from tests.conformance.lost import lost_rows
from tests.conformance.model.query import ERROR
from tests.conformance.model.rows import Unsupported
from tests.conformance.model.scope import WINDOW_VALUES, Scope

Correction = Callable[[Draft, Sequence[Excuse]], None]


def correct(draft: Draft, correction: str, excuses: Sequence[Excuse]) -> bool:
    """Make a correction; return whether that has changed anything."""
    before = draft.state()
    try:
        CORRECTIONS[correction](draft, excuses)
    except Unsupported:
        return False
    return bool(draft.state() != before)


# -- bounds of windows -----------------------------------------------------------------------------


def _window_start(draft: Draft, excuses: Sequence[Excuse]) -> None:
    """``window_start()`` is where the window begins."""
    for item in draft.select.items:
        calls = [node for node in walk(item.expr) if isinstance(node, ast.Call)]
        if not any(call.name.lower() == "window_start" for call in calls):
            continue
        is_pure = all(call.name.lower() in WINDOW_VALUES for call in calls)
        for entry in draft.entries:
            if entry.firing is None or entry.is_error:
                continue
            if is_pure and not any(isinstance(node, ast.Column) for node in walk(item.expr)):
                window = (entry.firing.start, entry.firing.end)
                value = Scope(draft.select, {}, {}, window=window).item(item)
                for row in entry.rows:
                    put(row, item.name, value)
            else:
                draft.take(entry, item.name)


def _gaps(draft: Draft, excuses: Sequence[Excuse]) -> None:
    """Of a run of empty windows in event time only the first is emitted."""
    draft.entries = [
        entry for entry in draft.entries if entry.firing is None or entry.firing.is_shown
    ]


# -- empty windows ---------------------------------------------------------------------------------


def _empty_windows(draft: Draft, excuses: Sequence[Excuse]) -> None:
    """In an empty window ``count`` is 0, and no other aggregate is there."""
    if draft.select.group_by or not draft.model.aggregates:
        return
    for entry in list(draft.entries):
        if draft.looks_empty(entry):
            _fill(draft, entry)
    for firing in list(draft.missing):
        rows = draft.rows_of(firing)
        if rows and not draft.model.passing(firing):
            draft.insert(firing, rows)


def _fill(draft: Draft, entry: Entry) -> None:
    """Compute the fields of an empty window in which there is ``count`` or ``collect``."""
    if entry.firing is not None and draft.rows_of(entry.firing) == []:
        draft.entries.remove(entry)
        return
    row = entry.rows[0]
    for item in draft.select.items:
        calls = [call for call, _ in draft.query.calls_of(item.name)]
        if {"count", "collect"}.isdisjoint(call.name.lower() for call in calls):
            continue
        try:
            value = _without_rows(draft, entry).item(item)
        except RowError:
            entry.rows = [ERROR]
            return
        put(row, item.name, value)


def _without_rows(draft: Draft, entry: Entry) -> Scope:
    firing = entry.firing
    counts = {
        id(call): (lambda: 0) if call.name.lower() == "count" else (lambda: None)
        for call in draft.model.aggregates
    }
    window = None if firing is None else (firing.start, firing.end)
    return Scope(draft.select, {}, {}, window=window, calls=counts)


# -- rows ------------------------------------------------------------------------------------------


def _limit(draft: Draft, excuses: Sequence[Excuse]) -> None:
    """LIMIT cuts the rows of a window off."""
    limit = draft.select.limit
    for entry in draft.entries:
        if limit is None or len(entry.rows) <= limit:
            continue
        if draft.case.expect.row_order != "any":
            entry.rows = entry.rows[:limit]
        elif entry.firing is not None:
            draft.replace(entry.firing)


def _row_numbers(draft: Draft, excuses: Sequence[Excuse]) -> None:
    """``row_number`` counts in its partition, in its order."""
    for item in draft.select.items:
        calls = [call for call, _ in draft.query.calls_of(item.name)]
        if any(call.name.lower() == "row_number" and call.over for call in calls):
            for entry in draft.entries:
                draft.take(entry, item.name)


def _row_errors(draft: Draft, excuses: Sequence[Excuse]) -> None:
    """A row or group with an error is left out, and only that one."""
    model = draft.model
    for firing in model.firings:
        given = model.given(firing)
        if model.fails(firing) or (given.errors and given.rows):
            draft.replace(firing)
    if not model.sends_errors:
        return
    known = [entry.at for entry in draft.entries if entry.firing is None and entry.is_error]
    for at, message in model.arrival_errors():
        if at in known:
            known.remove(at)
        else:
            draft.entries.append(Entry((at, message + 1, 0), [ERROR]))
    draft.entries.sort(key=lambda entry: entry.place)


def _order_errors(draft: Draft, excuses: Sequence[Excuse]) -> None:
    """Values of several kinds have an order."""
    if not draft.select.order_by:
        return
    for entry in list(draft.entries):
        firing = entry.firing
        if entry.is_error and firing is not None and not draft.model.fails(firing):
            draft.replace(firing)


def _scalar_errors(draft: Draft, excuses: Sequence[Excuse]) -> None:
    """An error of a function is one in a query with aggregates, too, not null."""
    for firing in draft.model.firings:
        if draft.model.given(firing).errors:
            draft.replace(firing)


# -- everything ------------------------------------------------------------------------------------


def _everything(draft: Draft, excuses: Sequence[Excuse]) -> None:
    """All is as the model says."""
    draft.entries = [Entry((results.at, 0, 0), results.rows) for results in draft.model.emissions()]
    draft.is_final = True


def _analytic_conditions(draft: Draft, excuses: Sequence[Excuse]) -> None:
    """All is as the model says, if the WHEN of an analytic function isn't true or false once."""
    model = draft.model
    conditions = [
        node.over.when
        for node in walk(draft.select)
        if isinstance(node, ast.Call) and node.over is not None and node.over.when is not None
    ]
    if any(
        not _is_plain(model.scope(number), when) for number in model.rows for when in conditions
    ):
        _everything(draft, excuses)


def _is_plain(scope: Scope, condition: ast.Expr) -> bool:
    try:
        return isinstance(scope.value(condition), bool)
    except RowError:
        return False


CORRECTIONS: dict[str, Correction] = {
    "window start": _window_start,
    "gaps": _gaps,
    "lost rows": lost_rows,
    "empty windows": _empty_windows,
    "limit": _limit,
    "row numbers": _row_numbers,
    "row errors": _row_errors,
    "order errors": _order_errors,
    "scalar errors": _scalar_errors,
    "values": values,
    "analytic conditions": _analytic_conditions,
    "by the model": _everything,
}
