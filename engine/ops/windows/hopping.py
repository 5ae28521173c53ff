"""Hopping windows: overlapping ones that share what they have in common."""

from __future__ import annotations

from bisect import bisect_left
from typing import Any, Generic, TypeVar

from engine.ops.fold import Fold
from engine.ops.pane import Pane
from engine.ops.spans.choose import span_for
from engine.ops.spans.span import Span
from engine.ops.windows.ends import Ends
from engine.ops.windows.operator import Arrivals, Timing

S = TypeVar("S")
R = TypeVar("R")


class HoppingWindow(Generic[S, R]):
    """Windows ``[end - length, end)``, in ms, an end every ``hop`` ms.

    Rows are folded once, into slices that are cut where some window starts or ends (at most two for
    each hop; cuts at every multiple of gcd(length, hop) would only be more), and windows are merged
    from slices. A hop longer than the length leaves gaps, whose rows are in no window.
    """

    def __init__(self, fold: Fold[S, R], length: int, hop: int, unit: str, timing: Timing) -> None:
        self._fold = fold
        self._length = length
        self._hop = hop
        self._ends = Ends(hop, unit, timing)
        self._span: Span[S, R] = span_for(fold)
        self._now: int | None = timing.opened_at

    def add(self, arrivals: Arrivals[R]) -> list[Pane[S]]:
        panes: list[Pane[S]] = []
        times = arrivals.times
        at, count = 0, len(arrivals)
        while at < count:
            time = self._forward(times[at])
            end = self._ends.begin(time)
            if time >= end:
                self._close(time, panes)
                end = self._ends.begin(time)
            cut = self._cut(time, end)
            stop = max(bisect_left(times, cut, at), at + 1)
            if time >= end - self._length:
                self._span.push(cut - 1, arrivals.part(at, stop))
            at = stop
        return panes

    def tick(self, now: int) -> list[Pane[S]]:
        panes: list[Pane[S]] = []
        self._ends.ticked()
        self._close(self._forward(now), panes)
        return panes

    def next_deadline(self) -> int | None:
        return self._ends.next

    def snapshot(self) -> Any:
        return [self._ends.snapshot(), self._now, self._span.snapshot()]

    def restore(self, value: Any) -> None:
        ends, self._now, span = value
        self._ends.restore(ends)
        self._span.restore(span)

    def _forward(self, time: int) -> int:
        """Return the operator's time, which doesn't go back for a row that comes late."""
        self._now = time if self._now is None else max(self._now, time)
        return self._now

    def _cut(self, time: int, end: int) -> int:
        """Return the next moment after ``time`` at which some window starts or ends."""
        start = time + 1 + (end - self._length - time - 1) % self._hop
        return min(start, end)

    def _close(self, until: int, panes: list[Pane[S]]) -> None:
        end = self._ends.next
        while end is not None and end <= until:
            self._span.evict(end - self._length)
            if not self._span:
                break
            panes.append(Pane(end - self._length, end, end, self._span.value()))
            self._ends.filled()
            end = self._ends.next
        panes += [
            Pane(end - self._length, end, end, self._fold.empty(), is_empty=True)
            for end in self._ends.skip_empty(until)
        ]
