"""Tumbling windows: one after the other, without gaps."""

from __future__ import annotations

from bisect import bisect_left
from typing import Any, Generic, TypeVar

from engine.ops.fold import Fold
from engine.ops.pane import Pane
from engine.ops.windows.ends import Ends
from engine.ops.windows.operator import Arrivals, Timing

S = TypeVar("S")
R = TypeVar("R")


class TumblingWindow(Generic[S, R]):
    """Windows ``[end - length, end)``, in ms; a row that comes late joins the open one."""

    def __init__(self, fold: Fold[S, R], length: int, unit: str, timing: Timing) -> None:
        self._fold = fold
        self._length = length
        self._ends = Ends(length, unit, timing)
        self._state = fold.empty()
        self._is_empty = True

    def add(self, arrivals: Arrivals[R]) -> list[Pane[S]]:
        panes: list[Pane[S]] = []
        times = arrivals.times
        at, count = 0, len(arrivals)
        while at < count:
            end = self._ends.begin(times[at])
            if times[at] >= end:
                self._close(times[at], panes)
                end = self._ends.begin(times[at])
            stop = max(bisect_left(times, end, at), at + 1)
            self._state = self._fold.add(self._state, arrivals.part(at, stop))
            self._is_empty = False
            at = stop
        return panes

    def tick(self, now: int) -> list[Pane[S]]:
        panes: list[Pane[S]] = []
        self._ends.ticked()
        self._close(now, panes)
        return panes

    def next_deadline(self) -> int | None:
        return self._ends.next

    def snapshot(self) -> Any:
        state = None if self._is_empty else self._fold.snapshot(self._state)
        return [self._ends.snapshot(), self._is_empty, state]

    def restore(self, value: Any) -> None:
        ends, self._is_empty, state = value
        self._ends.restore(ends)
        self._state = self._fold.empty() if self._is_empty else self._fold.restore(state)

    def _close(self, until: int, panes: list[Pane[S]]) -> None:
        end = self._ends.next
        if end is None or end > until:
            return
        if not self._is_empty:
            panes.append(Pane(end - self._length, end, end, self._state))
            self._state = self._fold.empty()
            self._is_empty = True
            self._ends.filled()
        panes += [
            Pane(end - self._length, end, end, self._fold.empty(), is_empty=True)
            for end in self._ends.skip_empty(until)
        ]
