"""The ends of windows at a fixed interval, and which of the empty ones are shown."""

from __future__ import annotations

from typing import Any

from engine.ops.align import first_end
from engine.ops.windows.operator import Timing


class Ends:
    """Ends that are aligned once and then just add the interval (ms)."""

    def __init__(self, interval: int, unit: str, timing: Timing) -> None:
        self._interval = interval
        self._unit = unit
        self._timing = timing
        self._empty_run = 0
        self.next: int | None = None
        """The end of the window that fires next; None before the first row in event time."""
        if timing.opened_at is not None:
            self.begin(timing.opened_at)

    def begin(self, at: int) -> int:
        """Align by a moment, unless that is done; return the next end."""
        if self.next is None:
            self.next = first_end(at, self._interval, self._unit, self._timing.zone)
        return self.next

    def ticked(self) -> None:
        """Take note of a tick: in processing time it may show empty windows anew."""
        if not self._timing.is_event_time:
            self._empty_run = 0

    def filled(self) -> None:
        """Move on past a window that had rows."""
        if self.next is not None:
            self.next += self._interval
        self._empty_run = 0

    def skip_empty(self, until: int) -> range:
        """Move on past all windows that end up to ``until``; return the ends of those to show."""
        if self.next is None or self.next > until:
            return range(0)
        first, due = self.next, (until - self.next) // self._interval + 1
        self.next += due * self._interval
        shown = min(due, max(self._timing.max_empty - self._empty_run, 0))
        self._empty_run += shown
        return range(first, first + shown * self._interval, self._interval)

    def snapshot(self) -> Any:
        return [self.next, self._empty_run]

    def restore(self, value: Any) -> None:
        self.next, self._empty_run = value
