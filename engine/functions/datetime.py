"""Date and time functions (function catalogue, section 5).

A time is epoch milliseconds, text in ISO 8601 or a datetime; see ``engine.functions.timestamp``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime
from functools import lru_cache
from typing import Any

from engine.api import Context
from engine.errors import ConfigError, RowError
from engine.functions.calendar_units import (
    Duration,
    difference,
    last_day_of_month,
    truncated,
    unit_named,
)
from engine.functions.time_pattern import DAYS, MONTHS, time_pattern
from engine.functions.timestamp import from_epoch_ms, to_datetime
from engine.sql.functions import Filled, scalar

_MOST_FRACTION_DIGITS = 6
_DAY_ONE = date(1970, 1, 1).toordinal()


# -- checks when a rule is planned ---------------------------------------------------------------


def check_times(args: Sequence[object]) -> None:
    """Raise ``ConfigError`` for a time that is written as something else than text."""
    _refuse_booleans(args)
    if any(isinstance(value, (int, float)) for value in args):
        raise ConfigError(
            "a time is written as text in ISO 8601",
            hint="to_timestamp makes one of epoch milliseconds",
        )


def _refuse_booleans(args: Sequence[object]) -> None:
    if any(isinstance(value, bool) for value in args):
        raise ConfigError("a boolean is no time", hint="give epoch milliseconds or ISO 8601 text")


def _checked_by(
    check: Callable[[str], object],
    index: int,
    check_others: Callable[[Sequence[object]], None] = check_times,
) -> Callable[[Sequence[object]], None]:
    """Return a validation that gives a literal text to ``check``, which raises if it's wrong."""

    def validate(args: Sequence[object]) -> None:
        check_others(args)
        text = args[index] if index < len(args) else ...
        if isinstance(text, str):
            try:
                check(text)
            except (OverflowError, ValueError) as error:
                raise ConfigError(str(error)) from None

    return validate


def _check_precision(args: Sequence[object]) -> None:
    precision = args[0] if args else 0
    if isinstance(precision, (int, float)) and not 0 <= precision <= _MOST_FRACTION_DIGITS:
        raise ConfigError(f"the precision must be 0 to {_MOST_FRACTION_DIGITS}")


# -- the clock -----------------------------------------------------------------------------------


@scalar(
    "current_timestamp",
    "local_time",
    "local_timestamp",
    example="now()",
    validate=_check_precision,
    fixed=["precision"],
)
def now(ctx: Context, precision: int = 0) -> str:
    """Return the current date and time as text, with up to 6 digits of the second's fraction."""
    return _now(ctx, precision)


@scalar("current_time", example="cur_time(3)", validate=_check_precision, fixed=["precision"])
def cur_time(ctx: Context, precision: int = 0) -> str:
    """Return the current time of the day as text, with up to 6 digits of the second's fraction."""
    return _now(ctx, precision)[11:]


@scalar("current_date", example="cur_date()")
def cur_date(ctx: Context) -> str:
    """Return the current date as text."""
    return _now(ctx)[:10]


def _now(ctx: Context, precision: int = 0) -> str:
    return _plain_text(from_epoch_ms(ctx.clock.now()), int(precision))


def _plain_text(moment: datetime, precision: int = 0) -> str:
    """Return ``yyyy-MM-dd HH:mm:ss``, with ``precision`` digits of the fraction."""
    text = moment.replace(tzinfo=None).isoformat(" ", "microseconds")
    return text[: 20 + precision] if precision else text[:19]


# -- parts of a time -----------------------------------------------------------------------------


@scalar(example="year('2024-02-29') = 2024", validate=check_times)
def year(t: Any) -> int:
    """Return the year of a time."""
    return to_datetime(t, "year").year


@scalar(example="quarter('2024-05-01') = 2", validate=check_times)
def quarter(t: Any) -> int:
    """Return the quarter of the year, 1 to 4."""
    return (to_datetime(t, "quarter").month + 2) // 3


@scalar(example="month('2024-02-29') = 2", validate=check_times)
def month(t: Any) -> int:
    """Return the month, 1 to 12."""
    return to_datetime(t, "month").month


@scalar(example="week('2024-02-29') = 9", validate=check_times)
def week(t: Any) -> int:
    """Return the week of the year by ISO 8601, 1 to 53; it begins on Monday."""
    return to_datetime(t, "week").isocalendar().week


@scalar("day", example="day_of_month('2024-02-29') = 29", validate=check_times)
def day_of_month(t: Any) -> int:
    """Return the day of the month, 1 to 31."""
    return to_datetime(t, "day_of_month").day


@scalar(example="day_of_week('2024-02-29') = 4", validate=check_times)
def day_of_week(t: Any) -> int:
    """Return the day of the week, 0 for Sunday to 6 for Saturday."""
    return to_datetime(t, "day_of_week").isoweekday() % 7


@scalar(example="day_of_year('2024-02-29') = 60", validate=check_times)
def day_of_year(t: Any) -> int:
    """Return the day of the year, 1 to 366."""
    return to_datetime(t, "day_of_year").timetuple().tm_yday


@scalar(example="hour('2024-02-29 13:45:56') = 13", validate=check_times)
def hour(t: Any) -> int:
    """Return the hour, 0 to 23."""
    return to_datetime(t, "hour").hour


@scalar(example="minute('2024-02-29 13:45:56') = 45", validate=check_times)
def minute(t: Any) -> int:
    """Return the minute, 0 to 59."""
    return to_datetime(t, "minute").minute


@scalar(example="second('2024-02-29 13:45:56') = 56", validate=check_times)
def second(t: Any) -> int:
    """Return the second, 0 to 59."""
    return to_datetime(t, "second").second


@scalar(example="microsecond('2024-02-29 13:45:56.789') = 789000", validate=check_times)
def microsecond(t: Any) -> int:
    """Return the microseconds within the second, 0 to 999999."""
    return to_datetime(t, "microsecond").microsecond


@scalar(example="day_name('2024-02-29') = 'Thursday'", validate=check_times)
def day_name(t: Any) -> str:
    """Return the English name of the day of the week."""
    return DAYS[to_datetime(t, "day_name").weekday()]


@scalar(example="month_name('2024-02-29') = 'February'", validate=check_times)
def month_name(t: Any) -> str:
    """Return the English name of the month."""
    return MONTHS[to_datetime(t, "month_name").month - 1]


@scalar(example="last_day('2024-02-05') = '2024-02-29'", validate=check_times)
def last_day(t: Any) -> str:
    """Return the date of the last day of the month as text."""
    moment = to_datetime(t, "last_day")
    return f"{_plain_text(moment)[:7]}-{last_day_of_month(moment)}"


# -- text and numbers ----------------------------------------------------------------------------


@scalar(
    example="format_time('2024-02-29 13:45:56.789', 'yyyy/M/d H:mm:ss.SSS') "
    "= '2024/2/29 13:45:56.789'",
    validate=_checked_by(time_pattern, 1),
)
def format_time(t: Filled, pattern: str) -> str:
    """Return a time as text by a pattern such as ``yyyy-MM-dd HH:mm:ss.SSS``."""
    moment = to_datetime(t, "format_time")
    try:
        return time_pattern(pattern).format(moment)
    except ValueError as error:
        raise RowError(f"format_time: {error}") from None


@scalar(
    example="to_timestamp('29.02.2024', 'dd.MM.yyyy') = to_timestamp('2024-02-29')",
    validate=_checked_by(time_pattern, 1, _refuse_booleans),
)
def to_timestamp(t: Filled, pattern: str = "") -> datetime:
    """Return a value as a datetime: epoch milliseconds, ISO 8601, or text that fits a pattern."""
    if not pattern or not isinstance(t, str):
        return to_datetime(t, "to_timestamp")
    try:
        return time_pattern(pattern).parse(t)
    except ValueError as error:
        raise RowError(f"to_timestamp: {error}") from None


@scalar(example="from_days(19783) = '2024-02-29'")
def from_days(days: int) -> str:
    """Return the date of a day as text, where day 1 is 1970-01-01."""
    try:
        return date.fromordinal(_DAY_ONE + int(days) - 1).isoformat()
    except (OverflowError, ValueError):
        raise RowError(f"from_days: day {days} is outside the years 1 to 9999") from None


@scalar(example="from_unix_time(1709214356) = '2024-02-29 13:45:56'")
def from_unix_time(seconds: int) -> str:
    """Return the date and time that is so many seconds after the epoch as text."""
    try:
        return _plain_text(from_epoch_ms(int(seconds) * 1000))
    except ValueError as error:
        raise RowError(f"from_unix_time: {error}") from None


# -- arithmetic ----------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def _duration(text: str) -> Duration:
    return Duration(text)


@scalar(
    example="date_calc('2024-02-28 23:00:00', '1d1h30m') = to_timestamp('2024-03-01 00:30')",
    validate=_checked_by(_duration, 1),
    fixed=["duration"],
)
def date_calc(t: Any, duration: str) -> datetime:
    """Return a time plus a duration such as ``1h30m``, ``-2d`` or ``1mo``.

    Units are ns, us, ms, s, m, h, d, w, mo (months) and y. The duration must be a literal.
    """
    moment = to_datetime(t, "date_calc")
    try:
        return _duration(duration).after(moment)
    except (OverflowError, ValueError) as error:
        raise RowError(f"date_calc: {error}") from None


@scalar(
    example="date_diff('2024-02-28', '2024-03-01', 'days') = 2",
    validate=_checked_by(unit_named, 2),
)
def date_diff(start: Any, end: Any, unit: str = "milliseconds") -> int:
    """Return the time from start to end in whole units, milliseconds unless another is given.

    Units are milliseconds, seconds, minutes, hours, days, weeks, months, quarters and years.
    """
    moments = to_datetime(start, "date_diff"), to_datetime(end, "date_diff")
    return difference(*moments, _unit("date_diff", unit))


@scalar(
    example="date_trunc('hour', '2024-02-29 13:45:56') = to_timestamp('2024-02-29 13:00')",
    validate=_checked_by(unit_named, 0),
)
def date_trunc(unit: str, t: Any) -> datetime:
    """Return the start of the hour, day, week, month … that a time is in."""
    return truncated(to_datetime(t, "date_trunc"), _unit("date_trunc", unit))


def _unit(function: str, name: str) -> str:
    try:
        return unit_named(name)
    except ValueError as error:
        raise RowError(f"{function}: {error}") from None
