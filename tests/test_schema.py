"""Declared columns: what becomes of values, and statements about streams."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from engine import ConfigError, Engine, SqlError
from engine.errors import RowError
from engine.sql.parse import parse_create
from engine.sql.schema import Schema
from tests.conftest import Rows, eventually

FAILS = object()


def schema_of(columns: str, *, strict: bool = False, timestamp_format: str = "") -> Schema:
    create = parse_create(f"CREATE STREAM s ({columns}) WITH ()")
    return Schema(create.fields, strict=strict, timestamp_format=timestamp_format)


def converted(schema: Schema, value: dict[str, Any]) -> Any:
    try:
        return schema.convert(value, schema.names)
    except RowError:
        return FAILS


@pytest.mark.parametrize(
    ("declared", "value", "result"),
    [
        ("BIGINT", 5, 5),
        ("BIGINT", 2**63 - 1, 2**63 - 1),
        ("BIGINT", 2**63, FAILS),
        ("BIGINT", 1.0, FAILS),
        ("BIGINT", "5", FAILS),
        ("BIGINT", True, FAILS),
        ("FLOAT", 5, 5.0),
        ("FLOAT", "5", FAILS),
        ("STRING", "a", "a"),
        ("STRING", 5, "5"),
        ("STRING", True, FAILS),
        ("BOOLEAN", 0, False),
        ("BOOLEAN", "true", True),
        ("BOOLEAN", "maybe", FAILS),
        ("BYTEA", "YWJj", b"abc"),
        ("BYTEA", "not base64!", b"not base64!"),
        ("BYTEA", 5, FAILS),
        ("DATETIME", "2024-01-02", "2024-01-02"),
        ("DATETIME", 1000, 1000),
        ("DATETIME", False, FAILS),
        ("ARRAY(BIGINT)", [1, 2], [1, 2]),
        ("ARRAY(BIGINT)", [1, "2"], FAILS),
        ("ARRAY(BIGINT)", 5, FAILS),
        ("ARRAY(ARRAY(FLOAT))", [[1], []], [[1.0], []]),
        ("STRUCT(x BIGINT, y STRING)", {"x": 1, "z": 2}, {"x": 1}),
        ("STRUCT(x BIGINT)", {"x": "a"}, FAILS),
        ("STRUCT(x BIGINT)", [1], FAILS),
        ("BIGINT", None, None),
        ("ARRAY(BIGINT)", [None], [None]),
    ],
)
def test_a_value_becomes_what_is_declared_or_fails(declared: str, value: Any, result: Any) -> None:
    row = converted(schema_of(f"a {declared}"), {"a": value, "undeclared": 1})
    assert row is FAILS if result is FAILS else row == {"a": result}


def test_without_strict_validation_missing_stays_missing() -> None:
    assert converted(schema_of("a BIGINT DEFAULT 5, b FLOAT"), {"b": 1}) == {"b": 1.0}


@pytest.mark.parametrize(
    ("columns", "value", "result"),
    [
        ("a BIGINT DEFAULT 5", {}, {"a": 5}),
        ("a BIGINT", {}, FAILS),
        ("a BIGINT DEFAULT 5", {"a": None}, FAILS),
        ("a ARRAY(BIGINT)", {"a": None}, {"a": None}),
        ("a ARRAY(BIGINT)", {"a": [None]}, FAILS),
        ("a DATETIME", {"a": 1000}, {"a": datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)}),
        ("a DATETIME", {"a": "2024-01-02"}, {"a": datetime(2024, 1, 2, tzinfo=UTC)}),
        ("a DATETIME", {"a": "soon"}, FAILS),
    ],
)
def test_strict_validation_checks_missing_and_null(
    columns: str, value: dict[str, Any], result: Any
) -> None:
    row = converted(schema_of(columns, strict=True), value)
    assert row is FAILS if result is FAILS else row == result


def test_a_timestamp_format_reads_datetimes() -> None:
    schema = schema_of("a DATETIME", strict=True, timestamp_format="dd.MM.yyyy HH:mm")
    expected = {"a": datetime(2024, 3, 1, 14, 5, tzinfo=UTC)}
    assert converted(schema, {"a": "01.03.2024 14:05"}) == expected
    assert converted(schema, {"a": "2024-03-01"}) is FAILS


async def test_a_payload_that_does_not_fit_is_counted_and_the_rest_goes_on(
    engine: Engine, collected: Rows
) -> None:
    engine.define(
        'CREATE STREAM t (a BIGINT, s STRING, l ARRAY(BIGINT)) WITH (TYPE="memory", DATASOURCE="t")'
    )
    rule = await engine.start({"id": "r", "sql": "SELECT * FROM t", "actions": [{"collect": {}}]})
    await eventually(lambda: rule.status.state == "running")
    await engine.push("t", [{"a": 1, "s": 7, "x": 0}, {"a": "one"}, {"l": [1, 2], "a": None}])
    await engine.stop("r")
    assert collected == [{"a": 1, "s": "7"}, {"l": [1, 2], "a": None}]
    assert rule.metrics.errors == {("decode", "column a"): 1}
    assert rule.metrics.balance().holds


async def test_statements_define_show_describe_and_drop(engine: Engine, collected: Rows) -> None:
    engine.execute(
        "CREATE STREAM typed (a BIGINT, b ARRAY(STRING), c STRUCT(x FLOAT)) "
        'WITH (TYPE="memory", DATASOURCE="typed", SHARED="true", STRICT_VALIDATION="TRUE")'
    )
    engine.execute('CREATE TABLE lookup (k BIGINT) WITH (TYPE="memory", DATASOURCE="l")')
    assert engine.execute("SHOW STREAMS") == ["demo", "typed"]
    assert engine.execute("SHOW TABLES;") == ["lookup"]
    text = engine.execute("DESCRIBE STREAM typed")
    assert isinstance(text, str)
    assert "a  bigint" in text
    assert "b  array(string)" in text
    assert "strictValidation: True" in text
    rule = await engine.start(
        {"id": "r", "sql": "SELECT a FROM demo", "actions": [{"collect": {}}]}
    )
    with pytest.raises(ConfigError, match="demo is read by r"):
        engine.execute("DROP STREAM demo")
    await engine.stop(rule.id)
    assert engine.execute("DROP STREAM demo") == "stream demo is dropped"
    assert engine.execute("SHOW STREAMS") == ["typed"]


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("DROP STREAM nothing", "there is no stream nothing"),
        ("DESCRIBE TABLE demo", "there is no table demo"),
        ("SELECT a FROM demo", "runs as a rule"),
        ("CREATE STREAM demo () WITH ()", "demo is defined already"),
        ("CREATE STREAM x (a NUMBER) WITH ()", "1:20"),
        ("CREATE STREAM x () WITH (FORMAT=json)", "1:33"),
        ('CREATE STREAM x () WITH (COLOUR="red")', "COLOUR"),
        ("ALTER STREAM demo", "no statement starts with"),
    ],
)
def test_a_wrong_statement_is_refused(tmp_path: Any, statement: str, message: str) -> None:
    engine = Engine(tmp_path)
    engine.define_stream("demo", type="memory", datasource="demo")
    with pytest.raises((ConfigError, SqlError), match=message):
        engine.execute(statement)


def test_a_plan_is_explained(tmp_path: Any) -> None:
    engine = Engine(tmp_path)
    engine.define_stream("demo", type="memory", datasource="demo")
    sql = "SELECT a + 1 AS b, b * 2 AS c, meta(topic) FROM demo WHERE a > 5 AND s LIKE 'x%'"
    assert engine.explain(sql).splitlines() == [
        "Project b = demo.a + 1, c = b * 2, meta = meta(topic)",
        '  Filter demo.a > 5 AND demo.s LIKE "x%"',
        "    Scan demo: a number, s string; metadata topic",
    ]
    assert "def loop(" in engine.explain(sql, code=True)
    assert "x%" not in engine.explain(sql, code=True)
