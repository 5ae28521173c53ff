"""What runs between a rule's queue and its sinks: frames in, results out, time told from outside.

A pipeline is pure and synchronous: it reads no clock and no loop. ``push`` takes rows, ``tick``
tells that time has passed, ``next_deadline`` asks to be told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from engine.batch import ColumnMetadata
from engine.errors import RowError
from engine.layout import Frame
from engine.ops.analytic import Partitions
from engine.sql.ast import Expr, Literal, SortKey, Supplied
from engine.sql.code import supplied_name
from engine.sql.compile import (
    Args,
    Check,
    Key,
    Needs,
    Part,
    QueryOptions,
    Stage,
    final_stage,
    needs_of,
)
from engine.sql.functions import FunctionRegistry
from engine.sql.grouping import Record
from engine.sql.plan import Analytic, Having, Order, Plan, expressions_of
from engine.sql.query import Query, Result
from engine.sql.text import to_text


class Pipeline(Protocol):
    """The operators of one rule."""

    def push(self, frame: Frame, now: int) -> Result:
        """Take rows that arrived at ``now`` (epoch milliseconds) and return what they lead to."""

    def tick(self, now: int) -> Result:
        """Return what the passing of time leads to."""

    def next_deadline(self) -> int | None:
        """Return when ``tick`` has something to do, None if time alone does nothing."""


class RowPipeline:
    """A query without windows: every row is for itself."""

    def __init__(self, query: Query) -> None:
        self.query = query

    def push(self, frame: Frame, now: int) -> Result:
        return self.query(frame)

    def tick(self, now: int) -> Result:
        return Result([], [])

    def next_deadline(self) -> int | None:
        return None


class Records:
    """Records of one stage: the row, its metadata, supplied values, then computed parts."""

    def __init__(self, metadata: Sequence[str], supplied: Sequence[Supplied]) -> None:
        self._metadata = tuple(metadata)
        self._supplied = tuple(supplied)
        self._parts: list[Part] = []

    def add(self, part: Part) -> int:
        """Let records hold one more value; returns its place."""
        self._parts.append(part)
        return len(self._metadata) + len(self._supplied) + len(self._parts)

    def stage(self, condition: Expr | None) -> Stage:
        """Return the stage that makes such records of the rows that meet ``condition``."""
        return Stage(condition, self._metadata, self._supplied, tuple(self._parts))

    def nothing(self) -> Record:
        """Return the record of no row at all, where every column is missing."""
        return ({}, *[None] * (len(self._metadata) + len(self._supplied) + len(self._parts)))

    def frame(
        self, records: Sequence[Record], values: Mapping[str, Sequence[Any]], *, typed: bool = False
    ) -> Frame:
        """Return the rows of records with what came with them and ``values``, by name."""
        start = 1 + len(self._metadata)
        metadata = {
            key: [record[1 + index] for record in records]
            for index, key in enumerate(self._metadata)
        }
        supplied = {
            supplied_name(node): [record[start + index] for record in records]
            for index, node in enumerate(self._supplied)
        }
        return Frame(
            [record[0] for record in records],
            ColumnMetadata(len(records), metadata),
            0,
            whole=bool(records) and isinstance(records[0][0], dict),
            typed=typed,
            supplied={**supplied, **values},
        )


MakeQuery = Callable[[Stage], Query]


class AnalyticStage:
    """Computes the analytic functions of a query, one call site after the other."""

    def __init__(
        self, plan: Plan, analytic: Analytic, make: MakeQuery, functions: FunctionRegistry
    ) -> None:
        metadata = plan_needs(plan).metadata
        self._sites: list[tuple[Records, Query, tuple[int, int, int], Partitions]] = []
        for number, call in enumerate(analytic.calls):
            earlier = [Supplied(place="analytic", index=index) for index in range(number)]
            records = Records(metadata, earlier)
            when = Literal(value=True) if call.when is None else call.when
            places = (
                records.add(Args(call.args)),
                records.add(Key(call.partition_by)),
                records.add(Check(when)),
            )
            spec = functions.get(call.name)
            assert spec is not None
            assert spec.tracker is not None
            query = make(records.stage(None))
            self._sites.append((records, query, places, Partitions(spec.tracker)))

    def __call__(self, frame: Frame, errors: list[RowError]) -> Frame:
        """Return the rows with the values of all calls; a row with an error is left out."""
        for number, (records, query, (args, key, valid), partitions) in enumerate(self._sites):
            result = query(frame)
            errors.extend(result.errors)
            kept: list[Record] = []
            values: list[Any] = []
            for record in result.rows or []:
                try:
                    value = partitions.step(record[key], *record[args], valid=record[valid])
                except RowError as error:
                    errors.append(error)
                    continue
                kept.append(record)
                values.append(value)
            frame = records.frame(kept, {f"xn{number}": values}, typed=frame.typed)
        return frame


class Finish:
    """From rows or groups to results: HAVING, ORDER BY, SELECT, LIMIT."""

    def __init__(self, plan: Plan, make: MakeQuery, options: QueryOptions) -> None:
        having, order = plan.find(Having), plan.find(Order)
        condition = None if having is None else having.condition
        self._limit = plan.root.limit
        self._order = order
        self._ordering: tuple[Records, Query, list[int]] | None = None
        if order is not None:
            needs = plan_needs(plan)
            records = Records(needs.metadata, needs.supplied)
            places = [records.add(key.expr) for key in order.keys]
            self._ordering = records, make(records.stage(condition)), places
            condition = None
        self._select = make(final_stage(plan, options, condition=condition))

    def __call__(self, frame: Frame) -> Result:
        """Return the results of one collection of rows, in their order."""
        if self._ordering is None or self._order is None:
            return self._cut(self._select(frame))
        records, query, places = self._ordering
        ordered = query(frame)
        rows: list[Record] = list(ordered.rows or [])
        for place, key in reversed(list(zip(places, self._order.keys, strict=True))):
            _sort(rows, place, key)
        result = self._select(records.frame(rows, {}, typed=frame.typed))
        result.errors[:0] = ordered.errors
        return self._cut(result)

    def _cut(self, result: Result) -> Result:
        if self._limit is not None and result.rows is not None:
            del result.rows[self._limit :]
        return result


def _sort(rows: list[Record], place: int, key: SortKey) -> None:
    """Sort by one key, nulls last in both directions, numbers before text before the rest."""
    nulls = [row for row in rows if row[place] is None]
    others = [row for row in rows if row[place] is not None]
    others.sort(key=lambda row: _sortable(row[place]), reverse=key.descending)
    rows[:] = [*others, *nulls]


def _sortable(value: Any) -> tuple[int, Any]:
    if isinstance(value, (int, float)):  # booleans too: false before true
        return 0, value
    return (1, value) if isinstance(value, str) else (2, to_text(value))


def plan_needs(plan: Plan) -> Needs:
    """Return what the operators behind the window read from before it."""
    found = [expr for node in plan.operators() for expr in expressions_of(node)]
    return needs_of(plan, found)
