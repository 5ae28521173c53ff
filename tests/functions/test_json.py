"""Functions of JSON, as in the function catalogue, sections 10 and 21."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from engine.errors import EngineError
from tests.functions.calls import Failed, example_holds, examples, outcome_of, value_of

DEVICE = {
    "site": "A1",
    "sensors": [
        {"id": "t1", "v": 20.5, "tags": ["x", "y"]},
        {"id": "h1", "v": 61, "tags": []},
        {"id": "p1", "v": 3},
    ],
    "deep": {"a": {"b": {"c": 9}}},
    "nil": None,
    "zero": 0,
    "sp ace": 4,
}


@pytest.mark.parametrize("example", examples("json"))
async def test_an_example_is_true(example: str) -> None:
    assert await example_holds(example)


@pytest.mark.parametrize(
    ("call", "value"),
    [
        ("to_json(a)", None),
        ("parse_json(a)", None),
        ("json_path_query(a, '$')", None),
        ("json_path_query_first(a, '$')", None),
        ("json_path_exists(a, '$')", False),
    ],
)
async def test_null(call: str, value: Any) -> None:
    assert await outcome_of(call) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"x": 1, "b": [1, 2.5, None]}, '{"b":[1,2.5,null],"x":1}'),
        ([], "[]"),
        ({}, "{}"),
        ("", '""'),
        ('str"q', '"str\\"q"'),
        ("é<>&\u2028", '"é\\u003c\\u003e\\u0026\\u2028"'),
        (5.0, "5"),
        (-0.5, "-0.5"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (-1.5e300, "-1.5e+300"),
        (0.000001, "0.000001"),
        (1e-7, "1e-7"),
        (0.1, "0.1"),
        (9007199254740993, "9007199254740993"),
        (float("nan"), "null"),
        ([float("inf")], "[null]"),
        (True, "true"),
        (b"abc", '"YWJj"'),
        (datetime(2024, 2, 29, 13, tzinfo=UTC), '"2024-02-29T13:00:00Z"'),
        (datetime(2024, 2, 29, 13, 0, 0, 500_000, UTC), '"2024-02-29T13:00:00.5Z"'),
        (
            [datetime(2024, 2, 29, 13, tzinfo=timezone(timedelta(hours=8)))],
            '["2024-02-29T13:00:00+08:00"]',
        ),
    ],
)
async def test_to_json(value: Any, text: str) -> None:
    assert await outcome_of("to_json(a)", a=value) == text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"x": [1, 2.5, null]}', {"x": [1, 2.5, None]}),
        (b'"good"', "good"),
        ("9007199254740993", 9007199254740993),
        ("null", None),
        ('{"a": 1, "a": 2}', {"a": 2}),
        ("", Failed),
        ("{bad", Failed),
        ("[1,]", Failed),
        ("{'x':1}", Failed),
        ('{"x":1} extra', Failed),
        ("NaN", Failed),
        ("1e999", Failed),
        ("[" * 100_000, Failed),
        (12, Failed),
        (True, Failed),
        ([], Failed),
        ({"x": 1}, Failed),
    ],
)
async def test_parse_json(text: Any, value: Any) -> None:
    assert await outcome_of("parse_json(a)", a=text) == value


@pytest.mark.parametrize(
    ("path", "query", "first", "exists"),
    [
        ("$", DEVICE, Failed, True),
        ("$.site", "A1", Failed, True),
        ("site", "A1", Failed, True),
        ("deep.a.b.c", 9, Failed, True),
        ("$.zero", 0, Failed, True),
        ("$.sensors[1].id", "h1", Failed, True),
        ("$.sensors[-1].id", "p1", Failed, True),
        ("$.sensors[0].tags", ["x", "y"], "x", True),
        ("$.sensors[1].tags", [], None, False),
        ("$.sensors[3]", None, None, False),
        ("$.sensors[-4]", None, None, False),
        ("$.nil", None, None, False),
        ("$.nope.nope", None, None, False),
        ("$.site.nope", None, None, False),
        ("$.site[0]", None, None, False),
        ("$.sensors.id", None, None, False),
        ('$["sp ace"]', 4, Failed, True),
        ("['sp ace']", 4, Failed, True),
        ("$.sensors[*].id", ["t1", "h1", "p1"], "t1", True),
        ("$.sensors[0,2].id", ["t1", "p1"], "t1", True),
        ("$.sensors[1:3].id", ["h1", "p1"], "h1", True),
        ("$.sensors[-2:].id", ["h1", "p1"], "h1", True),
        ("$.sensors[::2].id", ["t1", "p1"], "t1", True),
        ("$..tags", [["x", "y"], []], ["x", "y"], True),
        ("$.deep.a.*", [{"c": 9}], {"c": 9}, True),
        ("$.zz[*]", [], None, False),
        ("$.sensors[? @.v > 10].id", ["t1", "h1"], "t1", True),
        ('$.sensors[?(@.v > 10 && @.id != "h1")].id', ["t1"], "t1", True),
        ("$.sensors[?@.id == 'h1'].v", [61], 61, True),
        ("$.sensors[?@.v > 1000]", [], None, False),
        ("$.sensors[?match(@.id, '[th].')].id", ["t1", "h1"], "t1", True),
        ("$.sensors[?match(@.id, '1')].id", [], None, False),
        ("$.sensors[?search(@.id, '^p')].id", ["p1"], "p1", True),
        ("$.sensors[?search(@.v, '(')].id", [], None, False),
        ("$.sensors[?search(@.id, '(')].id", [], None, False),
        ("$.sensors[?length(@.tags) == 2].id", ["t1"], "t1", True),
    ],
)
async def test_paths(path: str, query: Any, first: Any, exists: bool) -> None:
    text = path.replace("'", "\\'")
    assert await outcome_of(f"json_path_query(a, '{text}')", a=DEVICE) == query
    assert await outcome_of(f"json_path_query_first(a, '{text}')", a=DEVICE) == first
    assert await outcome_of(f"json_path_exists(a, '{text}')", a=DEVICE) is exists


@pytest.mark.parametrize(
    ("value", "query", "exists"),
    [
        ('{"x": {"y": 2}}', 2, True),
        ("[1]", None, False),
        ("not json", Failed, False),
        ("5", Failed, False),
        (5, Failed, False),
        (True, Failed, False),
        ([1, 2], None, False),
        ([], None, False),
        ({}, None, False),
    ],
)
async def test_values_that_paths_lead_into(value: Any, query: Any, exists: bool) -> None:
    assert await outcome_of("json_path_query(a, '$.x.y')", a=value) == query
    assert await outcome_of("json_path_exists(a, '$.x.y')", a=value) is exists


@pytest.mark.parametrize(
    "function", ["json_path_query", "json_path_query_first", "json_path_exists"]
)
@pytest.mark.parametrize(
    "path",
    ["'$.['", "''", "'$.l[0]+1'", "'$.a.'", "'$.a | $.b'", "'$.l[(@.length-1)]'", "5", "a", "'$~'"],
)
async def test_a_wrong_path_is_refused(function: str, path: str) -> None:
    assert await outcome_of(f"{function}(a, {path})", a={}) is EngineError


async def test_a_path_can_not_take_for_ever() -> None:
    started = time.monotonic()
    text = "a" * 5000 + "!"
    assert await value_of("json_path_query(a, '$[?search(@, \"(a+)+$\")]')", a=[text]) == []
    assert time.monotonic() - started < 5


async def test_a_value_nested_too_deep_is_an_error() -> None:
    value: Any = []
    for _ in range(200):
        value = [value]
    assert await outcome_of("json_path_query(a, '$..x')", a=value) is Failed
    assert await outcome_of("json_path_exists(a, '$..x')", a=value) is False
