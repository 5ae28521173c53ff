"""State windows: from a row that begins one to a row that ends it."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Generic, TypeVar

from engine.ops.fold import Fold, thawed
from engine.ops.pane import Pane
from engine.ops.windows.operator import Arrivals

S = TypeVar("S")
R = TypeVar("R")


class StateWindow(Generic[S, R]):
    """Windows by partition; rows outside of one are let go.

    With two conditions the row that begins is the first and the row that emits the last one of the
    window. With one, each row that meets it is the first of a window and ends the one before. At
    most ``most_open`` windows are open at a time; the one that got no row for longest gives way.
    """

    def __init__(self, fold: Fold[S, R], most_open: int | None = None) -> None:
        self._fold = fold
        self._most_open = most_open
        self._open: dict[Hashable, tuple[int, S]] = {}
        """Start and state of the windows that are open, the one with the newest row last."""
        self.evicted = 0
        """Windows that gave way to others."""

    def add(self, arrivals: Arrivals[R]) -> list[Pane[S]]:
        panes: list[Pane[S]] = []
        nothing: list[None] = [None] * len(arrivals)
        begins = arrivals.begins if arrivals.begins is not None else nothing
        emits = arrivals.emits if arrivals.emits is not None else nothing
        keys = arrivals.keys if arrivals.keys is not None else nothing
        columns = zip(arrivals.rows, arrivals.times, keys, begins, emits, strict=True)
        is_single = arrivals.emits is None
        for row, time, key, is_first, is_last in columns:
            found = self._open.pop(key, None)
            if found is not None and is_single and is_first:
                panes.append(Pane(found[0], time, time, found[1], key=key))
                found = None
            if found is None:
                if is_first:
                    self._begin(key, time, row)
                continue
            start, state = found[0], self._fold.add(found[1], (row,))
            if is_last:
                panes.append(Pane(start, time, time, state, key=key))
            else:
                self._open[key] = start, state
        return panes

    def tick(self, now: int) -> list[Pane[S]]:
        return []

    def next_deadline(self) -> int | None:
        return None

    def snapshot(self) -> Any:
        windows = [
            [key, start, self._fold.snapshot(state)] for key, (start, state) in self._open.items()
        ]
        return [self.evicted, windows]

    def restore(self, value: Any) -> None:
        self.evicted, windows = value
        self._open = {
            thawed(key): (start, self._fold.restore(state)) for key, start, state in windows
        }

    def _begin(self, key: Hashable, time: int, row: R) -> None:
        if self._most_open is not None and len(self._open) >= self._most_open:
            del self._open[next(iter(self._open))]
            self.evicted += 1
        self._open[key] = time, self._fold.add(self._fold.empty(), (row,))
