"""The SQL core, through the public surface: rows in, rows out."""

from __future__ import annotations

from typing import Any

import pytest

from engine import Engine, SqlError
from engine.testing import Feed, Message, run_case
from tests.conftest import Rows, eventually

ROW: dict[str, Any] = {
    "i": 7,
    "f": 2.5,
    "s": "abc",
    "b": True,
    "n": None,
    "l": [1, 2, 3],
    "o": {"x": {"y": 5}, "l": [{"z": 9}]},
}


async def results(engine: Engine, collected: Rows, sql: str, *rows: dict[str, Any]) -> Rows:
    rule = await engine.start({"id": "r", "sql": sql, "actions": [{"collect": {}}]})
    await eventually(lambda: rule.status.state == "running")
    await engine.push("demo", rows or [ROW])
    await engine.stop("r")
    assert rule.metrics.balance().holds
    return collected


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("i + 1", 8),
        ("i - f", 4.5),
        ("i * 2 - 1", 13),
        ("2 + 3 * 4", 14),
        ("(2 + 3) * 4", 20),
        ("i / 2", 3.5),
        ("7 / 2", 3),
        ("-7 / 2", -3),
        ("-7 % 3", -1),
        ("i % 4", 3),
        ("-i", -7),
        ("1e3", 1000),
        ("9223372036854775807 + 1", -9223372036854775808),
        ("i = 7", True),
        ("i <> 7", False),
        ("i != 8", True),
        ("s < 'abd'", True),
        ("b = true", True),
        ("i BETWEEN 7 AND 8", True),
        ("i NOT BETWEEN 1 AND 2 + 3", True),
        ("i IN (1, 7)", True),
        ("s NOT IN ('x', 'y')", True),
        ("i IN l", False),
        ("s LIKE 'a%'", True),
        ("s LIKE 'a_c'", True),
        ("s LIKE 'a.c'", False),
        ("s NOT LIKE '%z'", True),
        ("n LIKE 'a'", False),
        ("n = 1", False),
        ("n != 1", False),
        ("missing != 1", False),
        ("n NOT BETWEEN 1 AND 2", False),
        ("n IS NULL", True),
        ("missing IS NULL AND s IS NOT NULL", True),
        ("NOT (i > 5)", False),
        ("b OR n", True),
        ("n OR b", False),
        ("b AND i > 5", True),
        ("CASE WHEN i > 5 THEN 'big' ELSE 'small' END", "big"),
        ("CASE i WHEN 6 THEN 'six' WHEN 7 THEN 'seven' END", "seven"),
        ("CASE WHEN b THEN 1 END", 1),
        ("o.x.y", 5),
        ("o->x->y", 5),
        ("2 * o->x->y", 10),
        ("o->l[0]->z", 9),
        ("l[0]", 1),
        ("l[-1]", 3),
        ("l[1:]", [2, 3]),
        ("l[0:2]", [1, 2]),
        ("l[:-1]", [1, 2]),
        ("abs(-i)", 7),
        ("upper(s)", "ABC"),
        ("concat(s, i, n)", "abc7"),
        ("coalesce(n, missing, s)", "abc"),
        ("length(l) + length(s)", 6),
        ("round(f)", 3),
        ("power(2, 10)", 1024),
        ("startswith(s, 'ab')", True),
        ("rule_id()", "r"),
        ("meta(topic)", "demo"),
    ],
)
async def test_an_expression_gives(
    engine: Engine, collected: Rows, expression: str, value: Any
) -> None:
    rows = await results(engine, collected, f"SELECT {expression} AS r FROM demo")
    assert rows == [{"r": value}]
    assert type(rows[0]["r"]) is type(value) or isinstance(value, (int, float))


@pytest.mark.parametrize(
    "expression",
    ["n + 1", "missing * 2", "n -> x", "n[0]", "l[9]", "CASE WHEN i < 5 THEN 1 END", "abs(n)"],
)
async def test_a_null_expression_is_left_out(
    engine: Engine, collected: Rows, expression: str
) -> None:
    assert await results(engine, collected, f"SELECT i, {expression} AS r FROM demo") == [{"i": 7}]


@pytest.mark.parametrize(
    "expression",
    ["i + s", "i > s", "i / 0", "i % 0", "i + b", "s[0]", "b AND i", "abs(s)", "l -> x"],
)
async def test_a_value_that_does_not_fit_fails_its_row_alone(
    engine: Engine, collected: Rows, expression: str
) -> None:
    sql = f"SELECT i, {expression} AS r FROM demo"
    rule_rows = await results(engine, collected, sql, ROW, {"i": None}, ROW)
    assert rule_rows == [{"i": None}] or rule_rows == [{"i": None, "r": False}]
    assert engine.rules["r"].metrics.errors.total() == 2


async def test_a_missing_column_is_absent_and_a_null_one_is_null(
    engine: Engine, collected: Rows
) -> None:
    sql = "SELECT a, b AS c FROM demo"
    rows = await results(engine, collected, sql, {"a": None, "b": None}, {}, {"a": 1, "b": 2})
    assert rows == [{"a": None}, {}, {"a": 1, "c": 2}]


async def test_send_nil_field_writes_nulls(engine: Engine, collected: Rows) -> None:
    await engine.start(
        {
            "id": "r",
            "sql": "SELECT a, b AS c, a + 1 FROM demo",
            "actions": [{"collect": {}}],
            "options": {"sendNilField": True},
        }
    )
    await eventually(lambda: engine.rules["r"].status.state == "running")
    await engine.push("demo", [{}])
    await engine.stop("r")
    assert collected == [{"a": None, "c": None}]


async def test_an_alias_can_be_used_by_later_items_and_by_where(
    engine: Engine, collected: Rows
) -> None:
    sql = "SELECT a + 1 AS b, b * 2 AS c FROM demo WHERE c > 4"
    assert await results(engine, collected, sql, {"a": 1}, {"a": 2}) == [{"b": 3, "c": 6}]


async def test_in_where_an_alias_hides_the_column_of_its_name(
    engine: Engine, collected: Rows
) -> None:
    sql = "SELECT a + 1 AS a FROM demo WHERE a > 3"
    assert await results(engine, collected, sql, {"a": 3}, {"a": 2}) == [{"a": 4}]
    collected.clear()
    sql = "SELECT a + 1 AS a FROM demo WHERE demo.a > 3"
    assert await results(engine, collected, sql, {"a": 3}, {"a": 4}) == [{"a": 5}]


async def test_an_invisible_item_serves_the_others(engine: Engine, collected: Rows) -> None:
    sql = "SELECT a * 2 AS d INVISIBLE, d + 1 AS e FROM demo"
    assert await results(engine, collected, sql, {"a": 1}) == [{"e": 3}]


@pytest.mark.parametrize(
    ("items", "row"),
    [
        ("*", {"a": 1, "b": 2}),
        ("*, a + b AS c", {"a": 1, "b": 2, "c": 3}),
        ("*, a + 1 AS a", {"a": 2, "b": 2}),
        ("* EXCEPT(a)", {"b": 2}),
        ("* REPLACE(b * 2 AS b)", {"a": 1, "b": 4}),
        ("demo.*", {"a": 1, "b": 2}),
        ("d.a", {"a": 1}),
    ],
)
async def test_a_star_stands_for_all_columns(
    engine: Engine, collected: Rows, items: str, row: dict[str, Any]
) -> None:
    sql = f"SELECT {items} FROM demo AS d"
    if items == "demo.*":
        sql = "SELECT demo.* FROM demo"
    assert await results(engine, collected, sql, {"a": 1, "b": 2}) == [row]


async def test_a_schema_gives_integer_division_and_writes_the_star_out(
    engine: Engine, collected: Rows
) -> None:
    engine.define(
        'CREATE STREAM demo (a BIGINT, b BIGINT) WITH (TYPE="memory", DATASOURCE="demo")',
        replace=True,
    )
    sql = "SELECT *, a / b AS q FROM demo"
    rows = await results(engine, collected, sql, {"a": 7, "b": 2, "other": 1})
    assert rows == [{"a": 7, "b": 2, "q": 3}]


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("SELECT a, unnest(l) FROM demo", [{"a": 1, "unnest": 5}, {"a": 1, "unnest": 6}]),
        ("SELECT unnest(l) AS e FROM demo WHERE a = 1", [{"e": 5}, {"e": 6}]),
        ("SELECT *, unnest(o) FROM demo", [{"a": 8, "b": 1}, {"a": 1, "b": 2}]),
        ("SELECT a AS b, unnest(o) FROM demo", [{"b": 1, "a": 8}, {"b": 1}]),
        ("SELECT extract(m) FROM demo", [{"z": 0}]),
        ("SELECT a, unnest(empty) FROM demo", []),
        ("SELECT a, unnest(missing) FROM demo", []),
    ],
)
async def test_unnest_makes_a_row_of_each_element(
    engine: Engine, collected: Rows, sql: str, rows: Rows
) -> None:
    row = {"a": 1, "l": [5, 6], "o": [{"a": 8, "b": 1}, {"b": 2}], "m": {"z": 0}, "empty": []}
    if "*" in sql:
        row, rows = {"a": 1, "o": row["o"]}, [{**r, "o": row["o"]} for r in rows]
    assert await results(engine, collected, sql, row) == rows


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT FROM demo", r"1:8: .*\n.*SELECT FROM demo\n +\^"),
        ("SELECT a FRM demo", r"1:10: "),
        ("SELECT a FROM nowhere", r"1:15: unknown stream nowhere"),
        ("SELECT a FROM dmo", r"did you mean 'demo'"),
        ("SELECT abss(a) FROM demo", r"1:8: unknown function abss\n.*\n.*\n.*did you mean 'abs'"),
        ("SELECT abs() FROM demo", r"abs takes 1 arguments but 0 were given"),
        ("SELECT abs('x') FROM demo", r"1:12: abs: x must be number, not string"),
        ("SELECT a, b AS a FROM demo", r"two fields of the result are named a"),
        ("SELECT a + b AS b, b + a AS a FROM demo WHERE x.y = 1 AND z IN ()", r"1:6\d: "),
        ("SELECT unnest(a), unnest(b) AS c FROM demo", r"1:19: a query can unnest only one list"),
        ("SELECT abs(unnest(a)) FROM demo", r"1:12: .* can only be an item of SELECT"),
        ("SELECT a FROM demo WHERE unnest(a) = 1", r"1:26: .* can only be an item of SELECT"),
        ("SELECT c AS b, b AS c FROM demo", r"defined by itself"),
        ("SELECT a FROM demo GROUP BY a", r"1:29: GROUP BY needs a window"),
        ("SELECT a FROM demo WHERE sum(a) > 1", r"1:26: WHERE can't hold the aggregate sum"),
        ("SELECT sum(a) AS s FROM demo WHERE s > 1", r"1:36: WHERE can't hold an aggregate"),
        ("SELECT sum(count(a)) FROM demo", r"1:12: an aggregate can't hold the aggregate count"),
        ("SELECT a FROM demo WHERE lag(sum(a)) > 1", r"1:30: an analytic function before"),
        ("SELECT lag(sum(a)) AS b FROM demo WHERE b > 1", r"1:\d+: .* before the groups"),
        ("SELECT row_number() FROM demo HAVING rank() > 1", r"1:38: HAVING can't hold rank"),
        ("SELECT a FROM demo WHERE changed_cols('', true, a)", r"1:26: .* an item of SELECT"),
        ("SELECT a FROM demo GROUP BY COUNTWINDOW(2) OVER (WHEN a > 1)", r"only a sliding window"),
    ],
)
async def test_a_wrong_query_is_refused_with_its_place(
    engine: Engine, sql: str, message: str
) -> None:
    with pytest.raises(SqlError, match=message):
        await engine.start({"id": "r", "sql": sql, "actions": [{"nop": {}}]})
    assert "r" not in engine.rules


async def test_an_unknown_field_of_a_schema_is_refused(engine: Engine) -> None:
    engine.define('CREATE STREAM typed (temperature FLOAT) WITH (TYPE="memory", DATASOURCE="t")')
    with pytest.raises(SqlError, match=r"unknown field temprature[^$]*did you mean 'temperature'"):
        await engine.start(
            {"id": "r", "sql": "SELECT temprature FROM typed", "actions": [{"nop": {}}]}
        )


async def test_an_analytic_function_compares_windows(engine: Engine) -> None:
    rows = [(at, {"v": at // 100}) for at in (100, 900, 1100, 1300, 2500)]
    outcome = await run_case(
        "SELECT sum(v) AS s, lag(s) AS before FROM demo GROUP BY TUMBLINGWINDOW(ss, 1) "
        "HAVING had_changed(true, count(*))",
        [Feed.of("CREATE STREAM demo () WITH ()", *rows)],
        advance_to=3000,
    )
    assert outcome.rows == [{"s": 10}, {"s": 25, "before": 24}]


@pytest.mark.parametrize("pattern", ["", "abc", "a%", "%c", "%b%", "a_c"])
async def test_a_missing_column_is_not_unlike_anything(engine: Engine, pattern: str) -> None:
    outcome = await run_case(
        f'SELECT a NOT LIKE "{pattern}" AS r FROM demo',
        [Feed.of("CREATE STREAM demo () WITH ()", (0, {}), (1, {"a": None}), (2, {"a": "x"}))],
    )
    assert outcome.rows == [{"r": False}, {"r": False}, {"r": True}]


@pytest.mark.parametrize(
    ("sql", "options"),
    [
        ("SELECT lag(v) AS l FROM demo", {}),
        ("SELECT v FROM demo", {"isEventTime": True, "lateTolerance": 0}),
        ("SELECT count(*) AS n FROM demo", {}),
    ],
)
async def test_metadata_goes_with_the_row(
    engine: Engine, sql: str, options: dict[str, object]
) -> None:
    feed = Feed(
        'CREATE STREAM demo () WITH (TIMESTAMP="ts")',
        [Message(at, rows=[{"v": at, "ts": at}], meta={"topic": f"t{at}"}) for at in (0, 1)],
    )
    outcome = await run_case(sql, [feed], options={"sendMetaToSink": True, **options})
    assert [row["__meta"] for row in outcome.rows] == [{"topic": "t0"}, {"topic": "t1"}]


async def test_windows_have_no_metadata_to_send(engine: Engine) -> None:
    sql = "SELECT v FROM demo GROUP BY COUNTWINDOW(2)"
    feed = Feed("CREATE STREAM demo () WITH ()")
    outcome = await run_case(sql, [feed], options={"sendMetaToSink": True})
    assert "sendMetaToSink is for queries of single rows" in str(outcome.refused)
