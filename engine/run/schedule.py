"""When a rule should run: ``cron``, ``duration`` and ``cronDatetimeRange`` as spans of time."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

from engine.config.rule import DatetimeRange, RuleDef
from engine.config.zone import named_zone
from engine.errors import ConfigError
from engine.run.cron import Ticks, parse_cron


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time in epoch milliseconds, without its end; None: it has none."""

    begin: int
    end: int | None

    def __contains__(self, at: int) -> bool:
        return self.begin <= at and (self.end is None or at < self.end)


class Schedule:
    """The spans in which a rule should run.

    With ticks and a length they begin at each tick and last that long; with ticks alone they last
    until the rule ends by itself. Ranges cut them; without ticks, the ranges are the spans.
    """

    def __init__(
        self, ticks: Ticks | None, length: int | None, ranges: Iterable[Span], armed: int
    ) -> None:
        """``length`` is in milliseconds; ticks without it count from ``armed`` on only."""
        self._ticks = ticks
        self._length = length
        self._ranges = _joined(ranges)
        self._armed = armed

    def current(self, now: int) -> Span | None:
        """Return the span that ``now`` is in, None if it is in none."""
        allowed = self._range(now)
        if allowed is None or self._ticks is None:
            return allowed
        tick = self._ticks.until(now)
        if tick is None:
            return None
        if self._length is None:
            # a tick outside of the ranges starts nothing, and neither does one long ago
            if tick < self._armed or tick not in allowed:
                return None
            return Span(tick, allowed.end)
        end = tick + self._length
        if now >= end:
            return None
        return Span(max(tick, allowed.begin), end if allowed.end is None else min(end, allowed.end))

    def next_begin(self, now: int) -> int | None:
        """Return when the next span after ``now`` begins, None if there is none."""
        at = self._candidate(now)
        while at is not None:
            span = self.current(at)
            if span is not None and span.begin == at:
                break
            at = self._candidate(at)
        return at

    def next_change(self, now: int) -> int | None:
        """Return when it may be time to start or stop, None if never again."""
        span = self.current(now)
        times = [self.next_begin(now), None if span is None else span.end]
        return min((time for time in times if time is not None), default=None)

    def _range(self, at: int) -> Span | None:
        if not self._ranges:
            return Span(0, None)
        return next((each for each in self._ranges if at in each), None)

    def _candidate(self, after: int) -> int | None:
        """Return the next tick within a range, or the begin of a range if that is sooner."""
        begins = [each.begin for each in self._ranges if each.begin > after]
        tick = None if self._ticks is None else self._ticks.after(after)
        if tick is not None and self._range(tick) is not None:
            begins.append(tick)
        return min(begins, default=None)


def schedule_of(definition: RuleDef, zone: tzinfo, now: int) -> Schedule | None:
    """Return the schedule of a rule that is started now, None if it may run at any time.

    Times without a zone are in that of the rule, else in ``zone``.

    Raises:
        ConfigError: the cron expression or the zone is wrong.
    """
    options = definition.options
    zone = zone_of(definition) or zone
    if not options.cron.strip() and not options.cron_datetime_range:
        return None
    ticks = None
    length = int((options.duration or 0) * 1000) or None
    if options.cron.strip():
        try:
            ticks = parse_cron(options.cron, zone, now)
        except ConfigError as error:
            error.message = f"rule {definition.id}: cron: {error.message}"
            error.at = error.at or definition.where.below("options").of("cron") or definition.at
            raise
    places = definition.where.below("options", "cronDatetimeRange")
    ranges = []
    for index, given in enumerate(options.cron_datetime_range):
        ranges.append(span := _span(given, zone))
        if span.end is not None and span.begin >= span.end:
            message = f"rule {definition.id}: cronDatetimeRange: the end isn't after the begin"
            raise ConfigError(message, at=places.of(index) or definition.at)
    return Schedule(ticks, length, ranges, now)


def zone_of(definition: RuleDef) -> tzinfo | None:
    """Return the time zone that a rule names, None if it doesn't.

    Raises:
        ConfigError: there is no such zone.
    """
    name = definition.options.timezone
    if not name:
        return None
    try:
        return named_zone(name)
    except ConfigError as error:
        error.message = f"rule {definition.id}: timezone: {error.message}"
        error.at = definition.where.below("options").of("timezone") or definition.at
        raise


def run_length(definition: RuleDef) -> int | None:
    """Return after how many milliseconds each run ends, None if it needn't.

    With ``cron`` the schedule says that: a run that began late must not end later.
    """
    options = definition.options
    return None if options.cron.strip() else int((options.duration or 0) * 1000) or None


def local_zone() -> tzinfo:
    """Return the time zone of the machine: ``$TZ``, ``/etc/localtime``, or else UTC."""
    name = os.environ.get("TZ", "").removeprefix(":")
    try:
        if name:
            return ZoneInfo(name)
        with Path("/etc/localtime").open("rb") as file:
            return ZoneInfo.from_file(file, key="Local")
    except (KeyError, ValueError, OSError):
        return UTC


def _joined(spans: Iterable[Span]) -> list[Span]:
    """Return spans in order, those that overlap or follow each other at once as one."""
    joined: list[Span] = []
    for span in sorted(spans, key=lambda each: each.begin):
        last = joined[-1] if joined else None
        if last is None or last.end is None or span.begin > last.end + 1:
            joined.append(span)
        elif span.end is None or span.end > last.end:
            joined[-1] = Span(last.begin, span.end)
    return joined


def _span(given: DatetimeRange, zone: tzinfo) -> Span:
    """Return a range as the span between its bounds, which are exclusive."""
    begin = _milliseconds(given.begin, given.begin_timestamp, zone)
    return Span(begin + 1, _milliseconds(given.end, given.end_timestamp, zone))


def _milliseconds(text: str, timestamp: int | None, zone: tzinfo) -> int:
    if timestamp is not None:
        return timestamp
    return int(datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=zone).timestamp()) * 1000
