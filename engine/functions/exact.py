"""Sums without rounding errors, so that neither order nor grouping of the rows can show.

A sum is an integer (``whole``) and a list of floats (``parts``) that are added up only when it is
asked for. `settle` makes a long list short without changing the sum: the rounded sum, the rounded
rest of it, and so on until nothing is left, which takes two or three floats. So a sum has a bounded
size, can be merged with another one, and lets a number be taken back by adding its opposite.
That costs about as much as compensated summation, which would only come close.
"""

from __future__ import annotations

from fractions import Fraction
from math import fsum, isfinite

MOST_PARTS = 32
"""A list of more floats is to be settled."""

_EXACT = 1 << 53
"""Integers up to here are floats without rounding, floats from here on are integers."""
_INT64 = 1 << 63


def settle(whole: int, floats: int, parts: list[float]) -> tuple[int, int]:
    """Shorten ``parts`` in place; return the new ``whole`` and number of ``floats`` in the sum.

    What is no finite number is left out of both.
    """
    try:
        parts[:] = _shortest(parts)
    except (OverflowError, ValueError):
        finite = [part for part in parts if isfinite(part)]
        floats -= len(parts) - len(finite)
        # the exact sum is beyond all floats, perhaps just for now: an integer holds it
        whole += sum(int(part) for part in finite if abs(part) >= _EXACT)
        parts[:] = _shortest([part for part in finite if abs(part) < _EXACT])
    return whole, floats


def _shortest(parts: list[float]) -> list[float]:
    found = []
    rest = parts.copy()
    while total := fsum(rest):
        if not isfinite(total):
            raise OverflowError
        found.append(total)
        rest.append(-total)
    return found


def total(ints: int, whole: int, floats: int, parts: list[float]) -> int | float | None:
    """Return the sum of ``ints`` integers and ``floats`` floats, rounded once.

    It is an int if there are only ints and it has 64 bits at most; null for no numbers, and where
    it is too large for a float.
    """
    if not floats:
        return integer(whole) if ints else None
    if -_EXACT <= whole <= _EXACT:
        try:
            rounded = fsum([*parts, whole])
        except (OverflowError, ValueError):
            rounded = float("nan")
        if isfinite(rounded):
            return rounded
    parts = parts.copy()
    whole, floats = settle(whole, floats, parts)
    if not floats:
        return integer(whole) if ints else None
    return _rounded(_fraction(whole, parts))


def mean(ints: int, whole: int, floats: int, parts: list[float]) -> float | None:
    """Return the mean of ``ints`` integers and ``floats`` floats; null for no numbers."""
    if floats and not all(map(isfinite, parts)):
        parts = parts.copy()
        whole, floats = settle(whole, floats, parts)
    if floats:
        count = ints + floats
        rounded = total(ints, whole, floats, parts)
        if rounded is None:  # too large, though the mean may not be
            return _rounded(_fraction(whole, parts) / count)
        return rounded / count
    try:
        return whole / ints if ints else None
    except OverflowError:
        return None


def without_floats(whole: int, parts: list[float]) -> int:
    """Return the sum of integers that is left when the last float has been taken back."""
    return int(_fraction(whole, parts))


def integer(whole: int) -> int | float | None:
    """Return an integer, or the nearest float if it has more than 64 bits."""
    return whole if -_INT64 <= whole < _INT64 else _rounded(Fraction(whole))


def _fraction(whole: int, parts: list[float]) -> Fraction:
    return sum(map(Fraction, parts), Fraction(whole))


def _rounded(exact: Fraction) -> float | None:
    try:
        return float(exact)
    except OverflowError:
        return None
