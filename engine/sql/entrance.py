"""Where the rows of one stream enter a query: kept in one form, remembered, made into records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from engine.errors import RowError
from engine.layout import Frame, Layout
from engine.ops.windows.operator import Arrivals
from engine.sql.ast import Binary, Expr, Literal
from engine.sql.ast import Window as WindowNode
from engine.sql.code import TIME_OF_ROW, supplied_name
from engine.sql.finish import MakeQuery
from engine.sql.functions import FunctionRegistry
from engine.sql.inputs import streams_of
from engine.sql.plan import Aggregate, Analytic, Plan, Scan
from engine.sql.query import Query
from engine.sql.records import Record, Records, RowKeeper
from engine.sql.remembering import AnalyticStage
from engine.sql.stage import Check, Key, Needs
from engine.sql.walk import conjuncts

TIME = supplied_name(TIME_OF_ROW)
"""The name of the column with the time of each row."""
TIMED = frozenset({"TUMBLING", "HOPPING"})
"""Windows that open and close by time alone, whatever rows there are."""
_FALSE = Literal(value=False)
_NULL = Literal(value=None)


@dataclass(slots=True)
class Control:
    """Where records hold what their window needs to know of them."""

    passes: int | None = None
    trigger: int | None = None
    begin: int | None = None
    emit: int | None = None
    partition: int | None = None

    def arrivals(
        self, records: Sequence[Record], times: Sequence[int], items: Any
    ) -> Arrivals[Any]:
        """Return records for a window that is to keep ``items``: them, or what has them in it."""

        def column(place: int | None) -> list[Any] | None:
            return None if place is None else [record[place] for record in records]

        return Arrivals(
            items,
            times,
            triggers=column(self.trigger),
            begins=column(self.begin),
            emits=column(self.emit),
            keys=column(self.partition),
        )


class Entrance:
    """Makes the records of one stream."""

    def __init__(
        self,
        plan: Plan,
        scan: Scan,
        layout: Layout,
        make: MakeQuery,
        functions: FunctionRegistry,
        needs: Needs,
        window: WindowNode | None,
        where: Expr | None,
        *,
        with_time: bool,
        max_partitions: int,
    ) -> None:
        """``needs`` is what later stages read; ``with_time`` keeps the time of each row.

        ``where`` is a condition whose truth is noted, for rows that fail it count in the window.
        """
        self.keeper = RowKeeper(layout, whole=scan.whole)
        self._layout = layout
        self.scan = scan
        self._make = make
        self._plan = plan
        self._several = len(plan.scans) > 1
        calls = plan.find(Analytic)
        time = needs.supplied_by("time") or ((TIME_OF_ROW,) if with_time else ())
        analytic = AnalyticStage(
            plan,
            () if calls is None else calls.calls,
            make,
            functions,
            time,
            stream=scan.label,
            max_partitions=max_partitions,
        )
        self.analytic = analytic if analytic.is_needed else None
        supplied = [
            node
            for node in needs.supplied_by("analytic")
            if self.analytic is not None and self.analytic.has(node.index)
        ]
        supplied += time
        metadata = [key for key in needs.metadata if key[0] in ("", scan.label)]
        self.records = Records(metadata, supplied)
        self.control = Control()
        self._keeps_places = window is not None and window.kind not in TIMED
        self._condition: Expr | None = None
        if where is not None:
            self.control.passes = self.records.add(Check(where))
        if window is not None:
            grouped = plan.find(Aggregate)
            self._add_window(window, () if grouped is None else grouped.keys)
        self._query: Query | None = None
        self.is_typed = True
        """Whether all rows so far had kinds that their decoder verified."""

    def _add_window(self, window: WindowNode, keys: tuple[Expr, ...]) -> None:
        add, control = self.records.add, self.control
        if window.filter is not None:
            for term in conjuncts(window.filter):
                if self._concerns(term):
                    self._condition = (
                        term if self._condition is None else _both(self._condition, term)
                    )
        if window.when is not None:
            control.trigger = add(Check(self._here(window.when)))
        if window.begin is not None:
            control.begin = add(Check(self._here(window.begin)))
        if window.emit is not None:
            control.emit = add(Check(self._here(window.emit)))
        partition = window.partition_by
        if window.kind == "STATE" and not partition and not self._several:
            partition = keys  # one window for each group (language specification, 8.2, item 15)
        if partition:
            control.partition = add(
                Key(tuple(part if self._concerns(part) else _NULL for part in partition))
            )

    def _here(self, condition: Expr) -> Expr:
        """Return a condition that no row of a stream meets that it isn't about."""
        return condition if self._concerns(condition) else _FALSE

    def _concerns(self, condition: Expr) -> bool:
        """Tell whether a condition can be told from rows of this stream."""
        if not self._several:
            return True
        read = streams_of(condition, [item.expr for item in self._plan.root.items])
        return read <= {"", self.scan.label}

    def complete(self) -> None:
        """Compile; records take no more parts."""
        passes = self.control.passes if self._keeps_places else None
        self._query = self._make(self.records.stage(self._condition, passes=passes))

    def __call__(self, frame: Frame, errors: list[RowError]) -> list[Record]:
        """Return the records of a frame; rows that fail a FILTER or have an error are left out."""
        assert self._query is not None
        frame = self.keeper.adopt(frame)
        self.is_typed = self.is_typed and frame.typed
        if self.analytic is not None:
            frame = self.analytic(frame, errors)
        return self._query.records(frame, errors)

    def verifies(self, frame: Frame) -> bool:
        """Tell whether the rows of a frame have the kinds that the query relies on."""
        return frame.typed and self._layout.verifies(self.scan.columns)

    @property
    def evicted(self) -> int:
        """Partitions of analytic functions that were forgotten because there were too many."""
        return 0 if self.analytic is None else self.analytic.evicted

    def texts(self) -> list[str]:
        """Return the Python text that was generated, for people."""
        assert self._query is not None
        analytic = [] if self.analytic is None else self.analytic.texts()
        return [*analytic, *self._query.texts()]

    def snapshot(self) -> Any:
        """Return what is remembered of the rows so far, as a value."""
        return [self.is_typed, None if self.analytic is None else self.analytic.snapshot()]

    def restore(self, value: Any) -> None:
        """Go on from a snapshot."""
        self.is_typed, analytic = value
        if self.analytic is not None:
            self.analytic.restore(analytic)


def _both(left: Expr, right: Expr) -> Expr:
    return Binary(op="AND", left=left, right=right)


def timed(frame: Frame, now: int) -> Frame:
    """Return a frame whose rows have a time, that of their arrival."""
    return Frame(
        frame.rows,
        frame.meta,
        frame.received_at,
        whole=frame.whole,
        typed=frame.typed,
        payloads=frame.payloads,
        supplied={**frame.supplied, TIME: [now] * len(frame)},
    )
