"""What runs between a rule's queue and its sinks: frames in, results out, time told from outside.

A pipeline is pure: it reads no clock and no loop. ``push`` takes rows, ``tick`` tells that time has
passed, ``next_deadline`` asks to be told. Only lookup tables make it wait for something.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from engine.batch import Row
from engine.layout import Frame
from engine.sql.entrance import TIME, timed
from engine.sql.event_time import EventTime, InOrder
from engine.sql.query import Query, Result
from engine.sql.remembering import AnalyticStage


class Pipeline(Protocol):
    """The operators of one rule."""

    async def push(self, stream: str, frame: Frame, now: int) -> Result:
        """Take rows of a stream (by its label in the query) that arrived at ``now`` (epoch ms)."""

    async def tick(self, now: int) -> Result:
        """Return what the passing of time leads to."""

    async def set_back(self, before: int, now: int) -> Result:
        """Return what is made of open windows because the clock was set back, from ``before``."""

    def next_deadline(self) -> int | None:
        """Return when ``tick`` has something to do, None if time alone does nothing."""

    def snapshot(self) -> Any:
        """Return all that is remembered, as a value for the state codec."""

    def restore(self, value: Any) -> None:
        """Go on from a snapshot of a pipeline of the same query."""

    def counts(self) -> dict[str, int]:
        """Return what was noticed beside results: rows "late" and too far "ahead", streams that
        became "idle", partitions "evicted"; only those that can happen."""

    def tables(self) -> dict[str, list[Row]]:
        """Return the rows that are kept of each scan table, by its label."""

    def texts(self) -> list[str]:
        """Return the Python text that was generated, for people."""


class WrappedPipeline(Pipeline):
    """Passes everything on to another pipeline; for those that do something else in between."""

    def __init__(self, inner: Pipeline) -> None:
        self.inner = inner

    async def push(self, stream: str, frame: Frame, now: int) -> Result:
        return await self.inner.push(stream, frame, now)

    async def tick(self, now: int) -> Result:
        return await self.inner.tick(now)

    async def set_back(self, before: int, now: int) -> Result:
        return await self.inner.set_back(before, now)

    def next_deadline(self) -> int | None:
        return self.inner.next_deadline()

    def snapshot(self) -> Any:
        return self.inner.snapshot()

    def restore(self, value: Any) -> None:
        self.inner.restore(value)

    def counts(self) -> dict[str, int]:
        return self.inner.counts()

    def tables(self) -> dict[str, list[Row]]:
        return self.inner.tables()

    def texts(self) -> list[str]:
        return self.inner.texts()


class RowPipeline:
    """A query in which every row is for itself, perhaps with analytic functions."""

    def __init__(self, query: Query, analytic: AnalyticStage | None, *, with_time: bool) -> None:
        """``with_time``: the query asks for the time of its rows, which is that of arrival."""
        self.query = query
        self._analytic = analytic
        self._with_time = with_time

    async def push(self, stream: str, frame: Frame, now: int) -> Result:
        if self._with_time and TIME not in frame.supplied:
            frame = timed(frame, now)
        if self._analytic is None:
            return self.query(frame)
        errors: list[Any] = []
        result = self.query(self._analytic(frame, errors))
        if errors and self.query.sends_errors:
            result.rows = [*({"error": error.message} for error in errors), *(result.rows or [])]
        result.errors[:0] = errors
        return result

    async def tick(self, now: int) -> Result:
        return Result([], [])

    async def set_back(self, before: int, now: int) -> Result:
        return Result([], [])

    def next_deadline(self) -> int | None:
        return None

    def snapshot(self) -> Any:
        analytic = None if self._analytic is None else self._analytic.snapshot()
        return [self.query.bindings.snapshot(), analytic]

    def restore(self, value: Any) -> None:
        bindings, analytic = value
        self.query.bindings.restore(bindings)
        if self._analytic is not None:
            self._analytic.restore(analytic)

    def counts(self) -> dict[str, int]:
        return {} if self._analytic is None else {"evicted": self._analytic.evicted}

    def tables(self) -> dict[str, list[Row]]:
        return {}

    def texts(self) -> list[str]:
        analytic = [] if self._analytic is None else self._analytic.texts()
        return [*analytic, *self.query.texts()]


class EventTimePipeline:
    """Puts the rows for another pipeline into the order of their times.

    Those of tables have none: they are there from when they come.
    """

    def __init__(self, inner: Pipeline, event_time: EventTime, *, send_error: bool) -> None:
        self._inner = inner
        self._event_time = event_time
        self._send_error = send_error

    async def push(self, stream: str, frame: Frame, now: int) -> Result:
        if not self._event_time.has(stream):
            return await self._inner.push(stream, frame, now)
        errors: list[Any] = []
        in_order = self._event_time.add(stream, frame, now, errors)
        results = await self._pass_on(in_order)
        rows = [{"error": error.message} for error in errors] if self._send_error else []
        own = Result(
            [*rows],
            errors,
            surplus=in_order.released,
            absorbed=in_order.held,
            dropped=_counted(late=len(in_order.late), ahead=in_order.ahead),
            late=in_order.late,
        )
        return combined([own, *results])

    async def tick(self, now: int) -> Result:
        in_order = self._event_time.tick(now)
        results = await self._pass_on(in_order)
        return combined([Result([], [], surplus=in_order.released), *results])

    async def set_back(self, before: int, now: int) -> Result:
        return Result([], [])  # windows follow the times of rows

    def next_deadline(self) -> int | None:
        return self._event_time.next_deadline()

    def snapshot(self) -> Any:
        return [self._event_time.snapshot(), self._inner.snapshot()]

    def restore(self, value: Any) -> None:
        event_time, inner = value
        self._event_time.restore(event_time)
        self._inner.restore(inner)

    def counts(self) -> dict[str, int]:
        return {**self._event_time.counts, **self._inner.counts()}

    def tables(self) -> dict[str, list[Row]]:
        return self._inner.tables()

    def texts(self) -> list[str]:
        return self._inner.texts()

    async def _pass_on(self, in_order: InOrder) -> list[Result]:
        results = [await self._inner.push(label, frame, 0) for label, frame in in_order.frames]
        if in_order.watermark is not None:
            results.append(await self._inner.tick(in_order.watermark))
        return results


def _counted(**counts: int) -> dict[str, int]:
    return {reason: count for reason, count in counts.items() if count}


def combined(results: Sequence[Result]) -> Result:
    """Return several results as one, in their order."""
    rows: list[Any] = []
    sizes: list[int] = []
    total = Result(rows, [], sizes=sizes)
    for result in results:
        found = result.rows or []
        rows += found
        sizes += [1] * len(found) if result.sizes is None else result.sizes
        total.count(result)
    return total
