"""Functions of objects, as in the function catalogue, sections 7 and 21."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from engine.errors import EngineError
from tests.functions.calls import Failed, example_holds, examples, outcome_of, value_of

ONE_OBJECT = ("keys", "values", "items", "obj_to_kvpair_array", "object_size")


@pytest.mark.parametrize("example", examples("object"))
async def test_an_example_is_true(example: str) -> None:
    assert await example_holds(example)


@pytest.mark.parametrize(
    ("call", "value"),
    [
        *((f"{name}(n)", None) for name in ONE_OBJECT if name != "object_size"),
        ("object_size(n)", 0),
        ("object(n, l)", None),
        ("object(l, n)", None),
        ("zip(n)", None),
        ("object_construct(n, 1)", {}),
        ("object_construct('a', n)", {"a": None}),
        ("object_concat(n, o)", {"a": 1}),
        ("object_concat(o, n, n)", {"a": 1}),
        ("object_concat(n, n)", {}),
        ("erase(n, 'a')", None),
        ("erase(o, n)", None),
        ("object_pick(n, 'a')", None),
        ("object_pick(o, n)", {}),
        ("object_pick(o, n, 'a')", {"a": 1}),
    ],
)
async def test_null(call: str, value: Any) -> None:
    assert await outcome_of(call, o={"a": 1}, l=["x"]) == value


@pytest.mark.parametrize("wrong", [[1], "abc", 5, True])
@pytest.mark.parametrize(
    "call",
    [
        *(f"{name}(a)" for name in ONE_OBJECT),
        "object_concat(a, o)",
        "object_concat(o, a)",
        "object_concat(o, o, a)",
        "erase(a, 'x')",
        "object_pick(a, 'x')",
    ],
)
async def test_what_is_no_object_is_an_error(call: str, wrong: Any) -> None:
    assert await outcome_of(call, a=wrong, o={}) is Failed


@pytest.mark.parametrize("name", [name for name in ONE_OBJECT if name != "object_size"])
async def test_an_empty_list_where_an_object_should_be_counts_as_null(name: str) -> None:
    assert await outcome_of(f"{name}(a)", a=[]) == await outcome_of(f"{name}(a)", a=None)
    assert await outcome_of("object_concat(o, a)", a=[], o={}) is Failed


@pytest.mark.parametrize(
    ("call", "value"),
    [
        ("keys(o)", ["z", "a", "n"]),
        ("values(o)", [1, [2], None]),
        ("items(o)", [["z", 1], ["a", [2]], ["n", None]]),
        ("obj_to_kvpair_array(array_create(o)[0])[1]", {"key": "a", "value": [2]}),
        ("keys(empty)", []),
        ("object_size(o)", 3),
        ("object_size(empty)", 0),
        ("object(keys(o), values(o))", {"z": 1, "a": [2], "n": None}),
        ("array_contains(keys(o), 'a')", True),
        ("object(array_create('d', 'd'), array_create(1, 2))", {"d": 2}),
        ("object(none, none)", {}),
        ("object(array_create('x'), none)", Failed),
        ("object(array_create(1), array_create(2))", Failed),
        ("object(array_create(missing), array_create(2))", Failed),
        ("object('x', none)", EngineError),
        ("zip(items(o))", {"z": 1, "a": [2], "n": None}),
        ("zip(none)", {}),
        ("zip(array_create(missing))", {}),
        ("zip(empty)", None),
        ("zip(array_create('xy'))", Failed),
        ("zip(array_create(array_create('x')))", Failed),
        ("zip(array_create(array_create(1, 2)))", Failed),
        ("object_construct()", {}),
        ("object_construct('x', 1, '', 2)", {"x": 1, "": 2}),
        ("object_construct('x', 1, 'x', 2)", {"x": 2}),
        ("object_construct(five, 2)", Failed),
        ("object_construct(b, 2)", {"key": 2}),
        ("object_construct('x', 1)->x", 1),
        ("object_construct('x', 1, 'y')", EngineError),
        ("object_construct(1, 2)", EngineError),
        ("object_concat(o, object_construct('z', 9))->z", 9),
        ("object_concat(o)", EngineError),
        ("erase(o, 'a')", {"z": 1, "n": None}),
        ("erase(o, 'missing')", {"z": 1, "a": [2], "n": None}),
        ("erase(o, array_create('a', 'z'))", {"n": None}),
        ("erase(o, keys(o))", {}),
        ("erase(o, none)", {"z": 1, "a": [2], "n": None}),
        ("erase(empty, 'a')", {}),
        ("erase(o, 5)", Failed),
        ("erase(o, 'a', 'b')", EngineError),
    ],
)
async def test_values(call: str, value: Any) -> None:
    row = {"o": {"z": 1, "a": [2], "n": None}, "empty": {}, "none": [], "five": 5, "b": b"key"}
    assert await outcome_of(call, **row) == value


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        ("'x', 'z', 'missing'", {"x": 1, "z": [4]}),
        ("array_create('x', 'y.p', 5)", {"x": 1, "y": {"p": 2}}),
        ("'y.q.r'", {"y": {"q": {"r": 3}}}),
        ("'y.p', 'y.q'", {"y": {"p": 2, "q": {"r": 3}}}),
        ("'y.q.r', 'y.p'", {"y": {"q": {"r": 3}, "p": 2}}),
        ("'y', 'y.p'", {"y": {"p": 2, "q": {"r": 3}}}),
        ("'y.p', 'y'", {"y": {"p": 2, "q": {"r": 3}}}),
        ("'y.missing'", {}),
        ("'x.p'", {}),
        ("'missing.p'", {}),
        ("'a.b'", {}),
        ("''", {}),
        ("5", {}),
        ("keys(object_construct('x', 0))", {"x": 1}),
        ("array_create()", {}),
        ("'x', array_create('z')", Failed),
    ],
)
async def test_object_pick(arguments: str, value: Any) -> None:
    given = {"x": 1, "y": {"p": 2, "q": {"r": 3}}, "z": [4], "a.b": 5}
    before = copy.deepcopy(given)
    assert await outcome_of(f"object_pick(o, {arguments})", o=given) == value
    assert given == before


async def test_objects_that_are_given_stay_as_they_are() -> None:
    given = {"a": 1}
    assert await value_of("object_concat(o, object_construct('a', 2))", o=given) == {"a": 2}
    assert given == {"a": 1}
