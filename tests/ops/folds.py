"""Folds and drivers that the tests of operators share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from engine.ops.fold import BufferFold, Fold, GroupFold
from engine.ops.pane import Pane
from engine.ops.windows.operator import Arrivals, WindowOperator
from engine.state.codec import CODEC

Row = dict[str, Any]
Operator = WindowOperator[Any, Any]
Make = Callable[[], Operator]


class Totals(Fold[list[Any], Row]):
    """Count, first and greatest ``v``: small states, in which the order of rows shows."""

    is_compact = True

    def empty(self) -> list[Any]:
        return [0, None, None]

    def add(self, state: list[Any], rows: Sequence[Row]) -> list[Any]:
        for row in rows:
            state[1] = row["v"] if state[0] == 0 else state[1]
            state[2] = row["v"] if state[0] == 0 else max(state[2], row["v"])
            state[0] += 1
        return state

    def merge(self, older: list[Any], newer: list[Any]) -> list[Any]:
        if not older[0] or not newer[0]:
            return list(older if older[0] else newer)
        return [older[0] + newer[0], older[1], max(older[2], newer[2])]

    def snapshot(self, state: list[Any]) -> Any:
        return list(state)

    def restore(self, value: Any) -> list[Any]:
        return list(value)


class Collected(Totals):
    """All ``v``, by a fold that can only add and merge."""

    is_compact = False

    def empty(self) -> list[Any]:
        return []

    def add(self, state: list[Any], rows: Sequence[Row]) -> list[Any]:
        state.extend(row["v"] for row in rows)
        return state

    def merge(self, older: list[Any], newer: list[Any]) -> list[Any]:
        return [*older, *newer]


def key_of(row: Row) -> tuple[str, int]:
    return "k", row["v"] % 3


FOLDS: dict[str, Fold[Any, Row]] = {
    "rows": BufferFold(),
    "totals": Totals(),
    "collected": Collected(),
    "totals by key": GroupFold(Totals(), key_of),
    "rows by key": GroupFold(BufferFold(), key_of),
}


def folded(fold: Fold[Any, Row], rows: Sequence[Row]) -> Any:
    """Return what a window with these rows must have, with groups in their order."""
    return shown(fold.add(fold.empty(), rows))


def shown(state: Any) -> Any:
    return list(state.items()) if isinstance(state, dict) else state


def seen(panes: Sequence[Pane[Any]]) -> list[tuple[Any, ...]]:
    """Return panes as values that can be compared."""
    return [(p.start, p.end, p.trigger, shown(p.state), p.is_empty, p.key) for p in panes]


def saved(operator: Operator, make: Make) -> Operator:
    """Return another operator that goes on from the snapshot of one, by way of bytes."""
    value = CODEC.decode(CODEC.encode(operator.snapshot()))
    other = make()
    other.restore(value)
    return other


def cut(arrivals: Arrivals[Row], at: Sequence[int]) -> list[Arrivals[Row]]:
    """Return rows as several batches."""
    edges = [0, *sorted({min(edge, len(arrivals)) for edge in at}), len(arrivals)]

    def part(column: Sequence[Any] | None, start: int, stop: int) -> Any:
        return None if column is None else column[start:stop]

    names = ("rows", "times", "triggers", "begins", "emits", "keys")
    return [
        replace(arrivals, **{name: part(getattr(arrivals, name), a, b) for name in names})
        for a, b in pairwise(edges)
    ]
