"""Queries whose rows are not each for itself: windows, groups, analytic functions, event time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine.batch import Row
from engine.layout import Frame, Layout
from engine.ops.pane import Pane
from engine.ops.windows.build import build
from engine.ops.windows.operator import Timing, WindowOperator
from engine.ops.windows.settable import set_back
from engine.sql.ast import Literal
from engine.sql.ast import Window as WindowNode
from engine.sql.code import TIME_OF_ROW
from engine.sql.compile import QueryOptions, has_state
from engine.sql.emissions import WINDOW_VALUES, Emissions, WindowOptions
from engine.sql.entrance import TIME, TIMED, Entrance, timed
from engine.sql.finish import Finish, later_needs
from engine.sql.functions import FunctionRegistry
from engine.sql.groups import Grouping, GroupResult, PassingFold
from engine.sql.plan import Aggregate, Analytic, Plan, Scan, Window
from engine.sql.query import Bindings, Query, Result
from engine.sql.records import Record, RecordSaver
from engine.sql.remembering import analytic_of_groups
from engine.sql.stage import Stage

EACH_ROW = WindowNode(kind="COUNT", lengths=(1, 1))
"""What aggregates without a window are computed over."""


class WindowPipeline:
    """The operators of a query over one stream that remembers rows; see `Pipeline`."""

    def __init__(
        self,
        plan: Plan,
        layout: Layout,
        functions: FunctionRegistry,
        options: QueryOptions,
        bindings: Bindings,
        window_options: WindowOptions,
        *,
        is_event_time: bool,
    ) -> None:
        self._send_error = options.send_error
        self._bindings = bindings
        self._is_event_time = is_event_time
        inner = QueryOptions(
            send_nil_field=options.send_nil_field,
            send_meta_to_sink=options.send_meta_to_sink,
            plain_numbers=options.plain_numbers,
        )

        def make(stage: Stage) -> Query:
            return Query(plan, layout, functions, inner, bindings, stage)

        window, aggregate = plan.find(Window), plan.find(Aggregate)
        node = EACH_ROW if window is None else window.window
        where = plan.condition if window is None else window.where
        self._emits_nothing = plan.root.limit == 0
        self._emits_empty = where is None
        if where is None and aggregate is not None and node.kind not in TIMED:
            where = Literal(value=True)  # a row that no aggregate can take still has its place
        self._is_timed = node.kind in TIMED and not is_event_time
        self._entrance = Entrance(
            plan,
            plan.scan,
            layout,
            make,
            functions,
            later_needs(plan, before=(Analytic, Scan)),
            node,
            where,
            with_time=is_event_time,
            max_partitions=window_options.max_partitions,
        )
        entrance = self._entrance
        saver = RecordSaver(entrance.keeper)
        passes = entrance.control.passes
        self._grouping: Grouping | None = None
        fold: Any = PassingFold(saver, passes)
        if aggregate is not None:
            self._grouping = Grouping(
                plan, aggregate, entrance.records, functions, plan.scan.kinds, saver, passes=passes
            )
            fold = self._grouping.fold
        entrance.complete()
        self._finish = Finish(plan, make, inner, bindings.remembered)
        self._of_groups = analytic_of_groups(plan, make, functions, window_options.max_partitions)
        self._finishes_together = (
            self._finish.keeps_each_row
            and self._of_groups is None
            and not has_state(plan, functions)
        )
        opened_at = None if is_event_time else window_options.opened_at
        timing = Timing(opened_at, window_options.zone)
        self._window: WindowOperator[Any, Record] = build(
            node, fold, timing, most_open=window_options.max_partitions
        )
        self._empty = entrance.records.nothing(entrance.keeper.empty())

    async def push(self, stream: str, frame: Frame, now: int) -> Result:
        """Take rows; in event time they have their times with them."""
        out = Emissions(send_error=self._send_error)
        entrance = self._entrance
        if TIME_OF_ROW in entrance.records.supplied and not self._is_event_time:
            frame = timed(frame, now)
        records = entrance(frame, out.errors)
        if self._grouping is not None:
            records = self._grouping.fitting(records, out.errors, verified=entrance.verifies(frame))
        if self._is_event_time:
            time = entrance.records.place(TIME_OF_ROW)
            times: Sequence[int] = [record[time] for record in records]
        else:
            times = [now] * len(records)
            self._emit(self._window.tick(now), out)
        arrivals = entrance.control.arrivals(records, times, records)
        self._emit(self._window.add(arrivals), out)
        passes = entrance.control.passes
        absorbed = len(records) if passes is None else sum(record[passes] for record in records)
        return out.result(absorbed=absorbed)

    async def tick(self, now: int) -> Result:
        """Take the time of the clock, in event time the watermark."""
        out = Emissions(send_error=self._send_error)
        self._emit(self._window.tick(now), out)
        return out.result()

    async def set_back(self, before: int, now: int) -> Result:
        out = Emissions(send_error=self._send_error)
        self._emit(set_back(self._window, before, now), out)
        return out.result()

    def next_deadline(self) -> int | None:
        return None if self._is_event_time else self._window.next_deadline()

    def snapshot(self) -> Any:
        of_groups = None if self._of_groups is None else self._of_groups.snapshot()
        window = self._window.snapshot()
        return [self._bindings.snapshot(), self._entrance.snapshot(), window, of_groups]

    def restore(self, value: Any) -> None:
        bindings, entrance, window, of_groups = value
        if self._of_groups is not None:
            self._of_groups.restore(of_groups)
        self._bindings.restore(bindings)
        self._entrance.restore(entrance)
        self._window.restore(window)

    def counts(self) -> dict[str, int]:
        evicted = self._entrance.evicted + getattr(self._window, "evicted", 0)
        return {"evicted": evicted}

    def tables(self) -> dict[str, list[Row]]:
        return {}

    def texts(self) -> list[str]:
        groups = [] if self._grouping is None else [self._grouping.code.text]
        return [*self._entrance.texts(), *groups, *self._finish.texts()]

    def _emit(self, panes: Sequence[Pane[Any]], out: Emissions) -> None:
        if self._grouping is None:
            for pane in panes:
                self._emit_rows(pane, out)
        elif panes:
            self._emit_groups(self._grouping, panes, out)

    def _emit_rows(self, pane: Pane[list[Record]], out: Emissions) -> None:
        size = len(pane.state)
        if not size:
            if self._counts_as_empty(pane):
                out.add([])
            return
        entrance = self._entrance
        frame = entrance.records.frame(
            pane.state,
            _window_values([(pane, size)]),
            whole=entrance.keeper.whole,
            typed=entrance.is_typed,
        )
        self._finish_pane(frame, pane, out)

    def _emit_groups(self, grouping: Grouping, panes: Sequence[Pane[Any]], out: Emissions) -> None:
        before = len(out.errors)
        found = []
        for pane in panes:
            empty = self._empty if self._counts_as_empty(pane) else None
            results = grouping.results(pane.state, out.errors, empty)
            if results:
                found.append((pane, results))
        out.made(len(out.errors) - before)
        if len(found) > 1 and self._finishes_together and self._finish_together(found, out):
            return
        for pane, results in found:
            self._finish_pane(self._group_frame([(pane, results)]), pane, out)

    def _finish_together(
        self, found: Sequence[tuple[Pane[Any], list[GroupResult]]], out: Emissions
    ) -> bool:
        """Finish several panes in one go, which is much cheaper; False if rows have errors."""
        frame = self._group_frame(found)
        rows = self._finish(frame, 0).rows or []
        if len(rows) < len(frame):
            return False
        start = 0
        for _, results in found:
            out.add(rows[start : start + len(results)])
            start += len(results)
        out.made(len(rows))
        return True

    def _group_frame(self, found: Sequence[tuple[Pane[Any], list[GroupResult]]]) -> Frame:
        assert self._grouping is not None
        values = _window_values([(pane, len(results)) for pane, results in found])
        values[TIME] = values[WINDOW_VALUES[2]]
        together = found[0][1] if len(found) == 1 else [r for _, rs in found for r in rs]
        entrance = self._entrance
        whole, typed = entrance.keeper.whole, entrance.is_typed
        return self._grouping.frame(together, values, whole=whole, typed=typed)

    def _finish_pane(self, frame: Frame, pane: Pane[Any], out: Emissions) -> None:
        before = len(out.errors)
        if self._of_groups is not None:
            frame = self._of_groups(frame, out.errors)
        result = self._finish(frame, pane.trigger)
        out.errors += result.errors
        rows = result.rows or []
        if rows:
            out.add(rows)
        out.made(len(rows) + len(out.errors) - before)

    def _counts_as_empty(self, pane: Pane[Any]) -> bool:
        """Tell whether a pane without rows is emitted as an empty window.

        In processing time WHERE comes before windows that open and close by time alone. All others
        are emitted only if WHERE has left something (language specification, 3.2 and 4.3).
        """
        if self._emits_nothing:
            return False
        return self._is_timed or (pane.is_empty and self._emits_empty)


def _window_values(panes: Sequence[tuple[Pane[Any], int]]) -> dict[str, list[int]]:
    """Return start, end and trigger for each row; panes come with the number of their rows."""
    start, end, trigger = WINDOW_VALUES
    return {
        start: [pane.start for pane, size in panes for _ in range(size)],
        end: [pane.end for pane, size in panes for _ in range(size)],
        trigger: [pane.trigger for pane, size in panes for _ in range(size)],
    }
