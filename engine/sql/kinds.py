"""Static kinds of values: what the compiler knows of an expression before any row is seen."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """What a value is known to be, null apart.

    ``NUMBER`` is an int or a float that computes as a float (schemaless JSON); ``BIGINT`` an int
    with 64-bit integer arithmetic (declared columns, literals, integer results of functions).
    """

    ANY = "any"
    NUMBER = "number"
    BIGINT = "bigint"
    FLOAT = "float"
    STRING = "string"
    BOOLEAN = "boolean"
    LIST = "array"
    OBJECT = "struct"
    DATETIME = "datetime"
    BYTEA = "bytea"
    NULL = "null"

    @property
    def is_numeric(self) -> bool:
        return self in _NUMERIC


_NUMERIC = frozenset({Kind.NUMBER, Kind.BIGINT, Kind.FLOAT})
_KIND_OF_TYPE = {
    int: Kind.BIGINT,
    float: Kind.FLOAT,
    str: Kind.STRING,
    bool: Kind.BOOLEAN,
    list: Kind.LIST,
    tuple: Kind.LIST,
    dict: Kind.OBJECT,
    datetime: Kind.DATETIME,
    bytes: Kind.BYTEA,
    type(None): Kind.NULL,
}


def kind_of(value: Any) -> Kind:
    """Return the kind of a value seen at run time or of a literal."""
    return _KIND_OF_TYPE.get(type(value), Kind.ANY)


def common_kind(left: Kind, right: Kind) -> Kind:
    """Return the kind of a value that is either of the two, as for the branches of a CASE."""
    if left == right or right == Kind.NULL:
        return left
    if left == Kind.NULL:
        return right
    return Kind.NUMBER if left.is_numeric and right.is_numeric else Kind.ANY


def are_alike(kinds: Sequence[Kind]) -> bool:
    """Tell whether values of these kinds compare with plain Python operators."""
    return all(kind.is_numeric for kind in kinds) or all(kind == Kind.STRING for kind in kinds)
