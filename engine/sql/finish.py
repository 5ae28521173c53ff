"""From rows or groups that belong together to results: HAVING, ranking, ORDER BY, SELECT, LIMIT."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from engine.errors import RowError
from engine.layout import Frame
from engine.ops import ranking
from engine.ops.hits import Hits
from engine.sql.ast import Expr, Hit, Node, SortKey, Supplied
from engine.sql.code import supplied_name
from engine.sql.compile import QueryOptions
from engine.sql.plan import (
    Aggregate,
    Analytic,
    AnalyticOfGroups,
    Filter,
    Having,
    Join,
    Order,
    Plan,
    Rank,
    RankCall,
    Scan,
    Window,
    expressions_of,
)
from engine.sql.query import Query, Result
from engine.sql.records import Records
from engine.sql.stage import ALL_METADATA, Key, Needs, Stage, final_stage, needs_of
from engine.sql.walk import walk

MakeQuery = Callable[[Stage], Query]
"""Compiles a stage for the rows that the query has at that point."""
_BEFORE = (Scan, Analytic, Window, Join, Filter, Aggregate, AnalyticOfGroups)
"""The operators that come before those of this module."""
_RANKINGS = {
    "row_number": ranking.row_number,
    "rank": ranking.rank,
    "dense_rank": ranking.dense_rank,
}


class Finish:
    """The end of a query, for one collection of rows at a time."""

    def __init__(
        self, plan: Plan, make: MakeQuery, options: QueryOptions, remembered: Mapping[str, Any]
    ) -> None:
        """``remembered`` are the states of the query's own calls; see ``engine.sql.assemble``."""
        having, rank, order = plan.find(Having), plan.find(Rank), plan.find(Order)
        condition = None if having is None else having.condition
        self._limit = plan.root.limit
        self._hits: list[Hits] = [
            remembered[f"h{node.index}"]
            for node in ([] if condition is None else walk(condition))
            if isinstance(node, Hit) and node.when == "passed"
        ]
        self._steps: list[_Ranks | _Sort] = []
        if rank is not None:
            self._steps.append(_Ranks(plan, rank.calls, condition, make))
            condition = None
        if order is not None:
            self._steps.append(_Sort(plan, order.keys, condition, make))
            condition = None
        stage = final_stage(plan, condition, with_metadata=options.send_meta_to_sink)
        self._select = make(stage)
        self.keeps_each_row = not (
            self._steps
            or condition
            or plan.root.unnested is not None
            or plan.root.limit is not None
        )
        """Whether each row gives one result, unless it has an error, whatever comes with it."""

    def texts(self) -> list[str]:
        """Return the Python text that was generated, for people."""
        return [
            *(text for step in self._steps for text in step.query.texts()),
            *self._select.texts(),
        ]

    def __call__(self, frame: Frame, now: int) -> Result:
        """Return the results, in their order; a row with an error is left out and reported.

        ``now`` is when the rows were put together, in epoch milliseconds.
        """
        errors: list[RowError] = []
        for step in self._steps:
            frame = step(frame, errors)
        result = self._select(frame)
        result.errors[:0] = errors
        if result.rows:
            for hits in self._hits:
                hits.hit(now)
        if self._limit is not None and result.rows is not None:
            del result.rows[self._limit :]
        return result


def later_needs(plan: Plan, *, before: tuple[type[Any], ...]) -> Needs:
    """Return what the operators behind some kinds of operators read from before them."""
    found: list[Node] = []
    for node in plan.operators():
        if isinstance(node, before):
            break
        found += expressions_of(node)
    needs = needs_of(plan, found)
    if plan.carries_metadata and ALL_METADATA not in needs.metadata:
        return Needs((*needs.metadata, ALL_METADATA), needs.supplied)
    return needs


class _Ranks:
    """Numbers the rows for ``row_number`` and the like, in the order in which they came."""

    def __init__(
        self, plan: Plan, calls: Sequence[RankCall], condition: Expr | None, make: MakeQuery
    ) -> None:
        needs = later_needs(plan, before=_BEFORE)
        self._records = Records(needs.metadata, _without(needs, "ranking"))
        self._calls = [
            (
                _RANKINGS[call.name],
                self._records.add(Key(call.partition_by)) if call.partition_by else None,
                [self._records.add(key.expr) for key in call.order_by],
                [key.descending for key in call.order_by],
            )
            for call in calls
        ]
        self.query = make(self._records.stage(condition))

    def __call__(self, frame: Frame, errors: list[RowError]) -> Frame:
        records = self.query.records(frame, errors)
        values = {}
        for number, (rank, partition, order, descending) in enumerate(self._calls):
            partitions = [() if partition is None else record[partition] for record in records]
            keys = [[record[place] for place in order] for record in records]
            name = supplied_name(Supplied(place="ranking", index=number))
            values[name] = rank(partitions, keys, descending)
        return self._records.frame(records, values, whole=frame.whole, typed=frame.typed)


class _Sort:
    """Puts rows in the order of ORDER BY; ties stay as they came, nulls come last."""

    def __init__(
        self, plan: Plan, keys: Sequence[SortKey], condition: Expr | None, make: MakeQuery
    ) -> None:
        needs = later_needs(plan, before=_BEFORE)
        self._records = Records(needs.metadata, needs.supplied)
        self._places = [self._records.add(key.expr) for key in keys]
        self._descending = [key.descending for key in keys]
        self.query = make(self._records.stage(condition))

    def __call__(self, frame: Frame, errors: list[RowError]) -> Frame:
        records = self.query.records(frame, errors)
        keys = [[record[place] for place in self._places] for record in records]
        positions = ranking.ordered(range(len(records)), keys, self._descending)
        return self._records.frame(
            [records[position] for position in positions],
            {},
            whole=frame.whole,
            typed=frame.typed,
        )


def _without(needs: Needs, place: str) -> tuple[Supplied, ...]:
    return tuple(node for node in needs.supplied if node.place != place)
