import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import Position, SqlError
from engine.sql.ast import (
    ArrayType,
    Between,
    Binary,
    Call,
    Case,
    Column,
    CreateStream,
    Field,
    In,
    Index,
    IsNull,
    Like,
    Literal,
    Manage,
    Node,
    Over,
    ScalarType,
    Select,
    Slice,
    Star,
    StructType,
    Unary,
    Window,
)
from engine.sql.parse import parse, parse_create, parse_expression, parse_select
from engine.sql.printer import to_sql


def where(text: str) -> Node:
    condition = parse_select(f"SELECT a FROM s WHERE {text}").where
    assert condition is not None
    return condition


def window(text: str) -> Window:
    found = parse_select(f"SELECT a FROM s GROUP BY {text}").window
    assert found is not None
    return found


def refusal(text: str) -> SqlError:
    with pytest.raises(SqlError) as caught:
        parse(text)
    assert caught.value.at is not None
    return caught.value


def place(text: str) -> tuple[int, int]:
    at = refusal(text).at
    assert at is not None
    return at.line, at.column


# --- expressions


@pytest.mark.parametrize(
    ("text", "explicit"),
    [
        ("2 * a->b", "2 * (a->b)"),
        ("x * arr[0]", "x * (arr[0])"),
        ("2 * a.b.c", "2 * ((a.b).c)"),
        ("-a->b * 2", "(-(a->b)) * 2"),
        ("a + b * c", "a + (b * c)"),
        ("a - b - c", "(a - b) - c"),
        ("a | b & c", "a | (b & c)"),
        ("a ^ b + c", "(a ^ b) + c"),
        ("a + 1 > b = TRUE", "((a + 1) > b) = TRUE"),
        ("a OR b AND c", "a OR (b AND c)"),
        ("NOT a = b AND c", "(NOT (a = b)) AND c"),
        ("a BETWEEN 1 AND 2 + 3 AND b", "(a BETWEEN 1 AND (2 + 3)) AND b"),
        ("a BETWEEN arr[0] AND b->m", "a BETWEEN (arr[0]) AND (b->m)"),
        ("a + 1 IN (1, 2) OR b", "((a + 1) IN (1, 2)) OR b"),
        ("a LIKE b AND c", "(a LIKE b) AND c"),
        ("a + 1 IS NULL = TRUE", "((a + 1) IS NULL) = TRUE"),
        ("a - -1", "a - (-1)"),
        ("a <> b", "a != b"),
        ("a > = b", "a >= b"),
        ("a ! = b", "a != b"),
        ("a.b", "a->b"),
        ("arr[:]", "arr[:]"),
    ],
)
def test_operators_bind_as_the_dialect_says(text: str, explicit: str) -> None:
    assert to_sql(parse_expression(text)) == to_sql(parse_expression(explicit))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", 12),
        ("-9223372036854775808", -(2**63)),
        ("- 5", -5),
        (".5", 0.5),
        ("1.", 1.0),
        ("1e5", 1e5),
        ("2.5E-3", 0.0025),
        ("true", True),
        ("NULL", None),
        (r"'it\'s'", "it's"),
        (r'"a\n\t\\\"b"', 'a\n\t\\"b'),
        (r'"\xc3\xa9\u00e9\101\U0001F600"', "ééA😀"),
        ("'-- no /* comment'", "-- no /* comment"),
        ("'größe'", "größe"),
    ],
)
def test_literals(text: str, value: object) -> None:
    literal = parse_expression(text)
    assert isinstance(literal, Literal)
    assert literal.value == value
    assert type(literal.value) is type(value)


def test_what_an_expression_becomes() -> None:
    assert isinstance(where("a NOT IN (1)"), In)
    assert isinstance(where("NOT a IN (1)"), Unary)
    assert isinstance(where("a NOT BETWEEN 1 AND 2"), Between)
    assert isinstance(where("a NOT LIKE 'x'"), Like)
    assert isinstance(where("a IS NOT NULL"), IsNull)
    assert isinstance(where("-a"), Unary)
    assert isinstance(where("CASE WHEN isNull(a) THEN 1 END"), Case)
    assert isinstance(where("arr[-1]"), Index)
    assert isinstance(where("arr[]"), Slice)


def test_a_point_qualifies_only_behind_a_stream_of_the_query() -> None:
    query = parse_select("SELECT s.a, d.b, x.c, s.a.b, x.y.z FROM s JOIN t AS d ON s.a = d.a")
    s_a, d_b, x_c, s_a_b, x_y_z = (item.expr for item in query.items)
    assert isinstance(s_a, Column)
    assert s_a.stream == "s"
    assert isinstance(d_b, Column)
    assert d_b.stream == "d"
    assert isinstance(x_c, Field)
    assert isinstance(x_c.base, Column)
    assert isinstance(s_a_b, Field)
    assert isinstance(s_a_b.base, Column)
    assert s_a_b.base.stream == "s"
    assert isinstance(x_y_z, Field)
    assert isinstance(x_y_z.base, Field)


def test_calls_keep_their_name_and_take_filter_and_over_in_either_order() -> None:
    first = parse_expression("Lag(a, 2) FILTER(WHERE b) OVER (PARTITION BY k WHEN c)")
    second = parse_expression("Lag(a, 2) OVER (WHEN c PARTITION BY k) FILTER(WHERE b)")
    assert isinstance(first, Call)
    assert first.name == "Lag"
    assert isinstance(first.over, Over)
    assert to_sql(first) == to_sql(second)


@pytest.mark.parametrize("text", ["meta(topic)", "meta(a->b)", "meta(*)", "count(* EXCEPT(a))"])
def test_metadata_and_stars_are_ordinary_arguments(text: str) -> None:
    assert to_sql(parse_expression(text)) == text


# --- select


def test_a_query_with_all_its_clauses() -> None:
    query = parse_select(
        """select a, count(*) as n -- a comment
        FROM topic/+/x AS s /* another
        one */ LEFT OUTER JOIN t ON s.id = t.id JOIN u
        WHERE a > 1 GROUP BY a, TumblingWindow(ss, 10) HAVING n > 2
        ORDER BY a DESC b, n % 3 LIMIT 5;"""
    )
    assert query.source.name == "topic/+/x"
    assert query.source.alias == "s"
    assert [(join.kind, join.input.name) for join in query.joins] == [("LEFT", "t"), ("INNER", "u")]
    assert query.window is not None
    assert query.window.lengths == (10_000,)
    assert len(query.group_by) == 1
    assert [key.descending for key in query.order_by] == [True, False, False]
    assert query.limit == 5


def test_output_names() -> None:
    query = parse_select(
        "SELECT s.a, b AS c, Count(*), a->b, x.y, (a), a + 1 AS d, 1, s.a.b,"
        " CASE WHEN a THEN 1 END, * FROM s"
    )
    assert [item.name for item in query.items] == [
        "a", "c", "Count", "kuiper_field_0", "y", "kuiper_field_1", "d", "kuiper_field_2",
        "kuiper_field_3", "kuiper_field_4", "*",
    ]  # fmt: skip


def test_invisible_items_and_stars() -> None:
    query = parse_select("SELECT a INVISIBLE, s.*, * REPLACE(a + 1 AS a) EXCEPT(b, c) FROM s")
    hidden, of_stream, star = query.items
    assert hidden.invisible
    assert isinstance(of_stream.expr, Star)
    assert of_stream.expr.stream == "s"
    assert isinstance(star.expr, Star)
    assert star.expr.excluded == ("b", "c")
    assert star.expr.replaced[0].name == "a"


@pytest.mark.parametrize("end", ["", ";", " ; ", "; SELECT b FROM t"])
def test_nothing_depends_on_a_semicolon(end: str) -> None:
    assert parse("SELECT a FROM s" + end) == parse("SELECT a FROM s")


def test_a_negative_limit_is_none() -> None:
    assert parse_select("SELECT a FROM s LIMIT -1").limit is None


# --- windows


@pytest.mark.parametrize(
    ("text", "kind", "unit", "lengths"),
    [
        ("TUMBLINGWINDOW(ss, 10)", "TUMBLING", "SS", (10_000,)),
        ("HoppingWindow(mi, 1, 2)", "HOPPING", "MI", (60_000, 120_000)),
        ("slidingwindow(ms, 5)", "SLIDING", "MS", (5, 0)),
        ("SLIDINGWINDOW(hh, 1, 1)", "SLIDING", "HH", (3_600_000, 3_600_000)),
        ("SESSIONWINDOW(dd, 2, 1)", "SESSION", "DD", (172_800_000, 86_400_000)),
        ("COUNTWINDOW(5)", "COUNT", "", (5, 5)),
        ("COUNTWINDOW(5, 2)", "COUNT", "", (5, 2)),
    ],
)
def test_windows(text: str, kind: str, unit: str, lengths: tuple[int, ...]) -> None:
    found = window(text)
    assert (found.kind, found.unit, found.lengths) == (kind, unit, lengths)


def test_window_conditions() -> None:
    found = window("SLIDINGWINDOW(ss, 1) OVER (WHEN a > 1 PARTITION BY k) FILTER(WHERE b)")
    assert isinstance(found.filter, Column)
    assert isinstance(found.when, Binary)
    assert len(found.partition_by) == 1
    state = window("STATEWINDOW(a > 1, b) OVER ()")
    assert isinstance(state.begin, Binary)
    assert isinstance(state.emit, Column)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("TUMBLINGWINDOW()", "is a unit"),
        ("TUMBLINGWINDOW(10, ss)", "is a unit"),
        ("TUMBLINGWINDOW(seconds, 1)", "is a unit"),
        ("TUMBLINGWINDOW(ss)", "takes 1 argument"),
        ("TUMBLINGWINDOW(ss, ss)", "can't stand here"),
        ("TUMBLINGWINDOW(ss, 0)", "at least 1"),
        ("TUMBLINGWINDOW(ss, -1)", "at least 1"),
        ("TUMBLINGWINDOW(ss, 1.5)", "whole number"),
        ("TUMBLINGWINDOW(ss, n)", "whole number"),
        ("TUMBLINGWINDOW(dd, 9223372036854775807)", "too long"),
        ("SLIDINGWINDOW(ss, 1, -1)", "zero or more"),
        ("COUNTWINDOW(2, 3)", "larger than the window"),
        ("TUMBLINWINDOW(ss, 1)", "there is no window"),
        ("TUMBLINGWINDOW(ss, 1) OVER (ORDER BY a)", "no ORDER BY"),
    ],
)
def test_a_wrong_window_is_refused_with_its_usage(text: str, what: str) -> None:
    error = refusal(f"SELECT a FROM s GROUP BY {text}")
    assert what in error.message
    assert error.hint


@pytest.mark.parametrize(
    "text",
    [
        "SELECT a FROM s GROUP BY COUNTWINDOW(1), COUNTWINDOW(2)",
        "SELECT COUNTWINDOW(1) FROM s",
        "SELECT a FROM s WHERE COUNTWINDOW(1)",
        "SELECT a FROM s GROUP BY abs(COUNTWINDOW(1))",
    ],
)
def test_a_query_has_one_window_and_only_in_group_by(text: str) -> None:
    assert "window" in refusal(text).message


# --- streams and tables


def test_create_stream() -> None:
    stream = parse_create(
        "create stream demo (id BIGINT DEFAULT -1, `desc` string,"
        " xs ARRAY(STRUCT(y FLOAT DEFAULT 2)),"
        ' id FLOAT,) WITH (datasource="a/#" FORMAT=\'json\', shared=true, TEMP="FALSE",'
        ' overflow="dropNewest");'
    )
    assert stream.kind == "STREAM"
    assert stream.options == {
        "DATASOURCE": "a/#",
        "FORMAT": "json",
        "SHARED": "true",
        "TEMP": "false",
        "OVERFLOW": "dropNewest",
    }
    id_, desc, xs = stream.fields
    assert id_.type == ScalarType(name="FLOAT", at=id_.type.at)
    assert desc.name == "desc"
    assert isinstance(xs.type, ArrayType)
    assert isinstance(xs.type.element, StructType)
    assert xs.type.element.fields[0].default == 2.0


def test_a_stream_without_columns_has_no_schema() -> None:
    table = parse("CREATE TABLE `t-1` () WITH ()")
    assert isinstance(table, CreateStream)
    assert (table.kind, table.name, table.fields, table.options) == ("TABLE", "t-1", (), {})


@pytest.mark.parametrize(
    ("text", "statement"),
    [
        ("SHOW STREAMS", Manage(verb="SHOW", kind="STREAM")),
        ("show tables;", Manage(verb="SHOW", kind="TABLE")),
        ("DESCRIBE STREAM demo", Manage(verb="DESCRIBE", kind="STREAM", name="demo")),
        ("EXPLAIN TABLE t", Manage(verb="EXPLAIN", kind="TABLE", name="t")),
        ("DROP STREAM `a-b`", Manage(verb="DROP", kind="STREAM", name="a-b")),
    ],
)
def test_manage_statements(text: str, statement: Manage) -> None:
    parsed = parse(text)
    assert isinstance(parsed, Manage)
    assert (parsed.verb, parsed.kind, parsed.name) == (
        statement.verb,
        statement.kind,
        statement.name,
    )


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("CREATE STREAM d WITH ()", "expected ( and the columns"),
        ("CREATE STREAM d ()", "expected WITH"),
        ("CREATE STREAM d (a BIGNT) WITH ()", "did you mean 'BIGINT'?"),
        ('CREATE STREAM d () WITH (DATASORCE="x")', "did you mean 'DATASOURCE'?"),
        ('CREATE STREAM d () WITH (STRICT_VALIDATION="maybe")', "TRUE or FALSE"),
        ("CREATE STREAM d () WITH (RETAIN_SIZE=10)", 'RETAIN_SIZE="10"'),
        ('CREATE STREAM d () WITH (RETAIN_SIZE="x")', "whole number"),
        ("CREATE STREAM d () WITH () more", "unexpected 'more'"),
        ("CREATE STREAM de/mo () WITH ()", "'/' can't stand in a name"),
        ("CREATE STREAM `d.e` () WITH ()", "'d.e' can't name"),
        ("CREATE STREAM d (a BIGINT b STRING) WITH ()", "expected a comma"),
        ("CREATE STREAM d (a STRUCT()) WITH ()", "expected a column"),
        ("CREATE STREAM d (a BYTEA DEFAULT 1) WITH ()", "no DEFAULT"),
        ("CREATE STREAM d (a BIGINT DEFAULT 1.5) WITH ()", "not a BIGINT"),
        ("CREATE STREAM d (a STRING DEFAULT TRUE) WITH ()", "not a STRING"),
        ("CREATE STREAM d (a STRING DEFAULT x) WITH ()", "DEFAULT takes"),
        ("SHOW STREAM", "expected STREAMS or TABLES"),
        ("DROP demo", "expected STREAM or TABLE"),
    ],
)
def test_a_wrong_definition_is_refused(text: str, what: str) -> None:
    assert what in str(refusal(text))


# --- errors


@pytest.mark.parametrize(
    ("text", "at", "what"),
    [
        ("", (1, 1), "there is no statement"),
        ("SELEC a FROM s", (1, 1), "did you mean 'SELECT'?"),
        ("SELECT", (1, 7), "found the end of the statement"),
        ("SELECT a,,b FROM s", (1, 10), "expected an expression, found ','"),
        ("SELECT a, FROM s", (1, 11), "remove the comma"),
        ("SELECT a b FROM s", (1, 10), "write AS b"),
        ("SELECT a FORM s", (1, 10), "did you mean 'FROM'?"),
        ("SELECT a FROM s d", (1, 17), "write AS d"),
        ("SELECT a FROM s WERE a", (1, 17), "did you mean 'WHERE'?"),
        ("SELECT a FROM s, t", (1, 16), "JOIN"),
        ("SELECT a FROM (SELECT b FROM c)", (1, 15), "no subqueries"),
        ("SELECT DISTINCT a FROM s", (1, 8), "DISTINCT"),
        ("SELECT a FROM s UNION SELECT b FROM s", (1, 17), "there is no UNION"),
        ("SELECT desc FROM s", (1, 8), "write `desc`"),
        ("SELECT a FROM s\nWHERE ss > 1", (2, 7), "unit of time"),
        ("SELECT a FROM s\r\nWHERE\r\n  a == 1", (3, 5), "write = once"),
        ("SELECT a || b FROM s", (1, 11), "concat()"),
        ("SELECT a ++ b FROM s", (1, 11), "expected an expression, found '+'"),
        ("SELECT * AS x FROM s", (1, 10), "can't have an alias"),
        ("SELECT s.* AS x FROM s", (1, 12), "can't have an alias"),
        ("SELECT x.* FROM s", (1, 8), "there is: s"),
        ("SELECT * + 1 FROM s", (1, 10), "expected FROM"),
        ("SELECT 1 + s.* FROM s", (1, 12), "* is no value"),
        ("SELECT a FROM s WHERE a IN ()", (1, 29), "is empty"),
        ("SELECT a FROM s LIMIT 1.5", (1, 23), "whole number"),
        ("SELECT a FROM s LIMIT 1 WHERE a", (1, 25), "the order is WHERE"),
        ("SELECT a FROM s CROSS JOIN t ON a", (1, 30), "takes no ON"),
        ("SELECT lag(a) OVER () FROM s", (1, 15), "OVER is empty"),
        ("SELECT 99999999999999999999 FROM s", (1, 8), "out of range"),
        ("SELECT 1e999 FROM s", (1, 8), "out of range"),
        ("SELECT 1.2.3 FROM s", (1, 8), "'1.2.3' is not a number"),
        ("SELECT 1abc FROM s", (1, 8), "'1abc' is not a number"),
        ("SELECT größe FROM s", (1, 10), "unexpected character 'ö'"),
        ("SELECT _a FROM s", (1, 8), "backticks"),
        ("SELECT `a FROM s", (1, 8), "never closed"),
        ("SELECT 'a FROM s", (1, 8), "never closed"),
        ("SELECT a /* FROM s", (1, 10), "never closed"),
        (r"SELECT 'ab\q' FROM s", (1, 11), r"unknown escape \q"),
        (r"SELECT '\ud800' FROM s", (1, 9), r"unknown escape \ud800"),
        (r"SELECT '\xff' FROM s", (1, 8), "not UTF-8"),
        ("SELECT 'a\nb' FROM s", (1, 8), "next line"),
        ("SELECT a FROM s WHERE !a", (1, 23), "NOT to negate"),
        ("SELECT {# x #} a FROM s", (1, 8), "unexpected character '{'"),
    ],
)
def test_an_error_says_where_what_and_what_to_do(text: str, at: tuple[int, int], what: str) -> None:
    assert place(text) == at
    assert what in str(refusal(text))


def test_an_error_shows_the_line_with_a_caret() -> None:
    error = refusal("SELECT a\n  FROM s,\n t")
    assert str(error).splitlines() == [
        "2:9: FROM takes one stream",
        "    FROM s,",
        "          ^",
        "  hint: add others by JOIN",
    ]


def test_a_long_line_is_cut_around_the_caret() -> None:
    error = refusal(f"SELECT {', '.join(['column'] * 100)} FROM s, t")
    _, line, caret, _ = str(error).splitlines()
    assert len(line) < 120
    assert line[caret.index("^")] == ","


def test_positions_are_those_of_the_file_around_the_text() -> None:
    text = "SELECT a FROM s\nWHERE b = 1"
    query = parse_select(text, file="rule.yaml", line=7, column=6)
    assert query.at == Position(7, 6, "rule.yaml")
    assert query.items[0].at == Position(7, 13, "rule.yaml")
    assert query.where is not None
    assert query.where.at == Position(8, 9, "rule.yaml")
    with pytest.raises(SqlError) as caught:
        parse("SELECT a b FROM s", file="rule.yaml", line=7, column=6)
    first, line, caret, _ = str(caught.value).splitlines()
    assert first.startswith("rule.yaml:7:15: ")
    assert line[caret.index("^")] == "b"


def test_a_query_is_asked_for_by_kind() -> None:
    with pytest.raises(SqlError, match="expected SELECT"):
        parse_select("SHOW STREAMS")
    with pytest.raises(SqlError, match="expected CREATE"):
        parse_create("SELECT a FROM s")


# --- whatever the text

VOCABULARY = """
SELECT FROM WHERE GROUP ORDER BY HAVING LIMIT AS AND OR NOT IN IS NULL BETWEEN LIKE CASE WHEN THEN
ELSE END OVER FILTER PARTITION JOIN LEFT ON EXCEPT REPLACE INVISIBLE CREATE STREAM TABLE WITH
DEFAULT ARRAY STRUCT BIGINT SHOW DROP TRUE ss OUTER DISTINCT
( ) [ ] , . ; : * / % & | ^ + - = != < <= > -> -- /* */ # ! ' " `
a s s. count( TUMBLINGWINDOW( COUNTWINDOW( meta( 1 1.5 .5 1e5 'x' "y" `z` é $ {# #}
"""
WORDS = [*VOCABULARY.split(), "\n"]


def parses_or_is_refused(text: str) -> None:
    error = None
    try:
        parse(text)
    except SqlError as refused:
        error = refused
    if error:
        assert error.at is not None
        assert str(error)


@given(st.text())
def test_no_text_breaks_the_parser(text: str) -> None:
    parses_or_is_refused(text)


@given(st.lists(st.sampled_from(WORDS), max_size=25), st.sampled_from(["", " "]))
def test_no_soup_of_words_breaks_the_parser(words: list[str], glue: str) -> None:
    soup = glue.join(words)
    for head in ("", "SELECT ", "SELECT a FROM s WHERE ", "SELECT a FROM s GROUP BY ", "CREATE "):
        parses_or_is_refused(head + soup)


@given(st.data())
def test_no_damage_to_a_statement_breaks_the_parser(data: st.DataObject) -> None:
    text = (
        "SELECT a->b[0] AS x, sum(c) FILTER(WHERE d) FROM s JOIN t ON s.k = t.k WHERE e NOT IN (1)"
        ' GROUP BY SLIDINGWINDOW(ss, 1) OVER (WHEN f LIKE "g%") HAVING x > 1.5 ORDER BY x DESC'
    )
    start = data.draw(st.integers(0, len(text)))
    stop = data.draw(st.integers(start, len(text)))
    parses_or_is_refused(text[:start] + data.draw(st.sampled_from(WORDS)) + text[stop:])


@pytest.mark.parametrize("depth", [65, 500, 2000, 20_000])
@pytest.mark.parametrize(
    ("opening", "middle", "closing"),
    [
        ("(", "a", ")"),
        ("(", "", ""),
        ("NOT ", "a", ""),
        ("abs(", "a", ")"),
        ("arr[", "0", "]"),
        ("CASE WHEN ", "a", " THEN 1 END"),
        ("1 + (", "a", ")"),
    ],
)
def test_deep_nesting_is_refused(depth: int, opening: str, middle: str, closing: str) -> None:
    text = opening * depth + middle + closing * depth
    assert "deep" in refusal(f"SELECT {text} FROM s").message


@pytest.mark.parametrize("part", ["- ", "a + ", "a AND ", "a.", "a = "])
def test_long_chains_are_refused(part: str) -> None:
    assert "levels" in refusal(f"SELECT {part * 3000}a FROM s").message
    assert parse(f"SELECT {part * 150}a FROM s")


def test_a_deep_type_is_refused() -> None:
    text = "ARRAY(" * 2000
    assert "deep" in refusal(f"CREATE STREAM s (a {text}").message


def test_a_stack_that_is_nearly_full_gives_the_same_kind_of_error() -> None:
    def descend(levels: int) -> None:
        if levels:
            descend(levels - 1)
        else:
            parse(f"SELECT {'(' * 60}a{')' * 60} FROM s")

    def fill() -> None:
        for levels in range(0, sys.getrecursionlimit(), 50):
            descend(levels)

    with pytest.raises(SqlError, match="nests too deep"):
        fill()


def test_the_parser_is_imported_only_when_it_is_used() -> None:
    code = "import sys, engine.sql.printer, engine.sql.source; print('sqlglot' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert result.stdout.strip() == b"False"


def test_a_parsed_query_is_a_select() -> None:
    assert isinstance(parse("SELECT a FROM s"), Select)
