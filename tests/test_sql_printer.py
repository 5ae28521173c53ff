import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.sql import ast
from engine.sql.parse import parse, parse_expression
from engine.sql.printer import to_sql


def bare(node: ast.Node) -> str:
    """A text for a tree that leaves out positions and tells 1, 1.0 and TRUE apart."""

    def without_places(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: without_places(part) for key, part in value.items() if key != "at"}
        if isinstance(value, (list, tuple)):
            return [without_places(part) for part in value]
        return value

    return json.dumps(without_places(msgspec.to_builtins(node)))


@pytest.mark.parametrize(
    "text",
    [
        "SELECT a.b, a->b, (a), (count(*)), s.a, a AS `from`, b INVISIBLE FROM s",
        "SELECT * EXCEPT(a) REPLACE(b + 1 AS b), s.* FROM s",
        "SELECT -(5), -5, - -a, -(-5), a - -5, (-5)[0], NOT (a AND NOT b) FROM s",
        "SELECT (NOT a) = b, NOT a = b, (a OR b) AND c, a - (b - c), (a = b) IS NULL FROM s",
        "SELECT 'a\"b\\\\c\\n\\u0001é', .5, 1e30, NULL, TRUE, `null`, `a b` FROM `x/#` AS q",
        "SELECT a FROM s WHERE NOT a IN (1) AND a NOT IN b->c AND a NOT BETWEEN -1 AND c + 1",
        "SELECT arr[], arr[1:], arr[:n + 1], arr[0]->x.y FROM s",
        "SELECT CASE a WHEN 1 THEN 2 END, CASE WHEN CASE WHEN b THEN 1 END THEN 2 END FROM s",
        "SELECT CASE WHEN a THEN 1 ELSE NULL END FROM s",
        "SELECT row_number() OVER (PARTITION BY a ORDER BY b DESC, c), f(a) FILTER(WHERE b) FROM s",
        "SELECT a FROM s FULL JOIN t ON s.a = t.a CROSS JOIN u AS v GROUP BY a, COUNTWINDOW(2)",
        "SELECT a FROM s GROUP BY STATEWINDOW(a, b) FILTER(WHERE c) OVER (WHEN d PARTITION BY e)",
        "SELECT a FROM s GROUP BY SLIDINGWINDOW(ms, 1, 0) HAVING a > 1 ORDER BY a DESC, b LIMIT 0",
        "CREATE TABLE `t-1` (`select` BIGINT DEFAULT -1, s STRING DEFAULT '\"') WITH (SHARED=TRUE)",
        "CREATE STREAM s (x ARRAY(STRUCT(y FLOAT DEFAULT 1, z BYTEA))) WITH (EXTRA='{\"a\": 1}')",
        "SHOW STREAMS",
        "DROP TABLE t",
    ],
)
def test_printed_text_parses_to_the_same_tree(text: str) -> None:
    tree = parse(text)
    assert bare(parse(to_sql(tree))) == bare(tree)


def test_printing_adds_only_needed_brackets() -> None:
    text = "a + b * -c > d->e[0] OR NOT x AND y NOT IN (1, 2)"
    assert to_sql(parse_expression(text)) == text


def test_parts_of_a_statement_print_too() -> None:
    query = parse("SELECT a FROM s GROUP BY TUMBLINGWINDOW(ss, 10)")
    assert isinstance(query, ast.Select)
    assert query.window
    assert to_sql(query.window) == "TUMBLINGWINDOW(SS, 10)"


# --- generated trees

names = st.one_of(
    st.sampled_from(["a", "b1", "from", "ss", "null", "TRUE", "x y", "größe", "a`b", "_x", "is"]),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=4),
)
OPERATORS = ("*", "/", "%", "&", "+", "-", "|", "^", "=", "!=", "<", "<=", ">", ">=", "AND", "OR")
STREAMS = ("demo", "left", "x/#")
# A name that qualifies is told from a column by the streams of the query alone.
column_names = names.filter(lambda name: name not in STREAMS)
columns = st.builds(ast.Column, name=column_names, stream=st.sampled_from(["", *STREAMS]))
literals = st.builds(
    ast.Literal,
    value=st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(max_size=5),
    ),
)


def trees(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    optional = st.none() | inner
    some = st.lists(inner, min_size=1, max_size=2).map(tuple)
    lists = st.builds(ast.Field, base=columns, name=names) | columns
    whens = st.builds(ast.When, condition=inner, result=inner)
    replaced = st.builds(ast.Replacement, expr=inner, name=names)
    stars = st.builds(
        ast.Star,
        stream=st.sampled_from(["", "demo"]),
        excluded=st.lists(names, max_size=2).map(tuple),
        replaced=st.lists(replaced, max_size=1).map(tuple),
    )
    return st.one_of(
        st.builds(ast.Field, base=inner, name=names),
        st.builds(ast.Index, base=inner, index=inner),
        st.builds(ast.Slice, base=inner, start=optional, stop=optional),
        st.builds(ast.Unary, op=st.sampled_from(["-", "NOT"]), operand=inner),
        st.builds(
            ast.Binary,
            op=st.sampled_from(OPERATORS),
            left=inner,
            right=inner,
        ),
        st.builds(ast.Between, value=inner, low=inner, high=inner, negated=st.booleans()),
        st.builds(ast.In, value=inner, items=some, negated=st.booleans()),
        st.builds(ast.In, value=inner, source=lists, negated=st.booleans()),
        st.builds(ast.Like, value=inner, pattern=inner, negated=st.booleans()),
        st.builds(ast.IsNull, value=inner, negated=st.booleans()),
        st.builds(
            ast.Case,
            operand=optional,
            branches=st.lists(whens, min_size=1, max_size=2).map(tuple),
            default=optional,
        ),
        st.builds(
            ast.Call,
            name=names.filter(lambda name: not name.lower().endswith("window")),
            args=st.lists(inner | stars, max_size=2).map(tuple),
            filter=optional,
            over=st.none() | st.builds(ast.Over, partition_by=some, order_by=sort_keys(inner)),
        ),
    )


def sort_keys(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    keys = st.builds(ast.SortKey, expr=inner, descending=st.booleans())
    return st.lists(keys, max_size=2).map(tuple)


expressions = st.recursive(columns | literals, trees, max_leaves=12)
windows = st.one_of(
    st.builds(
        lambda length, hop, when: ast.Window(
            kind="HOPPING", unit="SS", lengths=(length * 1000, hop * 1000), when=when
        ),
        st.integers(1, 10**9),
        st.integers(1, 10**9),
        st.none() | expressions,
    ),
    st.builds(
        lambda length, delay, key: ast.Window(
            kind="SLIDING", unit="MS", lengths=(length, delay), filter=key
        ),
        st.integers(1, 99),
        st.integers(0, 99),
        st.none() | expressions,
    ),
    st.builds(
        ast.Window,
        kind=st.just("STATE"),
        begin=expressions,
        emit=st.none() | expressions,
        partition_by=st.lists(expressions, max_size=2).map(tuple),
    ),
)
selects = st.builds(
    ast.Select,
    items=st.lists(
        st.builds(
            lambda expr, alias, invisible: ast.Item(
                expr=expr, name=alias, alias=alias, invisible=invisible
            ),
            expressions,
            names,
            st.booleans(),
        ),
        min_size=1,
        max_size=3,
    ).map(tuple),
    source=st.just(ast.Input(name="demo", alias="left")),
    joins=st.builds(
        lambda kind, on: (
            ast.Join(kind=kind, input=ast.Input(name="x/#"), on=None if kind == "CROSS" else on),
        ),
        st.sampled_from(["INNER", "LEFT", "RIGHT", "FULL", "CROSS"]),
        st.none() | expressions,
    ),
    where=st.none() | expressions,
    window=st.none() | windows,
    group_by=st.lists(expressions, max_size=2).map(tuple),
    having=st.none() | expressions,
    order_by=sort_keys(expressions),
    limit=st.none() | st.integers(0, 2**63 - 1),
)


@given(expressions)
@settings(max_examples=400)
def test_every_expression_survives(tree: Any) -> None:
    assert bare(parse_expression(to_sql(tree), streams=STREAMS)) == bare(tree)


@given(selects)
def test_every_query_survives(tree: ast.Select) -> None:
    assert bare(parse(to_sql(tree))) == bare(tree)


types: st.SearchStrategy[Any] = st.deferred(
    lambda: st.one_of(
        st.builds(
            ast.ScalarType, name=st.sampled_from(["BIGINT", "FLOAT", "STRING", "DATETIME", "BYTEA"])
        ),
        st.builds(ast.ArrayType, element=types),
        st.builds(
            ast.StructType,
            fields=st.lists(fields, min_size=1, max_size=2, unique_by=lambda f: f.name).map(tuple),
        ),
    )
)
fields: st.SearchStrategy[Any] = st.one_of(
    st.builds(ast.FieldDef, name=names, type=types),
    st.builds(
        lambda name, default: ast.FieldDef(
            name=name,
            type=ast.ScalarType(
                name={int: "BIGINT", float: "FLOAT", str: "STRING", bool: "BOOLEAN"}[type(default)]
            ),
            default=default,
            has_default=True,
        ),
        names,
        st.one_of(
            st.booleans(),
            st.integers(-(2**63), 2**63 - 1),
            st.floats(allow_nan=False, allow_infinity=False),
            st.text(max_size=5),
        ),
    ),
)


@given(
    st.builds(
        ast.CreateStream,
        kind=st.sampled_from(["STREAM", "TABLE"]),
        name=st.from_regex(r"[A-Za-z0-9_-]{1,6}", fullmatch=True),
        fields=st.lists(fields, max_size=3, unique_by=lambda field: field.name).map(tuple),
        options=st.dictionaries(
            st.sampled_from(["DATASOURCE", "FORMAT", "EXTRA"]), st.text(max_size=8)
        ),
    )
)
def test_every_definition_survives(tree: ast.CreateStream) -> None:
    assert bare(parse(to_sql(tree))) == bare(tree)
