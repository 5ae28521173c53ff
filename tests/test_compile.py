"""The compiled expression equals the slow interpreter, on any rows, in any form of them."""

from __future__ import annotations

import json
import math
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from engine.batch import Batch
from engine.codec import RowsDecoder, decoder
from engine.errors import RowError, SqlError
from engine.layout import Layout
from engine.sql.analyse import analyse
from engine.sql.ast import (
    Between,
    Binary,
    Call,
    Case,
    Column,
    Expr,
    Field,
    In,
    Index,
    Input,
    IsNull,
    Item,
    Like,
    Literal,
    Select,
    Slice,
    Unary,
    When,
)
from engine.sql.compile import QueryOptions
from engine.sql.functions import builtins
from engine.sql.query import Query
from engine.sql.schema import Schema
from engine.sql.source import SourceText
from tests.interpreter import Interpreter

FAILED = object()

numbers = st.one_of(
    st.integers(-3, 3),
    st.floats(-5, 5, allow_nan=False),
    st.integers(-(2**63), 2**63 - 1),
)
texts = st.sampled_from(["", "a", "ab", "A", "%", "7"])
scalars = st.one_of(st.none(), st.booleans(), numbers, texts)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("xy"), inner, max_size=2)
    ),
    max_leaves=4,
)
clean_rows = st.fixed_dictionaries(
    {"a": numbers, "b": numbers, "s": texts, "t": st.booleans()},
    optional={
        "l": st.lists(numbers, max_size=3),
        "o": st.dictionaries(st.sampled_from("xy"), values),
    },
)
wild_rows = st.dictionaries(st.sampled_from("abstlo"), values)
rows = st.lists(st.one_of(clean_rows, clean_rows, wild_rows), min_size=1, max_size=6)

columns = st.sampled_from("abstlo").map(lambda name: Column(name=name))
literals = st.one_of(
    st.integers(-3, 3), st.floats(-3, 3, allow_nan=False), texts, st.booleans(), st.none()
).map(lambda value: Literal(value=value))
OPERATORS = ["+", "-", "*", "/", "%", "&", "=", "!=", "<", "<=", ">", ">=", "AND", "OR"]


def deeper(inner: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
    def node(kind: Any, **fields: Any) -> st.SearchStrategy[Expr]:
        return st.builds(kind, **fields)

    flag = st.booleans()
    branch = st.builds(When, condition=inner, result=inner)
    return st.one_of(
        node(Binary, op=st.sampled_from(OPERATORS), left=inner, right=inner),
        node(Binary, op=st.sampled_from(OPERATORS), left=columns, right=literals),
        node(Unary, op=st.sampled_from(["-", "NOT"]), operand=inner),
        node(Between, value=inner, low=inner, high=inner, negated=flag),
        node(
            In, value=inner, items=st.lists(inner, min_size=1, max_size=3).map(tuple), negated=flag
        ),
        node(In, value=inner, source=inner, negated=flag),
        node(Like, value=inner, pattern=inner, negated=flag),
        node(IsNull, value=inner, negated=flag),
        node(
            Case,
            branches=st.lists(branch, min_size=1, max_size=2).map(tuple),
            operand=st.one_of(st.none(), inner),
            default=st.one_of(st.none(), inner),
        ),
        node(Field, base=inner, name=st.sampled_from("xy")),
        node(Index, base=inner, index=inner),
        node(
            Slice, base=inner, start=st.one_of(st.none(), inner), stop=st.one_of(st.none(), inner)
        ),
        st.builds(
            lambda name, args: Call(name=name, args=tuple(args[: 2 if name == "power" else 1])),
            st.sampled_from(["abs", "upper", "length", "isnull", "power"]),
            st.lists(inner, min_size=2, max_size=2),
        ),
        st.builds(
            lambda args: Call(name="coalesce", args=tuple(args)),
            st.lists(inner, min_size=1, max_size=3),
        ),
    )


expressions = st.recursive(st.one_of(columns, columns, literals), deeper, max_leaves=8)


def alike(left: Any, right: Any) -> bool:
    if left is FAILED or right is FAILED:
        return left is right
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, (int, float)) and isinstance(right, (int, float)):
        return left == right or (math.isnan(left) and math.isnan(right))
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(alike, left, right))
    return bool(left == right)


def interpreted(plan: Any, row: dict[str, Any]) -> dict[str, Any] | object | None:
    """Return the result row, None for a filtered row, FAILED for an error."""
    interpreter = Interpreter(plan.root.items, row)
    try:
        if plan.condition is not None:
            condition = interpreter.value(plan.condition)
            if condition is None or not isinstance(condition, bool):
                if condition is not None:
                    return FAILED
                return None
            if not condition:
                return None
        result = {item.name: interpreter.value(item.expr) for item in plan.root.items}
        return {name: value for name, value in result.items() if value is not None}
    except (RowError, ArithmeticError, TypeError, ValueError, LookupError):
        return FAILED


def compiled(plan: Any, batch: list[dict[str, Any]], *, as_json: bool) -> list[Any]:
    layout = Layout()
    layout.require(plan.scan.columns, whole=plan.scan.whole)
    query = Query(
        plan, layout, builtins(), QueryOptions(send_error=True), lambda site: (site.spec.call, None)
    )
    out: list[Any] = []
    for row in batch if as_json else [batch]:
        if as_json:
            source = Batch(payloads=[json.dumps(row).encode()])
            frame, failures = decoder("json", layout, Schema()).decode(source)
            assert not failures
        else:
            frame, _ = RowsDecoder(Schema()).decode(Batch(list(batch)))
        result = query(frame)
        out.append(result.rows)
    return out


def compiled_at_once(plan: Any, batch: list[dict[str, Any]]) -> list[dict[str, Any]]:
    layout = Layout()
    layout.require(plan.scan.columns, whole=plan.scan.whole)
    options = QueryOptions(send_error=True)
    query = Query(plan, layout, builtins(), options, lambda site: (site.spec.call, None))
    payloads = [json.dumps(row).encode() for row in batch]
    out: list[dict[str, Any]] = []
    for _ in range(3):  # as clean rows, then perhaps not
        frame, _ = decoder("json", layout, Schema()).decode(Batch(payloads=payloads))
        out = query(frame).rows or []
    return out


def check(select: Select, batch: list[dict[str, Any]]) -> None:
    try:
        plan = analyse(select, SourceText(""), {"demo": Schema()}, builtins())
    except SqlError:  # such as a literal that a function can't take
        assume(False)
    expected = [interpreted(plan, row) for row in batch]
    per_row = compiled(plan, batch, as_json=True)
    for row, wanted, (*given_rows,) in zip(batch, expected, per_row, strict=True):
        if wanted is None:
            assert given_rows == [], row
        elif wanted is FAILED:
            assert [set(r) for r in given_rows] == [{"error"}], (row, given_rows)
        else:
            assert isinstance(wanted, dict)
            (given_row,) = given_rows
            assert given_row.keys() == wanted.keys(), (row, given_row, wanted)
            assert all(alike(given_row[name], wanted[name]) for name in wanted), (row, given_row)
    flat = [result for results in per_row for result in results]
    for whole in (compiled_at_once(plan, batch), compiled(plan, batch, as_json=False)[0]):
        assert len(whole) == len(flat)
        for left, right in zip(whole, flat, strict=True):
            assert left.keys() == right.keys()
            assert "error" in left or all(alike(left[name], right[name]) for name in left)


def select(items: list[Expr], where: Expr | None = None) -> Select:
    return Select(
        items=tuple(Item(expr=expr, name=f"r{n}", alias=f"r{n}") for n, expr in enumerate(items)),
        source=Input(name="demo"),
        where=where,
    )


@settings(max_examples=300, deadline=None)
@given(expressions, rows)
def test_a_compiled_expression_equals_the_interpreter(
    expression: Expr, batch: list[dict[str, Any]]
) -> None:
    check(select([expression]), batch)


@settings(max_examples=200, deadline=None)
@given(expressions, expressions, expressions, rows)
def test_filter_aliases_and_several_items_equal_the_interpreter(
    first: Expr, second: Expr, condition: Expr, batch: list[dict[str, Any]]
) -> None:
    aliased = Binary(op="=", left=Column(name="r0"), right=second)
    where = Binary(op="OR", left=condition, right=IsNull(value=Column(name="r0")))
    check(select([first, aliased, Column(name="r0")], where), batch)
