"""Mathematical functions (function catalogue, section 2).

A result that is no finite number is null everywhere; an argument outside the domain of a logarithm
or a root is an error of the row.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from decimal import ROUND_DOWN, Context, Decimal
from itertools import takewhile

from engine.sql.functions import Filled, Inline, Number, same_as, scalar
from engine.sql.text import to_text

_LARGEST_EXPONENT = 308
"""The largest power of ten that a float holds."""
_EXACT = Context(prec=2000)
"""Enough digits for the exact value of any float with any scale in use here."""


def _finite(function: Callable[..., float], *arguments: Number) -> float | None:
    """Return what a real function gives; null where that is no finite number."""
    try:
        value = function(*arguments)
    except (OverflowError, ValueError):
        return None
    return value if math.isfinite(value) else None


@scalar(example="abs(-2) = 2", result=same_as(0), inline="abs({0})")
def abs_(x: Number) -> Number:
    """Return the absolute value; integers stay integers."""
    return abs(x)


@scalar(example="sign(-7.5) = -1")
def sign(x: Number) -> int:
    """Return -1 for a negative x, 1 for a positive one, 0 for zero."""
    return (x > 0) - (x < 0)


@scalar("ceil", example="ceiling(1.2) = 2")
def ceiling(x: Number) -> float | None:
    """Return the smallest integral value that isn't less than x."""
    return float(math.ceil(x)) if math.isfinite(x) else None


@scalar(example="floor(1.8) = 1")
def floor(x: Number) -> float | None:
    """Return the largest integral value that isn't greater than x."""
    return float(math.floor(x)) if math.isfinite(x) else None


@scalar(example="round(3.14159, 2) = 3.14")
def round_(x: Number, digits: Number = 0) -> float | None:
    """Return x rounded to a number of decimal digits, halves away from zero.

    Negative digits round to tens, hundreds and so on.
    """
    places = int(digits)
    if places > _LARGEST_EXPONENT:
        return _finite(float, x)
    scale = 10.0**places
    scaled = abs(x) * scale
    if not math.isfinite(scaled):  # so many digits change nothing
        return _finite(float, x)
    whole = math.trunc(scaled)
    rounded = whole + (scaled - whole >= 0.5)
    if not rounded:
        return math.copysign(0.0, x)
    return _finite(math.copysign, rounded / scale, x)


@scalar(example="trunc(-2.789, 2) = -2.78")
def trunc(x: Number, digits: int) -> float | None:
    """Return x cut off after a number of decimal digits.

    Negative digits set ones, tens and so on to zero.
    """
    places = int(digits)
    if places > _LARGEST_EXPONENT or not math.isfinite(x):
        return _finite(float, x)
    step = Decimal(1).scaleb(-max(places, -_LARGEST_EXPONENT - 1), _EXACT)
    return float(Decimal(repr(x)).quantize(step, ROUND_DOWN, _EXACT))


@scalar(example="mod(-7, 3) = -1")
def mod(a: Number, b: Number) -> float | None:
    """Return the remainder of a / b with the sign of a; null when b is 0."""
    return _finite(math.fmod, a, b)


@scalar(
    "pow",
    example="power(2, 3) = 8",
    inline=Inline(
        "(n if {low} < (n := {pow}({0}, {1})) < {high} else {call}({0}, {1}))",
        {"pow": math.pow, "low": -math.inf, "high": math.inf},
    ),
)
def power(x: Number, y: Number) -> float | None:
    """Return x raised to y; null where that isn't a finite real number."""
    return _finite(math.pow, x, y)


@scalar(
    example="sqrt(9) = 3",
    inline=Inline(
        "(n if (n := {root}({0})) < {high} else {call}({0}))",
        {"root": math.sqrt, "high": math.inf},
    ),
)
def sqrt(x: Number) -> float | None:
    """Return the square root; a negative x is an error of the row."""
    if x < 0:
        raise ValueError("x must not be negative")
    return _finite(math.sqrt, x)


@scalar(example="exp(0) = 1")
def exp(x: Number) -> float | None:
    """Return e raised to x; null where that is too large for a number."""
    return _finite(math.exp, x)


@scalar(example="ln(1) = 0")
def ln(x: Number) -> float | None:
    """Return the natural logarithm; null for 0, an error of the row for a negative x."""
    if x < 0:
        raise ValueError("x must be positive")
    return _finite(math.log, x)


@scalar(example="log(2, 8) = 3")
def log(base_or_x: Number, x: Number | None = None) -> float | None:
    """Return the logarithm of x: log(x) to the base 10, log(base, x) to any other.

    It is null where it would be infinite, and an error of the row where it isn't real.
    """
    if x is None:
        if base_or_x < 0:
            raise ValueError("x must be positive")
        return _finite(math.log10, base_or_x)
    if base_or_x < 0 or x < 0 or (base_or_x == x and x in (0, 1)):
        raise ValueError(f"there is no logarithm of {x} to the base {base_or_x}")
    if base_or_x == 0:
        return -0.0
    return _finite(_log, base_or_x, x)


def _log(base: Number, x: Number) -> float:
    return math.log(x) / math.log(base) if base != 1 else math.inf


@scalar(example="sin(0) = 0")
def sin(x: Number) -> float | None:
    """Return the sine of x radians."""
    return _finite(math.sin, x)


@scalar(example="cos(0) = 1")
def cos(x: Number) -> float | None:
    """Return the cosine of x radians."""
    return _finite(math.cos, x)


@scalar(example="tan(0) = 0")
def tan(x: Number) -> float | None:
    """Return the tangent of x radians."""
    return _finite(math.tan, x)


@scalar(example="round(cot(pi() / 4), 9) = 1")
def cot(x: Number) -> float | None:
    """Return the cotangent of x radians; x = 0 is an error of the row."""
    tangent = math.tan(x)
    if tangent == 0:
        raise ValueError("out of range: there is no cotangent of 0")
    return _finite(lambda: 1 / tangent)


@scalar(example="asin(0) = 0")
def asin(x: Number) -> float | None:
    """Return the angle in radians whose sine is x; null beyond -1 and 1."""
    return _finite(math.asin, x)


@scalar(example="acos(1) = 0")
def acos(x: Number) -> float | None:
    """Return the angle in radians whose cosine is x; null beyond -1 and 1."""
    return _finite(math.acos, x)


@scalar(example="atan(0) = 0")
def atan(x: Number) -> float:
    """Return the angle in radians whose tangent is x."""
    return math.atan(x)


@scalar(example="atan2(0, 1) = 0")
def atan2(y: Number, x: Number) -> float:
    """Return the angle in radians between the x axis and the point (x, y), from -pi to pi."""
    return math.atan2(y, x)


@scalar(example="sinh(0) = 0")
def sinh(x: Number) -> float | None:
    """Return the hyperbolic sine; null where that is too large for a number."""
    return _finite(math.sinh, x)


@scalar(example="cosh(0) = 1")
def cosh(x: Number) -> float | None:
    """Return the hyperbolic cosine; null where that is too large for a number."""
    return _finite(math.cosh, x)


@scalar(example="tanh(0) = 0")
def tanh(x: Number) -> float:
    """Return the hyperbolic tangent."""
    return math.tanh(x)


@scalar(example="radians(180) = pi()")
def radians(degrees: Number) -> float | None:
    """Return an angle given in degrees in radians."""
    return _finite(math.radians, degrees)


@scalar(example="degrees(pi()) = 180")
def degrees(radians: Number) -> float | None:
    """Return an angle given in radians in degrees."""
    return _finite(lambda: radians * 180 / math.pi)


@scalar(example="round(pi(), 5) = 3.14159", inline=repr(math.pi))
def pi() -> float:
    """Return the number pi."""
    return math.pi


@scalar(example="rand()")
def rand() -> float:
    """Return a random number from 0 up to, but not including, 1."""
    return random.random()


def _int64(value: Number) -> int:
    if not -(1 << 63) <= value < 1 << 63:
        raise ValueError(f"{value} doesn't fit into 64 bits")
    return int(value)


@scalar(example="bitand(12, 10) = 8")
def bitand(a: int, b: int) -> int:
    """Return the bits that both 64-bit integers have."""
    return _int64(a) & _int64(b)


@scalar(example="bitor(12, 10) = 14")
def bitor(a: int, b: int) -> int:
    """Return the bits that at least one of two 64-bit integers has."""
    return _int64(a) | _int64(b)


@scalar(example="bitxor(12, 10) = 6")
def bitxor(a: int, b: int) -> int:
    """Return the bits that exactly one of two 64-bit integers has."""
    return _int64(a) ^ _int64(b)


@scalar(example="bitnot(5) = -6")
def bitnot(a: int) -> int:
    """Return a 64-bit integer with all bits changed, -a - 1."""
    return ~_int64(a)


_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_BASES = range(2, len(_DIGITS) + 1)
_LONGEST = 64
"""Digits of the largest 64-bit number in the smallest base."""


@scalar(example="conv('ff', 16, 2) = '11111111'", fixed=["from_base", "to_base"])
def conv(number: Filled, from_base: int, to_base: int) -> str | None:
    """Return a number written in one base as written in another one, in upper case.

    The longest beginning that is a number in from_base counts, "0" if there is none. Numbers have
    64 bits and no sign; a negative from_base takes them as signed, a negative to_base writes them
    with a sign. The result is null for a base that isn't from 2 to 36. The bases must be literals.
    """
    source, target = int(from_base), int(to_base)
    if abs(source) not in _BASES or abs(target) not in _BASES:
        return None
    value = _leading_number(to_text(number).strip(), abs(source))
    if source < 0:
        value = min(max(value, -(1 << 63)), (1 << 63) - 1)
    value %= 1 << 64
    if target < 0 and value >> 63:
        return "-" + _digits((1 << 64) - value, -target)
    return _digits(value, abs(target))


def _leading_number(text: str, base: int) -> int:
    """Return the number that a text begins with, 0 if there is none."""
    valid = frozenset(_DIGITS[:base] + _DIGITS[:base].lower())
    unsigned = text[1:] if text[:1] in ("+", "-") else text
    digits = "".join(takewhile(valid.__contains__, unsigned)).lstrip("0")
    if len(digits) > _LONGEST or (value := int(digits or "0", base)) >> 64:
        raise ValueError("the number is beyond 64 bits")
    return -value if text.startswith("-") else value


def _digits(value: int, base: int) -> str:
    digits = ""
    while value:
        value, digit = divmod(value, base)
        digits = _DIGITS[digit] + digits
    return digits or "0"
