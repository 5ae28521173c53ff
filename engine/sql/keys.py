"""Keys of groups and partitions (language specification, 8.2, item 21)."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

_PLAIN = frozenset({int, float, str, type(None), bytes})


def typed_key(values: tuple[Any, ...]) -> Hashable:
    """Return values as a key: 1 and 1.0 are the same, ``'1'`` and true are others, null is one too.

    Lists and objects count by what is in them.
    """
    for value in values:
        if type(value) not in _PLAIN:
            return tuple(frozen(value) for value in values)
    return values


def frozen(value: Any) -> Hashable:
    """Return one value as a key, which can be part of a snapshot; see `typed_key`."""
    if isinstance(value, bool):
        return ("boolean", value)
    if isinstance(value, (list, tuple)):
        return ("list", tuple(map(frozen, value)))
    if isinstance(value, dict):
        return ("object", frozenset((key, frozen(item)) for key, item in value.items()))
    key: Hashable = value
    return key
