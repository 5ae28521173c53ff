"""Drives the pipeline of a query by hand, without tasks, queues or a clock."""

from __future__ import annotations

import json
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeVar

from engine.batch import Batch, Row, SameMetadata
from engine.codec import decoder
from engine.layout import Frame, Layout
from engine.sql.analyse import analyse
from engine.sql.assemble import PipelineOptions, assemble
from engine.sql.compile import QueryOptions
from engine.sql.emissions import WindowOptions
from engine.sql.event_time import EventTimeOptions
from engine.sql.functions import builtins
from engine.sql.parse import parse_select
from engine.sql.pipeline import Pipeline
from engine.sql.query import Result
from engine.sql.schema import Schema
from engine.sql.source import SourceText
from engine.state.codec import StateCodec

T = TypeVar("T")
FUNCTIONS = builtins()
CODEC = StateCodec()

Feed = tuple[int, str, list[Row]]
"""Rows of a stream that arrive together: when, of which stream, the rows."""


@dataclass(frozen=True)
class Setting:
    """A query with what it runs on; streams have no schema."""

    sql: str
    streams: tuple[str, ...] = ("demo",)
    tables: Mapping[str, int] = field(default_factory=dict)
    """Scan tables, with the number of rows that each keeps."""
    event_time: EventTimeOptions | None = None
    """With it the column ``ts`` of each stream is the time of its rows."""
    max_partitions: int = 1_000
    opened_at: int = 0
    as_json: bool = False
    """Rows arrive as JSON and are decoded to what the query reads, else they are dicts."""


class Run:
    """One pipeline at work; ``emissions`` are ``(time, rows)`` for each list that was emitted."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.emissions: list[tuple[int, list[Row]]] = []
        self.errors: list[str] = []
        self._layouts, self._pipeline = _assembled(setting)

    def feed(self, feeds: Sequence[Feed]) -> None:
        """Let rows arrive, time going on in between."""
        for at, label, rows in feeds:
            self.wait_until(at)
            frame = self._frame(label, rows, at)
            self._note(at, _done(self._pipeline.push(label, frame, at)))

    def wait_until(self, at: int) -> None:
        """Ring every alarm that is due up to a time, that one included."""
        while (due := self._pipeline.next_deadline()) is not None and due <= at:
            self._note(due, _done(self._pipeline.tick(due)))

    def restarted(self) -> Run:
        """Return another pipeline that goes on from what this one remembers."""
        other = Run(self.setting)
        saved = CODEC.encode(self._pipeline.snapshot())
        other._pipeline.restore(CODEC.decode(saved))
        return other

    @property
    def counts(self) -> dict[str, int]:
        return self._pipeline.counts()

    def _frame(self, label: str, rows: list[Row], at: int) -> Frame:
        if not self.setting.as_json:
            return Frame(rows, SameMetadata(len(rows)), at, whole=True)
        payloads = [json.dumps(row).encode() for row in rows]
        decode = decoder("json", self._layouts[label], Schema()).decode
        frame, failures = decode(Batch(payloads=payloads, received_at=at))
        assert not failures
        return frame

    def _note(self, at: int, result: Result) -> None:
        self.errors += [error.message for error in result.errors]
        rows = result.rows or []
        start = 0
        for size in [1] * len(rows) if result.sizes is None else result.sizes:
            self.emissions.append((at, rows[start : start + size]))
            start += size


def _assembled(setting: Setting) -> tuple[dict[str, Layout], Pipeline]:
    names = [*setting.streams, *setting.tables]
    is_event_time = setting.event_time is not None
    plan = analyse(
        parse_select(setting.sql),
        SourceText(setting.sql),
        {name: Schema() for name in names},
        FUNCTIONS,
        dict.fromkeys(setting.tables, "scan"),
        dict.fromkeys(setting.streams, "ts") if is_event_time else MappingProxyType({}),
    )
    layouts = {scan.label: Layout() for scan in plan.scans}
    for scan in plan.scans:
        layouts[scan.label].require(scan.columns, whole=scan.whole)
    options = PipelineOptions(
        QueryOptions(),
        WindowOptions(setting.opened_at, max_partitions=setting.max_partitions),
        setting.event_time,
        retained=setting.tables,
    )
    made = assemble(plan, layouts, FUNCTIONS, options, lambda site: (site.spec.call, None))
    return layouts, made


def _done(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run what never waits: only lookup tables make a pipeline wait."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    raise AssertionError("the pipeline waits for something")


def shown(emissions: Sequence[tuple[int, list[Row]]]) -> list[str]:
    """Return emissions as texts, in which 1, 1.0 and true differ and the order of columns shows."""
    return [f"{at}: {rows!r}" for at, rows in emissions]
