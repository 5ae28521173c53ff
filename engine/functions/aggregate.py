"""Aggregate functions (function catalogue, section 4, with section 21, items 10, 11, 16 and 17).

Null arguments are left out; what is no finite number counts as null.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any, ClassVar, Self

from engine.errors import ConfigError, RowError
from engine.functions.exact import MOST_PARTS, mean, settle, total, without_floats
from engine.functions.stateful import (
    Accumulator,
    InlineAggregate,
    packed,
    unpacked,
    wrong_kind,
)
from engine.sql.functions import Number, aggregate, same_as
from engine.sql.kinds import Kind, kind_of


@aggregate(example="count(x) = 2 for x = 5, null, 7", may_be_null=False)
class Count(Accumulator):
    """Return the number of rows in which x isn't null; ``count(*)`` counts all rows.

    It is 0 for no rows.
    """

    __slots__ = ("count",)
    is_compact = True
    inline = InlineAggregate(
        initial=("0",),
        number="{0} += 1",
        other="{0} += 1",
        result="{0}",
        merge="({0} + {newer0},)",
    )

    def __init__(self) -> None:
        self.count = 0

    def add(self, x: Any) -> None:
        if x is not None:
            self.count += 1

    def remove(self, x: Any) -> None:
        if x is not None:
            self.count -= 1

    def merge(self, newer: Self) -> Self:
        merged = type(self)()
        merged.count = self.count + newer.count
        return merged

    def result(self) -> int:
        return self.count

    def snapshot(self) -> Any:
        return self.count

    def restore(self, value: Any) -> None:
        self.count = value


def _refuse(function: str, value: Any) -> None:
    raise wrong_kind(function, "x", "a number", value)


def _merged(*slots: Any) -> tuple[int, int, int, list[float]]:
    """Return the slots of a sum with the rows of two: the older one's slots, then the newer's."""
    ints, whole, floats, parts, more_ints, more_whole, more_floats, more_parts = slots
    ints, whole, floats = ints + more_ints, whole + more_whole, floats + more_floats
    parts = parts + more_parts
    if len(parts) > MOST_PARTS:
        whole, floats = settle(whole, floats, parts)
    return ints, whole, floats, parts


def _inline_sum(function: str, result: Any) -> InlineAggregate:
    return InlineAggregate(
        initial=("0", "0", "0", "[]"),
        number=f"""\
if {{value}}.__class__ is {{int}}:
    {{0}} += 1
    {{1}} += {{value}}
else:
    {{2}} += 1
    {{3}}.append({{value}})
    if {{len}}({{3}}) > {MOST_PARTS}:
        {{1}}, {{2}} = {{settle}}({{1}}, {{2}}, {{3}})""",
        other=f"{{refuse}}({function!r}, {{value}})",
        result="{result}({0}, {1}, {2}, {3})",
        merge="{merged}({0}, {1}, {2}, {3}, {newer0}, {newer1}, {newer2}, {newer3})",
        names={
            "int": int,
            "len": len,
            "settle": settle,
            "refuse": _refuse,
            "merged": _merged,
            "result": result,
        },
    )


class _Exact(Accumulator):
    """An exact sum of numbers; see ``engine.functions.exact``."""

    __slots__ = ("floats", "ints", "parts", "whole")
    is_compact = True
    name: ClassVar[str]

    def __init__(self) -> None:
        self.ints = 0
        self.whole = 0
        self.floats = 0
        self.parts: list[float] = []

    def add(self, x: Number | None) -> None:
        if type(x) is int:
            self.ints += 1
            self.whole += x
        elif type(x) is float:
            if math.isfinite(x):
                self.floats += 1
                self._append(x)
        elif x is not None:
            _refuse(self.name, x)

    def remove(self, x: Number | None) -> None:
        if type(x) is int:
            self.ints -= 1
            self.whole -= x
        elif type(x) is float and math.isfinite(x):
            self.floats -= 1
            if self.floats:
                self._append(-x)
            else:
                self.whole = without_floats(self.whole, [*self.parts, -x])
                self.parts.clear()

    def _append(self, part: float) -> None:
        self.parts.append(part)
        if len(self.parts) > MOST_PARTS:
            self.whole, self.floats = settle(self.whole, self.floats, self.parts)

    def merge(self, newer: Self) -> Self:
        merged = type(self)()
        merged.ints, merged.whole, merged.floats, merged.parts = _merged(
            *(self.ints, self.whole, self.floats, self.parts),
            *(newer.ints, newer.whole, newer.floats, newer.parts),
        )
        return merged

    def snapshot(self) -> Any:
        parts = self.parts.copy()
        whole, floats = settle(self.whole, self.floats, parts)
        return [self.ints, packed(whole), floats, parts]

    def restore(self, value: Any) -> None:
        self.ints, whole, self.floats, parts = value
        self.whole = unpacked(whole)
        self.parts = list(parts)


def _kind_of_sum(kinds: Sequence[Kind]) -> Kind:
    return kinds[0] if kinds and kinds[0].is_numeric else Kind.NUMBER


@aggregate(example="sum(x) = 3.5 for x = 1, null, 2.5", result=_kind_of_sum)
class Sum(_Exact):
    """Return the sum, null if all are null.

    It is an integer for integers, a float as soon as there is one (or the sum has more than 64
    bits). It is rounded only once, at the end, whatever the number and order of the rows.
    """

    __slots__ = ()
    name = "sum"
    inline = _inline_sum("sum", total)

    def result(self) -> int | float | None:
        return total(self.ints, self.whole, self.floats, self.parts)


@aggregate(example="avg(x) = 1.5 for x = 1, null, 2")
class Avg(_Exact):
    """Return the mean as a float, also of integers; null if all are null."""

    __slots__ = ()
    name = "avg"
    inline = _inline_sum("avg", mean)

    def result(self) -> float | None:
        return mean(self.ints, self.whole, self.floats, self.parts)


# -- extremes ------------------------------------------------------------------------------------


def _only_value(function: str, number: Number | None, others: dict[str, Any] | None) -> Any:
    """Return the extreme of values of one kind.

    Raises:
        RowError: there are several kinds, or one without an order.
    """
    if not others:
        return number
    kinds = [*(["number"] if number is not None else []), *others]
    if len(kinds) > 1:
        raise RowError(f"{function}: can't compare {' with '.join(kinds)}")
    (kind, value), *_ = others.items()
    if kind not in _ORDERED:
        raise RowError(f"{function}: {kind} values have no order")
    return value


_ORDERED = frozenset({Kind.STRING.value, Kind.DATETIME.value})
"""The kinds that have an order, beside numbers."""


def _inline_extreme(function: str, better: str, others: Any, merged: Any) -> InlineAggregate:
    return InlineAggregate(
        initial=("None", "None"),
        number=f"""\
if ({{0}} is None or {{value}} {better} {{0}}) and {{low}} < {{value}} < {{high}}:
    {{0}} = {{value}}""",
        other="{1} = {others}({1}, {value})",
        result=f"({{0}} if {{1}} is None else {{only}}({function!r}, {{0}}, {{1}}))",
        merge="{merged}({0}, {1}, {newer0}, {newer1})",
        names={
            "low": -math.inf,
            "high": math.inf,
            "others": others,
            "only": _only_value,
            "merged": merged,
        },
    )


def _extreme_others(choose: Any) -> Any:
    def with_other(others: dict[str, Any] | None, value: Any) -> dict[str, Any]:
        """Return the extreme of each kind that isn't a number, with one more value."""
        others = others or {}
        kind = kind_of(value).value
        known = others.get(kind)
        if kind not in _ORDERED:
            value = None
        elif known is not None:
            value = choose(known, value)
        return {**others, kind: value}

    return with_other


def _extreme_merged(choose: Any) -> Any:
    with_other = _extreme_others(choose)

    def merged(
        number: Any, others: dict[str, Any] | None, newer: Any, newer_others: dict[str, Any] | None
    ) -> tuple[Any, dict[str, Any] | None]:
        if number is None or newer is None:
            number = newer if number is None else number
        else:
            number = choose(number, newer)
        for kind, value in (newer_others or {}).items():
            if kind in _ORDERED:
                others = with_other(others, value)
            else:
                others = {**(others or {}), kind: None}
        return number, others

    return merged


class _Extreme(Accumulator):
    """The extreme number, and the extreme value of each other kind that has come."""

    __slots__ = ("number", "others")
    is_compact = True
    name: ClassVar[str]
    choose: ClassVar[Any]
    is_better: ClassVar[Any]

    def __init__(self) -> None:
        self.number: Number | None = None
        self.others: dict[str, Any] | None = None

    def add(self, x: Any) -> None:
        if x is None:
            return
        if type(x) is int or type(x) is float:
            if self.number is None or self.is_better(x, self.number):
                self.number = x if -math.inf < x < math.inf else self.number
        else:
            self.others = _extreme_others(self.choose)(self.others, x)

    def merge(self, newer: Self) -> Self:
        merged = type(self)()
        merged.number, merged.others = _extreme_merged(self.choose)(
            self.number, self.others, newer.number, newer.others
        )
        return merged

    def result(self) -> Any:
        return _only_value(self.name, self.number, self.others)

    def snapshot(self) -> Any:
        return [packed(self.number), self.others]

    def restore(self, value: Any) -> None:
        number, self.others = value
        self.number = unpacked(number)


def _need_number(arguments: Sequence[object]) -> None:
    value = arguments[0] if arguments else ...
    if value is not ... and value is not None and not kind_of(value).is_numeric:
        raise ConfigError(f"x must be a number, not {kind_of(value)}")


@aggregate(example="max(x) = 7 for x = 1, 7, null", result=same_as(0), validate=_need_number)
class Max(_Extreme):
    """Return the largest number, the last text in the order of its characters or the latest time.

    It is null if all are null, an error of the group for a mix of kinds and for any other kind.
    """

    __slots__ = ()
    name = "max"
    choose = max
    is_better = operator.gt
    inline = _inline_extreme("max", ">", _extreme_others(max), _extreme_merged(max))


@aggregate(example="min(x) = 1 for x = 1, 7, null", result=same_as(0), validate=_need_number)
class Min(_Extreme):
    """Return the smallest number, the first text in the order of its characters or the first time.

    It is null if all are null, an error of the group for a mix of kinds and for any other kind.
    """

    __slots__ = ()
    name = "min"
    choose = min
    is_better = operator.lt
    inline = _inline_extreme("min", "<", _extreme_others(min), _extreme_merged(min))
