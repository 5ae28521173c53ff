"""When two values are the same: deeply equal, numbers by value (catalogue, 21.4 and 21.15)."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

_PLAIN = frozenset({str, int, float, type(None)})


def identity(value: Any) -> Hashable:
    """Return a key that two values share exactly if they are the same.

    1 and 1.0 are the same; 1, true and "1" are three different values.
    """
    kind = type(value)
    if kind in _PLAIN:
        plain: Hashable = value
        return plain
    if kind is list or kind is tuple:
        return list, tuple([identity(item) for item in value])
    if kind is dict:
        return dict, frozenset([(name, identity(item)) for name, item in value.items()])
    return kind, value
