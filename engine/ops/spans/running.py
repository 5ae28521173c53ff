"""A span for folds from which the oldest rows can be removed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from engine.ops.fold import Fold, merged

S = TypeVar("S")
R = TypeVar("R")


class Running(Generic[S, R]):
    """One state of everything, kept up to date: O(1) additions and removals for each row."""

    def __init__(self, fold: Fold[S, R], remove: Callable[[S, S], S]) -> None:
        self._fold = fold
        self._remove = remove
        self._slices: deque[tuple[int, S]] = deque()
        self._total = fold.empty()

    def __len__(self) -> int:
        return len(self._slices)

    @property
    def oldest(self) -> int:
        return self._slices[0][0]

    def push(self, at: int, rows: Sequence[R]) -> None:
        fold, slices = self._fold, self._slices
        if slices and slices[-1][0] == at:
            slices[-1] = at, fold.add(slices[-1][1], rows)
        else:
            slices.append((at, fold.add(fold.empty(), rows)))
        self._total = fold.add(self._total, rows)

    def evict(self, before: int) -> None:
        slices = self._slices
        if slices and slices[-1][0] < before:
            slices.clear()
            self._total = self._fold.empty()
        while slices and slices[0][0] < before:
            self._total = self._remove(self._total, slices.popleft()[1])

    def value(self) -> S:
        return self._fold.merge(self._fold.empty(), self._total)

    def snapshot(self) -> Any:
        return [[at, self._fold.snapshot(state)] for at, state in self._slices]

    def restore(self, value: Any) -> None:
        self._slices = deque((at, self._fold.restore(state)) for at, state in value)
        self._total = merged(self._fold, [state for _, state in self._slices])
