"""The aggregates over all values of a group at once, in the plainest way."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

from engine.errors import RowError

Values = Sequence[Any]
Arguments = Sequence[Sequence[Any]]
"""The arguments of a call for each row of the group."""


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _total(numbers: Values) -> int | float | None:
    if not numbers:
        return None
    exact = sum(map(Fraction, numbers))
    if all(isinstance(number, int) for number in numbers) and -(2**63) <= exact < 2**63:
        return int(exact)
    return float(exact)


def _mean(numbers: Values) -> float | None:
    return float(sum(map(Fraction, numbers)) / len(numbers)) if numbers else None


def _extreme(choose: Callable[[Values], Any]) -> Callable[[Values], Any]:
    def extreme(values: Values) -> Any:
        if not values:
            return None
        if all(map(_is_number, values)) or all(isinstance(value, str) for value in values):
            return choose(values)
        raise RowError("values without a common order")

    return extreme


def _median(numbers: Values) -> int | float | None:
    return statistics.median(numbers) if numbers else None


def _variance(numbers: Values, divisor: int) -> float | None:
    if divisor < 1:
        return None
    exact = list(map(Fraction, numbers))
    mean = sum(exact) / len(exact)
    return float(sum((number - mean) ** 2 for number in exact) / divisor)


def _root(number: float | None) -> float | None:
    return None if number is None else math.sqrt(number)


def _continuous(numbers: Values, share: float) -> float:
    ordered = sorted(numbers)
    place = share * (len(ordered) - 1)
    below, above = float(ordered[math.floor(place)]), float(ordered[math.ceil(place)])
    return below + (above - below) * (place - math.floor(place))


def _nearest(numbers: Values, share: float) -> float:
    return float(sorted(numbers)[max(math.ceil(len(numbers) * share) - 1, 0)])


def _percentile(choose: Callable[[Values, float], float]) -> Callable[[Arguments], Any]:
    def percentile(rows: Arguments) -> float | None:
        numbers = [row[0] for row in rows if row[0] is not None]
        shares = [row[1] for row in rows if row[1] is not None]
        if not numbers or not shares:
            return None
        if not 0 <= shares[0] <= 1:
            raise RowError("not a share")
        return choose(numbers, shares[0])

    return percentile


def _merged(values: Values) -> dict[str, Any] | None:
    objects = [value for value in values if isinstance(value, dict)]
    return {name: value for item in objects for name, value in item.items()} if objects else None


def _last(rows: Arguments) -> Any:
    values = [value for value, ignore_null in rows if value is not None or not ignore_null]
    return values[-1] if values else None


def _present(function: Callable[[Values], Any]) -> Callable[[Arguments], Any]:
    return lambda rows: function([row[0] for row in rows if row[0] is not None])


AGGREGATES: dict[str, Callable[[Arguments], Any]] = {
    "count": _present(len),
    "sum": _present(_total),
    "avg": _present(_mean),
    "max": _present(_extreme(max)),
    "min": _present(_extreme(min)),
    "median": _present(_median),
    "var": _present(lambda values: _variance(values, len(values))),
    "vars": _present(lambda values: _variance(values, len(values) - 1)),
    "stddev": _present(lambda values: _root(_variance(values, len(values)))),
    "stddevs": _present(lambda values: _root(_variance(values, len(values) - 1))),
    "percentile_cont": _percentile(_continuous),
    "percentile": _percentile(_continuous),
    "percentile_disc": _percentile(_nearest),
    "collect": lambda rows: [row[0] for row in rows] or None,
    "merge_agg": _present(_merged),
    "last_value": _last,
}
"""What a call gives for the arguments of the rows of its group, by its name."""

NUMERIC = frozenset(
    {"sum", "avg", "median", "var", "vars", "stddev", "stddevs"}
    | {"percentile_cont", "percentile", "percentile_disc"}
)
"""Those whose arguments must be numbers; a row where one isn't is an error."""


def check_row(name: str, arguments: Values) -> None:
    """Raise RowError if an aggregate can't take the arguments of a row."""
    if name in NUMERIC and not all(value is None or _is_number(value) for value in arguments):
        raise RowError(f"{name} takes numbers")
