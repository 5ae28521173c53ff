"""Which words the dialect keeps for itself, and how other names are written."""

from __future__ import annotations

import re

_SIMPLE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")

UNIT_MILLIS = {"DD": 86_400_000, "HH": 3_600_000, "MI": 60_000, "SS": 1_000, "MS": 1}
"""Milliseconds of the time units of windows."""

WINDOW_KINDS = {
    "tumblingwindow": "TUMBLING",
    "hoppingwindow": "HOPPING",
    "slidingwindow": "SLIDING",
    "sessionwindow": "SESSION",
    "countwindow": "COUNT",
    "statewindow": "STATE",
}
"""Lower-case names of the window functions, with the kind of window each one makes."""

_RESERVED = frozenset(
    {
        "AND",
        "AS",
        "ASC",
        "BETWEEN",
        "BY",
        "CASE",
        "CROSS",
        "DD",
        "DEFAULT",
        "DESC",
        "ELSE",
        "END",
        "EXCEPT",
        "FALSE",
        "FILTER",
        "FROM",
        "FULL",
        "GROUP",
        "HAVING",
        "HH",
        "IN",
        "INNER",
        "INVISIBLE",
        "JOIN",
        "LEFT",
        "LIKE",
        "LIMIT",
        "MI",
        "MS",
        "NOT",
        "ON",
        "OR",
        "ORDER",
        "OVER",
        "PARTITION",
        "REPLACE",
        "RIGHT",
        "SELECT",
        "SS",
        "THEN",
        "TRUE",
        "WHEN",
        "WHERE",
    }
)


def is_reserved(word: str) -> bool:
    """Tell whether ``word`` is a name only in backticks."""
    return word.upper() in _RESERVED


def is_simple_name(text: str) -> bool:
    """Tell whether ``text`` has the form of a name that needs no backticks."""
    return _SIMPLE_NAME.fullmatch(text) is not None


def quoted(name: str) -> str:
    """Return ``name`` as it is written in a statement, in backticks where it needs them."""
    if is_simple_name(name) and not is_reserved(name) and name.upper() != "NULL":
        return name
    return f"`{name.replace('`', '``')}`"
