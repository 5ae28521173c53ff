"""Analytic functions (function catalogue, section 11, with section 21, items 10, 15 and 39).

Values are the same if they are deeply equal, numbers by value. A row whose WHEN condition isn't
true gets a value too, but isn't remembered.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Hashable, Sequence
from typing import Any, ClassVar

from engine.errors import ConfigError, RowError
from engine.functions.aggregate import Avg, Count, Max, Min, Sum
from engine.functions.identity import identity
from engine.functions.stateful import Accumulator, Tracker, wrong_kind
from engine.sql.functions import Number, analytic, same_as
from engine.sql.kinds import Kind, common_kind
from engine.sql.operators import truth

_LONGEST_LAG = 100_000


def _flag(function: str, name: str, value: Any) -> bool:
    if type(value) is not bool:
        raise wrong_kind(function, name, "true or false", value)
    return value


# -- earlier values ------------------------------------------------------------------------------


def _kind_with_default(index: int) -> Any:
    def kind(kinds: Sequence[Kind]) -> Kind:
        if not kinds:
            return Kind.ANY
        return common_kind(kinds[0], kinds[index]) if index < len(kinds) else kinds[0]

    return kind


def _check_offset(arguments: Sequence[object]) -> None:
    offset = arguments[1] if len(arguments) > 1 else ...
    if offset is None or (isinstance(offset, int | float) and not 0 <= offset <= _LONGEST_LAG):
        raise ConfigError(f"offset must be from 0 to {_LONGEST_LAG}")


@analytic(
    example="lag(x) = null, 1, 1, 2 for x = 1, null, 2, 3",
    result=_kind_with_default(2),
    validate=_check_offset,
)
class Lag(Tracker):
    """Return the value that x had some rows ago, by default one; the default before that.

    Rows where x is null are passed over unless ignore_null is false. The offset of the first row
    counts for all; 0 gives null.
    """

    __slots__ = ("_values",)

    def __init__(self) -> None:
        self._values: deque[Any] | None = None

    def step(
        self,
        x: Any,
        offset: int = 1,
        default: Any = None,
        ignore_null: bool = True,
        *,
        valid: bool,
    ) -> Any:
        ignore_null = _flag("lag", "ignore_null", ignore_null)
        if self._values is None:
            self._values = deque(maxlen=self._length(offset))
        values = self._values
        if values.maxlen == 0:
            return None
        value = values[0] if len(values) == values.maxlen else default
        if valid and not (x is None and ignore_null):
            values.append(x)
        return value

    @staticmethod
    def _length(offset: Any) -> int:
        if type(offset) not in (int, float) or not 0 <= offset <= _LONGEST_LAG or offset % 1:
            wanted = f"a whole number from 0 to {_LONGEST_LAG}"
            raise wrong_kind("lag", "offset", wanted, offset)
        return int(offset)

    def snapshot(self) -> Any:
        return None if self._values is None else [self._values.maxlen, list(self._values)]

    def restore(self, value: Any) -> None:
        self._values = None if value is None else deque(value[1], maxlen=value[0])


@analytic(
    example="latest(x, 0) = 0, 1, 1, 2 for x = null, 1, null, 2", result=_kind_with_default(1)
)
class Latest(Tracker):
    """Return x or, if it is null, the last x that wasn't; the default before there was one."""

    __slots__ = ("_value",)

    def __init__(self) -> None:
        self._value: Any = None

    def step(self, x: Any, default: Any = None, *, valid: bool) -> Any:
        if valid and x is not None:
            self._value = x
        return default if self._value is None else self._value

    def snapshot(self) -> Any:
        return self._value

    def restore(self, value: Any) -> None:
        self._value = value


# -- changes -------------------------------------------------------------------------------------


class _Changes:
    """The values that were seen last, to tell which of new ones differ."""

    __slots__ = ("keys", "values")

    def __init__(self, values: Sequence[Any] = ()) -> None:
        self.values = list(values)
        self.keys: list[Hashable] = [identity(value) for value in values]

    def note(self, index: int, value: Any) -> bool:
        """Remember a value; return whether it differs from the last one, null for the first."""
        while index >= len(self.keys):
            self.keys.append(None)
            self.values.append(None)
        key = identity(value)
        if key == self.keys[index]:
            return False
        self.keys[index] = key
        self.values[index] = value
        return True


@analytic(
    name="changed_col",
    example="changed_col(true, x) = 1, null, 2, null for x = 1, 1, 2, null",
    result=same_as(1),
)
class ChangedCol(Tracker):
    """Return x if it differs from what it was before, else null.

    With ignore_null a null doesn't count as a change; ``had_changed`` tells one from no change.
    """

    __slots__ = ("_changes",)

    def __init__(self) -> None:
        self._changes = _Changes()

    def step(self, ignore_null: bool, x: Any, *, valid: bool) -> Any:
        ignore_null = _flag("changed_col", "ignore_null", ignore_null)
        if not valid or (x is None and ignore_null):
            return None
        return x if self._changes.note(0, x) else None

    def snapshot(self) -> Any:
        return list(self._changes.values)

    def restore(self, value: Any) -> None:
        self._changes = _Changes(value)


@analytic(
    name="had_changed",
    example="had_changed(true, x) = true, false, true, false for x = 1, 1, 2, null",
    may_be_null=False,
)
class HadChanged(Tracker):
    """Return whether any argument differs from what it was before.

    In the first row any value but null is a change. With ignore_null a null is never one.
    """

    __slots__ = ("_changes",)

    def __init__(self) -> None:
        self._changes = _Changes()

    def step(self, ignore_null: bool, x: Any, *more: Any, valid: bool) -> bool:
        ignore_null = _flag("had_changed", "ignore_null", ignore_null)
        if not valid:
            return False
        changed = False
        for index, value in enumerate((x, *more)):
            if not (value is None and ignore_null) and self._changes.note(index, value):
                changed = True
        return changed

    def snapshot(self) -> Any:
        return list(self._changes.values)

    def restore(self, value: Any) -> None:
        self._changes = _Changes(value)


# -- running aggregates --------------------------------------------------------------------------


class _Running(Tracker):
    """An aggregate of the rows so far, from one where ``begin`` is true to one with ``reset``."""

    __slots__ = ("_is_active", "_state")
    name: ClassVar[str]
    accumulator: ClassVar[type[Accumulator]]

    def __init__(self) -> None:
        self._is_active = False
        self._state = self.accumulator()

    def _advance(self, x: Any, begin: Any, reset: Any, valid: bool) -> Any:
        begin, reset = truth(begin), truth(reset)
        state = self._state if self._is_active else self.accumulator()
        is_active = self._is_active or begin
        if is_active and valid:
            state.add(x)
        self._state = state
        self._is_active = is_active and not reset
        return state.result()

    def snapshot(self) -> Any:
        return [self._is_active, self._state.snapshot()]

    def restore(self, value: Any) -> None:
        self._is_active, state = value
        self._state = self.accumulator()
        self._state.restore(state)


class _RunningNumber(_Running):
    __slots__ = ()

    def step(self, x: Number, begin: Any = True, reset: Any = False, *, valid: bool) -> float:
        if x is not None and type(x) is not int and type(x) is not float:
            raise wrong_kind(self.name, "x", "a number", x)
        if type(x) is int and abs(x) > sys.float_info.max:
            raise RowError(f"{self.name}: x is too large")
        value = self._advance(x, begin, reset, valid)
        return 0.0 if value is None else float(value)


def _check_pair(arguments: Sequence[object]) -> None:
    if len(arguments) == 2:
        raise ConfigError("begin and reset go together", hint="give one argument or three")


_PERIODS = """

With begin and reset it counts from a row where begin is true up to and including one where reset
is true, and is 0 from the next row on until it begins again."""


@analytic(
    name="acc_count",
    example="acc_count(x, x > 1, x < 0) = 0, 1, 2, 3, 4, 0 for x = 1, 2, 1, 3, -1, 1",
    may_be_null=False,
    validate=_check_pair,
)
class AccCount(_Running):
    __doc__ = "Return in how many rows so far x wasn't null." + _PERIODS
    __slots__ = ()
    name = "acc_count"
    accumulator = Count

    def step(self, x: Any, begin: Any = True, reset: Any = False, *, valid: bool) -> int:
        count: int = self._advance(x, begin, reset, valid)
        return count


@analytic(
    name="acc_sum",
    example="acc_sum(x) = 3.0, 3.0, 4.5 for x = 3, null, 1.5",
    may_be_null=False,
    validate=_check_pair,
)
class AccSum(_RunningNumber):
    __doc__ = "Return the sum of x so far as a float; nulls are left out." + _PERIODS
    __slots__ = ()
    name = "acc_sum"
    accumulator = Sum


@analytic(
    name="acc_avg",
    example="acc_avg(x) = 3.0, 3.0, 2.0 for x = 3, null, 1",
    may_be_null=False,
    validate=_check_pair,
)
class AccAvg(_RunningNumber):
    __doc__ = "Return the mean of x so far, 0 before any number; nulls are left out." + _PERIODS
    __slots__ = ()
    name = "acc_avg"
    accumulator = Avg


@analytic(
    name="acc_max",
    example="acc_max(x) = 3.0, 3.0, 5.0 for x = 3, 1, 5",
    may_be_null=False,
    validate=_check_pair,
)
class AccMax(_RunningNumber):
    __doc__ = (
        "Return the largest x so far as a float, 0 before any number; nulls are left out."
        + _PERIODS
    )
    __slots__ = ()
    name = "acc_max"
    accumulator = Max


@analytic(
    name="acc_min",
    example="acc_min(x) = 3.0, 1.0, 1.0 for x = 3, 1, 5",
    may_be_null=False,
    validate=_check_pair,
)
class AccMin(_RunningNumber):
    __doc__ = (
        "Return the smallest x so far as a float, 0 before any number; nulls are left out."
        + _PERIODS
    )
    __slots__ = ()
    name = "acc_min"
    accumulator = Min
