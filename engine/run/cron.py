"""Cron expressions: five fields, ``@daily`` and its like, ``@every 10m``."""

from __future__ import annotations

from datetime import datetime, tzinfo
from typing import Protocol

from cronsim import CronSim, CronSimError

from engine.config.zone import named_zone
from engine.duration import parse_duration
from engine.errors import ConfigError

_DESCRIPTORS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_ZONE_KEYS = ("TZ=", "CRON_TZ=")
_FIELDS = "minute, hour, day of month, month, day of week"
_SHORTEST = 1_000  # milliseconds; a tick is a start of a rule, not of a loop


class Ticks(Protocol):
    """Points in time, in epoch milliseconds."""

    def after(self, now: int) -> int | None:
        """Return the first one later than ``now``, None if there is none."""

    def until(self, now: int) -> int | None:
        """Return the last one that is not later than ``now``, None if there is none."""


class Fields:
    """The ticks of the five fields in a time zone.

    As in cron, a time that doesn't exist on the day when clocks go forward is that much later, and
    one that comes twice when they go back counts once.
    """

    def __init__(self, expression: str, zone: tzinfo) -> None:
        self._expression = expression
        self._zone = zone
        CronSim(expression, datetime.fromtimestamp(0, zone))

    def after(self, now: int) -> int | None:
        return self._nearest(now // 1000, reverse=False)

    def until(self, now: int) -> int | None:
        return self._nearest(now // 1000 + 1, reverse=True)

    def _nearest(self, second: int, *, reverse: bool) -> int | None:
        start = datetime.fromtimestamp(second, self._zone)
        try:
            found = next(CronSim(self._expression, start, reverse=reverse))
        except StopIteration:  # such as 30 February
            return None
        return int(found.timestamp()) * 1000


class Every:
    """Ticks at equal distances, the first one ``interval`` milliseconds after ``start``."""

    def __init__(self, interval: int, start: int) -> None:
        self._interval = interval
        self._start = start

    def after(self, now: int) -> int | None:
        return self._start + max(1, self._passed(now) + 1) * self._interval

    def until(self, now: int) -> int | None:
        passed = self._passed(now)
        return self._start + passed * self._interval if passed >= 1 else None

    def _passed(self, now: int) -> int:
        return (now - self._start) // self._interval


def parse_cron(text: str, zone: tzinfo, start: int) -> Ticks:
    """Return the ticks of an expression; those of ``@every`` are counted from ``start``.

    ``TZ=Asia/Tokyo`` or ``CRON_TZ=…`` before the fields names another zone than ``zone``.

    Raises:
        ConfigError: it isn't an expression.
    """
    zone, fields = _zone_of(text.strip(), zone)
    if fields.startswith("@every"):
        return Every(_interval(fields.removeprefix("@every").strip()), start)
    if fields.startswith("@"):
        if fields.lower() not in _DESCRIPTORS:
            names = ", ".join(sorted(_DESCRIPTORS))
            raise ConfigError(f"unknown schedule {fields!r}", hint=f"use {names} or '@every 10m'")
        fields = _DESCRIPTORS[fields.lower()]
    parts = ["*" if part == "?" else part for part in fields.split()]
    if len(parts) != 5:
        raise ConfigError(
            f"{text!r} has {len(parts)} fields, cron needs 5", hint=f"write {_FIELDS}"
        )
    try:
        return Fields(" ".join(parts), zone)
    except CronSimError as error:
        raise ConfigError(f"{text!r} is no cron expression: {error}", hint=_FIELDS) from None


def _zone_of(text: str, zone: tzinfo) -> tuple[tzinfo, str]:
    first, _, rest = text.partition(" ")
    for key in _ZONE_KEYS:
        if first.startswith(key):
            name = first.removeprefix(key)
            return named_zone(name), rest.strip()
    return zone, text


def _interval(text: str) -> int:
    interval = int(parse_duration(text) * 1000)
    if interval < _SHORTEST:
        raise ConfigError(f"@every {text} is too often", hint="write at least 1s")
    return interval
