"""Aggregate functions of how numbers are spread (function catalogue, section 4, and 21.16, 21.28).

Null arguments are left out; what is no finite number counts as null.
"""

from __future__ import annotations

import math
import sys
from bisect import bisect_left, insort
from collections.abc import Sequence
from typing import Any, ClassVar, Self

from engine.errors import ConfigError, RowError
from engine.functions.stateful import Accumulator, packed, unpacked, wrong_kind
from engine.sql.functions import Number, aggregate
from engine.sql.kinds import Kind

_Value = int | float
_LARGEST = sys.float_info.max


def _finite(function: str, x: Any) -> _Value | None:
    """Return a number, None for null and for what is no finite number."""
    if type(x) is int or type(x) is float:
        return x + 0 if -_LARGEST <= x <= _LARGEST else None  # 0 for -0.0
    if x is not None:
        raise wrong_kind(function, "x", "a number", x)
    return None


# -- variances -----------------------------------------------------------------------------------


class _Variance(Accumulator):
    """The exact sums of numbers and of their squares, as integers over a power of two.

    Every float is a fraction with such a denominator. So nothing is rounded before the result, and
    rows can be merged or taken back in any order.
    """

    __slots__ = ("bits", "count", "squares", "total")
    is_compact = True
    name: ClassVar[str]
    is_sample: ClassVar[bool]

    def __init__(self) -> None:
        self.count = 0
        self.bits = 0
        """The sum is ``total / 2**bits``, that of the squares ``squares / 4**bits``."""
        self.total = 0
        self.squares = 0

    def add(self, x: Number | None) -> None:
        number = _finite(self.name, x)
        if number is not None:
            numerator = self._scaled(number)
            self.count += 1
            self.total += numerator
            self.squares += numerator * numerator

    def remove(self, x: Number | None) -> None:
        number = _finite(self.name, x)
        if number is not None:
            numerator = self._scaled(number)
            self.count -= 1
            self.total -= numerator
            self.squares -= numerator * numerator

    def _scaled(self, number: _Value) -> int:
        """Return the numerator of a number, after making the denominator large enough for it."""
        numerator, denominator = number.as_integer_ratio()
        bits = denominator.bit_length() - 1
        if bits > self.bits:
            self.total <<= bits - self.bits
            self.squares <<= 2 * (bits - self.bits)
            self.bits = bits
        return numerator << (self.bits - bits)

    def merge(self, newer: Self) -> Self:
        merged = type(self)()
        merged.count = self.count + newer.count
        merged.bits = max(self.bits, newer.bits)
        for part in (self, newer):
            merged.total += part.total << (merged.bits - part.bits)
            merged.squares += part.squares << 2 * (merged.bits - part.bits)
        return merged

    def variance(self) -> float | None:
        count = self.count
        divisor = count * (count - self.is_sample)
        if divisor <= 0:
            return None
        try:
            return (count * self.squares - self.total**2) / (divisor << 2 * self.bits)
        except OverflowError:
            return None

    def result(self) -> float | None:
        return self.variance()

    def snapshot(self) -> Any:
        return [self.count, self.bits, f"{self.total:x}", f"{self.squares:x}"]

    def restore(self, value: Any) -> None:
        self.count, self.bits, total, squares = value
        self.total, self.squares = int(total, 16), int(squares, 16)


class _Deviation(_Variance):
    __slots__ = ()

    def result(self) -> float | None:
        variance = self.variance()
        return None if variance is None else math.sqrt(variance)


@aggregate(example="var(x) = 4.0 for x = 6, null, 2")
class Var(_Variance):
    """Return the variance of a whole population; null if all are null."""

    __slots__ = ()
    name = "var"
    is_sample = False


@aggregate(example="vars(x) = 8.0 for x = 6, null, 2")
class Vars(_Variance):
    """Return the variance of a sample (divided by one less than the number of values).

    It is null for fewer than two values.
    """

    __slots__ = ()
    name = "vars"
    is_sample = True


@aggregate(example="stddev(x) = 2.0 for x = 6, null, 2")
class Stddev(_Deviation):
    """Return the standard deviation of a whole population; null if all are null."""

    __slots__ = ()
    name = "stddev"
    is_sample = False


@aggregate(example="stddevs(x) = 2.0 for x = 1, 3, 5")
class Stddevs(_Deviation):
    """Return the standard deviation of a sample; null for fewer than two values."""

    __slots__ = ()
    name = "stddevs"
    is_sample = True


# -- values in their order -----------------------------------------------------------------------


class _Ordered:
    """Numbers that are put in order when that is asked for: many at once, or one by one."""

    __slots__ = ("_recent", "_sorted", "floats")
    _FEW = 16
    """So many new numbers are put into their places; more are sorted with all others."""

    def __init__(self, numbers: Sequence[_Value] = ()) -> None:
        self._sorted: list[_Value] = []
        self._recent = list(numbers)
        self.floats = sum(type(number) is float for number in numbers)

    def add(self, number: _Value) -> None:
        self._recent.append(number)
        self.floats += type(number) is float

    def remove(self, number: _Value) -> None:
        values = self.values()
        del values[bisect_left(values, number)]
        self.floats -= type(number) is float

    def values(self) -> list[_Value]:
        """Return the numbers in ascending order; the list isn't to be changed."""
        if len(self._recent) <= self._FEW:
            for number in self._recent:
                insort(self._sorted, number)
        else:
            self._sorted += self._recent
            self._sorted.sort()
        self._recent.clear()
        return self._sorted

    def snapshot(self) -> list[Any]:
        return list(map(packed, self.values()))

    def merged(self, newer: _Ordered) -> _Ordered:
        both = _Ordered()
        both._sorted = sorted([*self.values(), *newer.values()])  # two runs: linear
        both.floats = self.floats + newer.floats
        return both


def _kind_of_median(kinds: Sequence[Kind]) -> Kind:
    return Kind.FLOAT if kinds and kinds[0] == Kind.FLOAT else Kind.NUMBER


@aggregate(example="median(x) = 2.5 for x = 1, null, 9, 2, 3", result=_kind_of_median)
class Median(Accumulator):
    """Return the middle value, or the mean of the two middle ones; null if all are null.

    It is an integer only for an odd number of integers.
    """

    __slots__ = ("numbers",)

    def __init__(self) -> None:
        self.numbers = _Ordered()

    def add(self, x: Number | None) -> None:
        number = _finite("median", x)
        if number is not None:
            self.numbers.add(number)

    def remove(self, x: Number | None) -> None:
        number = _finite("median", x)
        if number is not None:
            self.numbers.remove(number)

    def merge(self, newer: Self) -> Self:
        merged = type(self)()
        merged.numbers = self.numbers.merged(newer.numbers)
        return merged

    def result(self) -> int | float | None:
        values = self.numbers.values()
        if not values:
            return None
        middle = len(values) // 2
        if len(values) % 2:
            return float(values[middle]) if self.numbers.floats else int(values[middle])
        return _between(values[middle - 1], values[middle], 0.5)

    def snapshot(self) -> Any:
        return self.numbers.snapshot()

    def restore(self, value: Any) -> None:
        self.numbers = _Ordered(list(map(unpacked, value)))


def _between(low: _Value, high: _Value, share: float) -> float:
    """Return the number that lies a share of the way from ``low`` to ``high``."""
    if share == 0.5 and type(low) is int and type(high) is int:
        return (low + high) / 2
    low, high = float(low), float(high)
    distance = high - low
    if math.isinf(distance):
        return low * (1 - share) + high * share
    return min(low + distance * share, high)


class _Percentile(Accumulator):
    """Numbers, and the shares asked for: in the order of the rows, with how often each came."""

    __slots__ = ("numbers", "shares")
    name: ClassVar[str]

    def __init__(self) -> None:
        self.numbers = _Ordered()
        self.shares: list[list[Any]] = []

    def add(self, x: Number | None, p: Number | None) -> None:
        number = _finite(self.name, x)
        if type(p) is int or type(p) is float:
            if self.shares and self.shares[-1][0] == p:
                self.shares[-1][1] += 1
            else:
                self.shares.append([p, 1])
        elif p is not None:
            raise wrong_kind(self.name, "p", "a number", p)
        if number is not None:
            self.numbers.add(number)

    def remove(self, x: Number | None, p: Number | None) -> None:
        number = _finite(self.name, x)
        if number is not None:
            self.numbers.remove(number)
        if p is not None:
            self.shares[0][1] -= 1
            if not self.shares[0][1]:
                del self.shares[0]

    def merge(self, newer: Self) -> Self:
        merged = type(self)()
        merged.numbers = self.numbers.merged(newer.numbers)
        merged.shares = [list(entry) for entry in self.shares]
        for p, count in newer.shares:
            if merged.shares and merged.shares[-1][0] == p:
                merged.shares[-1][1] += count
            else:
                merged.shares.append([p, count])
        return merged

    def result(self) -> float | None:
        values = self.numbers.values()
        if not values or not self.shares:
            return None
        p = self.shares[0][0]
        if not 0 <= p <= 1:
            raise RowError(f"{self.name}: p must be from 0 to 1, not {p}")
        return self.percentile(values, p)

    def percentile(self, values: list[_Value], p: float) -> float:
        raise NotImplementedError

    def snapshot(self) -> Any:
        return [self.numbers.snapshot(), [list(entry) for entry in self.shares]]

    def restore(self, value: Any) -> None:
        numbers, shares = value
        self.numbers = _Ordered(list(map(unpacked, numbers)))
        self.shares = [list(entry) for entry in shares]


def _check_share(arguments: Sequence[object]) -> None:
    p = arguments[1] if len(arguments) > 1 else ...
    if isinstance(p, int | float) and not 0 <= p <= 1:
        raise ConfigError(f"p must be from 0 to 1, not {p}", hint="0.5 asks for the median")


@aggregate(
    "percentile",
    name="percentile_cont",
    example="percentile_cont(x, 0.25) = 1.5 for x = 1, null, 3, 2",
    result=Kind.FLOAT,
    validate=_check_share,
)
class PercentileCont(_Percentile):
    """Return the value below which a share p (from 0 to 1) of the values lies, as a float.

    Between two values it is interpolated in a straight line. The p of the first row counts; the
    result is null if all are null.
    """

    __slots__ = ()
    name = "percentile_cont"

    def percentile(self, values: list[_Value], p: float) -> float:
        rank = p * (len(values) - 1)
        below = int(rank)
        if below == rank:
            return float(values[below])
        return _between(values[below], values[below + 1], rank - below)


@aggregate(
    name="percentile_disc",
    example="percentile_disc(x, 0.5) = 2.0 for x = 1, null, 3, 2",
    result=Kind.FLOAT,
    validate=_check_share,
)
class PercentileDisc(_Percentile):
    """Return the smallest value that at least a share p (from 0 to 1) of the values don't exceed.

    It is always one of the values, as a float. The p of the first row counts; the result is null if
    all are null.
    """

    __slots__ = ()
    name = "percentile_disc"

    def percentile(self, values: list[_Value], p: float) -> float:
        return float(values[max(0, math.ceil(len(values) * p) - 1)])
