"""Aggregate plugins as the accumulators that a query works with, whatever their code does."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from engine.api import AggregateFunction
from engine.blame import told
from engine.errors import EngineError, RowError
from engine.functions.stateful import Accumulator


def accumulator_of(made: type[AggregateFunction], name: str) -> type[Accumulator]:
    """Return an aggregate plugin's class as a class of accumulators.

    Its methods are the plugin's own, except that ``merge`` makes a new object instead of changing
    one, and that a row which ``add`` raises for makes an error of the result: as long as the row is
    there, the result would be one of other rows.
    """

    def begin(self: Any) -> None:
        self._failures = _Failures()
        made.__init__(self)

    def add(self: Any, *args: Any) -> None:
        try:
            made.add(self, *args)
        except Exception as error:
            self._failures.add(f"{name}: {told(error)}")
        else:
            self._failures.add(None)

    def remove(self: Any, *args: Any) -> None:
        if not self._failures.remove():
            _guarded(made.remove, name)(self, *args)  # type: ignore[attr-defined]

    def merge(self: Any, newer: Any) -> Any:
        merged = type(self)()
        merged.restore(self.snapshot())
        merged._failures.merge(newer._failures)  # it is one of these, too
        _guarded(made.merge, name)(merged, newer)
        return merged

    def result(self: Any) -> Any:
        if (failure := self._failures.first) is not None:
            raise RowError(failure)
        return _guarded(made.result, name)(self)

    def snapshot(self: Any) -> Any:
        return [self._failures.snapshot(), made.snapshot(self)]

    def restore(self: Any, value: Any) -> None:
        failures, own = value
        self._failures = _Failures(*failures)
        made.restore(self, own)

    methods: dict[str, Callable[..., Any]] = {
        "__init__": begin,
        "add": add,
        "merge": merge,
        "result": result,
        "snapshot": snapshot,
        "restore": restore,
    }
    if hasattr(made, "remove"):
        methods["remove"] = remove
    about = {"__doc__": made.__doc__, "__module__": made.__module__, "__slots__": ("_failures",)}
    return type(f"{made.__name__}Accumulator", (made, Accumulator), {**about, **methods})


class _Failures:
    """Which of the rows of an object have failed, the oldest row being number 0."""

    def __init__(self, rows: int = 0, failed: Any = ()) -> None:
        self._rows = rows
        self._removed = 0
        self._failed: deque[tuple[int, str]] = deque((number, text) for number, text in failed)

    @property
    def first(self) -> str | None:
        """Why the oldest row that has failed did so."""
        return self._failed[0][1] if self._failed else None

    def add(self, failure: str | None) -> None:
        if failure is not None:
            self._failed.append((self._rows, failure))
        self._rows += 1

    def remove(self) -> bool:
        """Let the oldest row go; return whether it had failed."""
        has_failed = bool(self._failed) and self._failed[0][0] == self._removed
        if has_failed:
            self._failed.popleft()
        self._removed += 1
        return has_failed

    def merge(self, newer: _Failures) -> None:
        """Take over the rows of ``newer``, which come after all others."""
        for number, failure in newer._failed:
            self._failed.append((self._rows + number - newer._removed, failure))
        self._rows += newer._rows - newer._removed

    def snapshot(self) -> list[Any]:
        failed = [[number - self._removed, text] for number, text in self._failed]
        return [self._rows - self._removed, failed]


def _guarded(method: Callable[..., Any], name: str) -> Callable[..., Any]:
    def guarded(*args: Any) -> Any:
        try:
            return method(*args)
        except EngineError:
            raise
        except Exception as error:
            raise RowError(f"{name}: {told(error)}") from error

    return guarded
