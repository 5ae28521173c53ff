"""Random queries and random rows for them."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

from hypothesis import strategies as st

from engine.batch import Row

Draw = st.DrawFn

# -- rows ------------------------------------------------------------------------------------------

numbers = st.sampled_from([0, 1, 2, 3, -1, 7, 2**53 + 1, 1.0, 2.5, -0.5, 0.1, 1e300])
others = st.sampled_from(["a", "2", "", True, False, [1], {"x": 1}])
gaps = st.sampled_from([0, 0, 1, 5, 10, 19, 20, 21, 70, 1_000])

MISSING: Any = object()
"""Stands for a column that a row doesn't have."""


def columns(*, wild: bool) -> dict[str, st.SearchStrategy[Any]]:
    """Return what rows hold: ``v`` and ``w`` numbers, if ``wild`` now and then something else."""
    nothing = st.sampled_from([None, MISSING])
    number = st.one_of(numbers, numbers, numbers, nothing, *([others] if wild else []))
    return {
        "k": st.one_of(st.sampled_from(["a", "b", "1"]), st.sampled_from([1, 1.0, True]), nothing),
        "g": st.sampled_from([1, 1.0, 2, None]),
        "v": number,
        "w": number,
        "s": st.one_of(st.sampled_from(["x", "y", "zz"]), nothing),
        "l": st.one_of(st.lists(numbers, max_size=3), st.lists(numbers, max_size=3), nothing),
    }


@st.composite
def rows(draw: Draw, *, wild: bool = True, most: int = 20) -> list[Row]:
    """Rows with a number ``i`` each, nulls and missing columns among them."""
    size = draw(st.integers(0, most))
    values = [draw(st.fixed_dictionaries(columns(wild=wild))) for _ in range(size)]
    return [
        {"i": number, **{name: value for name, value in row.items() if value is not MISSING}}
        for number, row in enumerate(values)
    ]


@st.composite
def arrivals(draw: Draw, *, wild: bool = True, most: int = 20) -> list[tuple[int, Row]]:
    """Rows with the times at which they arrive, some of them together."""
    found = draw(rows(wild=wild, most=most))
    steps = draw(st.lists(gaps, min_size=len(found), max_size=len(found)))
    return list(zip(accumulate(steps, initial=0), found, strict=False))


# -- queries ---------------------------------------------------------------------------------------

CONDITIONS = ("v > 1", "w < 3", "v IS NOT NULL", "s = 'x' OR g = 1", "k IN ('a', 'b')")
conditions = st.sampled_from(CONDITIONS)

timed_windows = st.sampled_from(
    [
        "TUMBLINGWINDOW(ms, 70)",
        "TUMBLINGWINDOW(ss, 1)",
        "HOPPINGWINDOW(ms, 100, 30)",
        "HOPPINGWINDOW(ms, 100, 50)",
        "HOPPINGWINDOW(ms, 30, 70)",
        "SLIDINGWINDOW(ms, 20)",
        "SLIDINGWINDOW(ms, 60, 25)",
        "SESSIONWINDOW(ms, 100, 20)",
    ]
)
counted_windows = st.sampled_from(["COUNTWINDOW(3)", "COUNTWINDOW(5, 1)", "COUNTWINDOW(5, 2)"])


@st.composite
def windows(draw: Draw, *, analytic: bool = True) -> str:
    """A window, perhaps with FILTER, WHEN or PARTITION BY."""
    kind = draw(st.sampled_from(["timed", "timed", "timed", "counted", "state", "when"]))
    tests = st.one_of(conditions, st.just("had_changed(true, v)")) if analytic else conditions
    if kind == "timed":
        window = draw(timed_windows)
    elif kind == "counted":
        window = draw(counted_windows)
    elif kind == "state":
        both = draw(st.booleans())
        window = f"STATEWINDOW({draw(tests)}{f', {draw(tests)}' if both else ''})"
    else:
        window = f"SLIDINGWINDOW(ms, {draw(st.sampled_from(['60', '60, 25']))})"
    filtered = f" FILTER (WHERE {draw(tests)})" if draw(st.sampled_from([0, 0, 1])) else ""
    over = ""
    if kind == "when":
        over = f" OVER (WHEN {draw(tests)})"
    elif kind == "state" and draw(st.booleans()):
        over = f" OVER (PARTITION BY {draw(st.sampled_from(['k', 'k, g', 'l']))})"
    return f"{window}{filtered}{over}"


AGGREGATES = (
    "count(*)",
    "count(v)",
    "sum(v)",
    "avg(v)",
    "min(v)",
    "max(v)",
    "min(s)",
    "max(w)",
    "stddev(v)",
    "vars(v)",
    "median(v)",
    "percentile_cont(v, 0.4)",
    "percentile_disc(v, 0.6)",
    "collect(w)",
    "collect(*)",
    "last_value(v, true)",
    "last_value(w, false)",
    "merge_agg(*)",
    "deduplicate(k, true)",
    "deduplicate(k, false)",
    "sum(v * 2)",
    "count(*) FILTER (WHERE v > 1)",
    "avg(v) FILTER (WHERE s = 'x')",
    "sum(w + 1)",
    "sum(lag(v))",
)
ANALYTIC = (
    "lag(v)",
    "lag(v, 2, 0, false)",
    "latest(s)",
    "had_changed(true, v, s)",
    "changed_col(false, s)",
    "acc_sum(v)",
    "acc_count(w) OVER (PARTITION BY k)",
    "lag(s) OVER (PARTITION BY k, g WHEN v > 1)",
    "inc_avg(v) OVER (PARTITION BY l)",
    "lag(had_changed(true, s))",
    "CASE WHEN had_changed(true, v) THEN lag(i) ELSE -1 END",
)
OF_GROUPS = (
    "lag(count(*))",
    "had_changed(true, sum(v))",
    "acc_max(avg(v)) OVER (PARTITION BY k WHEN count(*) > 1)",
    "lag(window_end())",
    "CASE WHEN had_changed(true, k) THEN lag(sum(v)) END",
)
PLAIN = (
    "k",
    "v",
    "v + w",
    "upper(s)",
    "CASE WHEN v > 1 THEN s END",
    "l[0]",
    "event_time()",
)
OF_WINDOWS = ("window_start()", "window_end()", "window_trigger()")
RANKINGS = (
    "row_number()",
    "row_number() OVER (PARTITION BY k ORDER BY v DESC)",
    "rank() OVER (ORDER BY v)",
    "dense_rank() OVER (PARTITION BY g ORDER BY s, v DESC)",
)
HITS = ("last_hit_count()", "last_hit_time()")
CHANGES = ("changed_cols('c_', true, v, s)", "changed_cols('', false, v + 1) AS changes")


def _items(draw: Draw, *pools: tuple[str, ...]) -> list[str]:
    """Choose items of SELECT, each with a name of its own; ``changed_cols`` has several."""
    pool = [item for items in pools for item in items]
    found = list(dict.fromkeys(draw(st.lists(st.sampled_from(pool), max_size=4))))
    named = [f"{item} AS x{number}" for number, item in enumerate(found) if item not in CHANGES]
    return named + [item for item in found if item in CHANGES][:1]


@st.composite
def row_queries(draw: Draw) -> str:
    """Queries in which each row gives at most one result, or one for each element of a list."""
    items = _items(draw, PLAIN, ANALYTIC, RANKINGS, CHANGES, HITS)
    items += draw(st.sampled_from([["*"], ["i"], ["i", "unnest(l) AS u"], ["i"]]))
    where = draw(
        st.sampled_from(
            ["", *CONDITIONS, "lag(v) > 1", "had_changed(true, s)", "last_hit_count() < 5"]
        )
    )
    having = draw(st.sampled_from(["", "", "", " HAVING v > 1"]))
    return f"SELECT {', '.join(items)} FROM demo{' WHERE ' * bool(where)}{where}{having}"


@st.composite
def window_queries(draw: Draw) -> str:
    """Queries with a window, with or without aggregates and groups."""
    is_grouped = draw(st.booleans())
    keys = draw(st.sampled_from(["", "", "k", "k, g", "l"])) if is_grouped else ""
    if is_grouped:
        items = ["count(*) AS n", *_items(draw, AGGREGATES, OF_GROUPS, PLAIN, OF_WINDOWS, RANKINGS)]
        items += draw(st.sampled_from([[], ["last_agg_hit_count() AS h"]]))
        having = draw(
            st.sampled_from(
                ["", "", "n > 1", "sum(v) > 2", "last_agg_hit_count() < 3", "lag(n) > 0"]
            )
        )
    else:
        items = _items(draw, PLAIN, ANALYTIC, OF_WINDOWS, RANKINGS, CHANGES)
        items += draw(st.sampled_from([["*"], ["i"], ["i", "unnest(l) AS u"]]))
        having = ""
    where = draw(st.one_of(st.just(""), conditions, st.just("lag(v) > 1")))
    order = draw(st.sampled_from(["", "", "v", "s DESC, w", "k, v DESC"]))
    limit = draw(st.sampled_from(["", "", "1", "3"]))
    by = f"{keys}, " * bool(keys) + draw(windows())
    parts = [
        f"SELECT {', '.join(items)} FROM demo",
        f"WHERE {where}" * bool(where),
        f"GROUP BY {by}",
        f"HAVING {having}" * bool(having),
        f"ORDER BY {order}" * bool(order),
        f"LIMIT {limit}" * bool(limit),
    ]
    return " ".join(part for part in parts if part)


queries = st.one_of(window_queries(), window_queries(), row_queries())


@st.composite
def join_queries(draw: Draw, *, tables: bool = True) -> str:
    """Queries that join the streams ``demo`` and ``other`` and, where allowed, the table ``t``."""
    joined = draw(st.sampled_from([["other"], ["other"], ["t"], ["other", "t"], ["t", "other"]]))
    if not tables:
        joined = ["other"]
    is_windowed = "other" in joined or draw(st.booleans())
    parts = []
    for name in joined:
        kind = draw(st.sampled_from(["INNER", "LEFT", "RIGHT", "FULL"]))
        rest = draw(st.sampled_from(["", "", f" AND {name}.v > 1", " AND demo.v < 3"]))
        key = draw(st.sampled_from(["k", "g", "s"]))
        parts.append(f"{kind} JOIN {name} ON demo.{key} = {name}.{key}{rest}")
    last = joined[-1]
    if draw(st.booleans()):
        items = ["count(*) AS n", f"sum({last}.v) AS s", "collect(demo.i) AS c", "s AS first"]
    else:
        items = [
            "demo.i AS i",
            f"{last}.i AS j",
            "lag(demo.i) OVER (PARTITION BY demo.k) AS x",
            "l[0] AS y",
        ]
    items = draw(st.lists(st.sampled_from(items), min_size=1, unique=True))
    if is_windowed:
        items += draw(st.sampled_from([[], ["window_end() AS e"], ["row_number() AS r"]]))
    is_grouped = any(item.startswith(("count", "sum", "collect")) for item in items)
    if not is_grouped:
        items += draw(st.sampled_from([[], ["*"], [f"unnest({last}.l) AS u"]]))
    where = draw(st.sampled_from(["", f"WHERE {last}.v > 0", "WHERE demo.w * 2 > 1 OR demo.v = 1"]))
    tail = ""
    if is_windowed:
        window = draw(
            st.one_of(
                timed_windows,
                counted_windows,
                st.just("SLIDINGWINDOW(ms, 60) OVER (WHEN demo.v > 1)"),
                st.just("STATEWINDOW(demo.v > 1, demo.v < 3)"),
                st.just("TUMBLINGWINDOW(ms, 70) FILTER (WHERE demo.v > 1)"),
            )
        )
        tail = f"GROUP BY {'demo.k, ' if is_grouped and draw(st.booleans()) else ''}{window}"
        tail += draw(st.sampled_from(["", "", " ORDER BY demo.v DESC", " LIMIT 2"]))
    return " ".join(
        part for part in (f"SELECT {', '.join(items)} FROM demo", *parts, where, tail) if part
    )
