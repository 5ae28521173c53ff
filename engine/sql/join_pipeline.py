"""Queries over several streams and tables; see `Pipeline`."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from engine.batch import Row
from engine.errors import RowError
from engine.layout import Frame, Layout
from engine.ops.fold import BufferFold
from engine.ops.pane import Pane
from engine.ops.windows.build import build
from engine.ops.windows.operator import Timing, WindowOperator
from engine.ops.windows.settable import set_back
from engine.sql.code import TIME_OF_ROW
from engine.sql.compile import QueryOptions
from engine.sql.emissions import WINDOW_VALUES, Emissions, WindowOptions
from engine.sql.entrance import TIME, Entrance, timed
from engine.sql.finish import Finish, later_needs
from engine.sql.functions import FunctionRegistry
from engine.sql.groups import Grouping
from engine.sql.joined import JoinedForm, JoinedPart
from engine.sql.joining import Combination, Joiner, Lookup
from engine.sql.plan import Aggregate, Analytic, Filter, Join, Plan, Scan, Window
from engine.sql.query import Bindings, Query, Result
from engine.sql.records import Record, Records, RecordSaver, RowKeeper
from engine.sql.remembering import analytic_of_groups
from engine.sql.stage import Needs, Stage

_EMPTY_LAYOUT = Layout()
Item = tuple[int, Record]
"""A record in the window that all streams share, with the place of its stream."""


class JoinPipeline:
    """Windows over several streams that are joined when they fire, or single rows with tables."""

    def __init__(
        self,
        plan: Plan,
        layouts: Mapping[str, Layout],
        functions: FunctionRegistry,
        options: QueryOptions,
        bindings: Bindings,
        window_options: WindowOptions,
        lookups: Mapping[str, Lookup],
        retained: Mapping[str, int],
        *,
        is_event_time: bool,
    ) -> None:
        """``retained`` says how many rows of each scan table are kept."""
        self._send_error = options.send_error
        self._bindings = bindings
        self._is_event_time = is_event_time
        inner = QueryOptions(
            send_nil_field=options.send_nil_field, plain_numbers=options.plain_numbers
        )
        window, join = plan.find(Window), plan.find(Join)
        assert join is not None, "there is something to join"
        node = None if window is None else window.window
        needs = later_needs(plan, before=(Analytic, Scan))
        self._labels = [scan.label for scan in plan.scans]
        self._entrances: list[Entrance | None] = []
        self._tables: dict[int, deque[Record]] = {}
        all_records: list[Records] = []
        nothing: list[Record] = []
        parts: list[JoinedPart] = []
        for index, scan in enumerate(plan.scans):
            if scan.role == "lookup":
                records = Records([k for k in needs.metadata if k[0] in ("", scan.label)], ())
                self._entrances.append(None)
                all_records.append(records)
                nothing.append(records.nothing({}))
                parts.append(JoinedPart(scan, None))
                continue
            layout = layouts[scan.label]
            entrance = Entrance(
                plan,
                scan,
                layout,
                _maker(plan, layout, functions, inner, bindings, scan),
                functions,
                needs,
                node if scan.role == "stream" else None,
                None,
                with_time=is_event_time and scan.role == "stream",
                max_partitions=window_options.max_partitions,
            )
            entrance.complete()
            if scan.role == "scan":
                self._tables[index] = deque(maxlen=retained.get(scan.label, 1))
            self._entrances.append(entrance)
            all_records.append(entrance.records)
            nothing.append(entrance.records.nothing(entrance.keeper.empty()))
            parts.append(JoinedPart(scan, None if scan.whole else layout))
        self._savers = [
            RecordSaver(RowKeeper(_EMPTY_LAYOUT, whole=True) if e is None else e.keeper)
            for e in self._entrances
        ]
        form = JoinedForm(parts)

        def make(stage: Stage) -> Query:
            return Query(plan, form, functions, inner, bindings, stage, scans=plan.scans)

        self._joiner = Joiner(plan, join, all_records, nothing, make, needs, lookups)
        self._after = _AfterJoin(plan, functions, make, needs)
        self._finish = Finish(plan, make, inner, bindings.remembered)
        self._of_groups = analytic_of_groups(plan, make, functions, window_options.max_partitions)
        self._unnests = plan.root.unnested is not None
        self._row_by_row = any(side.kind in ("RIGHT", "FULL") for side in join.sides)
        self._window: WindowOperator[list[Item], Item] | None = None
        if node is not None:
            opened_at = None if is_event_time else window_options.opened_at
            fold: BufferFold[Item] = BufferFold(self._dump, self._load)
            timing = Timing(opened_at, window_options.zone)
            most_open = window_options.max_partitions
            self._window = build(node, fold, timing, most_open=most_open)

    # -- the pipeline --------------------------------------------------------------------------

    async def push(self, stream: str, frame: Frame, now: int) -> Result:
        out = Emissions(send_error=self._send_error)
        index = self._labels.index(stream)
        entrance = self._entrances[index]
        assert entrance is not None, "nobody pushes the rows of lookup tables"
        if TIME_OF_ROW in entrance.records.supplied and TIME not in frame.supplied:
            frame = timed(frame, now)
        records = entrance(frame, out.errors)
        if index in self._tables:
            self._tables[index].extend(records)
            return out.result(absorbed=len(records))
        if self._window is None:
            await self._each(records, now, out)
            return out.result(absorbed=len(records))
        if self._is_event_time:
            time = entrance.records.place(TIME_OF_ROW)
            times: Sequence[int] = [record[time] for record in records]
        else:
            times = [now] * len(records)
            await self._emit(self._window.tick(now), out)
        items = [(index, record) for record in records]
        arrivals = entrance.control.arrivals(records, times, items)
        await self._emit(self._window.add(arrivals), out)
        return out.result(absorbed=len(records))

    async def tick(self, now: int) -> Result:
        out = Emissions(send_error=self._send_error)
        if self._window is not None:
            await self._emit(self._window.tick(now), out)
        return out.result()

    async def set_back(self, before: int, now: int) -> Result:
        out = Emissions(send_error=self._send_error)
        await self._emit(set_back(self._window, before, now), out)
        return out.result()

    def next_deadline(self) -> int | None:
        if self._is_event_time or self._window is None:
            return None
        return self._window.next_deadline()

    def snapshot(self) -> Any:
        tables = [
            [index, [self._savers[index].dump(record) for record in rows]]
            for index, rows in self._tables.items()
        ]
        entrances = [
            None if entrance is None else entrance.snapshot() for entrance in self._entrances
        ]
        window = None if self._window is None else self._window.snapshot()
        of_groups = None if self._of_groups is None else self._of_groups.snapshot()
        return [self._bindings.snapshot(), entrances, tables, window, of_groups]

    def restore(self, value: Any) -> None:
        bindings, entrances, tables, window, of_groups = value
        if self._of_groups is not None:
            self._of_groups.restore(of_groups)
        self._bindings.restore(bindings)
        for entrance, saved in zip(self._entrances, entrances, strict=True):
            if entrance is not None:
                entrance.restore(saved)
        for index, rows in tables:
            self._tables[index].extend(self._savers[index].load(record) for record in rows)
        if self._window is not None:
            self._window.restore(window)

    def counts(self) -> dict[str, int]:
        evicted = sum(entrance.evicted for entrance in self._entrances if entrance is not None)
        return {"evicted": evicted + getattr(self._window, "evicted", 0)}

    def tables(self) -> dict[str, list[Row]]:
        return {
            self._labels[index]: [self._savers[index].dump(record)[0] for record in records]
            for index, records in self._tables.items()
        }

    def texts(self) -> list[str]:
        entrances = [entrance for entrance in self._entrances if entrance is not None]
        texts = [text for entrance in entrances for text in entrance.texts()]
        return [*texts, *self._after.texts(), *self._finish.texts()]

    # -- emissions -----------------------------------------------------------------------------

    async def _emit(self, panes: Sequence[Pane[list[Item]]], out: Emissions) -> None:
        for pane in panes:
            values = dict(zip(WINDOW_VALUES, (pane.start, pane.end, pane.trigger), strict=True))
            values[TIME] = pane.trigger
            parts = self._parts()
            for index, record in pane.state:
                parts[index].append(record)
            before = len(out.errors)
            combinations = await self._joiner.join(parts, out.errors)
            out.made(len(out.errors) - before)
            self._give(combinations, values, out)

    async def _each(self, records: Sequence[Record], now: int, out: Emissions) -> None:
        """Join single rows with tables; what one row leads to is emitted together."""
        if self._row_by_row and len(records) > 1:  # rows of tables that match none have no number
            for record in records:
                await self._each([record], now, out)
            return
        values = {TIME: now}
        parts = self._parts()
        parts[0] = [(*record, number) for number, record in enumerate(records)]
        before = len(out.errors)
        combinations = await self._joiner.join(parts, out.errors)
        out.made(len(out.errors) - before)
        if self._row_by_row:
            self._give(combinations, values, out)
            return
        groups = [list(group) for _, group in groupby(combinations, key=_origin)]
        if len(groups) == len(combinations) and not (self._unnests or self._after.is_grouped):
            self._give(combinations, values, out, singly=True)
            return
        for group in groups:
            self._give(group, values, out)

    def _parts(self) -> list[list[Record]]:
        return [list(self._tables.get(index, ())) for index in range(len(self._labels))]

    def _give(
        self,
        combinations: Sequence[Combination],
        values: Mapping[str, int],
        out: Emissions,
        *,
        singly: bool = False,
    ) -> None:
        """Emit joined rows: together, or ``singly`` each by itself."""
        if not combinations:
            return
        before = len(out.errors)
        frame = self._after(self._joiner.frame(combinations, values), values, out.errors)
        rows = []
        if self._of_groups is not None:
            frame = self._of_groups(frame, out.errors)
        if len(frame):
            result = self._finish(frame, values[TIME])
            out.errors += result.errors
            rows = result.rows or []
        if singly:
            for row in rows:
                out.add([row])
        elif rows:
            out.add(rows)
        out.made(len(rows) + len(out.errors) - before)

    def _dump(self, item: Item) -> Any:
        return [item[0], self._savers[item[0]].dump(item[1])]

    def _load(self, value: Any) -> Item:
        return value[0], self._savers[value[0]].load(value[1])


class _AfterJoin:
    """WHERE and the groups of joined rows."""

    def __init__(self, plan: Plan, functions: FunctionRegistry, make: Any, needs: Needs) -> None:
        where, aggregate = plan.find(Filter), plan.find(Aggregate)
        self.is_grouped = aggregate is not None
        self._records = Records(needs.metadata, needs.supplied_by("analytic", "window", "time"))
        self._grouping: Grouping | None = None
        self._query: Query | None = None
        if aggregate is not None:
            kinds = {key: kind for scan in plan.scans for key, kind in scan.kinds.items()}
            saver = RecordSaver(RowKeeper(_EMPTY_LAYOUT, whole=True))
            self._grouping = Grouping(
                plan, aggregate, self._records, functions, kinds, saver, passes=None
            )
        if where is not None or aggregate is not None:
            condition = None if where is None else where.condition
            self._query = make(self._records.stage(condition))

    def __call__(self, frame: Frame, values: Mapping[str, int], errors: list[RowError]) -> Frame:
        if self._query is None:
            return frame
        records = self._query.records(frame, errors)
        if self._grouping is None:
            return self._records.frame(records, {}, whole=False, typed=False)
        records = self._grouping.fitting(records, errors, verified=False)
        state = self._grouping.fold.add(self._grouping.fold.empty(), records)
        results = self._grouping.results(state, errors)
        columns = {name: [value] * len(results) for name, value in values.items()}
        return self._grouping.frame(results, columns, whole=False, typed=False)

    def texts(self) -> list[str]:
        groups = [] if self._grouping is None else [self._grouping.code.text]
        return [*([] if self._query is None else self._query.texts()), *groups]


def _origin(combination: Combination) -> int:
    """Return the number of the row in FROM, which comes last in its record."""
    number: int = combination[0][-1]
    return number


def _maker(
    plan: Plan,
    layout: Layout,
    functions: FunctionRegistry,
    options: QueryOptions,
    bindings: Bindings,
    scan: Scan,
) -> Any:
    return lambda stage: Query(plan, layout, functions, options, bindings, stage, scans=(scan,))
