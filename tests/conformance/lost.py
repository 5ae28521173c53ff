"""The rows that the reference loses in hopping windows, and its windows before the first row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from engine.sql import ast
from tests.conformance.calls import Excuse
from tests.conformance.draft import Draft
from tests.conformance.model.windows import UNIT, first_end, start_of_unit


def lost_rows(draft: Draft, excuses: Sequence[Excuse]) -> None:
    """Windows keep the rows that an empty one before them has made the reference lose.

    Neither is there an empty window before the first row.
    """
    model = draft.model
    if not model.firings:
        return
    released = {number: release.at for release in model.releases for number in release.rows}
    early = _early_end(min(map(model.time_of, released)), model.window)
    if early is not None:
        _drop_early(draft)
    lost = _lost(draft, released, early)
    for firing in model.firings:
        if not lost.isdisjoint(firing.rows):
            draft.replace(firing)


def _early_end(time: int, window: ast.Window) -> int | None:
    """Return the end before the first row with which the reference begins, if it does so.

    It does if the time of the first row, in the enclosing unit, is that of the first end or less
    than one unit more.
    """
    end = first_end(start_of_unit(time, window.unit), window.lengths[-1], window.unit)
    return end if end <= time < end + UNIT[window.unit] else None


def _drop_early(draft: Draft) -> None:
    """Drop what there is before the first window."""
    first = draft.place_of(draft.model.firings[0])
    early = (
        entry
        for entry in draft.entries
        if entry.firing is None and not entry.is_error and entry.place <= first
    )
    entry = next(early, None)
    if entry is not None:
        draft.entries.remove(entry)


def _lost(draft: Draft, released: Mapping[int, int], early: int | None) -> set[int]:
    """Return the rows that the reference loses: those it holds when a window is empty.

    ``released`` says when it gets each row.
    """
    window, model = draft.model.window, draft.model
    if window.kind != "HOPPING":
        return set()
    length, _ = window.lengths
    ends = [(firing.end, firing.at) for firing in model.firings]
    if early is not None:
        ends.insert(0, (early, min(released.values())))
    lost: set[int] = set()
    for end, at in ends:
        held = [number for number in released if number not in lost and released[number] <= at]
        if not any(end - length <= model.time_of(number) < end for number in held):
            lost.update(number for number in held if model.time_of(number) >= end)
    return lost
