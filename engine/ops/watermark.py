"""Event time: rows in the order of their timestamps, and how far that order is certain."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from engine.state.frozen import Frozen

R = TypeVar("R")


@dataclass(slots=True)
class Released(Generic[R]):
    """What a watermark lets go: rows in the order of timestamp and arrival, then what is lost."""

    rows: list[R]
    times: list[int]
    watermark: int | None
    """What windows are ticked with once they have the rows; None: there is no watermark yet."""
    late: list[R] = field(default_factory=list)
    late_times: list[int] = field(default_factory=list)
    ahead: list[R] = field(default_factory=list)
    """Rows that were given up since too many are held that are too far ahead."""


class _Stream:
    __slots__ = ("is_idle", "latest", "seen_at")

    def __init__(self, latest: int | None = None, *, is_idle: bool = False) -> None:
        self.latest = latest
        """The greatest timestamp, those too far ahead left out; None: no row yet."""
        self.seen_at: int | None = None
        """When it last had rows, in processing time; None: not asked about yet."""
        self.is_idle = is_idle


class Watermark(Generic[R]):
    """Holds rows until no older ones are expected; all times are epoch ms.

    The watermark is the least of the streams' greatest timestamps, less ``tolerance``, and never
    goes back. There is none until each stream has had a row. Rows up to it are released; one that
    comes with a timestamp before it is late.

    A stream that has been silent for ``idle_timeout`` (in processing time) is idle until its next
    row and doesn't hold the watermark back. When all streams are idle nothing older is expected
    from any, so the watermark rises to the greatest timestamp, the tolerance no longer waited for.
    A row more than ``max_ahead`` after ``now`` is held like others but doesn't move the watermark,
    nor does it show that its stream isn't silent; when ``most_ahead`` such rows are held, further
    ones are given up. Silence counts from the first call; so tick when the rule begins.

    ``dump`` and ``load`` turn a row into a msgpack-able value and back.
    """

    def __init__(
        self,
        streams: Sequence[str],
        tolerance: int,
        *,
        idle_timeout: int | None = None,
        max_ahead: int | None = None,
        most_ahead: int = 10_000,
        dump: Callable[[R], Any] | None = None,
        load: Callable[[Any], R] | None = None,
    ) -> None:
        self._tolerance = tolerance
        self._idle_timeout = idle_timeout
        self._max_ahead = max_ahead
        self._most_ahead = most_ahead
        self._dump = dump
        self._load = load
        self._streams = {name: _Stream() for name in streams}
        self._times: list[int] = []
        self._rows: list[R] = []
        self.value: int | None = None
        """The watermark."""
        self.late = 0
        """Rows that came after the watermark had passed them."""
        self.ahead = 0
        """Rows that were too far ahead of the clock to move the watermark."""
        self.idle = 0
        """Times that a stream became idle."""

    @property
    def held(self) -> int:
        """Rows that wait for the watermark."""
        return len(self._rows)

    def add(self, stream: str, rows: Sequence[R], times: Sequence[int], now: int) -> Released[R]:
        """Take rows of a stream as they came, at ``now``."""
        self._note_idle(now)
        released = Released[R]([], [], None)
        if rows:
            self._take(self._streams[stream], rows, times, now, released)
        return self._release(released)

    def tick(self, now: int) -> Released[R]:
        """Take the time of the clock: streams may have become idle."""
        self._note_idle(now)
        return self._release(Released([], [], None))

    def drain(self) -> Released[R]:
        """Release everything that is held, since nothing more will come."""
        if self._times:
            self._raise(self._times[-1])
        return self._release(Released([], [], None))

    def next_deadline(self) -> int | None:
        """Return the time of the clock at which the next stream becomes idle, None if none does."""
        if self._idle_timeout is None:
            return None
        seen = [
            stream.seen_at
            for stream in self._streams.values()
            if not stream.is_idle and stream.seen_at is not None
        ]
        return min(seen) + self._idle_timeout if seen else None

    def snapshot(self) -> Any:
        """Return all that is remembered, except for how long streams have been silent."""
        streams = [[name, s.latest, s.is_idle] for name, s in self._streams.items()]
        counts = [self.late, self.ahead, self.idle]
        rows, dump = list(self._rows), self._dump
        saved = rows if dump is None else Frozen(len(rows), lambda: map(dump, rows))
        return [self.value, streams, counts, list(self._times), saved]

    def restore(self, value: Any) -> None:
        """Go on from a snapshot; streams are silent from now on."""
        self.value, streams, counts, times, rows = value
        self._streams = {
            name: _Stream(latest, is_idle=is_idle) for name, latest, is_idle in streams
        }
        self.late, self.ahead, self.idle = counts
        self._times = list(times)
        self._rows = list(map(self._load, rows) if self._load else rows)

    def _note_idle(self, now: int) -> None:
        """Find the streams that have become idle, and move the watermark if some have."""
        if self._idle_timeout is None:
            return
        idle_before = self.idle
        for stream in self._streams.values():
            if stream.seen_at is None:
                stream.seen_at = now
            if not stream.is_idle and now - stream.seen_at >= self._idle_timeout:
                stream.is_idle = True
                self.idle += 1
        if self.idle > idle_before:
            self._advance()

    def _take(
        self, stream: _Stream, rows: Sequence[R], times: Sequence[int], now: int, to: Released[R]
    ) -> None:
        """Hold rows, or find them late by the watermark that those before them have made."""
        newest = max(times) if self._max_ahead is None else now + self._max_ahead
        if min(times) <= newest:
            stream.seen_at = now
            stream.is_idle = False
        ordered = sorted(times)
        if self._is_timely(ordered[0]) and ordered[-1] <= newest and ordered == list(times):
            self._hold_all(rows, ordered)
            stream.latest = max(ordered[-1], ordered[0] if stream.latest is None else stream.latest)
        else:
            self._take_each(stream, rows, times, newest, to)
        self._advance()

    def _take_each(
        self,
        stream: _Stream,
        rows: Sequence[R],
        times: Sequence[int],
        newest: int,
        to: Released[R],
    ) -> None:
        for row, time in zip(rows, times, strict=True):
            if not self._is_timely(time):
                self.late += 1
                to.late.append(row)
                to.late_times.append(time)
                continue
            if time > newest:
                self.ahead += 1
                if len(self._times) - bisect_right(self._times, newest) >= self._most_ahead:
                    to.ahead.append(row)
                    continue
            self._hold(row, time)
            if time > newest:
                continue
            if stream.latest is None or time > stream.latest:
                stream.latest = time
                self._advance()

    def _is_timely(self, time: int) -> bool:
        return self.value is None or time >= self.value

    def _hold_all(self, rows: Sequence[R], times: Sequence[int]) -> None:
        if self._times and times[0] < self._times[-1]:
            for row, time in zip(rows, times, strict=True):
                self._hold(row, time)
        else:
            self._rows.extend(rows)
            self._times.extend(times)

    def _hold(self, row: R, time: int) -> None:
        at = bisect_right(self._times, time)
        self._times.insert(at, time)
        self._rows.insert(at, row)

    def _advance(self) -> None:
        """Move the watermark to where the streams now allow it."""
        active = [stream for stream in self._streams.values() if not stream.is_idle]
        latest = [stream.latest for stream in active or self._streams.values()]
        known = [time for time in latest if time is not None]
        if not active:
            if known:
                self._raise(max(known))
        elif len(known) == len(active):
            self._raise(min(known) - self._tolerance)

    def _raise(self, to: int) -> None:
        if self.value is None or to > self.value:
            self.value = to

    def _release(self, released: Released[R]) -> Released[R]:
        released.watermark = self.value
        if self.value is not None:
            count = bisect_right(self._times, self.value)
            released.rows, self._rows[:count] = self._rows[:count], []
            released.times, self._times[:count] = self._times[:count], []
        return released
