"""A span for folds of groups: a span for each group."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Generic, TypeVar

from engine.ops.fold import KeyedFold, thawed
from engine.ops.spans.span import Span

S = TypeVar("S")
R = TypeVar("R")


class KeyedSpan(Generic[S, R]):
    """A row costs its own group only; the state as a whole is made from those of the groups.

    Groups come in the order of their oldest rows. Inside, rows are at the positions of their
    numbers, since those of the outside may be the same for several.
    """

    def __init__(self, fold: KeyedFold[S, R], make: Callable[[], Span[S, R]]) -> None:
        self._fold = fold
        self._make = make
        self._groups: dict[Hashable, Span[S, R]] = {}
        self._rows: deque[tuple[int, Hashable]] = deque()
        self._first = 0
        """The number of the oldest row."""

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def oldest(self) -> int:
        return self._rows[0][0]

    def push(self, at: int, rows: Sequence[R]) -> None:
        for row in rows:
            key = self._fold.key(row)
            group = self._groups.get(key)
            if group is None:
                group = self._groups[key] = self._make()
            group.push(self._first + len(self._rows), (row,))
            self._rows.append((at, key))

    def evict(self, before: int) -> None:
        rows = self._rows
        gone: dict[Hashable, int] = {}
        while rows and rows[0][0] < before:
            gone[rows.popleft()[1]] = self._first
            self._first += 1
        for key, number in gone.items():
            self._groups[key].evict(number + 1)
            if not self._groups[key]:
                del self._groups[key]

    def value(self) -> dict[Hashable, S]:
        ordered = sorted(self._groups.items(), key=_oldest)
        return {key: group.value() for key, group in ordered}

    def snapshot(self) -> Any:
        return [
            self._first,
            [[at, key] for at, key in self._rows],
            [[key, group.snapshot()] for key, group in self._groups.items()],
        ]

    def restore(self, value: Any) -> None:
        self._first, rows, groups = value
        self._rows = deque((at, thawed(key)) for at, key in rows)
        self._groups = {}
        for key, saved in groups:
            group = self._groups[thawed(key)] = self._make()
            group.restore(saved)


def _oldest(item: tuple[Hashable, Span[Any, Any]]) -> int:
    return item[1].oldest
