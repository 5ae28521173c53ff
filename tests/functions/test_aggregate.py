"""Aggregate functions, as in the function catalogue, sections 4 and 21."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from fractions import Fraction
from textwrap import indent
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.errors import ConfigError, RowError
from engine.functions.exact import MOST_PARTS
from engine.functions.stateful import Accumulator, InlineAggregate
from engine.sql.functions import FunctionSpec, builtins
from tests.functions.worked import examples, same, worked

INF, NAN = math.inf, math.nan
AGGREGATES = [spec for spec in builtins() if spec.kind == "aggregate"]
NAMES = [spec.name for spec in AGGREGATES]
CATALOGUE = {
    *("avg", "count", "max", "min", "sum", "collect", "merge_agg", "deduplicate", "last_value"),
    *("stddev", "stddevs", "var", "vars", "median"),
    *("percentile_cont", "percentile_disc", "percentile"),
}
REMOVING = [spec.name for spec in AGGREGATES if hasattr(spec.accumulator, "remove")]
INLINE = [spec.name for spec in AGGREGATES if spec.accumulator and spec.accumulator.inline]

Row = tuple[Any, ...]


def spec_of(name: str) -> FunctionSpec:
    spec = builtins().get(name)
    assert spec is not None
    assert spec.kind == "aggregate"
    return spec


def new(name: str) -> Any:
    made = spec_of(name).accumulator
    assert made is not None
    return made()


def rows_of(name: str, values: Sequence[Any], *arguments: Any) -> list[Row]:
    """Return the arguments of ``add`` for rows with these values of the first argument."""
    before: tuple[Any, ...] = ({},) if spec_of(name).wants_row else ()
    return [
        (*({"x": value} for _ in before), value, *(arguments or rest(name))) for value in values
    ]


def rest(name: str) -> tuple[Any, ...]:
    """Return arguments behind the first one."""
    return {"deduplicate": (True,), "last_value": (True,)}.get(
        name, (0.4,) if name.startswith("percentile") else ()
    )


def filled(name: str, rows: Sequence[Row]) -> Any:
    accumulator = new(name)
    for row in rows:
        accumulator.add(*row)
    return accumulator


def value_of(name: str, values: Sequence[Any], *arguments: Any) -> Any:
    return filled(name, rows_of(name, values, *arguments)).result()


def outcome(accumulator: Accumulator) -> Any:
    try:
        return accumulator.result()
    except RowError as error:
        return str(error)


def test_all_of_the_catalogue_are_there() -> None:
    assert {*NAMES, *(alias for spec in AGGREGATES for alias in spec.aliases)} >= CATALOGUE


@pytest.mark.parametrize("text", examples("aggregate"))
def test_an_example_is_true(text: str) -> None:
    spec, rows, expected = worked(text)
    accumulator = new(spec.name)
    for row, arguments in rows:
        accumulator.add(*([row] if spec.wants_row else []), *arguments)
    assert [accumulator.result()] == expected
    assert same(accumulator.result(), expected[0])


@pytest.mark.parametrize("name", NAMES)
def test_no_rows_give_null_and_a_count_of_zero(name: str) -> None:
    assert new(name).result() == (0 if name == "count" else None)


@pytest.mark.parametrize("name", sorted({*NAMES} - {"count", "collect", "deduplicate"}))
def test_nulls_alone_give_null(name: str) -> None:
    assert value_of(name, [None, None]) is None


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("count", [1, None, "x", False, []], 4),
        ("sum", [3, 8, -2, 8], 17),
        ("sum", [1, 2.5, None, 2, 7], 12.5),
        ("sum", [2.5, 1], 3.5),
        ("sum", [0], 0),
        ("sum", [0.0], 0.0),
        ("sum", [0.1, 0.2, 0.3], 0.6),
        ("sum", [0.1] * 1000, 100.0),
        ("sum", [1e16, 1.0, -1e16], 1.0),
        ("sum", [2**53, 1, 1.0], float(2**53 + 2)),
        ("sum", [2**62, 2**61], 2**62 + 2**61),
        ("sum", [2**63 - 1, 1], float(2**63)),
        ("sum", [1e308, 1e308, -1e308], 1e308),
        ("sum", [1e308] * 100 + [-1e308] * 99 + [1.0], 1e308),
        ("sum", [1e308, 1e308], None),
        ("sum", [1.5, NAN, INF, -INF], 1.5),
        ("sum", [INF], None),
        ("sum", [1, NAN], 1),
        ("sum", [10**400, 1.0], None),
        ("sum", [10**400], None),
        ("avg", [1, 2], 1.5),
        ("avg", [3, 8, -2, 8], 4.25),
        ("avg", [2, 2], 2.0),
        ("avg", [1, 2.5, None], 1.75),
        ("avg", [1e308, 1e308], 1e308),
        ("avg", [INF, 4], 4.0),
        ("avg", [NAN], None),
        ("avg", [0, -1, 3.3026552303629732e16, INF], 1.1008850767876578e16),
        ("avg", [10**400], None),
        ("max", [1, 2.5, None, 2, 7], 7),
        ("max", [1, 1.0], 1),
        ("max", [NAN, 1, INF], 1),
        ("max", ["pear", "apple", "fig"], "pear"),
        ("min", ["pear", "apple", "fig"], "apple"),
        ("min", [1.5, 1, None], 1),
        ("min", [-INF, 2.0], 2.0),
        ("max", [datetime(2024, 1, 1, tzinfo=UTC)], datetime(2024, 1, 1, tzinfo=UTC)),
        ("median", [3, 8, -2, 8], 5.5),
        ("median", [None, 1, 2], 1.5),
        ("median", [5, None, 1, 7], 5),
        ("median", [5, 1.0, 7], 5.0),
        ("median", [1, 2.5, None, None, 2, 7], 2.25),
        ("median", [1.7e308, 1.7e308], 1.7e308),
        ("collect", [1, None, [2]], [1, None, [2]]),
        ("merge_agg", [{"a": 1}, 5, None, {"b": 2, "a": None}], {"a": None, "b": 2}),
        ("merge_agg", [{}], {}),
        ("merge_agg", [5, "x"], None),
        ("stddev", [3, 8, -2, 8], math.sqrt(17.1875)),
        ("var", [3, 8, -2, 8], 17.1875),
        ("vars", [3, 8, -2, 8], 68.75 / 3),
        ("vars", [4], None),
        ("stddevs", [4, None], None),
        ("var", [4], 0.0),
        ("stddev", [1e9 + 1, 1e9 + 2, 1e9 + 3], math.sqrt(2 / 3)),
        ("var", [1e200, -1e200], None),
        ("var", [5e-324], 0.0),
        ("vars", [NAN, 1, 3], 2.0),
    ],
)
def test_value(name: str, values: list[Any], expected: Any) -> None:
    result = value_of(name, values)
    assert same(result, expected), result


@pytest.mark.parametrize("name", ["sum", "avg", "median", "var", "vars", "stddev", "stddevs"])
@pytest.mark.parametrize("value", ["3", True, [1], {"a": 1}])
def test_only_numbers_can_be_computed_with(name: str, value: Any) -> None:
    accumulator = filled(name, [(1,)])
    before = accumulator.snapshot()
    with pytest.raises(RowError, match=f"{name}: x must be a number"):
        accumulator.add(value)
    assert accumulator.snapshot() == before


@pytest.mark.parametrize("values", [[1, "z"], ["z", 1], [True], [[1, 2]], [1, {"a": 1}]])
@pytest.mark.parametrize("name", ["max", "min"])
def test_what_has_no_common_order_has_no_extreme(name: str, values: list[Any]) -> None:
    with pytest.raises(RowError, match=name):
        value_of(name, values)


@pytest.mark.parametrize(
    ("name", "p", "expected"),
    [
        ("percentile_cont", 0, 10.0),
        ("percentile_cont", 0.25, 17.5),
        ("percentile_cont", 0.5, 25.0),
        ("percentile_cont", 1, 40.0),
        ("percentile", 0.5, 25.0),
        ("percentile_disc", 0, 10.0),
        ("percentile_disc", 0.25, 10.0),
        ("percentile_disc", 0.26, 20.0),
        ("percentile_disc", 1, 40.0),
    ],
)
def test_percentile(name: str, p: float, expected: float) -> None:
    assert same(value_of(name, [10, None, 40, 20, 30], p), expected)


def test_the_share_of_the_first_row_that_has_one_counts() -> None:
    accumulator = filled("percentile_cont", [(1, None), (2, 1), (3, 0)])
    assert accumulator.result() == 3.0
    accumulator.remove(1, None)
    accumulator.remove(2, 1)
    assert filled("percentile_cont", [(1, None)]).result() is None
    assert accumulator.result() == 3.0
    accumulator.add(5, 1)
    assert accumulator.result() == 3.0
    with pytest.raises(RowError, match=r"p must be from 0 to 1, not 1\.5"):
        value_of("percentile_disc", [1], 1.5)
    with pytest.raises(RowError, match="p must be a number"):
        value_of("percentile_disc", [1], "x")


def test_the_last_value_with_and_without_nulls() -> None:
    assert value_of("last_value", [1, 2, None], True) == 2
    assert value_of("last_value", [1, 2, None], False) is None
    assert value_of("last_value", [None, False], True) is False


def test_duplicates_are_judged_by_value() -> None:
    keys = [1, 1.0, "1", True, None, None, [1], [1.0]]
    rows = value_of("deduplicate", keys, True)
    assert [row["x"] for row in rows] == [1, "1", True, None, [1]]
    assert value_of("deduplicate", [1, 2], False) == {"x": 2}
    assert value_of("deduplicate", [1, 2, 1], False) is None
    assert value_of("deduplicate", [1, 2, 1, 3], False) == {"x": 3}


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("percentile_cont", [..., 1.5], "p must be from 0 to 1"),
        ("percentile_disc", [..., -1], "p must be from 0 to 1"),
        ("last_value", [..., ...], "true or false"),
        ("last_value", [..., 1], "true or false"),
        ("deduplicate", [..., ...], "true or false"),
        ("max", ["x"], "x must be a number"),
        ("min", [True], "x must be a number"),
    ],
)
def test_wrong_literals_are_refused(name: str, arguments: list[Any], message: str) -> None:
    validate = spec_of(name).validate
    assert validate is not None
    with pytest.raises(ConfigError, match=message):
        validate(arguments)


def test_right_literals_are_not() -> None:
    for name, arguments in (
        ("percentile_cont", [..., ...]),
        ("percentile_cont", [1, 0.5]),
        ("last_value", [..., True]),
        ("max", [...]),
        ("max", [1]),
    ):
        validate = spec_of(name).validate
        assert validate is not None
        validate(arguments)


# -- laws ------------------------------------------------------------------------------------------

numbers = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-5, 5),
    st.floats(),
    st.floats(-100, 100).map(lambda value: round(value, 2)),
    st.sampled_from([1e308, -1e308, 1e16, 1.0, -1e16, 5e-324, 0.0]),
)
objects = st.one_of(
    numbers, st.dictionaries(st.sampled_from("abc"), st.integers(-9, 9), max_size=2)
)
orderable = st.one_of(numbers, st.text(max_size=2), st.booleans())
VALUES = {"max": orderable, "min": orderable}
FREE = ("count", "collect", "merge_agg", "last_value", "deduplicate")


@st.composite
def some_rows(draw: st.DrawFn, name: str, most: int = 60) -> list[Row]:
    strategy = VALUES.get(name, objects if name in FREE else numbers)
    values = draw(st.lists(strategy, max_size=most))
    if name.startswith("percentile"):
        shares = draw(st.sampled_from([[0.5], [0, 1, None], [0.3, 0.3, 0.9]]))
        return [(value, p) for value, p in zip(values, itertools.cycle(shares), strict=False)]
    if name in ("last_value", "deduplicate"):
        return rows_of(name, values, draw(st.booleans()))
    return rows_of(name, values)


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_merging_is_adding_all_rows_in_order(name: str, data: st.DataObject) -> None:
    rows = data.draw(some_rows(name))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=3)))
    pieces = [filled(name, rows[a:b]) for a, b in itertools.pairwise([0, *cuts, len(rows)])]
    before = [repr(piece.snapshot()) for piece in pieces]
    merged = pieces[0]
    for piece in pieces[1:]:
        merged = merged.merge(piece)
    right = pieces[-1]
    for piece in reversed(pieces[:-1]):
        right = piece.merge(right)
    whole = outcome(filled(name, rows))
    assert same(outcome(merged), whole)
    assert same(outcome(right), whole)
    assert [repr(piece.snapshot()) for piece in pieces] == before


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_a_merged_one_goes_its_own_way(name: str, data: st.DataObject) -> None:
    rows = data.draw(some_rows(name, 20))
    left, right = filled(name, rows[:5]), filled(name, rows[5:10])
    merged = left.merge(right)
    before = repr(outcome(left)), repr(outcome(right))
    for row in rows[10:]:
        merged.add(*row)
    assert same(outcome(merged), outcome(filled(name, rows)))
    assert before == (repr(outcome(left)), repr(outcome(right)))
    kept = repr(outcome(merged))
    for row in rows[:5]:
        left.add(*row)
        right.add(*row)
    assert repr(outcome(merged)) == kept


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_a_snapshot_can_be_taken_anywhere(name: str, data: st.DataObject) -> None:
    rows = data.draw(some_rows(name))
    accumulator = new(name)
    at = data.draw(st.integers(0, len(rows)))
    for row in rows[:at]:
        accumulator.add(*row)
    bytes_ = msgspec.msgpack.encode(accumulator.snapshot())
    other = new(name)
    other.restore(msgspec.msgpack.decode(bytes_))
    for row in rows[at:]:
        accumulator.add(*row)
        other.add(*row)
    assert same(outcome(other), outcome(accumulator))
    assert same(outcome(other), outcome(filled(name, rows)))


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_a_result_stays_as_it_was(name: str, data: st.DataObject) -> None:
    rows = data.draw(some_rows(name, 20))
    accumulator = filled(name, rows[:10])
    result = outcome(accumulator)
    shown = repr(result)
    assert repr(outcome(accumulator)) == shown
    for row in rows[10:]:
        accumulator.add(*row)
    assert repr(result) == shown


@pytest.mark.parametrize("name", REMOVING)
@given(data=st.data())
def test_removing_is_never_having_added(name: str, data: st.DataObject) -> None:
    rows = data.draw(some_rows(name, 100))
    width = data.draw(st.integers(1, 50))
    accumulator = new(name)
    for index, row in enumerate(rows):
        accumulator.add(*row)
        if index >= width:
            accumulator.remove(*rows[index - width])
        if index % 3 == 0:
            window = rows[max(0, index - width + 1) : index + 1]
            assert same(outcome(accumulator), outcome(filled(name, window)))


@given(st.lists(numbers, max_size=100), st.randoms())
def test_sums_and_variances_depend_on_no_order(values: list[Any], random: Any) -> None:
    shuffled = random.sample(values, len(values))
    for name in ("count", "sum", "avg", "var", "stddevs", "median"):
        assert same(value_of(name, values), value_of(name, shuffled)), name


@given(st.lists(st.floats(-1e300, 1e300) | st.integers(-(2**63), 2**63), max_size=100))
@example([2**53 + 1, 1.0])
@example([1e16, 1.0] * MOST_PARTS)
def test_a_sum_is_rounded_once(values: list[float]) -> None:
    exact = sum(map(Fraction, values), Fraction())
    result = value_of("sum", values)
    if any(type(value) is float for value in values):
        assert same(result, float(exact) + 0.0)
    elif values:
        assert result == (int(exact) if abs(exact) < 2**63 else float(exact))
    if values:
        assert value_of("avg", values) == pytest.approx(float(exact / len(values)), rel=1e-15)


@given(st.lists(st.floats(-1e9, 1e9) | st.integers(-(10**9), 10**9), min_size=2, max_size=50))
def test_a_variance_is_that_of_the_textbook(values: list[float]) -> None:
    fractions = [Fraction(value) for value in values]
    assert value_of("var", values) == pytest.approx(float(statistics.pvariance(fractions)))
    assert value_of("vars", values) == pytest.approx(float(statistics.variance(fractions)))
    assert value_of("stddev", values) == pytest.approx(statistics.pstdev(fractions))


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=50), st.floats(0, 1))
def test_percentiles_are_monotonous_and_within(values: list[float], p: float) -> None:
    for name in ("percentile_cont", "percentile_disc"):
        low, here, high = (value_of(name, values, at) for at in (0, p, 1))
        assert min(values) == low <= here <= high == max(values)


@pytest.mark.parametrize("value", [0.1, 1e308, 7, NAN, 1 / 3])
@pytest.mark.parametrize(
    "name", [spec.name for spec in AGGREGATES if spec.accumulator and spec.accumulator.is_compact]
)
def test_what_is_remembered_does_not_grow_with_the_rows(name: str, value: float) -> None:
    def size(times: int) -> int:
        accumulator = filled(name, rows_of(name, [value, 1e-9, None, value] * times))
        return len(msgspec.msgpack.encode(accumulator.snapshot()))

    assert size(2000) <= size(100) + 16


# -- inline ----------------------------------------------------------------------------------------


class Generated:
    """An aggregate as generated code, the way a compiler writes it."""

    def __init__(self, name: str) -> None:
        made = spec_of(name).accumulator
        assert made is not None
        assert made.inline is not None
        inline: InlineAggregate = made.inline
        constants = {f"c_{key}": value for key, value in inline.names.items()}
        names = {key: f"c_{key}" for key in inline.names}
        slots = [f"g[{index + 1}]" for index in range(len(inline.initial))]
        newer = [f"h[{index + 1}]" for index in range(len(inline.initial))]

        def text(template: str) -> str:
            return InlineAggregate.text(template, slots, value="v", newer=newer, **names)

        source = f"""
def initial():
    return ["first", {", ".join(inline.initial)}]
def add(g, v):
    if v is not None:
        if v.__class__ is c_float or v.__class__ is c_whole:
{indent(text(inline.number), " " * 12)}
        else:
{indent(text(inline.other), " " * 12)}
def merge(g, h):
    return ["first", *{text(inline.merge)}]
def result(g):
    return {text(inline.result)}
"""
        namespace = {"__builtins__": {}, "c_float": float, "c_whole": int, **constants}
        exec(source, namespace)
        self.initial, self.add = namespace["initial"], namespace["add"]
        self.merge, self.result = namespace["merge"], namespace["result"]

    def outcome(self, group: list[Any]) -> Any:
        try:
            return self.result(group)
        except RowError as error:
            return str(error)


def test_the_commonest_can_be_written_inline() -> None:
    assert set(INLINE) == {"count", "sum", "avg", "min", "max"}


@pytest.mark.parametrize("name", INLINE)
@given(data=st.data())
def test_generated_code_does_the_same(name: str, data: st.DataObject) -> None:
    code = Generated(name)
    rows = data.draw(some_rows(name, 100))
    at = data.draw(st.integers(0, len(rows)))
    whole, first, second = code.initial(), code.initial(), code.initial()
    for index, row in enumerate(rows):
        code.add(whole, row[-1])
        code.add(first if index < at else second, row[-1])
    before = repr((first, second))
    expected = outcome(filled(name, rows))
    assert same(code.outcome(whole), expected)
    merged = code.merge(first, second)
    assert same(code.outcome(merged), expected)
    code.add(merged, 1)
    assert repr((first, second)) == before


@pytest.mark.parametrize("name", ["sum", "avg"])
def test_generated_code_refuses_what_is_no_number(name: str) -> None:
    code = Generated(name)
    group = code.initial()
    for value in ("3", True, [1]):
        with pytest.raises(RowError, match=f"{name}: x must be a number"):
            code.add(group, value)
    assert group == code.initial()
