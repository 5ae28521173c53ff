"""Mathematical functions (function catalogue, section 2)."""

from __future__ import annotations

import math

from engine.sql.functions import Number, same_as, scalar


@scalar(example="abs(-2) = 2", result=same_as(0), inline="abs({0})")
def abs_(x: Number) -> Number:
    """Return the absolute value; integers stay integers."""
    return abs(x)


@scalar("ceil", example="ceiling(1.2) = 2")
def ceiling(x: Number) -> float:
    """Return the smallest integral value that isn't less than x."""
    return float(math.ceil(x)) if math.isfinite(x) else float(x)


@scalar(example="floor(1.8) = 1")
def floor(x: Number) -> float:
    """Return the largest integral value that isn't greater than x."""
    return float(math.floor(x)) if math.isfinite(x) else float(x)


@scalar(example="mod(-7, 3) = -1", may_be_null=True)
def mod(a: Number, b: Number) -> float | None:
    """Return the remainder of a / b with the sign of a; null when b is 0."""
    return math.fmod(a, b) if b else None


@scalar("pow", example="power(2, 3) = 8", may_be_null=True)
def power(x: Number, y: Number) -> float | None:
    """Return x raised to y; null where that isn't a real number."""
    try:
        return math.pow(x, y)
    except OverflowError:
        return math.inf
    except ValueError:
        return None


@scalar(example="round(2.5) = 3")
def round_(x: Number, digits: Number = 0) -> float:
    """Return x rounded to a number of decimal digits, halves away from zero."""
    if not math.isfinite(x):
        return float(x)
    scale = 10.0 ** int(digits)
    scaled = abs(x) * scale
    if not (math.isfinite(scaled) and scale):
        return float(round(x, int(digits)))
    whole = math.trunc(scaled)
    return math.copysign((whole + (scaled - whole >= 0.5)) / scale, x)


@scalar(example="sqrt(9) = 3")
def sqrt(x: Number) -> float:
    """Return the square root; a negative x is an error of the row."""
    return math.sqrt(x)
