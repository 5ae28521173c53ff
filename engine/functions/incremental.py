"""Aggregates of all rows so far (function catalogue, section 17, with section 21, item 17).

They are the aggregates of the same names without ``inc_``, never reset; with OVER they are kept by
partition and only for the rows that meet its condition. As with other functions, a call with null
is null; it changes nothing.
"""

from __future__ import annotations

from typing import Any, ClassVar

from engine.errors import RowError
from engine.functions.aggregate import Avg, Count, Max, Min, Sum
from engine.functions.collecting import Collect, LastValue, MergeAgg, flag_is_literal
from engine.functions.stateful import Accumulator, Tracker
from engine.sql.functions import Number, analytic, same_as
from engine.sql.kinds import Kind


class _SoFar(Tracker):
    """The state of one aggregate, which only grows."""

    __slots__ = ("_state",)
    accumulator: ClassVar[type[Accumulator]]

    def __init__(self) -> None:
        self._state = self.accumulator()

    def _advance(self, valid: bool, *args: Any) -> Any:
        if args[0] is None:
            return None
        if valid:
            self._state.add(*args)
        return self._state.result()

    def snapshot(self) -> Any:
        return self._state.snapshot()

    def restore(self, value: Any) -> None:
        self._state = self.accumulator()
        self._state.restore(value)


class _ValuesSoFar(_SoFar):
    __slots__ = ()

    def step(self, x: Any, *, valid: bool) -> Any:
        return self._advance(valid, x)


class _ExtremeSoFar(_SoFar):
    """An extreme, which a value of another kind leaves as it was."""

    __slots__ = ()

    def step(self, x: Any, *, valid: bool) -> Any:
        before = self._state
        self._state = before.merge(self.accumulator())
        try:
            return self._advance(valid, x)
        except RowError:
            self._state = before
            raise


class _NumbersSoFar(_SoFar):
    __slots__ = ()

    def step(self, x: Number, *, valid: bool) -> Any:
        return self._advance(valid, x)


@analytic(
    name="inc_count",
    example="inc_count(x) = 1, null, 2 for x = 5, null, 7",
    result=Kind.BIGINT,
)
class IncCount(_ValuesSoFar):
    """Return in how many rows so far x wasn't null; null if it is."""

    __slots__ = ()
    accumulator = Count


@analytic(
    name="inc_sum", example="inc_sum(x) = 1, null, 3.5 for x = 1, null, 2.5", result=Kind.NUMBER
)
class IncSum(_NumbersSoFar):
    """Return the sum of x in all rows so far; null for null."""

    __slots__ = ()
    accumulator = Sum


@analytic(
    name="inc_avg", example="inc_avg(x) = 1.0, null, 1.5 for x = 1, null, 2", result=Kind.FLOAT
)
class IncAvg(_NumbersSoFar):
    """Return the mean of x in all rows so far as a float; null for null."""

    __slots__ = ()
    accumulator = Avg


@analytic(name="inc_max", example="inc_max(x) = 1, 7, null for x = 1, 7, null", result=same_as(0))
class IncMax(_ExtremeSoFar):
    """Return the largest x in all rows so far, compared as ``max`` does."""

    __slots__ = ()
    accumulator = Max


@analytic(name="inc_min", example="inc_min(x) = 7, 1, null for x = 7, 1, null", result=same_as(0))
class IncMin(_ExtremeSoFar):
    """Return the smallest x in all rows so far, compared as ``min`` does."""

    __slots__ = ()
    accumulator = Min


@analytic(
    name="inc_merge_agg",
    example='inc_merge_agg(x) = {"a": 1}, null, {"a": 1, "b": 2} for x = {"a": 1}, null, {"b": 2}',
    result=Kind.OBJECT,
)
class IncMergeAgg(_ValuesSoFar):
    """Return one object with the fields of all objects so far; the last value of each counts."""

    __slots__ = ()
    accumulator = MergeAgg


@analytic(
    name="inc_collect",
    example="inc_collect(x) = [1], null, [1, 2] for x = 1, null, 2",
    result=Kind.LIST,
)
class IncCollect(_ValuesSoFar):
    """Return the list of x in all rows so far in which it wasn't null; null if it is.

    It grows with every row, and so does what is kept in memory.
    """

    __slots__ = ()
    accumulator = Collect


@analytic(
    name="inc_last_value",
    example="inc_last_value(x, true) = 1, null, 2 for x = 1, null, 2",
    result=same_as(0),
    validate=flag_is_literal("ignore_null"),
)
class IncLastValue(_SoFar):
    """Return the last x so far, that of this row; null for null."""

    __slots__ = ()
    accumulator = LastValue

    def step(self, x: Any, ignore_null: bool, *, valid: bool) -> Any:
        return self._advance(valid, x, ignore_null)
