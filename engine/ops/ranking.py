"""``row_number``, ``rank`` and ``dense_rank`` OVER (PARTITION BY … ORDER BY …) of a collection."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from datetime import datetime
from typing import Any

Keys = Sequence[Sequence[Any]]
"""The values of the ORDER BY keys of each row."""


def row_number(partitions: Sequence[Hashable], keys: Keys, descending: Sequence[bool]) -> list[int]:
    """Return the place of each row in its partition, from 1; ties in their order of arrival."""
    numbers = [0] * len(partitions)
    for positions in _ordered_partitions(partitions, keys, descending):
        for number, position in enumerate(positions, 1):
            numbers[position] = number
    return numbers


def rank(partitions: Sequence[Hashable], keys: Keys, descending: Sequence[bool]) -> list[int]:
    """Return the rank of each row in its partition: one more than rows are before it."""
    return _ranks(partitions, keys, descending, dense=False)


def dense_rank(partitions: Sequence[Hashable], keys: Keys, descending: Sequence[bool]) -> list[int]:
    """Return the rank of each row in its partition, without gaps after ties."""
    return _ranks(partitions, keys, descending, dense=True)


def ordered(positions: Sequence[int], keys: Keys, descending: Sequence[bool]) -> list[int]:
    """Return positions of rows in the order of their keys.

    Nulls come last in both directions, ties stay as they were. Values of different kinds are in the
    order numbers, texts, booleans, times; all other kinds are ties.
    """
    result = list(positions)
    for index in reversed(range(len(descending))):
        present = [position for position in result if keys[position][index] is not None]
        absent = [position for position in result if keys[position][index] is None]
        places = {position: _place(keys[position][index]) for position in present}
        present.sort(key=places.__getitem__, reverse=descending[index])
        result = present + absent
    return result


def _ordered_partitions(
    partitions: Sequence[Hashable], keys: Keys, descending: Sequence[bool]
) -> Iterator[list[int]]:
    members: dict[Hashable, list[int]] = {}
    for position, partition in enumerate(partitions):
        members.setdefault(partition, []).append(position)
    return (ordered(positions, keys, descending) for positions in members.values())


def _ranks(
    partitions: Sequence[Hashable], keys: Keys, descending: Sequence[bool], *, dense: bool
) -> list[int]:
    ranks = [0] * len(partitions)
    for positions in _ordered_partitions(partitions, keys, descending):
        current, last = 0, None
        for number, position in enumerate(positions, 1):
            place = [_place(value) for value in keys[position]]
            if place != last:
                current, last = (current + 1 if dense else number), place
            ranks[position] = current
    return ranks


_RANKS = {int: 0, float: 0, str: 1, bool: 2, datetime: 3}
_UNORDERED = len(_RANKS)


def _place(value: Any) -> tuple[int, Any]:
    """Return what a value is ordered by."""
    if value is None:
        return _UNORDERED + 1, 0
    kind = _RANKS.get(type(value), _UNORDERED)
    return kind, 0 if kind == _UNORDERED else value
