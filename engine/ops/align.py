"""Where windows end: natural alignment to the calendar unit around a moment."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo

from engine.sql.names import UNIT_MILLIS

_ENCLOSING = {"DD": "DD", "HH": "DD", "MI": "HH", "SS": "MI", "MS": "SS"}


def first_end(now: int, interval: int, unit: str, zone: tzinfo = UTC) -> int:
    """Return the first end of a window strictly after ``now`` (epoch ms, like the result).

    Ends are multiples of ``interval`` (ms) from the start of the calendar unit that encloses
    ``unit`` (DD: today, HH: the day, MI: the hour, SS: the minute, MS: the second) in the zone.
    Later ends just add the interval; they are not aligned again.
    """
    origin = _floor(now, _ENCLOSING[unit], zone)
    return origin + ((now - origin) // interval + 1) * interval


def _floor(now: int, unit: str, zone: tzinfo) -> int:
    """Return the start of the calendar unit around ``now``."""
    utc = now - now % UNIT_MILLIS[unit]
    if zone is UTC:
        return utc
    try:
        local = datetime.fromtimestamp(now // 1_000, zone).replace(microsecond=0)
    except (ValueError, OverflowError, OSError):
        return utc  # a year that the calendar doesn't have
    if unit == "DD":
        local = local.replace(hour=0, minute=0, second=0, fold=0)
    elif unit == "HH":
        local = local.replace(minute=0, second=0)
    elif unit == "MI":
        local = local.replace(second=0)
    return int(local.timestamp()) * 1_000
