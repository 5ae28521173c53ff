"""Arithmetic. As in sprig, the plain names cut fractions off; those with an ``f`` keep them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from engine.template.values import checked_length, fraction, whole

_MOST_DIGITS = 300


def _add(*values: Any) -> int:
    return whole(sum(map(whole, values)))


def _add1(value: Any) -> int:
    return _add(value, 1)


def _sub(left: Any, right: Any) -> int:
    return whole(whole(left) - whole(right))


def _mul(first: Any, *others: Any) -> int:
    result = whole(first)
    for other in others:
        result = whole(result * whole(other))
    return result


def _div(left: Any, right: Any) -> int:
    """Division towards zero."""
    dividend, divisor = whole(left), whole(right)
    quotient = abs(dividend) // abs(divisor)
    return whole(quotient if (dividend < 0) == (divisor < 0) else -quotient)


def _mod(left: Any, right: Any) -> int:
    """The rest of a division towards zero."""
    return whole(left) - whole(right) * _div(left, right)


def _max(first: Any, *others: Any) -> int:
    return max(map(whole, (first, *others)))


def _min(first: Any, *others: Any) -> int:
    return min(map(whole, (first, *others)))


def _addf(*values: Any) -> float:
    return sum(map(fraction, values))


def _subf(first: Any, *others: Any) -> float:
    return fraction(first) - sum(map(fraction, others))


def _mulf(first: Any, *others: Any) -> float:
    return math.prod(map(fraction, others), start=fraction(first))


def _divf(first: Any, *others: Any) -> float:
    result = fraction(first)
    for other in others:
        result /= fraction(other)
    return result


def _maxf(first: Any, *others: Any) -> float:
    return max(map(fraction, (first, *others)))


def _minf(first: Any, *others: Any) -> float:
    return min(map(fraction, (first, *others)))


def _round(value: Any, digits: Any, half: Any = 0.5) -> float:
    """Round to some digits, away from zero from ``half`` on."""
    places = whole(digits)
    if abs(places) > _MOST_DIGITS:
        raise ValueError(f"at most {_MOST_DIGITS} digits")
    scaled = fraction(value) * 10.0**places
    if not math.isfinite(scaled):
        return fraction(value)
    rest, base = math.modf(abs(scaled))
    size = base + (rest >= fraction(half))
    return math.copysign(size, scaled) / 10.0**places


def _floor(value: Any) -> float:
    return float(math.floor(fraction(value)))


def _ceil(value: Any) -> float:
    return float(math.ceil(fraction(value)))


def _until(end: Any) -> list[int]:
    """The whole numbers from 0 up to, without, the end; downwards if it is negative."""
    last = whole(end)
    return _until_step(0, last, -1 if last < 0 else 1)


def _until_step(start: Any, stop: Any, step: Any) -> list[int]:
    numbers = range(whole(start), whole(stop), whole(step) or 1) if whole(step) else range(0)
    checked_length(len(numbers), "elements")
    return list(numbers)


MATH: dict[str, Callable[..., Any]] = {
    "add": _add,
    "add1": _add1,
    "sub": _sub,
    "mul": _mul,
    "div": _div,
    "mod": _mod,
    "max": _max,
    "biggest": _max,
    "min": _min,
    "addf": _addf,
    "subf": _subf,
    "mulf": _mulf,
    "divf": _divf,
    "maxf": _maxf,
    "minf": _minf,
    "round": _round,
    "floor": _floor,
    "ceil": _ceil,
    "int": whole,
    "int64": whole,
    "atoi": whole,
    "float64": fraction,
    "until": _until,
    "untilStep": _until_step,
}
