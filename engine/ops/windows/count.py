"""Count windows: so many rows, whatever the time."""

from __future__ import annotations

from collections import deque
from typing import Any, Generic, TypeVar

from engine.ops.fold import Fold
from engine.ops.pane import Pane
from engine.ops.spans.choose import span_for
from engine.ops.spans.span import Span
from engine.ops.windows.operator import Arrivals

S = TypeVar("S")
R = TypeVar("R")


class CountWindow(Generic[S, R]):
    """The last ``size`` rows at every ``step``-th row, once there are as many.

    It starts and ends at the timestamps of its first and last row. As in hopping windows rows are
    folded once, into slices that are cut where some window starts or ends.
    """

    def __init__(self, fold: Fold[S, R], size: int, step: int) -> None:
        self._size = size
        self._step = step
        self._count = 0
        self._span: Span[S, R] = span_for(fold, by_row=step < size)
        self._starts: deque[tuple[int, int]] = deque()
        """Position and first timestamp of each slice."""

    def add(self, arrivals: Arrivals[R]) -> list[Pane[S]]:
        panes: list[Pane[S]] = []
        at, count = 0, len(arrivals)
        while at < count:
            cut = self._cut()
            stop = min(at + cut - self._count, count)
            if not self._starts or self._starts[-1][0] != cut - 1:
                self._starts.append((cut - 1, arrivals.times[at]))
            self._span.push(cut - 1, arrivals.part(at, stop))
            self._count += stop - at
            if self._count % self._step == 0:
                self._fire(arrivals.times[stop - 1], panes)
            at = stop
        return panes

    def tick(self, now: int) -> list[Pane[S]]:
        return []

    def next_deadline(self) -> int | None:
        return None

    def snapshot(self) -> Any:
        return [self._count, [list(start) for start in self._starts], self._span.snapshot()]

    def restore(self, value: Any) -> None:
        self._count, starts, span = value
        self._starts = deque((position, time) for position, time in starts)
        self._span.restore(span)

    def _cut(self) -> int:
        """Return the number of rows at which the slice of the next row ends."""
        following = self._count + 1
        end = following + -following % self._step
        start = following + (-self._size - following) % self._step
        return min(end, start)

    def _fire(self, time: int, panes: list[Pane[S]]) -> None:
        first = self._count - self._size
        self._span.evict(first)
        while self._starts[0][0] < first:
            self._starts.popleft()
        if first >= 0:
            panes.append(Pane(self._starts[0][1], time, time, self._span.value()))
