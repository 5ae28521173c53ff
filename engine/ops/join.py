"""Joining two collections of rows: which pairs there are, found by hashing keys that must be equal.

Only positions are handled here; what the rows are and how a condition is tested is the caller's.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence

NO_ROW = -1
"""The position on the side where an outer join has found no partner."""

Pair = tuple[int, int]
Test = Callable[[Sequence[Pair]], Sequence[bool]]
"""Tells which of some pairs meet the rest of a join condition."""

_CHUNK = 10_000
"""Pairs that are tested at a time, so that a condition without keys needs no memory for all."""


def is_null_key(key: Hashable) -> bool:
    """Tell whether a key has a null, which equals nothing."""
    return key is None or (isinstance(key, tuple) and None in key)


def join_pairs(
    kind: str,
    left: Sequence[Hashable],
    right: Sequence[Hashable],
    *,
    has_keys: bool,
    test: Test | None = None,
) -> list[Pair]:
    """Return the pairs of a join of ``kind`` INNER, LEFT, RIGHT, FULL or CROSS.

    ``left`` and ``right`` are the keys of the rows; without ``has_keys`` every pair is a candidate,
    and only their numbers count. Pairs are in the order of the left rows, then the right ones, for
    RIGHT the other way round; rows without partner stand in their place, for FULL those on the
    right come last.
    """
    if kind == "RIGHT":
        swapped = None if test is None else _swapped(test)
        pairs = join_pairs("LEFT", right, left, has_keys=has_keys, test=swapped)
        return [(second, first) for first, second in pairs]
    matches: list[list[int]] = [[] for _ in left]
    for chunk in _chunks(_candidates(left, right, has_keys=has_keys)):
        kept = [True] * len(chunk) if test is None else test(chunk)
        for (first, second), is_match in zip(chunk, kept, strict=True):
            if is_match:
                matches[first].append(second)
    pairs = []
    keeps_left = kind in ("LEFT", "FULL")
    for first, partners in enumerate(matches):
        pairs += [(first, second) for second in partners]
        if not partners and keeps_left:
            pairs.append((first, NO_ROW))
    if kind == "FULL":
        found = {second for partners in matches for second in partners}
        pairs += [(NO_ROW, second) for second in range(len(right)) if second not in found]
    return pairs


def _candidates(
    left: Sequence[Hashable], right: Sequence[Hashable], *, has_keys: bool
) -> Iterator[Pair]:
    if not has_keys:
        yield from ((first, second) for first in range(len(left)) for second in range(len(right)))
        return
    places: dict[Hashable, list[int]] = {}
    for second, key in enumerate(right):
        if not is_null_key(key):
            places.setdefault(key, []).append(second)
    for first, key in enumerate(left):
        if not is_null_key(key):
            yield from ((first, second) for second in places.get(key, ()))


def _chunks(pairs: Iterator[Pair]) -> Iterator[list[Pair]]:
    chunk: list[Pair] = []
    for pair in pairs:
        chunk.append(pair)
        if len(chunk) == _CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _swapped(test: Test) -> Test:
    return lambda pairs: test([(second, first) for first, second in pairs])
