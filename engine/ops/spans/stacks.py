"""A span for folds whose states are small: two stacks of merged states."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

from engine.ops.fold import Fold

S = TypeVar("S")
R = TypeVar("R")


class TwoStacks(Generic[S, R]):
    """Each slice is merged once more when it gets to the old half: amortised O(1) for each slice.

    The old half is kept as the states of all its suffixes (the oldest, and longest, last), so the
    oldest slice leaves by a pop. When it is used up, the new half becomes the old one.
    """

    def __init__(self, fold: Fold[S, R]) -> None:
        self._fold = fold
        self._suffixes: list[tuple[int, S]] = []
        self._positions: list[int] = []
        self._slices: list[S] = []
        self._total = fold.empty()
        """The state of the new half, whose slices are ``_slices``."""

    def __len__(self) -> int:
        return len(self._suffixes) + len(self._slices)

    @property
    def oldest(self) -> int:
        return self._suffixes[-1][0] if self._suffixes else self._positions[0]

    def push(self, at: int, rows: Sequence[R]) -> None:
        fold = self._fold
        if self._positions and self._positions[-1] == at:
            self._slices[-1] = fold.add(self._slices[-1], rows)
        else:
            self._positions.append(at)
            self._slices.append(fold.add(fold.empty(), rows))
        self._total = fold.add(self._total, rows)

    def evict(self, before: int) -> None:
        suffixes = self._suffixes
        while suffixes and suffixes[-1][0] < before:
            suffixes.pop()
        if not suffixes and self._positions and self._positions[0] < before:
            self._turn(bisect_left(self._positions, before))

    def value(self) -> S:
        if not self._suffixes:
            return self._fold.merge(self._fold.empty(), self._total)
        return self._fold.merge(self._suffixes[-1][1], self._total)

    def snapshot(self) -> Any:
        save = self._fold.snapshot
        return [
            [[at, save(state)] for at, state in self._suffixes],
            [[at, save(state)] for at, state in zip(self._positions, self._slices, strict=True)],
            save(self._total),
        ]

    def restore(self, value: Any) -> None:
        suffixes, slices, total = value
        load = self._fold.restore
        self._suffixes = [(at, load(state)) for at, state in suffixes]
        self._positions = [at for at, _ in slices]
        self._slices = [load(state) for _, state in slices]
        self._total = load(total)

    def _turn(self, gone: int) -> None:
        """Make the new half, without its ``gone`` oldest slices, the old one."""
        merge = self._fold.merge
        kept = zip(self._positions[gone:], self._slices[gone:], strict=True)
        for at, state in reversed(list(kept)):
            rest = merge(state, self._suffixes[-1][1]) if self._suffixes else state
            self._suffixes.append((at, rest))
        self._positions = []
        self._slices = []
        self._total = self._fold.empty()
