"""Functions that choose among their arguments."""

from __future__ import annotations

from typing import Any

import pytest

from engine.errors import EngineError
from tests.functions.calls import Failed, example_holds, examples, outcome_of


@pytest.mark.parametrize("example", examples("conditional"))
async def test_an_example_is_true(example: str) -> None:
    assert await example_holds(example)


@pytest.mark.parametrize(
    ("call", "value"),
    [
        ("greatest(a, b, 3)", 4),
        ("greatest('b', 'a')", "b"),
        ("greatest(a)", 4),
        ("greatest(a, missing)", None),
        ("greatest(a, 'x')", Failed),
        ("greatest()", EngineError),
        ("least(a, b, 3)", 2.5),
        ("least(missing, 1)", None),
        ("if(a > b, a, b)", 4),
        ("if(a < b, a, b)", 2.5),
        ("if(missing > 1, 1, 2)", 2),
        ("if(flag, 'on', 'off')", "on"),
        ("if(missing, 'on', 'off')", "off"),
        ("if(a, 1, 2)", Failed),
        ("if(a > b, missing, 1)", None),
        ("if(a = 0, 0, 1 / a)", 0.25),
        ("if(zero = 0, 0, 1 / zero)", 0),
        ("if(a > b, 1)", EngineError),
        ("if('x', 1, 2)", EngineError),
    ],
)
async def test_values(call: str, value: Any) -> None:
    assert await outcome_of(call, a=4, b=2.5, flag=True, zero=0) == value
