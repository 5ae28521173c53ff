"""Session windows: rows that follow each other closely."""

from __future__ import annotations

from bisect import bisect_left
from typing import Any, Generic, TypeVar

from engine.ops.align import first_end
from engine.ops.fold import Fold
from engine.ops.pane import Pane
from engine.ops.windows.operator import Arrivals, Timing

S = TypeVar("S")
R = TypeVar("R")


class SessionWindow(Generic[S, R]):
    """A session ends ``timeout`` ms after its last row, or is cut off when it lasts too long.

    A gap must be longer than the timeout; in processing time the timer that is due just when a row
    comes fires first, so a gap as long as the timeout ends the session too. Whether it lasts too
    long is asked only at aligned ticks, every ``longest`` ms, so it may get almost twice as long.
    A session after one that was cut off starts where that one ended.
    """

    def __init__(
        self, fold: Fold[S, R], longest: int, timeout: int, unit: str, timing: Timing
    ) -> None:
        self._fold = fold
        self._longest = longest
        self._timeout = timeout
        self._unit = unit
        self._timing = timing
        self._grace = 1 if timing.is_event_time else 0
        self._origin: int | None = None
        """A tick; the others are multiples of ``longest`` from it."""
        if timing.opened_at is not None:
            self._align(timing.opened_at)
        self._state = fold.empty()
        self._first: int | None = None
        """The timestamp of the session's first row; None: no session."""
        self._last = 0
        self._cut_at: int | None = None
        """Where the previous session was cut off, until the next one has ended."""

    def add(self, arrivals: Arrivals[R]) -> list[Pane[S]]:
        panes: list[Pane[S]] = []
        times = arrivals.times
        at, count = 0, len(arrivals)
        while at < count:
            self._close(times[at], panes)
            if self._first is None:
                self._align(times[at])
                self._first = self._last = times[at]
            self._last = max(self._last, times[at])
            deadline = min(self._timeout_due(), self._cut_due(self._first))
            stop = max(bisect_left(times, deadline, at), at + 1)
            self._state = self._fold.add(self._state, arrivals.part(at, stop))
            self._last = max(self._last, times[stop - 1])
            at = stop
        return panes

    def tick(self, now: int) -> list[Pane[S]]:
        panes: list[Pane[S]] = []
        self._close(now, panes)
        return panes

    def next_deadline(self) -> int | None:
        if self._first is None:
            return None
        return min(self._timeout_due(), self._cut_due(self._first))

    def snapshot(self) -> Any:
        state = None if self._first is None else self._fold.snapshot(self._state)
        return [self._origin, self._first, self._last, self._cut_at, state]

    def restore(self, value: Any) -> None:
        self._origin, self._first, self._last, self._cut_at, state = value
        self._state = self._fold.empty() if self._first is None else self._fold.restore(state)

    def _align(self, at: int) -> None:
        if self._origin is None:
            self._origin = first_end(at, self._longest, self._unit, self._timing.zone)

    def _timeout_due(self) -> int:
        return self._last + self._timeout + self._grace

    def _cut_due(self, first: int) -> int:
        """Return the first tick at which the session has lasted too long."""
        earliest = first + self._longest + self._grace
        origin = self._origin if self._origin is not None else earliest
        return max(earliest + (origin - earliest) % self._longest, origin)

    def _close(self, until: int, panes: list[Pane[S]]) -> None:
        """End the session if it is over at ``until``."""
        if self._first is None:
            return
        timeout_due, cut_due = self._timeout_due(), self._cut_due(self._first)
        if min(timeout_due, cut_due) > until:
            return
        is_cut = cut_due < timeout_due
        end = cut_due if is_cut else self._last + self._timeout
        start = self._first if self._cut_at is None else self._cut_at
        panes.append(Pane(start, end, end, self._state))
        self._state = self._fold.empty()
        self._first = None
        self._cut_at = end if is_cut else None
