"""Analytic functions as functions of all rows of their partition up to the present one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from engine.errors import RowError
from tests.conformance.model.aggregates import AGGREGATES, check_row
from tests.conformance.model.scope import key_of


@dataclass(frozen=True, slots=True)
class Step:
    """The arguments of a call in one row, and whether its WHEN holds."""

    arguments: Sequence[Any]
    is_valid: bool


History = Sequence[Step]
"""The rows of the partition, the present one last."""


def _running(aggregate: str, initial: int | float) -> Callable[[History], Any]:
    def running(history: History) -> Any:
        taken: list[Any] = []
        is_active = False
        for step in history:
            value, begin, reset = (*step.arguments, True, False)[:3]
            if isinstance(value, (str, bool, list, dict)) and aggregate != "count":
                raise RowError("not a number")
            if not is_active:
                taken = []
            is_active = is_active or begin is True
            if is_active and step.is_valid:
                taken.append((value,))
            is_active = is_active and reset is not True
        result = AGGREGATES[aggregate](taken)
        if result is None:
            return initial
        return result if aggregate == "count" else float(result)

    return running


def _so_far(aggregate: str) -> Callable[[History], Any]:
    def so_far(history: History) -> Any:
        check_row(aggregate, history[-1].arguments)
        if history[-1].arguments[0] is None:
            return None
        counted = [step for step in history if step.is_valid and step.arguments[0] is not None]
        return AGGREGATES[aggregate]([step.arguments for step in counted])

    return so_far


def _had_changed(history: History) -> bool:
    """Compare the last row with the last values that counted, column by column."""
    *before, present = history
    if not present.is_valid:
        return False
    ignore_null = present.arguments[0]
    return any(
        key_of(value) != _last_counted(before, place, ignore_null=ignore_null)
        for place, value in _parts(present)
        if not (value is None and ignore_null)
    )


def _last_counted(before: History, place: Any, *, ignore_null: bool) -> Any:
    for step in reversed(before):
        value = dict(_parts(step)).get(place)
        if step.is_valid and not (value is None and ignore_null):
            return key_of(value)
    return key_of(None)


def _parts(step: Step) -> list[tuple[Any, Any]]:
    """Return what is compared, with its place: ``*`` stands for each column of the row."""
    _, *values = step.arguments
    if len(values) == 1 and isinstance(values[0], Columns):
        return list(values[0].items())
    return list(enumerate(values))


def _with_defaults(step: Step) -> tuple[Any, int, Any, bool]:
    """Return the arguments of ``lag``."""
    given = list(step.arguments)
    value, offset, default, ignore_null = given + [None, 1, None, True][len(given) :]
    return value, int(offset), default, ignore_null


def _lag(history: History) -> Any:
    _, offset, _, ignore_null = _with_defaults(history[0])
    default = _with_defaults(history[-1])[2]
    kept = [
        step.arguments[0]
        for step in history[:-1]
        if step.is_valid and not (step.arguments[0] is None and ignore_null)
    ]
    if offset == 0:
        return None
    return kept[-offset] if len(kept) >= offset else default


def _latest(history: History) -> Any:
    values = [step.arguments[0] for step in history if step.is_valid]
    known = [value for value in values if value is not None]
    default = (*history[-1].arguments, None)[1]
    return known[-1] if known else default


def _changed_col(history: History) -> Any:
    return history[-1].arguments[1] if _had_changed(history) else None


class Columns(dict[str, Any]):
    """The columns of a row, for the argument ``*``."""


TRACKERS: dict[str, Callable[[History], Any]] = {
    "acc_count": _running("count", 0),
    "acc_sum": _running("sum", 0.0),
    "acc_avg": _running("avg", 0.0),
    "acc_max": _running("max", 0.0),
    "acc_min": _running("min", 0.0),
    "had_changed": _had_changed,
    "changed_col": _changed_col,
    "lag": _lag,
    "latest": _latest,
    **{f"inc_{name}": _so_far(name) for name in ("count", "sum", "avg", "max", "min")},
    **{f"inc_{name}": _so_far(name) for name in ("merge_agg", "collect", "last_value")},
}
"""What a call gives for the rows up to the present one, by its name."""
