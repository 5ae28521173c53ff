"""Sliding windows: one for each row, or for each that triggers, looking back from it."""

from __future__ import annotations

from collections import deque
from typing import Any, Generic, TypeVar

from engine.ops.fold import Fold
from engine.ops.pane import Pane
from engine.ops.spans.choose import span_for
from engine.ops.spans.span import Span
from engine.ops.windows.operator import Arrivals, Timing

S = TypeVar("S")
R = TypeVar("R")


class SlidingWindow(Generic[S, R]):
    """Windows ``[t - length, t]``, or ``[t - length, t + delay)`` if there is a delay, in ms.

    ``t`` is the timestamp of a row that triggers. Without a delay the row is the last one of its
    window: of rows with the same timestamp each sees those before it.
    """

    def __init__(self, fold: Fold[S, R], length: int, delay: int, timing: Timing) -> None:
        self._length = length
        self._delay = delay
        self._span: Span[S, R] = span_for(fold, by_row=True)
        self._pending: deque[int] = deque()
        """Rows that have triggered and whose delay isn't over."""
        self._now: int | None = timing.opened_at

    def add(self, arrivals: Arrivals[R]) -> list[Pane[S]]:
        panes: list[Pane[S]] = []
        span, length, delay, pending = self._span, self._length, self._delay, self._pending
        now = arrivals.times[0] if self._now is None and len(arrivals) else self._now or 0
        triggers = arrivals.triggers or [True] * len(arrivals)
        for row, time, is_trigger in zip(arrivals.rows, arrivals.times, triggers, strict=True):
            if time > now:
                now = time
                if pending:
                    self._fire(now, panes)
                span.evict((pending[0] if pending else now) - length)
            span.push(now, (row,))
            if not is_trigger:
                continue
            if delay:
                pending.append(now)
            else:
                panes.append(Pane(now - length, now, now, span.value()))
        if len(arrivals):
            self._now = now
        return panes

    def tick(self, now: int) -> list[Pane[S]]:
        panes: list[Pane[S]] = []
        self._now = now if self._now is None else max(self._now, now)
        self._fire(self._now, panes)
        self._span.evict((self._pending[0] if self._pending else self._now) - self._length)
        return panes

    def next_deadline(self) -> int | None:
        return self._pending[0] + self._delay if self._pending else None

    def snapshot(self) -> Any:
        return [self._now, list(self._pending), self._span.snapshot()]

    def restore(self, value: Any) -> None:
        self._now, pending, span = value
        self._pending = deque(pending)
        self._span.restore(span)

    def _fire(self, until: int, panes: list[Pane[S]]) -> None:
        """Fire the windows whose delay is over."""
        pending, span = self._pending, self._span
        while pending and pending[0] + self._delay <= until:
            time = pending.popleft()
            end = time + self._delay
            span.evict(time - self._length)
            panes.append(Pane(time - self._length, end, end, span.value()))
