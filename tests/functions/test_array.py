"""Functions of lists, as in the function catalogue, sections 6 and 21."""

from __future__ import annotations

from typing import Any

import pytest

from engine.errors import EngineError
from engine.functions.identity import identity
from tests.functions.calls import Failed, example_holds, examples, outcome_of, value_of

LIST_OF_ONE = (
    *("array_cardinality", "array_max", "array_min", "array_flatten", "array_distinct"),
    *("array_shuffle", "array_sort", "kvpair_array_to_obj"),
)
LIST_AND_VALUE = ("array_position", "array_last_position", "array_contains", "array_remove")
TWO_LISTS = ("array_contains_any", "array_intersect", "array_union", "array_except", "array_concat")


@pytest.mark.parametrize("example", examples("array"))
async def test_an_example_is_true(example: str) -> None:
    assert await example_holds(example)


@pytest.mark.parametrize(
    "call",
    [
        *(f"{name}(a)" for name in LIST_OF_ONE if name != "array_cardinality"),
        "array_remove(a, 1)",
        "element_at(a, 0)",
        "element_at(one, a)",
        "array_intersect(a, one)",
        "array_intersect(one, a)",
        "array_except(a, one)",
        "array_map('abs', a)",
        "array_map(a, one)",
        "array_join(a, ',')",
        "array_join(one, a)",
        "array_join(one, ',', a)",
        "repeat(a, 1)",
        "repeat(1, a)",
        "sequence(a, 1)",
        "sequence(1, a)",
        "sequence(1, 2, a)",
    ],
)
async def test_null_gives_null(call: str) -> None:
    assert await outcome_of(call, one=[1]) is None


@pytest.mark.parametrize(
    ("call", "value"),
    [
        ("cardinality(a)", 0),
        ("array_cardinality(a)", 0),
        ("array_position(a, 1)", -1),
        ("array_last_position(a, 1)", -1),
        ("array_contains(a, 1)", False),
        ("array_contains_any(a, one)", False),
        ("array_contains_any(one, a)", False),
        ("array_union(a, one)", [1]),
        ("array_union(one, a)", [1]),
        ("array_union(a, a)", []),
        ("array_except(one, a)", [1]),
        ("array_concat(a)", []),
        ("array_concat(one, a, one)", [1, 1]),
        ("array_create(a, 1)", [None, 1]),
    ],
)
async def test_null_counts_as_nothing(call: str, value: Any) -> None:
    assert await outcome_of(call, one=[1]) == value


@pytest.mark.parametrize("wrong", ["abc", 5, True, {"m": 1}])
@pytest.mark.parametrize(
    "call",
    [
        *(f"{name}(a)" for name in LIST_OF_ONE),
        *(f"{name}(a, 1)" for name in LIST_AND_VALUE),
        *(f"{name}(a, one)" for name in TWO_LISTS),
        *(f"{name}(one, a)" for name in TWO_LISTS),
        "array_map('abs', a)",
        "array_join(a, ',')",
    ],
)
async def test_what_is_no_list_is_an_error(call: str, wrong: Any) -> None:
    assert await outcome_of(call, a=wrong, one=[1]) is Failed


@pytest.mark.parametrize(
    ("call", "value"),
    [
        ("array_create()", []),
        ("array_create(l, 'x', true)", [[3, 1, 3, 2], "x", True]),
        ("cardinality(l)", 4),
        ("cardinality('abc')", 0),
        ("cardinality(mixed)", 6),
        ("array_cardinality(mixed)", 5),
        ("array_position(l, 3)", 0),
        ("array_last_position(l, 3)", 2),
        ("array_position(l, 3.0)", 0),
        ("array_position(l, '3')", -1),
        ("array_position(mixed, true)", 3),
        ("array_position(mixed, null_)", 4),
        ("array_last_position(mixed, null_)", 4),
        ("array_position(nested, one)", 0),
        ("array_contains(mixed, 1)", True),
        ("array_contains(mixed, '1')", True),
        ("array_contains(mixed, 0)", False),
        ("array_contains(mixed, null_)", True),
        ("array_contains(l, null_)", False),
        ("array_contains(nested, o)", True),
        ("array_contains_any(l, one)", True),
        ("array_contains_any(nested, l)", False),
        ("array_contains_any(empty, empty)", False),
        ("element_at(l, 1)", 1),
        ("element_at(l, 1.0)", 1),
        ("element_at(l, -4)", 3),
        ("element_at(l, 4)", Failed),
        ("element_at(l, -5)", Failed),
        ("element_at(l, 1.5)", Failed),
        ("element_at(l, '1')", Failed),
        ("element_at(l, true)", Failed),
        ("element_at(empty, 0)", Failed),
        ("element_at(o, 'm')", 1),
        ("element_at(o, 'z')", None),
        ("element_at(o, 0)", Failed),
        ("element_at('abc', 0)", Failed),
        ("array_max(l)", 3),
        ("array_min(l)", 1),
        ("array_max(floats)", 4.1),
        ("array_max(texts)", "b"),
        ("array_min(texts)", "B"),
        ("array_max(empty)", None),
        ("array_max(array_create(null_))", None),
        ("array_max(mixed)", Failed),
        ("array_max(nested)", Failed),
        ("array_max(array_create(true, false))", Failed),
        ("array_remove(l, 3.0)", [1, 2]),
        ("array_remove(nested, one)", [{"m": 1}, [2, [3]]]),
        ("array_remove(mixed, null_)", [1, "1", 1.5, True, "x"]),
        ("array_intersect(l, array_create(2, 3, 2.0, 9))", [2, 3]),
        ("array_intersect(mixed, array_create('1', null_))", ["1", None]),
        ("array_intersect(nested, nested)", [[1], {"m": 1}, [2, [3]]]),
        ("array_intersect(l, empty)", []),
        ("array_union(l, array_create(9, 1.0))", [3, 1, 2, 9]),
        ("array_union(nested, nested)", [[1], {"m": 1}, [2, [3]]]),
        ("array_except(l, one)", [3, 2]),
        ("array_except(nested, array_create(one))", [{"m": 1}, [2, [3]]]),
        ("array_except(empty, one)", []),
        (
            "array_distinct(array_create(1, '1', true, 1.0, true, null_, null_))",
            [1, "1", True, None],
        ),
        ("array_distinct(array_create(one, one, o, o))", [[1], {"m": 1}]),
        ("array_flatten(nested)", [1, {"m": 1}, 2, [3]]),
        ("array_flatten(array_create(empty, null_))", [None]),
        ("array_flatten(empty)", []),
        ("array_concat(empty)", []),
        ("array_concat()", EngineError),
        ("array_sort(array_create(10, 9, 1000000))", [9, 10, 1000000]),
        (
            "array_sort(array_create(2, '1', true, null_, 10, 'B', 1.5))",
            [1.5, 2, 10, "1", "B", True, None],
        ),
        (
            "array_sort(array_create(o, array_create(2), array_create(1, 5)))",
            [[1, 5], [2], {"m": 1}],
        ),
        ("array_sort(empty)", []),
        ("array_join(mixed, '-')", "1-1-1.5-true-x"),
        ("array_join(mixed, '-', 'nil')", "1-1-1.5-true-nil-x"),
        ("array_join(array_create(1000000.0), '')", "1000000"),
        ("array_join(array_create(0.00001), '')", "0.00001"),
        ("array_join(array_create(cast(0, 'datetime')), '')", "1970-01-01 00:00:00 +0000 UTC"),
        ("array_join(empty, ',')", ""),
        ("array_join(l, 5)", EngineError),
        ("array_join(l, ',', 5)", EngineError),
    ],
)
async def test_values(call: str, value: Any) -> None:
    row = {
        "l": [3, 1, 3, 2],
        "one": [1],
        "o": {"m": 1},
        "empty": [],
        "floats": [1, 3.2, None, 4.1, 2],
        "texts": ["b", "B"],
        "mixed": [1, "1", 1.5, True, None, "x"],
        "nested": [[1], {"m": 1}, [2, [3]]],
    }
    result = await outcome_of(call, **row)
    assert result == value
    assert identity(result) == identity(value)  # 1 is not true


@pytest.mark.parametrize(
    ("call", "value"),
    [
        ("repeat('x', 3)", ["x", "x", "x"]),
        ("repeat(v, n)", [7, 7]),
        ("repeat(1, 0)", []),
        ("repeat(1, -1)", []),
        ("repeat(1, 1.5)", EngineError),
        ("repeat(1, 1000001)", Failed),
        ("repeat(1, 1e300)", Failed),
        ("repeat('0123456789', 1000000)", [*["0123456789"] * 1_000_000]),
        ("repeat('01234567890123456789', 1000000)", Failed),
        ("sequence(1, 4)", [1, 2, 3, 4]),
        ("sequence(4, 1)", [4, 3, 2, 1]),
        ("sequence(3, 3)", [3]),
        ("sequence(n, 5.0)", [2, 3, 4, 5]),
        ("sequence(1, 10, 2)", [1, 3, 5, 7, 9]),
        ("sequence(10, 1, -4)", [10, 6, 2]),
        ("sequence(0, 2, 5)", [0]),
        ("sequence(1, 10, -1)", []),
        ("sequence(1, 2, -1)", []),
        ("sequence(10, 1, 20)", []),
        ("sequence(1, 10, 0)", Failed),
        ("sequence(1, 1000000, 1) = 1", Failed),
        ("sequence(1, 1000001)", Failed),
        ("sequence(0, 9000000000000000000)", Failed),
        ("sequence(1, 'x')", EngineError),
        ("sequence(1.5, 2)", EngineError),
    ],
)
async def test_lists_are_made_no_larger_than_sensible(call: str, value: Any) -> None:
    assert await outcome_of(call, v=7, n=2) == value


async def test_a_text_is_joined_no_longer_than_sensible() -> None:
    assert await outcome_of("array_join(l, d)", l=[""] * 1000, d="x" * 20_000) is Failed


@pytest.mark.parametrize(
    ("call", "value"),
    [
        ("array_map('upper', texts)", ["A", None]),
        ("array_map('ABS', numbers)", [1, 2]),
        ("array_map('length', texts)", [1, 0]),
        ("array_map('concat', numbers)", ["-1", "2"]),
        ("array_map('array_max', nested)", [2]),
        ("array_map(name, numbers)", [1, 2]),
        ("array_map('abs', texts)", Failed),
        ("array_map('sqrt', numbers)", Failed),
        ("array_map('nosuch', numbers)", EngineError),
        ("array_map('atan2', numbers)", EngineError),
        ("array_map('pi', numbers)", EngineError),
        ("array_map('count', numbers)", EngineError),
        ("array_map('unnest', nested)", EngineError),
        ("array_map('now', numbers)", EngineError),
        ("array_map(wrong, numbers)", Failed),
        ("array_map(5, numbers)", EngineError),
    ],
)
async def test_array_map(call: str, value: Any) -> None:
    row = {
        "texts": ["a", None],
        "numbers": [-1, 2],
        "nested": [[1, 2]],
        "name": "abs",
        "wrong": "x",
    }
    assert await outcome_of(call, **row) == value


async def test_array_shuffle_keeps_all_elements() -> None:
    assert sorted(await value_of("array_shuffle(l)", l=[*range(100)])) == [*range(100)]


@pytest.mark.parametrize(
    ("pairs", "value"),
    [
        ([{"key": "a", "value": 1}, {"key": "a", "value": None}], {"a": None}),
        ([], {}),
        ([{"key": "a"}], Failed),
        ([{"key": 1, "value": 1}], Failed),
        ([{"key": "a", "value": 1, "more": 2}], Failed),
        ([["a", 1]], Failed),
        ([None], Failed),
    ],
)
async def test_kvpair_array_to_obj(pairs: Any, value: Any) -> None:
    assert await outcome_of("kvpair_array_to_obj(l)", l=pairs) == value


@pytest.mark.parametrize(
    "call",
    [
        "array_remove(l, 1)",
        "array_sort(l)",
        "array_shuffle(l)",
        "array_distinct(l)",
        "array_concat(l, l)",
        "array_flatten(l)",
    ],
)
async def test_a_list_that_is_given_stays_as_it_is(call: str) -> None:
    given = [2, 1, 1, [3]]
    await value_of(call, l=given)
    assert given == [2, 1, 1, [3]]
