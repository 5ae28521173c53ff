"""A span for any fold: slices in chunks, each with its state as a whole."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

from engine.ops.fold import Fold, merged

S = TypeVar("S")
R = TypeVar("R")

_CHUNK = 64
"""Slices of a chunk: a window of n slices is merged from n / 64 chunks and at most 64 slices."""


class _Chunk(Generic[S]):
    __slots__ = ("positions", "slices", "total")

    def __init__(self, total: S) -> None:
        self.positions: list[int] = []
        self.slices: list[S] = []
        self.total = total


class Chunks(Generic[S, R]):
    """Keeps each row in two states, so that memory grows only with the rows."""

    def __init__(self, fold: Fold[S, R]) -> None:
        self._fold = fold
        self._chunks: deque[_Chunk[S]] = deque()
        self._gone = 0
        """Slices of the oldest chunk that have left; its total still has them."""

    def __len__(self) -> int:
        return sum(len(chunk.positions) for chunk in self._chunks) - self._gone

    def __bool__(self) -> bool:
        return bool(self._chunks)

    @property
    def oldest(self) -> int:
        return self._chunks[0].positions[self._gone]

    def push(self, at: int, rows: Sequence[R]) -> None:
        fold, chunks = self._fold, self._chunks
        if not chunks or (len(chunks[-1].slices) >= _CHUNK and chunks[-1].positions[-1] != at):
            chunks.append(_Chunk(fold.empty()))
        chunk = chunks[-1]
        if chunk.positions and chunk.positions[-1] == at:
            chunk.slices[-1] = fold.add(chunk.slices[-1], rows)
        else:
            chunk.positions.append(at)
            chunk.slices.append(fold.add(fold.empty(), rows))
        chunk.total = fold.add(chunk.total, rows)

    def evict(self, before: int) -> None:
        chunks = self._chunks
        while chunks and chunks[0].positions[-1] < before:
            chunks.popleft()
            self._gone = 0
        if chunks:
            self._gone = bisect_left(chunks[0].positions, before, self._gone)

    def value(self) -> S:
        parts = [chunk.total for chunk in self._chunks]
        if self._gone:
            parts[:1] = self._chunks[0].slices[self._gone :]
        return merged(self._fold, parts)

    def snapshot(self) -> Any:
        save = self._fold.snapshot
        return [
            self._gone,
            [
                [chunk.positions[:], [save(state) for state in chunk.slices], save(chunk.total)]
                for chunk in self._chunks
            ],
        ]

    def restore(self, value: Any) -> None:
        load = self._fold.restore
        self._gone, saved = value
        self._chunks.clear()
        for positions, slices, total in saved:
            chunk = _Chunk(load(total))
            chunk.positions = list(positions)
            chunk.slices = [load(state) for state in slices]
            self._chunks.append(chunk)
