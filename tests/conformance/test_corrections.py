"""What is put right in recorded expectations, and that nothing else is excused with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from engine.testing import Emission, Outcome
from tests.conformance.cases import START, Case, case_from, read_cases
from tests.conformance.compare import differences
from tests.conformance.deviations import HERE, read_deviations
from tests.conformance.judgement import judge
from tests.conformance.runner import Report, Verdict, check, run

DEVIATIONS = read_deviations()
SCHEMALESS = 'CREATE STREAM demo () WITH (TIMESTAMP="ts")'
TYPED = "CREATE STREAM demo (v BIGINT, k STRING) WITH ()"
EVENT = {"isEventTime": True, "lateTolerance": 0}
ROWS: list[Any] = [
    {"at": 100, "data": {"k": "a", "v": 1, "ts": 100}},
    {"at": 200, "data": {"k": "b", "v": 2, "ts": 300}},
    {"at": 300, "data": {"k": "a", "v": 4, "ts": 900}},
    {"at": 2500, "data": {"k": "a", "v": 8, "ts": 7500}},
]


def case(sql: str, results: Any, rows: Any = None, **given: Any) -> Case:
    """Make a case of what the reference gives: its results, or its whole expectation."""
    expect = {"results": [{"at": at, "rows": emitted} for at, *emitted in results]}
    value = {
        "id": "x/y",
        "sql": sql,
        "streams": [{"ddl": given.pop("ddl", SCHEMALESS), "rows": rows or ROWS}],
        "advance_to": given.pop("advance_to", 3000),
        "options": given.pop("options", {}),
        "expect": {**expect, **given},
    }
    return case_from(json.dumps(value))


def judged(given: Case) -> Report:
    return check(given, DEVIATIONS)


def reasons_of(sql: str, results: Any, **given: Any) -> set[str]:
    """Return the reasons for which a case may differ; it must be excused."""
    report = judged(case(sql, results, **given))
    assert report.verdict is Verdict.DEVIATED, report.differences
    return set(report.reasons)


# -- bounds ----------------------------------------------------------------------------------------


def test_the_start_of_a_hopping_window_is_its_end_less_its_length() -> None:
    sql = (
        "SELECT sum(v) AS s, window_start() AS ws, window_end() - window_start() AS l "
        "FROM demo GROUP BY HOPPINGWINDOW(ss, 3, 1)"
    )
    end = START + 1000
    results = [
        (1000, {"s": 7.0, "ws": end - 2000, "l": 2000}),
        (2000, {"s": 7.0, "ws": end - 1000, "l": 2000}),
        (3000, {"s": 15.0, "ws": end, "l": 2000}),
    ]
    assert reasons_of(sql, results) == {"window-start"}
    wrong = [(at, {**row, "s": 3.0}) for at, row in results]
    assert judged(case(sql, wrong)).verdict is Verdict.FAILED


def test_the_start_of_a_count_window_is_the_time_of_its_first_row() -> None:
    sql = "SELECT k, window_start() AS ws FROM demo GROUP BY k, COUNTWINDOW(2)"
    results = [
        (200, {"k": "a", "ws": START + 200}, {"k": "b", "ws": START + 200}),
        (2500, {"k": "a", "ws": START + 2500}),
    ]
    assert reasons_of(sql, results, row_order="any") == {"window-start"}


def test_the_start_of_other_windows_is_not_put_right() -> None:
    sql = "SELECT sum(v) AS s, window_start() AS ws FROM demo GROUP BY SLIDINGWINDOW(ms, 50)"
    results = [(row["at"], {"s": row["data"]["v"], "ws": START}) for row in ROWS]
    assert judged(case(sql, results)).verdict is Verdict.FAILED


# -- empty windows ---------------------------------------------------------------------------------


def test_in_an_empty_window_count_is_0_and_what_is_computed_of_it_too() -> None:
    sql = (
        "SELECT count(*) AS n, n + 1 AS m, collect(v) AS c, sum(v) AS s "
        "FROM demo GROUP BY TUMBLINGWINDOW(ss, 1)"
    )
    results: Any = [
        (1000, {"n": 3, "m": 4, "c": [1, 2, 4], "s": 7}),
        (2000, {"c": None}),
        (3000, {"n": 1, "m": 2, "c": [8], "s": 8}),
    ]
    assert reasons_of(sql, results) == {"empty-windows"}
    filled = [results[0], (2000, {"n": 1, "m": 2, "c": [1], "s": 1}), results[2]]
    assert judged(case(sql, filled)).verdict is Verdict.FAILED


def test_a_gap_in_event_time_is_one_empty_window() -> None:
    sql = "SELECT sum(v) AS s, window_end() AS we FROM demo GROUP BY TUMBLINGWINDOW(ss, 1)"
    results = [
        (2500, {"s": 7, "we": 1000}),
        *((2500, {"we": end}) for end in range(2000, 8000, 1000)),
    ]
    assert reasons_of(sql, results, options=EVENT) == {"gaps"}
    assert judged(case(sql, results[:1], options=EVENT)).verdict is Verdict.FAILED


def test_rows_that_an_empty_hopping_window_loses_are_in_their_windows() -> None:
    sql = "SELECT sum(v) AS s, window_end() AS we FROM demo GROUP BY HOPPINGWINDOW(ss, 2, 1)"
    rows = [*ROWS, {"at": 2600, "data": {"v": 16, "ts": 9500}}]
    results = [
        (2500, {"s": 7, "we": 1000}),
        (2500, {"s": 7, "we": 2000}),
        *((2500, {"we": end}) for end in range(3000, 8000, 1000)),
        *((2600, {"we": end}) for end in range(8000, 10000, 1000)),
    ]
    assert reasons_of(sql, results, rows=rows, options=EVENT) == {"gaps", "lost-rows"}


def test_there_is_no_window_before_the_first_row() -> None:
    sql = "SELECT count(*) AS n FROM demo GROUP BY HOPPINGWINDOW(ss, 4, 2)"
    rows = [{"at": 100 * number, "data": {"ts": ts}} for number, ts in enumerate((2500, 4100))]
    results: Any = [(0, {}), (100, {})]
    assert "lost-rows" in reasons_of(sql, results, rows=rows, options=EVENT)


# -- rows ------------------------------------------------------------------------------------------


def test_limit_cuts_off_what_the_reference_leaves_unprojected() -> None:
    sql = "SELECT v AS w FROM demo GROUP BY SESSIONWINDOW(ss, 9, 1) LIMIT 2"
    results = [(1300, {"w": 1}, {"w": 2}, {"v": 4})]
    assert reasons_of(sql, results) == {"limit"}
    swapped = [(1300, {"w": 2}, {"w": 1}, {"v": 4})]
    assert judged(case(sql, swapped)).verdict is Verdict.FAILED


def test_row_numbers_count_in_their_partition() -> None:
    sql = (
        "SELECT k, v, row_number() OVER (PARTITION BY k ORDER BY v DESC) AS r "
        "FROM demo GROUP BY COUNTWINDOW(3)"
    )
    row = [{"k": "a", "v": 1, "r": 1}, {"k": "b", "v": 2, "r": 2}, {"k": "a", "v": 4, "r": 3}]
    assert reasons_of(sql, [(300, *row)]) == {"row-number-over"}


def test_values_of_several_kinds_have_an_order() -> None:
    sql = "SELECT v FROM demo GROUP BY COUNTWINDOW(3) ORDER BY v"
    rows = [{"at": at, "data": {"v": value}} for at, value in enumerate(("x", 2, True))]
    given: Any = {"rows": rows, "options": {"sendError": True}}
    assert reasons_of(sql, [(2, {"error": "*"})], **given) == {"order-of-kinds"}


MIXED = [{"at": 100 * at, "data": {"v": value}} for at, value in enumerate((1, "x", 3), 1)]


def test_a_row_with_an_error_is_reported_when_it_comes_and_left_out() -> None:
    sql = "SELECT sum(v) AS s FROM demo GROUP BY TUMBLINGWINDOW(ss, 1)"
    given: Any = {"rows": MIXED, "advance_to": 1000, "runtime_errors": [{"at": 1000}]}
    assert reasons_of(sql, [], **given) == {"row-errors"}
    given["options"] = {"sendError": True}
    assert reasons_of(sql, [(1000, {"error": "*"})], **given) == {"row-errors"}


def test_what_the_reference_makes_of_a_row_with_an_error_does_not_count() -> None:
    sql = "SELECT count(v + 1) AS n FROM demo GROUP BY TUMBLINGWINDOW(ss, 1)"
    given: Any = {"rows": MIXED, "advance_to": 1000, "runtime_errors": [{"at": 1000}]}
    assert reasons_of(sql, [(1000, {"n": 3})], **given) == {"row-errors"}


# -- values ----------------------------------------------------------------------------------------


def test_means_of_integers_are_floats() -> None:
    sql = "SELECT avg(v) AS a, sum(v) AS s FROM demo GROUP BY COUNTWINDOW(2)"
    results = [(200, {"a": 1, "s": 3}), (2500, {"a": 6, "s": 12})]
    assert reasons_of(sql, results, ddl=TYPED) == {"exact-aggregates"}
    far = [(200, {"a": 5, "s": 3}), (2500, {"a": 6, "s": 12})]
    assert judged(case(sql, far, ddl=TYPED)).verdict is Verdict.FAILED


def test_several_reasons_can_concern_one_case() -> None:
    sql = (
        "SELECT avg(v) AS a, count(*) AS n, window_start() AS ws "
        "FROM demo GROUP BY HOPPINGWINDOW(ss, 1, 1)"
    )
    results: Any = [
        (1000, {"a": 2, "n": 3, "ws": START - 1000}),
        (2000, {"ws": START}),
        (3000, {"a": 8, "n": 1, "ws": START + 1000}),
    ]
    expected = {"exact-aggregates", "empty-windows", "window-start"}
    assert reasons_of(sql, results, ddl=TYPED) == expected
    results[2] = (3000, {"a": 8, "n": 2, "ws": START + 1000})
    assert judged(case(sql, results, ddl=TYPED)).verdict is Verdict.FAILED


def test_accumulators_pass_over_nulls() -> None:
    sql = "SELECT acc_avg(v) OVER (PARTITION BY k) AS a FROM demo"
    rows = [
        {"at": at, "data": {"k": key, "v": value}}
        for at, (key, value) in enumerate([("a", 2), ("b", 6), ("a", None), ("a", 3)])
    ]
    results = [(0, {"a": 2.0}), (1, {"a": 6.0}), (3, {"a": 2.5})]
    given: Any = {"rows": rows, "runtime_errors": [{"at": 2}]}
    assert reasons_of(sql, results, **given) == {"accumulators-of-nulls"}
    assert judged(case(sql, results, rows=rows)).verdict is Verdict.FAILED


# -- refusals and deaths ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sql", "given", "reason"),
    [
        (
            "SELECT sum(v) FILTER (WHERE v > 1) AS s FROM demo GROUP BY COUNTWINDOW(2)",
            {"error": "*", "stage": "parse"},
            "aggregate-filter",
        ),
        (
            "SELECT k, sum(v) AS s FROM demo GROUP BY k, COUNTWINDOW(2) HAVING k = 'a'",
            {"error": "*", "stage": "plan"},
            "having",
        ),
        (
            "SELECT collect(v) AS c FROM demo GROUP BY COUNTWINDOW(2)",
            {"error": "*", "stage": "plan", "options": EVENT},
            "count-windows-in-event-time",
        ),
        (
            "SELECT collect(v) AS c FROM demo GROUP BY SLIDINGWINDOW(ss, 1, 1)",
            {"error": "*", "stage": "runtime", "options": EVENT},
            "delay-in-event-time",
        ),
        (
            "SELECT sum(v) AS s, s - lag(s) AS d FROM demo GROUP BY COUNTWINDOW(2)",
            {"error": "*", "stage": "runtime"},
            "analytic-over-aggregates",
        ),
        (
            "SELECT collect(k) AS s FROM demo GROUP BY STATEWINDOW(v = 1, v = 4)",
            {},
            "state-columns",
        ),
    ],
)
def test_what_the_reference_cannot_do_is_as_the_model_says(
    sql: str, given: dict[str, Any], reason: str
) -> None:
    assert reasons_of(sql, [], **given) == {reason}


def test_what_has_no_meaning_is_refused() -> None:
    results: Any = [(row["at"], {"v": row["data"]["v"]}) for row in ROWS]
    where = "SELECT v FROM demo WHERE sum(v) > 0"
    assert reasons_of(where, []) == {"aggregates-in-where"}
    over = "SELECT v FROM demo GROUP BY COUNTWINDOW(1) OVER (WHEN v > 1)"
    assert reasons_of(over, results) == {"over-of-windows"}


# -- an engine with a defect -----------------------------------------------------------------------

DIFFERENT = (
    "window/proc/hopping-ss-2-2/agg",
    "window/event/hopping-ss-2-1/late-0",
    "window/event/count-3/by-key",
    "aggregate/inc/merge_agg-option",
    "window/proc/sliding-ss-1/order-limit",
    "window/state/condition-column-unselected",
    "aggregate/mixed/percentile_cont-0.9",
    "aggregate/group/all-null-column",
    "analytic/acc/avg-start-reset",
    "function/aggregate/basic/bigint",
    "function/aggregate/sum/wrong_type",
)


def recorded(name: str) -> Case:
    for path in (HERE / "recordings").glob("*.jsonl"):
        for found in read_cases(path):
            if found.id == name:
                return found
    raise AssertionError(name)


def defects(emissions: list[Emission]) -> Iterator[list[Emission]]:
    """Yield what an engine with a small defect may have given instead."""
    for place, emission in enumerate(emissions):
        before, after = emissions[:place], emissions[place + 1 :]
        yield before + after
        yield [*before, emission, emission, *after]
        yield [*before, replace(emission, at=emission.at + 1), *after]
        for number, row in enumerate(emission.rows):
            yield [*before, replace(emission, rows=_without(emission.rows, number)), *after]
            for name, value in {} if "error" in row else row.items():
                changed = [*emission.rows]
                changed[number] = {**row, name: _other(value)}
                yield [*before, replace(emission, rows=changed), *after]


def _without(rows: list[Any], number: int) -> list[Any]:
    return rows[:number] + rows[number + 1 :]


def _other(value: Any) -> Any:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value + 1
    return [value]


@pytest.mark.parametrize("name", DIFFERENT)
async def test_no_small_defect_is_excused_with_a_reason(name: str) -> None:
    given = recorded(name)
    outcome = await run(given)
    good = await judge(given, outcome, DEVIATIONS, run)
    assert good.is_excused
    assert good.reasons
    for emissions in defects(outcome.emissions):
        wrong = Outcome(emissions, errors=outcome.errors)
        if differences(given.expect, wrong):
            found = await judge(given, wrong, DEVIATIONS, run)
            assert not found.is_excused, (found.reasons, emissions)


async def test_an_engine_that_fails_within_is_never_excused() -> None:
    given = recorded("analytic/acc/avg-start-reset")
    outcome = await run(given)
    broken = replace(outcome, errors={**outcome.errors, "query: NameError": 1})
    found = await judge(given, broken, DEVIATIONS, run)
    assert not found.is_excused
    assert "NameError" in found.differences[-1]
