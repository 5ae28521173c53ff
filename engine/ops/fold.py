"""What a window accumulates: folds of rows into states that can be merged and saved."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, Protocol, TypeVar, cast

from engine.state.frozen import Frozen

S = TypeVar("S")
R = TypeVar("R")
R_contra = TypeVar("R_contra", contravariant=True)


class Fold(Protocol[S, R_contra]):
    """Accumulates rows, in order. It has no state of its own and never raises for a row.

    A fold may also have ``remove(state, oldest) -> state``, which takes the rows of ``oldest`` out
    of the front of ``state`` (it may change and return ``state``, never ``oldest``). It is used
    wherever present, so offer it only if the result is exactly that of never having added the rows
    (counts, sums of integers; not sums of floats).
    """

    @property
    def is_compact(self) -> bool:
        """Whether a state doesn't grow with its rows, so that many merged ones may be kept."""

    def empty(self) -> S:
        """Return the state of no rows."""

    def add(self, state: S, rows: Sequence[R_contra]) -> S:
        """Return the state with more rows, which are newer; may change and return ``state``."""

    def merge(self, older: S, newer: S) -> S:
        """Return the state of both, which doesn't change them nor share anything mutable."""

    def snapshot(self, state: S) -> Any:
        """Return a state as a msgpack-able value that later changes of the state don't reach."""

    def restore(self, value: Any) -> S:
        """Return the state that a snapshot was taken of."""


class KeyedFold(Fold[dict[Hashable, S], R_contra], Protocol[S, R_contra]):
    """A fold of groups: a state by key, in the order in which the keys were first seen.

    Windows that move by the row keep what they need by group, so that a row costs no more with
    many groups than with one.
    """

    @property
    def inner(self) -> Fold[S, R_contra]:
        """The fold of the rows of one group."""

    def key(self, row: R_contra) -> Hashable:
        """Return the group of a row: a scalar or a tuple of such."""


def remover(fold: Fold[S, R]) -> Callable[[S, S], S] | None:
    """Return the fold's ``remove``, if it has one."""
    return getattr(fold, "remove", None)


def merged(fold: Fold[S, R], states: Sequence[S]) -> S:
    """Return all states (oldest first) as one, merged in pairs so that long states are cheap."""
    if len(states) < 2:
        return fold.merge(states[0], fold.empty()) if states else fold.empty()
    level = list(states)
    while len(level) > 1:
        pairs = list(map(fold.merge, level[::2], level[1::2]))
        level = [*pairs, level[-1]] if len(level) % 2 else pairs
    return level[0]


class BufferFold(Fold[list[R], R]):
    """Keeps the rows themselves, for queries that need them.

    ``dump`` and ``load`` turn a row, which never changes, into a msgpack-able value and back.
    """

    is_compact = False

    def __init__(
        self,
        dump: Callable[[R], Any] | None = None,
        load: Callable[[Any], R] | None = None,
    ) -> None:
        self._dump = dump
        self._load = load

    def empty(self) -> list[R]:
        return []

    def add(self, state: list[R], rows: Sequence[R]) -> list[R]:
        state.extend(rows)
        return state

    def merge(self, older: list[R], newer: list[R]) -> list[R]:
        return older + newer

    def remove(self, state: list[R], oldest: list[R]) -> list[R]:
        del state[: len(oldest)]
        return state

    def snapshot(self, state: list[R]) -> Any:
        rows = list(state)
        dump = self._dump
        return rows if dump is None else Frozen(len(rows), lambda: map(dump, rows))

    def restore(self, value: Any) -> list[R]:
        return list(map(self._load, value)) if self._load else list(value)


class GroupFold(KeyedFold[S, R]):
    """Folds rows by their key, each group by the same inner fold."""

    def __init__(self, inner: Fold[S, R], key: Callable[[R], Hashable]) -> None:
        self._inner = inner
        self._key = key

    @property
    def inner(self) -> Fold[S, R]:
        return self._inner

    @property
    def is_compact(self) -> bool:
        return self._inner.is_compact

    def key(self, row: R) -> Hashable:
        return self._key(row)

    def empty(self) -> dict[Hashable, S]:
        return {}

    def add(self, state: dict[Hashable, S], rows: Sequence[R]) -> dict[Hashable, S]:
        groups: dict[Hashable, list[R]] = {}
        for row in rows:
            groups.setdefault(self._key(row), []).append(row)
        inner = self._inner
        for key, group in groups.items():
            state[key] = inner.add(state[key] if key in state else inner.empty(), group)
        return state

    def merge(self, older: dict[Hashable, S], newer: dict[Hashable, S]) -> dict[Hashable, S]:
        inner = self._inner
        both = {
            key: inner.merge(state, newer[key] if key in newer else inner.empty())
            for key, state in older.items()
        }
        for key, state in newer.items():
            if key not in older:
                both[key] = inner.merge(inner.empty(), state)
        return both

    def snapshot(self, state: dict[Hashable, S]) -> Any:
        return [[key, self._inner.snapshot(group)] for key, group in state.items()]

    def restore(self, value: Any) -> dict[Hashable, S]:
        return {thawed(key): self._inner.restore(group) for key, group in value}


def thawed(key: Any) -> Hashable:
    """Return a key as it was before msgpack made lists of its tuples."""
    return tuple(map(thawed, key)) if isinstance(key, list | tuple) else cast("Hashable", key)
