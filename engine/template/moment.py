"""Times as text in Go's way: by the picture of Monday, 2 January 2006, 15:04:05 -0700."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from engine.functions.time_pattern import DAYS, MONTHS
from engine.functions.timestamp import to_datetime
from engine.template.values import shown

_PART = re.compile(
    r"2006|06|January|Jan|Monday|Mon|MST|01|002|02|03|04|05|15|_2|PM|pm"
    r"|Z07:00|Z0700|-07:00|-0700|-07|[.,](?:0+|9+)(?!\d)|[12345]"
)
_LONGEST = 1000


def moment(value: Any) -> datetime:
    """Return a value as a time: a time, text in ISO 8601, or seconds since the epoch."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return datetime.fromtimestamp(0, UTC) + timedelta(seconds=value)
    return to_datetime(value, "date")


def zone(name: str) -> tzinfo:
    """Return a time zone by its name; ``ValueError`` if there is none."""
    if name in ("", "UTC", "Local"):
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"there is no time zone {shown(name)}") from None


def written(when: datetime, layout: str) -> str:
    """Return a time in the form that ``layout`` gives to the picture's time."""
    if len(layout) > _LONGEST:
        raise ValueError(f"a layout of more than {_LONGEST} characters")
    return _PART.sub(lambda found: _written(when, found[0]), layout)


def _written(when: datetime, part: str) -> str:
    if part[0] in ".,":
        fraction = f"{when.microsecond:06d}000"[: len(part) - 1].ljust(len(part) - 1, "0")
        if part[1] == "9":
            fraction = fraction.rstrip("0")
        return f"{part[0]}{fraction}" if fraction else ""
    return _PARTS[part](when)


def _offset(when: datetime, separator: str, *, minutes: bool = True, zulu: bool = False) -> str:
    seconds = int((when.utcoffset() or timedelta()).total_seconds())
    if zulu and seconds == 0:
        return "Z"
    hours, rest = divmod(abs(seconds) // 60, 60)
    sign = "-" if seconds < 0 else "+"
    return f"{sign}{hours:02d}{separator}{rest:02d}" if minutes else f"{sign}{hours:02d}"


_PARTS: dict[str, Callable[[datetime], str]] = {
    "2006": lambda when: f"{when.year:04d}",
    "06": lambda when: f"{when.year % 100:02d}",
    "January": lambda when: MONTHS[when.month - 1],
    "Jan": lambda when: MONTHS[when.month - 1][:3],
    "01": lambda when: f"{when.month:02d}",
    "1": lambda when: str(when.month),
    "Monday": lambda when: DAYS[when.weekday()],
    "Mon": lambda when: DAYS[when.weekday()][:3],
    "02": lambda when: f"{when.day:02d}",
    "_2": lambda when: f"{when.day:2d}",
    "2": lambda when: str(when.day),
    "002": lambda when: f"{when.timetuple().tm_yday:03d}",
    "15": lambda when: f"{when.hour:02d}",
    "03": lambda when: f"{when.hour % 12 or 12:02d}",
    "3": lambda when: str(when.hour % 12 or 12),
    "04": lambda when: f"{when.minute:02d}",
    "4": lambda when: str(when.minute),
    "05": lambda when: f"{when.second:02d}",
    "5": lambda when: str(when.second),
    "PM": lambda when: "PM" if when.hour >= 12 else "AM",
    "pm": lambda when: "pm" if when.hour >= 12 else "am",
    "MST": lambda when: when.tzname() or "UTC",
    "Z07:00": lambda when: _offset(when, ":", zulu=True),
    "Z0700": lambda when: _offset(when, "", zulu=True),
    "-07:00": lambda when: _offset(when, ":"),
    "-0700": lambda when: _offset(when, ""),
    "-07": lambda when: _offset(when, "", minutes=False),
}
