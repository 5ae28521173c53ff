"""Calendar arithmetic: units of time, durations to add, differences (catalogue, 5 and 21.29)."""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from engine.functions.timestamp import to_epoch_ms

_NANOSECONDS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_DAYS = {"d": 1, "w": 7}
_MONTHS = {"mo": 1, "y": 12}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|mo|s|m|h|d|w|y)", re.ASCII)
_LONGEST = 100  # characters of a duration

_MILLISECONDS = {
    "millisecond": 1,
    "second": 1_000,
    "minute": 60_000,
    "hour": 3_600_000,
    "day": 86_400_000,
    "week": 604_800_000,
}
_UNIT_MONTHS = {"month": 1, "quarter": 3, "year": 12}
UNITS = (*_MILLISECONDS, *_UNIT_MONTHS)
"""Names of the units of time; each may have an s at its end."""


def unit_named(name: str) -> str:
    """Return the unit of a name in any case, singular or plural.

    Raises:
        ValueError: there is no such unit.
    """
    unit = name.lower().removesuffix("s")
    if unit not in UNITS:
        raise ValueError(f"unknown unit {name[:40]!r}; it can be {', '.join(UNITS)}")
    return unit


class Duration:
    """Months, days and time to add to a time.

    Text is a sequence of numbers with units, after an optional sign: ``1h30m``, ``-2d``. Months
    (mo, y), weeks and days go by the calendar and must be whole; the other units are exact.

    Raises:
        ValueError: the text is no duration.
    """

    def __init__(self, text: str) -> None:
        self._months = 0
        self._days = 0
        nanoseconds = Decimal(0)
        sign, parts = _signed_parts(text)
        for number, unit in parts:
            if unit in _NANOSECONDS:
                nanoseconds += number * _NANOSECONDS[unit]
            elif number != number.to_integral_value():
                raise ValueError(f"{unit} takes a whole number, as in 1{unit}")
            else:
                self._days += sign * int(number) * _DAYS.get(unit, 0)
                self._months += sign * int(number) * _MONTHS.get(unit, 0)
        self._time = timedelta(microseconds=sign * (int(nanoseconds) // 1000))

    def after(self, moment: datetime) -> datetime:
        """Return the time that is this long after ``moment``, in its zone.

        Raises:
            ValueError, OverflowError: that is outside the years 1 to 9999.
        """
        if self._months:
            moment = _plus_months(moment, self._months)
        moment += timedelta(days=self._days)
        return (moment.astimezone(UTC) + self._time).astimezone(moment.tzinfo)


def _signed_parts(text: str) -> tuple[int, list[tuple[Decimal, str]]]:
    body = text.removeprefix("-")
    sign = -1 if body != text else 1
    if body[:1] in ("+", "-"):
        sign = -sign if body[0] == "-" else sign
        body = body[1:]
    parts: list[tuple[Decimal, str]] = []
    position = 0 if body != "0" else 1
    while position < len(body) <= _LONGEST and (match := _PART.match(body, position)):
        parts.append((Decimal(match[1]), match[2]))
        position = match.end()
    if position < len(body) or not body:
        raise ValueError(f"{text[:_LONGEST]!r} is not a duration such as 1h30m or 2d")
    return sign, parts


def _plus_months(moment: datetime, months: int) -> datetime:
    """Return the same day some months later, the last one of a shorter month."""
    year, month = divmod(moment.year * 12 + moment.month - 1 + months, 12)
    if not 1 <= year <= 9999:
        raise ValueError(f"year {year} is out of range")
    day = min(moment.day, calendar.monthrange(year, month + 1)[1])
    return moment.replace(year=year, month=month + 1, day=day)


def last_day_of_month(moment: datetime) -> int:
    """Return the number of days in the month of a time."""
    return calendar.monthrange(moment.year, moment.month)[1]


def difference(start: datetime, end: datetime, unit: str) -> int:
    """Return the whole units from start to end, towards zero; months go by start's zone."""
    if unit in _UNIT_MONTHS:
        months = _whole_months(start, end.astimezone(start.tzinfo))
        return int(months / _UNIT_MONTHS[unit])
    milliseconds = to_epoch_ms(end) - to_epoch_ms(start)
    count = abs(milliseconds) // _MILLISECONDS[unit]
    return count if milliseconds >= 0 else -count


def _whole_months(start: datetime, end: datetime) -> int:
    if end < start:
        return -_whole_months(end, start)
    months = (end.year - start.year) * 12 + end.month - start.month
    return months - (_plus_months(start, months) > end)


def truncated(moment: datetime, unit: str) -> datetime:
    """Return the start of the unit that a time is in; a week begins on Monday."""
    return _TRUNCATIONS[unit](moment)


def _start_of_day(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


def _start_of_week(moment: datetime) -> datetime:
    return _start_of_day(moment) - timedelta(days=moment.weekday())


def _start_of_quarter(moment: datetime) -> datetime:
    return _start_of_day(moment).replace(month=(moment.month - 1) // 3 * 3 + 1, day=1)


_TRUNCATIONS: dict[str, Callable[[datetime], datetime]] = {
    "millisecond": lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000),
    "second": lambda moment: moment.replace(microsecond=0),
    "minute": lambda moment: moment.replace(second=0, microsecond=0),
    "hour": lambda moment: moment.replace(minute=0, second=0, microsecond=0),
    "day": _start_of_day,
    "week": _start_of_week,
    "month": lambda moment: _start_of_day(moment).replace(day=1),
    "quarter": _start_of_quarter,
    "year": lambda moment: _start_of_day(moment).replace(month=1, day=1),
}
