"""Null handling and facts about the rule, as in the function catalogue, sections 15, 16 and 21."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from engine.errors import EngineError
from engine.functions.keyed_state import KEYED_STATE, KeyedState
from engine.functions.snowflake import Snowflakes
from engine.testing import START
from tests.functions.calls import Failed, example_holds, examples, outcome_of, value_of

WITHOUT_VALUE = {
    "window_start()",
    "window_end()",
    "window_trigger()",
    "delay(10, a)",
    "meta(topic)",
    "mqtt(topic)",
}


@pytest.fixture(autouse=True)
def no_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KEYED_STATE, "_values", {})


@pytest.mark.parametrize("example", sorted({*examples("misc")} - WITHOUT_VALUE))
async def test_an_example_is_true(example: str) -> None:
    assert await example_holds(example)


@pytest.mark.parametrize(
    ("call", "value"),
    [
        ("isnull(n)", True),
        ("isnull(empty)", False),
        ("isnull('')", False),
        ("coalesce(n, empty, 1)", []),
        ("coalesce(n, false)", False),
        ("coalesce(n)", None),
        ("coalesce()", EngineError),
        ("ifnull(n, 5)", 5),
        ("bypass(n)", None),
        ("bypass('x', 2)", "x"),
        ("bypass()", EngineError),
        ("tstamp()", START),
        ("event_time()", START),
        ("window_start()", None),
        ("window_end()", None),
        ("window_trigger()", None),
        ("rule_id()", "case"),
        ("props('et')", str(START)),
        ("props('line')", "7"),
        ("props('LINE')", Failed),
        ("props('unknown')", Failed),
        ("props(n)", None),
        ("props(5)", EngineError),
        ("delay(1, 2)", EngineError),
        ("get_keyed_state('a', 'string', 'x')", "x"),
        ("get_keyed_state('a', 'bytea', 'x')", EngineError),
        ("get_keyed_state('a', t, 'x')", Failed),
        ("get_keyed_state(n, 'bigint', 4)", 4),
        ("get_keyed_state(5, 'bigint', 4)", EngineError),
        ("set_keyed_state(n, 4)", Failed),
    ],
)
async def test_values(call: str, value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUIPER_PROPS_LINE", "7")
    assert await outcome_of(call, empty=[], t="bytea") == value


async def test_uuids_are_random() -> None:
    first, second = [uuid.UUID(await value_of("newuuid()")) for _ in range(2)]
    assert first != second
    assert first.version == 4


async def test_keyed_state_is_shared_by_rules() -> None:
    assert await value_of("set_keyed_state('k', '12')") == "12"
    assert await value_of("get_keyed_state('k', 'bigint', 0)") == 12
    assert await value_of("get_keyed_state('k', 'string', 0)") == "12"
    assert await value_of("set_keyed_state('k', 'x')") == "x"
    assert await value_of("get_keyed_state('k', 'bigint', 0)") == 0
    assert await value_of("set_keyed_state('k', n)") is None
    assert await value_of("get_keyed_state('k', 'string', 'gone')") == "gone"


def test_keyed_state_has_an_end() -> None:
    state = KeyedState(most=1)
    state.put("a", 1)
    state.put("a", 2)
    with pytest.raises(ValueError, match="1 keys"):
        state.put("b", 1)
    state.put("a", None)
    state.put("b", 1)
    assert (state.get("a"), state.get("b")) == (None, 1)


def test_snowflakes_grow_whatever_the_clock_does() -> None:
    snowflakes = Snowflakes()
    times = [START] * 5000 + [START - 1000, START + 1000]
    numbers = [snowflakes.next(time) for time in times]
    assert numbers == sorted(set(numbers))
    assert numbers[0] >> 22 == START - 1_288_834_974_657
    assert {number >> 12 & 1023 for number in numbers} == {1}
    assert numbers[-1] >> 22 == START + 1000 - 1_288_834_974_657


async def test_snowflakes_are_text() -> None:
    assert (await value_of("props('snowflake')")).isdecimal()
