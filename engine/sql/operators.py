"""The operators on values whose kinds aren't known beforehand (language specification, 1.3 to 1.5).

They are the definition of the dialect's semantics: the compiler may use something faster only where
the result is the same. Null is None; a missing column has been turned into None by then. What is
not defined raises ``RowError``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from engine.errors import RowError
from engine.sql.kinds import kind_of
from engine.sql.like import LikePattern

_INT64 = 1 << 63
_NUMERIC = frozenset({int, float})


def _undefined(left: Any, op: str, right: Any) -> RowError:
    return RowError(f"{kind_of(left)} {op} {kind_of(right)} is not defined")


def wrap(value: int) -> int:
    """Return ``value`` wrapped to 64 bits, as integer arithmetic overflows."""
    return (value + _INT64) % (_INT64 << 1) - _INT64


def _arithmetic(op: str, compute: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def operate(left: Any, right: Any) -> Any:
        if left is None or right is None:
            return None
        if type(left) not in _NUMERIC or type(right) not in _NUMERIC:
            raise _undefined(left, op, right)
        return compute(left, right)

    return operate


add = _arithmetic("+", lambda left, right: left + right)
subtract = _arithmetic("-", lambda left, right: left - right)
multiply = _arithmetic("*", lambda left, right: left * right)


def float_quotient(left: float, right: float) -> float:
    """Return ``left / right``; division by zero is a row error."""
    if right == 0:
        raise RowError("division by zero")
    return left / right


def int_quotient(left: int, right: int) -> int:
    """Return ``left / right`` truncated towards zero."""
    if right == 0:
        raise RowError("division by zero")
    quotient = abs(left) // abs(right)
    return quotient if (left < 0) == (right < 0) else -quotient


def float_remainder(left: float, right: float) -> float:
    """Return the remainder with the sign of the dividend."""
    if right == 0:
        raise RowError("modulo by zero")
    return math.fmod(left, right)


def int_remainder(left: int, right: int) -> int:
    """Return the integer remainder with the sign of the dividend."""
    if right == 0:
        raise RowError("modulo by zero")
    return abs(left) % abs(right) * (-1 if left < 0 else 1)


divide = _arithmetic("/", float_quotient)
divide_ints = _arithmetic("/", int_quotient)
modulo = _arithmetic("%", float_remainder)
modulo_ints = _arithmetic("%", int_remainder)


def negate(value: Any) -> Any:
    """Return ``-value``."""
    if value is None:
        return None
    if type(value) not in _NUMERIC:
        raise RowError(f"-{kind_of(value)} is not defined")
    return -value


def _bitwise(op: str, compute: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def operate(left: Any, right: Any) -> Any:
        if left is None or right is None:
            return False
        if type(left) is bool and type(right) is bool:
            return compute(left, right)
        return compute(_bits(left, op, right), _bits(right, op, left))

    return operate


def _bits(value: Any, op: str, other: Any) -> int:
    if type(value) is int:
        return value
    if type(value) is float and value.is_integer():
        return int(value)
    raise _undefined(value, op, other)


bit_and = _bitwise("&", lambda left, right: left & right)
bit_or = _bitwise("|", lambda left, right: left | right)
bit_xor = _bitwise("^", lambda left, right: left ^ right)


def _comparable(left: Any, op: str, right: Any) -> tuple[Any, Any]:
    """Return the two values in a form that Python orders, or raise."""
    left_type, right_type = type(left), type(right)
    if left_type in _NUMERIC and right_type in _NUMERIC:
        return left, right
    if left_type is str and right_type is str:
        return left, right
    if left_type is datetime or right_type is datetime:
        return _epoch_ms(left, op, right), _epoch_ms(right, op, left)
    raise _undefined(left, op, right)


def _epoch_ms(value: Any, op: str, other: Any) -> float:
    if type(value) in _NUMERIC:
        return float(value)
    if type(value) is str:
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise _undefined(value, op, other) from None
    if type(value) is datetime:
        return value.timestamp() * 1000
    raise _undefined(value, op, other)


def equal(left: Any, right: Any) -> bool:
    """Return ``left = right``; null equals nothing."""
    if left is None or right is None:
        return False
    if type(left) is bool and type(right) is bool:
        return left is right
    first, second = _comparable(left, "=", right)
    return bool(first == second)


def unequal(left: Any, right: Any) -> bool:
    """Return ``left != right``; false with null."""
    return left is not None and right is not None and not equal(left, right)


def _ordering(op: str, compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def operate(left: Any, right: Any) -> bool:
        if left is None or right is None:
            return False
        first, second = _comparable(left, op, right)
        return compare(first, second)

    return operate


less = _ordering("<", lambda left, right: left < right)
less_equal = _ordering("<=", lambda left, right: left <= right)
greater = _ordering(">", lambda left, right: left > right)
greater_equal = _ordering(">=", lambda left, right: left >= right)


def truth(value: Any) -> bool:
    """Return a value as a condition: null is false, what isn't a boolean raises."""
    if value is None:
        return False
    if type(value) is not bool:
        raise RowError(f"a condition must be a boolean, not {kind_of(value)}")
    return value


def negated(value: Any) -> bool:
    """Return ``NOT value``; false for null."""
    return value is not None and not truth(value)


def between(value: Any, low: Any, high: Any, negate: bool = False) -> bool:
    """Return ``value [NOT] BETWEEN low AND high``; false with any null."""
    if value is None or low is None or high is None:
        return False
    return (greater_equal(value, low) and less_equal(value, high)) is not negate


def within(value: Any, items: Any, negate: bool = False) -> bool:
    """Return ``value [NOT] IN items``: null is in nothing, and nothing is in a null list."""
    if value is None:
        return False
    if items is None:
        return negate
    if not isinstance(items, (list, tuple)):
        raise RowError(f"IN needs a list, not {kind_of(items)}")
    return any(equal(value, item) for item in items) is not negate


@lru_cache(maxsize=1024)
def like_pattern(pattern: str) -> LikePattern:
    """Return a LIKE pattern ready to be matched in full."""
    return LikePattern(pattern)


def like(value: Any, pattern: Any, negate: bool = False) -> bool:
    """Return ``value [NOT] LIKE pattern``; false with null."""
    if value is None or pattern is None:
        return False
    if type(value) is not str or type(pattern) is not str:
        raise _undefined(value, "LIKE", pattern)
    return (like_pattern(pattern).fullmatch(value) is not None) is not negate


def field(base: Any, name: str) -> Any:
    """Return ``base -> name``: null for null, a missing key and what has no fields at all."""
    if isinstance(base, dict):
        return base.get(name)
    if isinstance(base, (list, tuple)):
        raise RowError(f"an array has no field {name!r}")
    return None


def element(base: Any, index: Any) -> Any:
    """Return ``base[index]``: negative from the end, null where there is none."""
    if base is None:
        return None
    sequence = _sequence(base)
    position = _position(index)
    if position is None:
        raise RowError("an index can't be null")
    return sequence[position] if -len(sequence) <= position < len(sequence) else None


def part(base: Any, start: Any, stop: Any) -> Any:
    """Return ``base[start:stop]``, half open; a bound beyond the end is the end."""
    if base is None:
        return None
    return list(_sequence(base)[_position(start) : _position(stop)])


def _sequence(base: Any) -> Sequence[Any]:
    if isinstance(base, (list, tuple)):
        return base
    raise RowError(f"{kind_of(base)} has no elements")


def _position(index: Any) -> int | None:
    if index is None:
        return None
    if type(index) not in _NUMERIC or not math.isfinite(index):
        raise RowError(f"an index must be a number, not {kind_of(index)}")
    return int(index)
