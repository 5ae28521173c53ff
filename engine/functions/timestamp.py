"""Points in time from values: epoch milliseconds, datetimes, text (catalogue, 1.5, 20 and 21.31).

Text is ISO 8601, also with blanks, slashes or dots between its parts and with single digits, or a
date as mail, HTTP and the C library write it. Nothing else is guessed at.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from email.utils import parsedate_tz
from typing import Any

from engine.errors import RowError
from engine.sql.kinds import kind_of

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_LONGEST = 64  # characters; no way to write a time is longer
_YEAR_FIRST = re.compile(
    r"(\d{4})(?:([-/.])(\d{1,2})(?:\2(\d{1,2})"
    r"(?:[T ](\d{1,2})(?::(\d{1,2})(?::(\d{1,2})(?:[.,](\d{1,9}))?)?)?"
    r" ?(?:(Z|UTC|GMT)|([+-])(\d\d):?(\d\d)?(?: [A-Z+-][A-Z\d+-]{1,5})?)?)?)?)?",
    re.ASCII,
)
_NAMED_MONTH = re.compile(
    r"(?:[A-Za-z]{3,9}, ?)?\d{1,2}[ -][A-Za-z]{3}[ -]\d{2,4} \d\d:\d\d(?::\d\d)?"
    r"(?: (?:[+-]\d{4}|[A-Z]{1,5}))?"
    r"|[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4}",
    re.ASCII,
)


def configured_zone() -> tzinfo:
    """Return the time zone of times that don't say theirs."""
    return UTC


def to_datetime(value: Any, function: str) -> datetime:
    """Return a value as a point in time: epoch milliseconds, text or already a datetime.

    Raises:
        RowError: it is none; ``function`` is who asks.
    """
    kind = type(value)
    try:
        if kind is int or kind is float:
            return from_epoch_ms(value)
        if kind is str:
            return parse(value)
    except (OverflowError, ValueError) as error:
        raise RowError(f"{function}: {error}") from None
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=configured_zone())
    raise RowError(f"{function}: {kind_of(value)} can't be read as a time")


def from_epoch_ms(value: float) -> datetime:
    """Return the time that is so many milliseconds after the epoch, fractions cut off.

    Raises:
        ValueError: it is outside the years 1 to 9999.
    """
    try:
        moment = _EPOCH + timedelta(milliseconds=int(value))
        zone = configured_zone()
        return moment if zone is UTC else moment.astimezone(zone)
    except (OverflowError, ValueError):
        raise ValueError(f"{value} ms is outside the years 1 to 9999") from None


def to_epoch_ms(moment: datetime) -> int:
    """Return the whole milliseconds from the epoch to a time."""
    return (moment - _EPOCH) // _MILLISECOND


def parse(text: str) -> datetime:
    """Return the time that a text says.

    Raises:
        ValueError: it says none.
    """
    moment = None
    if len(text) <= _LONGEST:
        moment = _year_first(text) or _compact(text) or _named_month(text)
    if moment is None:
        shown = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
        raise ValueError(f"{shown!r} is not a time")
    return moment if moment.tzinfo else moment.replace(tzinfo=configured_zone())


def _year_first(text: str) -> datetime | None:
    match = _YEAR_FIRST.fullmatch(text)
    if match is None:
        return None
    year, _, month, day, hour, minute, second, fraction, utc, sign, hours, minutes = match.groups()
    try:
        return datetime(
            int(year),
            int(month or 1),
            int(day or 1),
            int(hour or 0),
            int(minute or 0),
            int(second or 0),
            int((fraction or "")[:6].ljust(6, "0")),
            UTC if utc else fixed_zone(sign, hours, minutes) if sign else None,
        )
    except ValueError:
        return None


def fixed_zone(sign: str, hours: str, minutes: str | None) -> tzinfo:
    """Return the zone of an offset such as +05:30.

    Raises:
        ValueError: it is a day or more.
    """
    offset = timedelta(hours=int(hours), minutes=int(minutes or 0))
    return timezone(-offset if sign == "-" else offset) if offset else UTC


def _compact(text: str) -> datetime | None:
    """Read ISO 8601 without separators, or with weeks: 20240229T134556Z, 2024-W09-4."""
    if text[8:9] not in ("", "T", "-") and text[10:11] != "T":
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _named_month(text: str) -> datetime | None:
    """Read RFC 822, 850 and 1123 dates and those of the C library."""
    parts = parsedate_tz(text) if _NAMED_MONTH.fullmatch(text) else None
    if parts is None:
        return None
    offset = parts[9]
    try:
        zone = None if offset is None else timezone(timedelta(seconds=offset)) if offset else UTC
        return datetime(*parts[:6], tzinfo=zone)
    except ValueError:
        return None
