"""Aggregates that are kept up to date equal those computed anew from the rows of each window."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.batch import Row
from engine.errors import RowError
from engine.sql.event_time import EventTimeOptions
from engine.sql.keys import typed_key
from tests.laws.pipelines import FUNCTIONS, Feed, Run, Setting, shown
from tests.laws.queries import arrivals, conditions, windows

Values = tuple[Any, ...]


def _all(row: Row) -> bool:
    return True


class Aggregate(NamedTuple):
    """An aggregate in SQL, and what it takes of a row."""

    sql: str
    args: Callable[[Row], Values]
    counts: Callable[[Row], bool] = _all
    takes_anything: bool = True
    """A value of a wrong kind is found when the aggregate gets it, not by an operator before."""

    def accumulator(self) -> Any:
        spec = FUNCTIONS.get(self.sql.partition("(")[0])
        assert spec is not None
        assert spec.accumulator is not None
        return spec.accumulator()


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _add(one: Any, other: Any) -> Any:
    return None if one is None else one + other


AGGREGATES = (
    Aggregate("count(*)", lambda row: (1,)),
    Aggregate("count(w)", lambda row: (row.get("w"),)),
    Aggregate("sum(v)", lambda row: (row.get("v"),)),
    Aggregate("avg(w)", lambda row: (row.get("w"),)),
    Aggregate("min(v)", lambda row: (row.get("v"),)),
    Aggregate("max(w)", lambda row: (row.get("w"),)),
    Aggregate("min(s)", lambda row: (row.get("s"),)),
    Aggregate("stddev(v)", lambda row: (row.get("v"),)),
    Aggregate("vars(v)", lambda row: (row.get("v"),)),
    Aggregate("median(v)", lambda row: (row.get("v"),)),
    Aggregate("percentile_cont(v, 0.4)", lambda row: (row.get("v"), 0.4)),
    Aggregate("percentile_disc(w, 0.6)", lambda row: (row.get("w"), 0.6)),
    Aggregate("collect(w)", lambda row: (row.get("w"),)),
    Aggregate("collect(*)", lambda row: (_plain(row),)),
    Aggregate("last_value(w, true)", lambda row: (row.get("w"), True)),
    Aggregate("last_value(v, false)", lambda row: (row.get("v"), False)),
    Aggregate("merge_agg(*)", lambda row: (_plain(row),)),
    Aggregate("deduplicate(k, true)", lambda row: (_plain(row), row.get("k"), True)),
    Aggregate("deduplicate(w, false)", lambda row: (_plain(row), row.get("w"), False)),
    Aggregate("avg(lag(v))", lambda row: (row.get("lagged"),)),
    Aggregate(
        "sum(v) FILTER (WHERE s = 'x')",
        lambda row: (row.get("v"),),
        lambda row: row.get("s") == "x",
    ),
    Aggregate("sum(v + 1)", lambda row: (_add(row.get("v"), 1),), takes_anything=False),
    Aggregate(
        "count(*) FILTER (WHERE v > 1)",
        lambda row: (1,),
        lambda row: row.get("v") is not None and row["v"] > 1,
        takes_anything=False,
    ),
)
COUNT, SUM = AGGREGATES[0], AGGREGATES[2]
_ADDED = ("lagged", "ws", "we")


def _plain(row: Row) -> Row:
    """Return a row as it came in, without what the query for rows has added."""
    return {name: value for name, value in row.items() if name not in _ADDED}


class Group:
    """The rows of a group, and its aggregates computed anew."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = rows
        self.first = rows[0] if rows else {}

    def value(self, aggregate: Aggregate) -> Any:
        accumulator = aggregate.accumulator()
        for row in self._rows:
            if aggregate.counts(row):
                accumulator.add(*aggregate.args(row))
        return accumulator.result()


class Having(NamedTuple):
    sql: str
    holds: Callable[[Group], bool]
    hidden: tuple[Aggregate, ...] = ()


class Order(NamedTuple):
    sql: str
    key: Callable[[Group], Any]
    descending: bool = False
    hidden: tuple[Aggregate, ...] = ()


HAVINGS = (
    Having("count(*) > 1", lambda group: group.value(COUNT) > 1),
    Having("sum(v) > 2", lambda group: (group.value(SUM) or 0) > 2, (SUM,)),
    Having("s = 'x' OR count(*) = 1", lambda g: g.first.get("s") == "x" or g.value(COUNT) == 1),
)
ORDERS = (
    Order("count(*) DESC", lambda group: group.value(COUNT), descending=True),
    Order("sum(v)", lambda group: group.value(SUM), hidden=(SUM,)),
    Order("s DESC", lambda group: group.first.get("s"), descending=True),
)


@dataclass(frozen=True)
class Query:
    """A query with aggregates, and the query for the rows of the same windows."""

    aggregates: tuple[Aggregate, ...]
    window: str
    keys: tuple[str, ...] = ()
    where: str = ""
    having: Having | None = None
    order: Order | None = None
    limit: int | None = None

    @property
    def sql(self) -> str:
        items = [f"{aggregate.sql} AS x{n}" for n, aggregate in enumerate(self.aggregates)]
        by = ", ".join((*self.keys, self.window))
        tail = f" HAVING {self.having.sql}" if self.having else ""
        tail += f" ORDER BY {self.order.sql}" if self.order else ""
        tail += "" if self.limit is None else f" LIMIT {self.limit}"
        of_group = "g AS g, window_start() AS ws, window_end() AS we" if self.keys else "g AS g"
        return f"SELECT {of_group}, {', '.join(items)} FROM demo{self._where} GROUP BY {by}{tail}"

    @property
    def sql_of_rows(self) -> str:
        added = "lag(v) AS lagged, window_start() AS ws, window_end() AS we"
        over = ""
        is_whole = self.window.startswith("STATEWINDOW") and "OVER" not in self.window
        if is_whole and self.keys:  # one window for each group
            over = f" OVER (PARTITION BY {', '.join(self.keys)})"
        return f"SELECT *, {added} FROM demo{self._where} GROUP BY {self.window}{over}"

    @property
    def _where(self) -> str:
        return f" WHERE {self.where}" if self.where else ""

    def recomputed(self, rows: Sequence[Row]) -> list[Row]:
        """Return the results for the rows of one window."""
        fitting = [row for row in rows if self._takes(row)]
        found: dict[Any, list[Row]] = {}
        if self.keys:
            for row in fitting:
                found.setdefault(typed_key(tuple(map(row.get, self.keys))), []).append(row)
        elif fitting or not rows or self.window.startswith(("TUMBLING", "HOPPING")):
            found[()] = fitting
        results: list[tuple[Group, Row]] = []
        for group in map(Group, found.values()):
            try:
                values = {f"x{n}": group.value(each) for n, each in enumerate(self.aggregates)}
            except RowError:
                continue  # its values can't be compared, say
            if self.having is None or self.having.holds(group):
                names = ("g", "ws", "we") if self.keys else ("g",)
                row = {name: group.first.get(name) for name in names} | values
                results.append((group, {n: value for n, value in row.items() if value is not None}))
        if self.order is not None:
            results = _ordered(results, self.order)
        return [row for _, row in results][: self.limit]

    def _takes(self, row: Row) -> bool:
        """Tell whether all aggregates can take a row."""
        hidden = (part.hidden for part in (self.having, self.order) if part is not None)
        for aggregate in (*self.aggregates, *chain.from_iterable(hidden)):
            try:
                if aggregate.counts(row):
                    aggregate.accumulator().add(*aggregate.args(row))
            except RowError:
                return False
        return True


def _ordered(results: list[tuple[Group, Row]], order: Order) -> list[tuple[Group, Row]]:
    present = [result for result in results if order.key(result[0]) is not None]
    absent = [result for result in results if order.key(result[0]) is None]
    present.sort(key=lambda result: order.key(result[0]), reverse=order.descending)
    return present + absent


@st.composite
def queries(draw: st.DrawFn, *, wild: bool) -> Query:
    pool = [each for each in AGGREGATES if each.takes_anything or not wild]
    return Query(
        tuple(draw(st.lists(st.sampled_from(pool), min_size=1, max_size=5, unique=True))),
        draw(windows()),
        draw(st.sampled_from([(), (), ("k",), ("k", "g"), ("l",)])),
        draw(st.one_of(st.just(""), st.just(""), conditions)),
        draw(st.one_of(st.none(), st.none(), st.sampled_from(HAVINGS))),
        draw(st.one_of(st.none(), st.none(), st.sampled_from(ORDERS))),
        draw(st.sampled_from([None, None, None, 0, 1, 2])),
    )


def both(
    query: Query, rows: Sequence[tuple[int, Row]], times: EventTimeOptions | None = None
) -> tuple[list[str], list[str]]:
    """Return the emissions of a query, and those computed anew, from the rows of its windows."""
    feeds: list[Feed] = [(at, "demo", [{**row, "ts": at}]) for at, row in rows]
    aggregated = Run(Setting(query.sql, event_time=times))
    plain = Run(Setting(query.sql_of_rows, event_time=times))
    for run in (aggregated, plain):
        run.feed(feeds)
        run.wait_until((rows[-1][0] if rows else 0) + 1_500)
    expected = []
    for at, emitted in plain.emissions:
        if results := query.recomputed(emitted):
            expected.append((at, results))
    return shown(aggregated.emissions), shown(expected)


some = settings(max_examples=200, deadline=None)


@some
@given(query=queries(wild=True), rows=arrivals(wild=True))
def test_aggregates_are_those_of_the_rows_of_their_windows(
    query: Query, rows: list[tuple[int, Row]]
) -> None:
    made, expected = both(query, rows)
    assert made == expected


@some
@given(
    query=queries(wild=False),
    rows=arrivals(wild=False),
    tolerance=st.sampled_from([0, 50]),
)
def test_in_event_time_aggregates_are_those_of_the_rows_of_their_windows(
    query: Query, rows: list[tuple[int, Row]], tolerance: int
) -> None:
    made, expected = both(query, rows, EventTimeOptions(tolerance))
    assert made == expected
