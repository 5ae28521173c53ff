"""Aggregate functions that give back values as they came (function catalogue, section 4).

Where a function takes ``*``, the argument is the row as an object.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Sequence
from typing import Any, Self

from engine.errors import ConfigError
from engine.functions.identity import identity
from engine.functions.stateful import Accumulator
from engine.sql.functions import aggregate, same_as
from engine.sql.kinds import Kind


def flag_is_literal(name: str) -> Any:
    """Return a validation: the second argument, called ``name``, must be true or false."""

    def validate(arguments: Sequence[object]) -> None:
        if len(arguments) > 1 and not isinstance(arguments[1], bool):
            raise ConfigError(f"{name} must be true or false", hint="it is the same for all rows")

    return validate


@aggregate(example="collect(x) = [1, null, 2] for x = 1, null, 2", result=Kind.LIST)
class Collect(Accumulator):
    """Return the values of all rows as a list, nulls included; null for no rows.

    ``collect(*)`` gives the rows themselves, as objects.
    """

    __slots__ = ("values",)

    def __init__(self) -> None:
        self.values: deque[Any] = deque()

    def add(self, x: Any) -> None:
        self.values.append(x)

    def remove(self, x: Any) -> None:
        self.values.popleft()

    def merge(self, newer: Self) -> Self:
        merged = type(self)()
        merged.values = self.values + newer.values
        return merged

    def result(self) -> list[Any] | None:
        return list(self.values) or None

    def snapshot(self) -> Any:
        return list(self.values)

    def restore(self, value: Any) -> None:
        self.values = deque(value)


@aggregate(
    name="merge_agg",
    example='merge_agg(x) = {"a": 3, "b": 2} for x = {"a": 1, "b": 2}, null, {"a": 3}',
    result=Kind.OBJECT,
)
class MergeAgg(Accumulator):
    """Return one object with the fields of all objects; of the same field the last value counts.

    What isn't an object is left out; the result is null if there was none. ``merge_agg(*)`` merges
    the rows themselves.
    """

    __slots__ = ("merged",)
    is_compact = True

    def __init__(self) -> None:
        self.merged: dict[str, Any] | None = None

    def add(self, x: Any) -> None:
        if isinstance(x, dict):
            if self.merged is None:
                self.merged = {}
            self.merged.update(x)

    def merge(self, newer: Self) -> Self:
        merged = type(self)()
        if self.merged is not None or newer.merged is not None:
            merged.merged = {**(self.merged or {}), **(newer.merged or {})}
        return merged

    def result(self) -> dict[str, Any] | None:
        return None if self.merged is None else dict(self.merged)

    def snapshot(self) -> Any:
        return self.result()

    def restore(self, value: Any) -> None:
        self.merged = None if value is None else dict(value)


@aggregate(
    name="last_value",
    example="last_value(x, true) = 2 for x = 1, 2, null",
    result=same_as(0),
    validate=flag_is_literal("ignore_null"),
)
class LastValue(Accumulator):
    """Return the value of the last row; with ignore_null of the last row where x isn't null.

    ``last_value(*, true)`` gives the last row as an object.
    """

    __slots__ = ("has_value", "value")
    is_compact = True

    def __init__(self) -> None:
        self.has_value = False
        self.value: Any = None

    def add(self, x: Any, ignore_null: bool) -> None:
        if x is not None or not ignore_null:
            self.has_value = True
            self.value = x

    def merge(self, newer: Self) -> Self:
        merged = type(self)()
        last = newer if newer.has_value else self
        merged.has_value, merged.value = last.has_value, last.value
        return merged

    def result(self) -> Any:
        return self.value

    def snapshot(self) -> Any:
        return [self.has_value, self.value]

    def restore(self, value: Any) -> None:
        self.has_value, self.value = value


@aggregate(
    example='deduplicate(x, true) = [{"x": 1}, {"x": 2}] for x = 1, 2, 1',
    validate=flag_is_literal("all"),
)
class Deduplicate(Accumulator):
    """Return the first row of each key as a list of objects.

    With all = false it returns just the last row, if its key is new in the group, else null. Null
    is a key like any other; 1 and 1.0 are the same key, "1" is another one. Null for no rows.
    """

    __slots__ = ("every", "firsts", "last")

    def __init__(self) -> None:
        self.firsts: dict[Hashable, tuple[Any, Any]] = {}
        """By identity: the key and, where all are wanted, its first row."""
        self.every = True
        self.last: Any = None
        """The last row, if only that is wanted and its key is new."""

    def add(self, row: Any, key: Any, all: bool) -> None:  # noqa: A002 (its name in SQL)
        self.every = bool(all)
        same = identity(key)
        is_new = same not in self.firsts
        if is_new:
            self.firsts[same] = key, row if self.every else None
        self.last = row if is_new and not self.every else None

    def merge(self, newer: Self) -> Self:
        merged = type(self)()
        merged.firsts = dict(self.firsts)
        for same, entry in newer.firsts.items():
            merged.firsts.setdefault(same, entry)
        later = newer if newer.firsts else self
        merged.every, merged.last = later.every, later.last
        if newer.last is not None and next(reversed(newer.firsts)) in self.firsts:
            merged.last = None
        return merged

    def result(self) -> Any:
        if not self.every:
            return self.last
        return [row for _, row in self.firsts.values()] or None

    def snapshot(self) -> Any:
        return [self.every, self.last, [list(entry) for entry in self.firsts.values()]]

    def restore(self, value: Any) -> None:
        self.every, self.last, entries = value
        self.firsts = {identity(key): (key, row) for key, row in entries}
