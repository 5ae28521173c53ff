"""Event time: rows take their time from themselves, and wait until no older ones are expected."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any, Literal

from engine.errors import RowError
from engine.functions.time_pattern import time_pattern
from engine.functions.timestamp import to_datetime, to_epoch_ms
from engine.layout import Frame, Layout
from engine.ops.watermark import Released, Watermark
from engine.sql.ast import Column
from engine.sql.entrance import TIME
from engine.sql.finish import MakeQuery, later_needs
from engine.sql.plan import Plan, Scan
from engine.sql.query import Query
from engine.sql.records import Record, Records, RecordSaver, RowKeeper

Late = Literal["drop", "emit", "deadLetter"]


@dataclass(frozen=True, slots=True)
class EventTimeOptions:
    """How a rule deals with time; see ``engine.ops.watermark``. All times are milliseconds."""

    tolerance: int
    idle_timeout: int | None = None
    max_ahead: int | None = None
    late: Late = "drop"


@dataclass(slots=True)
class InOrder:
    """What the watermark has let go: frames in the order of time, each of one stream.

    ``late`` are the rows that came too late and are given up, as dicts; ``ahead`` counts those
    given up because too many wait that are too far in the future.
    """

    frames: list[tuple[str, Frame]]
    watermark: int | None
    held: int
    released: int
    late: list[dict[str, Any]]
    ahead: int


class EventTime:
    """The timestamps of the rows of all streams of a query, and their watermark."""

    def __init__(
        self,
        plan: Plan,
        streams: Sequence[tuple[Scan, Layout, MakeQuery]],
        options: EventTimeOptions,
        formats: dict[str, str],
    ) -> None:
        """``formats`` are the TIMESTAMP_FORMATs by label of the stream, "" to look for ISO 8601."""
        self._late = options.late
        self._stamps = {
            scan.label: _Stamps(
                plan,
                scan,
                layout,
                make,
                formats.get(scan.label, ""),
                # a late row that goes to the dead letters goes with all its columns
                whole=scan.whole or options.late == "deadLetter",
            )
            for scan, layout, make in streams
        }
        self._marks: Watermark[tuple[str, Record]] = Watermark(
            list(self._stamps),
            options.tolerance,
            idle_timeout=options.idle_timeout,
            max_ahead=options.max_ahead,
            dump=lambda item: [item[0], self._stamps[item[0]].saver.dump(item[1])],
            load=lambda value: (value[0], self._stamps[value[0]].saver.load(value[1])),
        )

    def has(self, label: str) -> bool:
        """Tell whether a stream has timestamps; tables don't."""
        return label in self._stamps

    def add(self, label: str, frame: Frame, now: int, errors: list[RowError]) -> InOrder:
        """Take the rows of a stream as they came; those without a time are left out, reported."""
        records, times = self._stamps[label](frame, errors)
        released = self._marks.add(label, [(label, record) for record in records], times, now)
        return self._in_order(released, len(records) - len(released.late) - len(released.ahead))

    def tick(self, now: int) -> InOrder:
        """Take the time of the clock: streams may have become idle."""
        return self._in_order(self._marks.tick(now), 0)

    def next_deadline(self) -> int | None:
        """Return the time of the clock at which a stream becomes idle."""
        return self._marks.next_deadline()

    @property
    def counts(self) -> dict[str, int]:
        """How many rows were late and too far ahead, and how often a stream became idle."""
        return {"late": self._marks.late, "ahead": self._marks.ahead, "idle": self._marks.idle}

    def snapshot(self) -> Any:
        """Return all rows that wait and what is known of the streams, as a value."""
        typed = [[label, stamps.is_typed] for label, stamps in self._stamps.items()]
        return [typed, self._marks.snapshot()]

    def restore(self, value: Any) -> None:
        """Go on from a snapshot."""
        typed, marks = value
        for label, is_typed in typed:
            self._stamps[label].is_typed = is_typed
        self._marks.restore(marks)

    def _in_order(self, released: Released[tuple[str, Record]], held: int) -> InOrder:
        frames: list[tuple[str, Frame]] = []
        late: list[dict[str, Any]] = []
        if released.late:
            if self._late == "emit":  # as if they had come just in time
                assert released.watermark is not None
                times = [released.watermark] * len(released.late)
                frames += self._frames(released.late, times)
                held += len(released.late)
            else:
                late = [self._stamps[label].row(record) for label, record in released.late]
        frames += self._frames(released.rows, released.times)
        count = sum(len(frame) for _, frame in frames)
        return InOrder(frames, released.watermark, held, count, late, len(released.ahead))

    def _frames(
        self, items: Sequence[tuple[str, Record]], times: Sequence[int]
    ) -> list[tuple[str, Frame]]:
        if not items:
            return []
        if len(self._stamps) == 1:
            label = items[0][0]
            return [(label, self._stamps[label].frame([item[1] for item in items], times))]
        frames = []
        start = 0
        for label, run in groupby(items, key=lambda item: item[0]):
            records = [record for _, record in run]
            stop = start + len(records)
            frames.append((label, self._stamps[label].frame(records, times[start:stop])))
            start = stop
        return frames


class _Stamps:
    """The timestamps of one stream."""

    def __init__(
        self,
        plan: Plan,
        scan: Scan,
        layout: Layout,
        make: MakeQuery,
        pattern: str,
        *,
        whole: bool,
    ) -> None:
        self._keeper = RowKeeper(layout, whole=whole)
        metadata = [
            key for key in later_needs(plan, before=(Scan,)).metadata if key[0] in ("", scan.label)
        ]
        self._records = Records(metadata, ())
        self._place = self._records.add(Column(name=scan.timestamp, stream=scan.label))
        self._column = scan.timestamp
        self._query: Query = make(self._records.stage(None))
        self._parse: Callable[[str], datetime] | None = (
            time_pattern(pattern).parse if pattern else None
        )
        self.saver = RecordSaver(self._keeper)
        self.is_typed = True

    def __call__(self, frame: Frame, errors: list[RowError]) -> tuple[list[Record], Sequence[int]]:
        frame = self._keeper.adopt(frame)
        self.is_typed = self.is_typed and frame.typed
        records = self._query.records(frame, errors)
        values = [record[self._place] for record in records]
        if all(type(value) is int for value in values):
            return records, values
        return self._each(records, values, errors)

    def _each(
        self, records: Sequence[Record], values: Sequence[Any], errors: list[RowError]
    ) -> tuple[list[Record], Sequence[int]]:
        good: list[Record] = []
        times: list[int] = []
        for record, value in zip(records, values, strict=True):
            try:
                times.append(self._millis(value))
            except (RowError, ValueError, OverflowError) as error:
                message = error.message if isinstance(error, RowError) else str(error)
                errors.append(RowError(f"timestamp: {self._column}: {message}"))
                continue
            good.append(record)
        return good, times

    def _millis(self, value: Any) -> int:
        if value is None:
            raise RowError("it is missing")
        if type(value) in (int, float):
            return int(value)
        if self._parse is not None and isinstance(value, str):
            return to_epoch_ms(to_datetime(self._parse(value), "timestamp"))
        return to_epoch_ms(to_datetime(value, "timestamp"))

    def frame(self, records: Sequence[Record], times: Sequence[int]) -> Frame:
        """Return rows that are let go, with their times."""
        return self._records.frame(
            records, {TIME: times}, whole=self._keeper.whole, typed=self.is_typed
        )

    def row(self, record: Record) -> dict[str, Any]:
        """Return the row of a record as a dict."""
        return self._keeper.dump(record[0])
