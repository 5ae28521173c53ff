"""Mathematical functions, as in the function catalogue, sections 2 and 21."""

from __future__ import annotations

import math
from typing import Any

import pytest

from engine.errors import EngineError
from engine.sql.functions import builtins
from tests.functions.calls import Failed, example_holds, examples, outcome_of, value_of

ONE_NUMBER = [
    "abs",
    "acos",
    "asin",
    "atan",
    "ceil",
    "ceiling",
    "cos",
    "cosh",
    "cot",
    "degrees",
    "exp",
    "floor",
    "ln",
    "radians",
    "sign",
    "sin",
    "sinh",
    "sqrt",
    "tan",
    "tanh",
    "bitnot",
    "log",
    "round",
]
TWO_NUMBERS = [
    "atan2",
    "bitand",
    "bitor",
    "bitxor",
    "mod",
    "power",
    "pow",
    "log",
    "trunc",
    "round",
]


@pytest.mark.parametrize("example", examples("math"))
async def test_an_example_is_true(example: str) -> None:
    assert await example_holds(example)


@pytest.mark.parametrize("name", ONE_NUMBER)
async def test_null_gives_null_and_anything_but_a_number_an_error(name: str) -> None:
    assert await outcome_of(f"{name}(a)", a=None) is None
    assert await outcome_of(f"{name}(a)") is None
    for value in ("1", "x", True, [1], {"x": 1}):
        assert await outcome_of(f"{name}(a)", a=value) is Failed
    for value in ([], {}):
        assert await outcome_of(f"{name}(a)", a=value) is None


@pytest.mark.parametrize("name", TWO_NUMBERS)
async def test_null_in_either_place_gives_null(name: str) -> None:
    assert await outcome_of(f"{name}(a, b)", a=1) is None
    assert await outcome_of(f"{name}(a, b)", b=1) is None
    assert await outcome_of(f"{name}(a, b)", a="1", b=1) is Failed
    assert await outcome_of(f"{name}(a, b)", a=1, b="1") is Failed
    assert await outcome_of(f"{name}(a, b)", a="1", b={}) is None
    assert await outcome_of(f"{name}(a, b)", a="1") is None


@pytest.mark.parametrize(
    "call", ["abs()", "abs('3')", "atan(true)", "pi(1)", "mod(7)", "round(1, '1')"]
)
async def test_what_can_be_seen_to_be_wrong_is_refused(call: str) -> None:
    assert await outcome_of(call) is EngineError


@pytest.mark.parametrize(
    ("call", "value"),
    [
        ("abs(-9007199254740993)", 9007199254740993),
        ("ceiling(a)", 3),
        ("floor(-a)", -3),
        ("round(2.5)", 3),
        ("round(-2.5)", -3),
        ("round(1.005, 2)", 1),
        ("round(1234.5, -2)", 1200),
        ("round(1234.5, 400)", 1234.5),
        ("round(1.5e300, 200)", 1.5e300),
        ("round(1234.5, -400)", 0),
        ("round(1.7e308, -308)", None),
        ("trunc(1.999, 2)", 1.99),
        ("trunc(1.15, 2)", 1.15),
        ("trunc(-1250.5, -2)", -1200),
        ("trunc(1.5, 20)", 1.5),
        ("trunc(1.5, 100000)", 1.5),
        ("trunc(1.5e300, -100000)", 0),
        ("trunc(a, b)", 2.5),
        ("trunc(1.5, 1.5)", EngineError),
        ("mod(-7, 3)", -1),
        ("mod(7.5, 2)", 1.5),
        ("mod(7, 0)", None),
        ("power(-8, 0.5)", None),
        ("power(10, 400)", None),
        ("power(0, -1)", None),
        ("sqrt(-1)", Failed),
        ("ln(0)", None),
        ("ln(-1)", Failed),
        ("log(1000)", 3),
        ("log(2, 32)", 5),
        ("log(0)", None),
        ("log(-1)", Failed),
        ("log(1, 8)", None),
        ("log(1, 1)", Failed),
        ("log(0, 8)", 0),
        ("log(0, 0)", Failed),
        ("log(2, 0)", None),
        ("log(-2, 8)", Failed),
        ("exp(710)", None),
        ("exp(-800)", 0),
        ("cosh(800)", None),
        ("asin(1.0001)", None),
        ("acos(-2)", None),
        ("cot(0)", Failed),
        ("degrees(1.7e308)", None),
        ("sign(-0.0004)", -1),
        ("sign(0)", 0),
        ("bitand(5.0, 4)", 4),
        ("bitand(a, 4)", Failed),
        ("bitxor(-12, 7)", -13),
        ("bitor(1e19, 1)", Failed),
        ("conv('a', 16, 2)", "1010"),
        ("conv('6E', 18, 8)", "172"),
        ("conv(-17, 10, -18)", "-H"),
        ("conv('-1', 10, 16)", "FFFFFFFFFFFFFFFF"),
        ("conv('9223372036854775809', -10, 16)", "7FFFFFFFFFFFFFFF"),
        ("conv('-9223372036854775809', -10, 16)", "8000000000000000"),
        ("conv(' +12xyz', 10, 2)", "1100"),
        ("conv('zz', 10, 2)", "0"),
        ("conv('', 10, 2)", "0"),
        ("conv(1000000.0, 10, 10)", "1000000"),
        ("conv('1', 37, 2)", None),
        ("conv('1', 10, 1)", None),
        ("conv('18446744073709551616', 10, 2)", Failed),
        ("conv(a, 10, b)", EngineError),
        ("conv(a, b, 10)", EngineError),
    ],
)
async def test_values(call: str, value: Any) -> None:
    assert await outcome_of(call, a=2.5, b=10) == value


async def test_a_number_with_very_many_digits_is_an_error_at_once() -> None:
    assert await outcome_of("conv(a, 36, 2)", a="z" * 1_000_000) is Failed
    assert await outcome_of("conv(a, 36, 2)", a="0" * 1_000_000 + "z") == "100011"


async def test_random_numbers_are_below_1_and_differ() -> None:
    numbers = [await value_of("rand()") for _ in range(3)]
    assert all(0 <= number < 1 for number in numbers)
    assert len(set(numbers)) == 3


@pytest.mark.parametrize("name", ONE_NUMBER + TWO_NUMBERS)
@pytest.mark.parametrize("x", [math.inf, -math.inf])
def test_what_is_not_finite_never_comes_out(name: str, x: float) -> None:
    if name == "abs":
        pytest.skip("gives back what it gets")
    spec = builtins().get(name)
    assert spec is not None
    for arguments in ((x,) * spec.least, (1, x), (x, 1)):
        if spec.least <= len(arguments) <= (spec.most or 1):
            try:
                result = spec.checked()(*arguments)
            except EngineError:
                continue
            assert result is None or math.isfinite(result)
