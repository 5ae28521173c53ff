"""Which rows are in which window, and when it fires (language specification, section 4).

All rows are known beforehand, so each window just says which of them it holds. Where the reference
is wrong (8.2, items 7, 8 and 9) this is what it should do.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from engine.sql import ast
from tests.conformance.model.rows import epoch

UNIT = {"MS": 1, "SS": 1_000, "MI": 60_000, "HH": 3_600_000, "DD": 86_400_000}
"""Units of windows, in milliseconds."""
_ENCLOSING = {"MS": "SS", "SS": "MI", "MI": "HH", "HH": "DD", "DD": "DD"}
TIMED = frozenset({"TUMBLING", "HOPPING"})
"""Windows that fire by time alone, rows or not."""


@dataclass(frozen=True, slots=True)
class Entering:
    """A row that enters a window."""

    number: int
    """Which row of the stream it is."""
    time: int
    """Its timestamp, epoch ms."""
    at: int
    """When it gets to the window, ms after the start."""
    cause: int
    """The message that brings it there."""
    triggers: bool = True
    begins: bool = False
    emits: bool | None = None
    partition: Hashable = ()


@dataclass(frozen=True, slots=True)
class Moment:
    """Where time stands from some instant on: that of the clock, or the watermark."""

    time: int
    at: int
    cause: int = -1
    """The message that brought it; -1: none, a timer was due."""


@dataclass(frozen=True, slots=True)
class Firing:
    """One window that fires."""

    at: int
    cause: int
    start: int
    end: int
    rows: tuple[int, ...] = ()
    is_shown: bool = True
    """False for the further ones of a run of empty windows in event time (8.2, item 8)."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """What happens to a window: the rows that enter and how time goes on."""

    rows: Sequence[Entering]
    moments: Sequence[Moment] = ()
    """In event time: each time the watermark moved."""
    opened: int = 0
    until: int = 0
    """In processing time: when the rule begins and when all ends, epoch ms."""
    is_event_time: bool = False

    def reached(self, time: int) -> Moment | None:
        """Return when a time is reached, None if it never is."""
        if self.is_event_time:
            return next((moment for moment in self.moments if moment.time >= time), None)
        return Moment(time, time - epoch(0)) if time <= self.until else None


def firings(window: ast.Window, timeline: Timeline) -> list[Firing]:
    """Return the windows that fire, in their order."""
    kind, lengths = window.kind, window.lengths
    if kind == "TUMBLING":
        return _shown(timeline, list(_by_time(timeline, window.unit, lengths[0], lengths[0])))
    if kind == "HOPPING":
        return _shown(timeline, list(_by_time(timeline, window.unit, lengths[0], lengths[1])))
    if kind == "SLIDING":
        return list(_sliding(timeline, *lengths))
    if kind == "SESSION":
        return list(_sessions(timeline, window.unit, *lengths))
    if kind == "COUNT":
        return list(_counts(timeline, *lengths))
    return list(_states(timeline, has_emit=window.emit is not None))


def first_end(time: int, interval: int, unit: str) -> int:
    """Return the first multiple of the interval after ``time``, from the enclosing unit on."""
    origin = start_of_unit(time, unit)
    return origin + ((time - origin) // interval + 1) * interval


def start_of_unit(time: int, unit: str) -> int:
    """Return where the unit began that encloses a window's unit."""
    return time - time % UNIT[_ENCLOSING[unit]]


def _by_time(timeline: Timeline, unit: str, length: int, hop: int) -> Iterator[Firing]:
    rows = timeline.rows
    if timeline.is_event_time and not rows:
        return
    end = first_end(rows[0].time if timeline.is_event_time else timeline.opened, hop, unit)
    while (moment := timeline.reached(end)) is not None:
        inside = tuple(row.number for row in rows if end - length <= row.time < end)
        yield Firing(moment.at, moment.cause, end - length, end, inside)
        end += hop


def _shown(timeline: Timeline, found: list[Firing]) -> list[Firing]:
    if not timeline.is_event_time:
        return found
    return [
        replace(firing, is_shown=bool(firing.rows) or not index or bool(found[index - 1].rows))
        for index, firing in enumerate(found)
    ]


def _sliding(timeline: Timeline, length: int, delay: int) -> Iterator[Firing]:
    for place, row in enumerate(timeline.rows):
        if not row.triggers:
            continue
        start = row.time - length
        if not delay:
            before = timeline.rows[: place + 1]
            inside = tuple(other.number for other in before if other.time >= start)
            yield Firing(row.at, row.cause, start, row.time, inside)
            continue
        end = row.time + delay
        moment = timeline.reached(end)
        if moment is not None:
            inside = tuple(row.number for row in timeline.rows if start <= row.time < end)
            yield Firing(moment.at, moment.cause, start, end, inside)


def _counts(timeline: Timeline, size: int, step: int) -> Iterator[Firing]:
    rows = timeline.rows
    for last in range(size, len(rows) + 1):
        if last % step == 0:
            inside = rows[last - size : last]
            numbers = tuple(row.number for row in inside)
            newest = inside[-1]
            yield Firing(newest.at, newest.cause, inside[0].time, newest.time, numbers)


@dataclass(slots=True)
class _Open:
    """A session or state window that is open."""

    start: int
    first: int
    last: int
    rows: list[int] = field(default_factory=list)


def _sessions(timeline: Timeline, unit: str, longest: int, timeout: int) -> Iterator[Firing]:
    if not timeline.rows:
        return
    grace = 1 if timeline.is_event_time else 0  # a gap must be longer than the timeout
    opened = timeline.rows[0].time if timeline.is_event_time else timeline.opened
    tick = first_end(opened, longest, unit)
    cut_at: int | None = None
    session: _Open | None = None

    def over(session: _Open) -> tuple[int, int, bool]:
        """Return when a session is over, its end and whether it is cut off."""
        cut = tick
        while cut < session.first + longest + grace:
            cut += longest
        timeout_at = session.last + timeout
        is_cut = cut < timeout_at + grace
        return (cut, cut, True) if is_cut else (timeout_at + grace, timeout_at, False)

    def closed(session: _Open) -> Iterator[Firing]:
        due, end, _ = over(session)
        moment = timeline.reached(due)
        if moment is not None:
            yield Firing(moment.at, moment.cause, session.start, end, tuple(session.rows))

    for row in timeline.rows:
        if session is not None and row.time >= over(session)[0]:
            yield from closed(session)
            _, end, is_cut = over(session)
            cut_at = end if is_cut else None
            session = None
        if session is None:
            start = row.time if cut_at is None else cut_at
            session = _Open(start, row.time, row.time)
        session.last = row.time
        session.rows.append(row.number)
    if session is not None:
        yield from closed(session)


def _states(timeline: Timeline, *, has_emit: bool) -> Iterator[Firing]:
    open_windows: dict[Hashable, _Open] = {}
    for row in timeline.rows:
        found = open_windows.get(row.partition)
        is_over = found is not None and (row.emits if has_emit else row.begins)
        if found is not None and (has_emit or not is_over):
            found.rows.append(row.number)
        if found is not None and is_over:
            yield Firing(row.at, row.cause, found.start, row.time, tuple(found.rows))
            del open_windows[row.partition]
        if row.begins and (found is None or (is_over and not has_emit)):
            opened = _Open(row.time, row.time, row.time, [row.number])
            open_windows[row.partition] = opened
