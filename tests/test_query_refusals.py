"""What is refused when a rule is planned: what is wrong, where it stands, what to do."""

from __future__ import annotations

import pytest

from engine.errors import Position
from engine.testing import Feed, run_case

FROM = "SELECT count(*) FROM demo GROUP BY "

# The statement with a ^ in front of what is wrong, the message, and the hint.
REFUSED = [
    # misuse of window functions
    (
        f"{FROM}TUMBLINGWINDOW(^s, 1)",
        "the first argument of TUMBLINGWINDOW is a unit: dd, hh, mi, ss, ms",
        "TUMBLINGWINDOW(unit, length)",
    ),
    (
        f"{FROM}TUMBLINGWINDOW(^week, 1)",
        "is a unit: dd, hh, mi, ss, ms",
        "TUMBLINGWINDOW(unit, length)",
    ),
    (
        f"{FROM}SESSIONWINDOW(^10, 1)",
        "is a unit: dd, hh, mi, ss, ms",
        "SESSIONWINDOW(unit, longest duration, timeout)",
    ),
    (f"{FROM}COUNTWINDOW(^ss, 3)", "the unit SS can't stand here", "COUNTWINDOW(size [, step])"),
    (f"{FROM}TUMBLINGWINDOW(ss, ^0)", "must be at least 1", "TUMBLINGWINDOW(unit, length)"),
    (f"{FROM}TUMBLINGWINDOW(ss, ^-1)", "must be at least 1", "TUMBLINGWINDOW(unit, length)"),
    (f"{FROM}HOPPINGWINDOW(ss, 1, ^0)", "must be at least 1", "HOPPINGWINDOW(unit, length, hop)"),
    (
        f"{FROM}SLIDINGWINDOW(ss, 1, ^-1)",
        "must be zero or more",
        "SLIDINGWINDOW(unit, length [, delay])",
    ),
    (f"{FROM}SESSIONWINDOW(ss, 1, ^0)", "must be at least 1", "SESSIONWINDOW"),
    (f"{FROM}COUNTWINDOW(^0)", "must be at least 1", "COUNTWINDOW(size [, step])"),
    (
        f"{FROM}COUNTWINDOW(2, ^3)",
        "the step 3 is larger than the window's size 2",
        "COUNTWINDOW(size [, step])",
    ),
    (
        f"{FROM}TUMBLINGWINDOW(ss, ^1.5)",
        "is a whole number written out",
        "TUMBLINGWINDOW(unit, length)",
    ),
    (
        f"{FROM}TUMBLINGWINDOW(ss, ^v)",
        "is a whole number written out",
        "TUMBLINGWINDOW(unit, length)",
    ),
    (
        f"{FROM}TUMBLINGWINDOW(dd, ^999999999999)",
        "this window is too long",
        "TUMBLINGWINDOW(unit, length)",
    ),
    (
        f"{FROM}^TUMBLINGWINDOW(ss)",
        "takes 1 argument after the unit, not 0",
        "TUMBLINGWINDOW(unit, length)",
    ),
    (
        f"{FROM}^HOPPINGWINDOW(ss, 1)",
        "takes 2 arguments after the unit, not 1",
        "HOPPINGWINDOW(unit, length, hop)",
    ),
    (f"{FROM}^STATEWINDOW()", "takes 1 or 2 arguments, not 0", "STATEWINDOW(begin [, emit])"),
    (
        f"{FROM}TUMBLINGWINDOW(ss, 1), ^COUNTWINDOW(2)",
        "a query has one window",
        "let a second rule read what the first one emits",
    ),
    ("SELECT ^COUNTWINDOW(2) FROM demo", "stands only in GROUP BY", "GROUP BY"),
    ("SELECT * FROM demo WHERE ^COUNTWINDOW(2)", "stands only in GROUP BY", "GROUP BY"),
    (
        f"{FROM}COUNTWINDOW(2) OVER (WHEN v ^> 1)",
        "only a sliding window takes WHEN",
        "use FILTER (WHERE …)",
    ),
    (
        f"{FROM}COUNTWINDOW(2) OVER (PARTITION BY ^k)",
        "only a state window takes PARTITION BY",
        "GROUP BY beside the window",
    ),
    (
        f"{FROM}STATEWINDOW(v) OVER (ORDER BY ^k)",
        "OVER of a window has no ORDER BY",
        "at the end of the query",
    ),
    (f"{FROM}STATEWINDOW(^count(*) > 1)", "a window can't hold the aggregate count", ""),
    (
        f"{FROM}COUNTWINDOW(2) FILTER (WHERE ^sum(v) > 1)",
        "a window can't hold the aggregate sum",
        "",
    ),
    (
        f"{FROM}SLIDINGWINDOW(ss, 1) OVER (WHEN ^sum(v) > 1)",
        "WHEN of a window can't hold the aggregate sum",
        "",
    ),
    # what needs a window, or comes before it
    (
        "SELECT k FROM demo GROUP BY ^k",
        "GROUP BY needs a window",
        "add one, such as TUMBLINGWINDOW(ss, 10)",
    ),
    (
        "SELECT * FROM demo ^INNER JOIN other ON demo.k = other.k",
        "joining the stream other needs a window",
        "GROUP BY TUMBLINGWINDOW(ss, 10)",
    ),
    (
        "SELECT * FROM demo WHERE ^window_end() > 1 GROUP BY COUNTWINDOW(2)",
        "WHERE stands before the window and can't use window_end()",
        "",
    ),
    (
        "SELECT window_end() AS e FROM demo WHERE ^e > 1 GROUP BY COUNTWINDOW(2)",
        "WHERE stands before what this alias stands for",
        "",
    ),
    # aggregates
    (
        "SELECT * FROM demo WHERE ^avg(v) > 1 GROUP BY COUNTWINDOW(2)",
        "WHERE can't hold the aggregate avg",
        "use HAVING",
    ),
    (
        "SELECT avg(v) AS a FROM demo WHERE ^a > 1 GROUP BY COUNTWINDOW(2)",
        "WHERE can't hold an aggregate",
        "use HAVING",
    ),
    (
        "SELECT v FROM demo GROUP BY ^sum(v), COUNTWINDOW(2)",
        "GROUP BY can't hold the aggregate sum",
        "",
    ),
    (
        "SELECT max(^sum(v)) FROM demo GROUP BY COUNTWINDOW(2)",
        "an aggregate can't hold the aggregate sum",
        "",
    ),
    (
        "SELECT ^sum(v) OVER (PARTITION BY k) FROM demo GROUP BY COUNTWINDOW(2)",
        "sum takes no OVER",
        "",
    ),
    (
        "SELECT ^abs(v) FILTER (WHERE v > 1) FROM demo GROUP BY COUNTWINDOW(2)",
        "abs is no aggregate and takes no FILTER",
        "",
    ),
    # analytic functions and ranking
    (
        "SELECT v FROM demo WHERE lag(^sum(v)) > 1 GROUP BY COUNTWINDOW(2)",
        "an analytic function before the window can't hold the aggregate sum",
        "",
    ),
    ("SELECT ^lag(v) OVER (ORDER BY v) FROM demo", "lag takes no ORDER BY", ""),
    ("SELECT lag(v) ^OVER () FROM demo", "OVER is empty", "give PARTITION BY, ORDER BY or WHEN"),
    (
        "SELECT ^row_number() OVER (ORDER BY v WHEN v > 1) FROM demo GROUP BY COUNTWINDOW(2)",
        "row_number takes no WHEN",
        "",
    ),
    (
        "SELECT v FROM demo WHERE ^row_number() = 1 GROUP BY COUNTWINDOW(2)",
        "WHERE can't hold row_number",
        "only SELECT can",
    ),
    (
        "SELECT v FROM demo WHERE ^changed_cols('', true, v)",
        "changed_cols can only be an item of SELECT",
        "",
    ),
    (
        "SELECT ^last_hit_count() FROM demo GROUP BY COUNTWINDOW(2)",
        "last_hit_count counts rows, not windows",
        "last_agg_hit_count",
    ),
    (
        "SELECT v FROM demo GROUP BY COUNTWINDOW(2) HAVING ^last_hit_count() > 1",
        "HAVING can't hold last_hit_count",
        "it can stand in SELECT, WHERE, WHEN of a window",
    ),
    ("SELECT v FROM demo WHERE ^unnest(l) = 1", "can only be an item of SELECT", ""),
    ("SELECT unnest(a) AS x, ^unnest(b) AS y FROM demo", "a query can unnest only one list", ""),
    # joins and tables
    (
        "SELECT demo.v FROM demo CROSS JOIN other ^ON demo.k = other.k GROUP BY COUNTWINDOW(2)",
        "CROSS JOIN takes no ON",
        "use INNER JOIN, or filter by WHERE",
    ),
    (
        "SELECT v FROM demo INNER JOIN other ON ^sum(v) > 1 GROUP BY COUNTWINDOW(2)",
        "ON can't hold the aggregate sum",
        "",
    ),
    (
        "SELECT demo.k, ^other.k FROM demo CROSS JOIN other GROUP BY COUNTWINDOW(2)",
        "two fields of the result are named k",
        "name one of them with AS",
    ),
    (
        "SELECT a.k FROM demo AS a CROSS JOIN ^other AS a GROUP BY COUNTWINDOW(2)",
        "a stands twice in FROM and JOIN",
        "give each a name of its own with AS",
    ),
    ("SELECT name FROM ^t", "t is a table; FROM takes a stream", "JOIN the table"),
    (
        "SELECT ^lag(demo.v + other.v) FROM demo CROSS JOIN other GROUP BY COUNTWINDOW(2)",
        "lag can't read several streams: demo, other",
        "",
    ),
    (
        "SELECT ^lag(t.name) FROM demo INNER JOIN t ON demo.k = t.k",
        "lag can't read the table t",
        "",
    ),
]


@pytest.mark.parametrize(("marked", "message", "hint"), REFUSED, ids=[case[0] for case in REFUSED])
async def test_a_mistake_is_refused_with_its_place_and_what_to_do(
    marked: str, message: str, hint: str
) -> None:
    feeds = [Feed(f"CREATE STREAM {name} () WITH ()") for name in ("demo", "other")]
    tables = [Feed("CREATE TABLE t () WITH ()")]
    found = await run_case(marked.replace("^", ""), feeds, tables=tables)
    assert found.refused is not None
    assert message in found.refused.message
    assert found.refused.at == Position(1, marked.index("^") + 1)
    assert hint in found.refused.hint
