"""The test kit, and that the runner sees what it must see."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from engine.engine import Engine
from engine.errors import SqlError
from engine.testing import Emission, Feed, Message, Outcome, run_case
from tests.conformance import runner
from tests.conformance.calls import Excuse
from tests.conformance.cases import Case, case_from, expectation, read_cases
from tests.conformance.compare import differences, same_value
from tests.conformance.deviations import HERE, Deviation, Deviations, Expected, Match
from tests.conformance.runner import Verdict, check, cut_off

DEMO = "CREATE STREAM demo () WITH ()"


def case(sql: str, expect: Any, *rows: Any) -> Case:
    given = {"id": "x/y", "sql": sql, "expect": expect, "streams": [{"ddl": DEMO, "rows": rows}]}
    return case_from(json.dumps(given))


# -- the kit ---------------------------------------------------------------------------------------


async def test_each_row_of_a_query_without_window_is_an_emission() -> None:
    rows = [(5, {"a": 1}), (7, {"a": 2})]
    outcome = await run_case("SELECT a FROM demo WHERE a > 1", [Feed.of(DEMO, *rows)])
    assert outcome.emissions == [Emission(7, [{"a": 2}])]
    assert outcome.rows == [{"a": 2}]


async def test_payloads_go_through_the_decoder_of_the_stream() -> None:
    messages = [Message(0, b'[{"a": 1}, {"a": 2}]'), Message(1, b"{")]
    outcome = await run_case("SELECT a FROM demo", [Feed(DEMO, messages)])
    assert outcome.emissions == [Emission(0, [{"a": 1}]), Emission(0, [{"a": 2}])]
    assert sum(outcome.errors.values()) == 1


async def test_the_type_of_the_stream_and_its_properties_dont_matter() -> None:
    ddl = 'CREATE STREAM demo () WITH (TYPE="nowhere", CONF_KEY="x", DATASOURCE="t")'
    outcome = await run_case("SELECT a FROM demo", [Feed.of(ddl, (0, {"a": 1}))])
    assert outcome.rows == [{"a": 1}]


async def test_rows_and_metadata_arrive_as_given() -> None:
    feed = Feed(DEMO, [Message(0, rows=[{"a": 1}, {"a": 2}], meta={"topic": "t"})])
    outcome = await run_case("SELECT a, meta(topic) AS t FROM demo", [feed])
    assert outcome.rows == [{"a": 1, "t": "t"}, {"a": 2, "t": "t"}]


@pytest.mark.parametrize(
    ("sql", "ddl", "options"),
    [
        ("SELECT FROM", DEMO, {}),
        ("SELECT a FROM other", DEMO, {}),
        ("SELECT a FROM demo", "CREATE nothing", {}),
        ("SELECT a FROM demo", DEMO, {"nope": 1}),
    ],
)
async def test_what_is_wrong_is_refused(sql: str, ddl: str, options: dict[str, Any]) -> None:
    outcome = await run_case(sql, [Feed.of(ddl, (0, {"a": 1}))], options=options)
    assert outcome.refused is not None
    assert outcome.emissions == []


async def test_functions_of_the_user_can_be_registered() -> None:
    def prepare(engine: Engine) -> None:
        engine.function(name="twice")(lambda value: value * 2)

    feed = Feed.of(DEMO, (0, {"a": 2}))
    outcome = await run_case("SELECT twice(a) AS b FROM demo", [feed], prepare=prepare)
    assert outcome.rows == [{"b": 4}]


async def test_the_clock_stands_where_it_is_told() -> None:
    times: list[int] = []

    def prepare(engine: Engine) -> None:
        engine.function(name="note")(lambda value: times.append(engine.clock.now()))

    feed = Feed.of(DEMO, (10, {"a": 2}), (3, {"a": 3}))
    await run_case("SELECT note(a) AS b FROM demo", [feed], start=1000, prepare=prepare)
    assert times == [1003, 1010]


# -- comparing -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        (2.0, 2),
        (2, 2.0),
        (0.1 + 0.2, 0.3),
        ({"$float": "NaN"}, math.nan),
        ({"$float": "-Inf"}, -math.inf),
        ("aGk=", b"hi"),
        ("2024-02-29T13:45:56Z", datetime(2024, 2, 29, 13, 45, 56, tzinfo=UTC)),
        (
            "2024-02-29T13:45:56.78+08:00",
            datetime(2024, 2, 29, 13, 45, 56, 780000, tzinfo=timezone(timedelta(hours=8))),
        ),
        ([1, {"a": None}], [1.0, {"a": None}]),
    ],
)
def test_values_that_are_the_same(expected: Any, actual: Any) -> None:
    assert same_value(expected, actual)


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        (1, True),
        (True, 1),
        (1, "1"),
        (None, 0),
        (1.0, 1.0001),
        (9007199254740993, 9007199254740992),
        ({"$float": "NaN"}, None),
        ({"a": None}, {}),
        ({}, {"a": None}),
        ([1], [1, 2]),
    ],
)
def test_values_that_differ(expected: Any, actual: Any) -> None:
    assert not same_value(expected, actual)


def test_rows_in_any_order_count_as_often_as_they_are_there() -> None:
    expect = expectation(
        {"results": [{"at": 0, "rows": [{"a": 1}, {"a": 1}, {"a": 2}]}], "row_order": "any"}
    )
    assert not differences(expect, Outcome([Emission(0, [{"a": 2}, {"a": 1}, {"a": 1}])]))
    assert differences(expect, Outcome([Emission(0, [{"a": 2}, {"a": 2}, {"a": 1}])]))


def test_an_error_row_stands_for_any_error_and_for_nothing_else() -> None:
    expect = expectation({"results": [{"at": 0, "rows": [{"error": "*"}]}]})
    assert not differences(expect, Outcome([Emission(0, [{"error": "division by zero"}])]))
    assert differences(expect, Outcome([Emission(0, [{"error": "x", "a": 1}])]))
    assert differences(expect, Outcome([Emission(0, [{}])]))
    assert differences(expect, Outcome([Emission(1, [{"error": "x"}])]))


def test_refusing_failing_and_running_are_told_apart() -> None:
    refused = Outcome(refused=SqlError("no"))
    failed = Outcome(failure="dead")
    stages = [{"error": "*", "stage": "plan"}, {"error": "*", "stage": "panic"}, {"results": []}]
    found = [
        [not differences(expectation(stage), outcome) for outcome in (refused, failed, Outcome())]
        for stage in stages
    ]
    assert found == [[True, False, False], [False, True, False], [False, False, True]]


# -- the runner ------------------------------------------------------------------------------------


def test_a_crash_of_the_engine_is_a_failure_of_its_case(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(case: Case) -> Outcome:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(runner, "run", broken)
    report = check(case("SELECT a FROM demo", {}), Deviations())
    assert report.verdict is Verdict.FAILED
    assert "ZeroDivisionError: oh" in report.differences[0]


def test_a_case_that_hangs_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hanging(case: Case) -> Outcome:
        await anyio.sleep_forever()
        raise AssertionError

    monkeypatch.setattr(runner, "run", hanging)
    report = check(case("SELECT a FROM demo", {}), Deviations(), timeout=0.01)
    assert report.differences == ["not done after 0.01 s"]


def test_a_case_that_spins_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    async def spinning(case: Case) -> Outcome:
        while True:
            pass

    monkeypatch.setattr(runner, "run", spinning)
    with cut_off(0.05):
        report = check(case("SELECT a FROM demo", {}), Deviations(), timeout=0.01)
    assert report.verdict is Verdict.FAILED


def verdict_of(given: Case, ours: str, rewrite: tuple[str, str] = ("", ""), **match: Any) -> str:
    reason = Deviation("r", "", "", ours, match=(Match(**match),), rewrite=rewrite)
    return check(given, Deviations({"r": reason})).verdict


ROW = {"at": 0, "data": {"a": 1, "l": []}}


def test_a_reason_excuses_only_the_cases_it_is_for() -> None:
    given = case("SELECT NOT false AS r FROM demo", {"error": "*", "stage": "parse"}, ROW)
    assert verdict_of(given, "accepted", sql="not", stage=("parse",)) is Verdict.DEVIATED
    assert verdict_of(given, "accepted", sql="like") is Verdict.FAILED
    assert verdict_of(given, "accepted", stage=("plan",)) is Verdict.FAILED
    assert verdict_of(given, "accepted", options={"qos": 1}) is Verdict.FAILED
    assert verdict_of(given, "accepted", ddl="a bigint") is Verdict.FAILED
    assert verdict_of(given, "accepted", data='"a"') is Verdict.DEVIATED
    assert verdict_of(given, "refused") is Verdict.FAILED
    assert verdict_of(given, "computes") is Verdict.DEVIATED


def test_an_error_of_the_reference_may_become_a_row_at_its_instant_only() -> None:
    failed = {"results": [{"at": 0, "rows": [{"error": "*"}]}]}
    sql = "SELECT l[0] AS r FROM demo"
    assert verdict_of(case(sql, failed, ROW), "succeeds") is Verdict.DEVIATED
    unseen = {"results": [], "runtime_errors": [{"at": 0}]}
    assert verdict_of(case(sql, unseen, ROW), "succeeds") is Verdict.DEVIATED
    elsewhere = {"results": [], "runtime_errors": [{"at": 1}]}
    assert verdict_of(case(sql, elsewhere, ROW), "succeeds") is Verdict.FAILED


def test_a_query_that_kills_the_reference_must_be_the_same_until_then() -> None:
    rows = ROW, {"at": 1, "data": {"a": 2}}
    dead = {"results": [{"at": 0, "rows": [{"a": 1}]}], "error": "*", "stage": "runtime"}
    assert verdict_of(case("SELECT a FROM demo", dead, *rows), "survives") is Verdict.DEVIATED
    other = {"results": [{"at": 0, "rows": [{"a": 5}]}], "error": "*", "stage": "runtime"}
    assert verdict_of(case("SELECT a FROM demo", other, *rows), "survives") is Verdict.FAILED


def test_another_spelling_must_do_the_same() -> None:
    refused = {"error": "*", "stage": "parse"}
    given = case("SELECT a <> 1 AS r FROM demo", refused, ROW)
    assert verdict_of(given, "rewritten", ("<>", "!=")) is Verdict.DEVIATED
    assert verdict_of(given, "rewritten", ("<>", "=")) is Verdict.FAILED
    assert verdict_of(given, "rewritten", ("nothing", "=")) is Verdict.FAILED
    aliased = case("SELECT d.a FROM demo AS d WHERE d.a > 0", refused, ROW)
    assert verdict_of(aliased, "without alias") is Verdict.DEVIATED


def verdict_by_calls(given: Case, *excuses: Excuse) -> str:
    reason = Deviation("r", "", "", "calls", calls=excuses)
    return check(given, Deviations({"r": reason})).verdict


def results(*rows: Any, **more: Any) -> Any:
    return {"results": [{"at": 0, "rows": [row]} for row in rows], **more}


LISTS = {"at": 0, "data": {"l": [], "m": [1, 2], "n": None}}
EMPTY = Excuse(when="empty", changes=("null>value", "null>error"))


def test_a_call_excuses_a_field_by_its_arguments_and_results() -> None:
    given = case("SELECT to_json(l) AS x, length(m) AS y FROM demo", results({"y": 2}), LISTS)
    assert verdict_by_calls(given, EMPTY) is Verdict.DEVIATED
    assert verdict_by_calls(given, Excuse(when="null", changes=("null>value",))) is Verdict.FAILED
    assert verdict_by_calls(given, Excuse(when="empty", changes=("error>value",))) is Verdict.FAILED
    other = Excuse(functions=("abs",), when="empty", changes=("null>value",))
    assert verdict_by_calls(given, other) is Verdict.FAILED
    group = Excuse(functions=("json/*",), changes=("null>value",))
    assert verdict_by_calls(given, group) is Verdict.DEVIATED


def test_a_field_without_an_excuse_fails_its_case() -> None:
    given = case("SELECT to_json(l) AS x, length(m) AS y FROM demo", results({"y": 3}), LISTS)
    assert verdict_by_calls(given, EMPTY) is Verdict.FAILED
    plain = case("SELECT to_json(l) AS x, m FROM demo", results({"m": []}), LISTS)
    assert verdict_by_calls(plain, EMPTY) is Verdict.FAILED


def test_a_call_excuses_a_row_that_only_one_side_has() -> None:
    lost = case("SELECT element_at(l, 0) AS x FROM demo", results({}), LISTS)
    assert verdict_by_calls(lost, EMPTY) is Verdict.DEVIATED
    found = case("SELECT hour(n) AS x FROM demo", results(runtime_errors=[{"at": 0}]), LISTS)
    assert verdict_by_calls(found, EMPTY) is Verdict.FAILED
    nulls = Excuse(when="null", changes=("error>null",))
    assert verdict_by_calls(found, nulls) is Verdict.DEVIATED
    filtered = case("SELECT m FROM demo WHERE hour(n) > 5", results({"m": [1, 2]}), LISTS)
    assert verdict_by_calls(filtered, nulls) is Verdict.FAILED


def test_a_call_in_an_alias_counts_for_the_fields_that_use_it() -> None:
    sql = "SELECT length(l) AS x, x + 1 AS y FROM demo"
    given = case(sql, results({"x": 5, "y": 6}), LISTS)
    excuse = Excuse(functions=("length",), changes=("value>value",))
    assert verdict_by_calls(given, excuse) is Verdict.DEVIATED


def test_a_call_excuses_a_refusal_by_its_literals() -> None:
    refused = {"error": "*", "stage": "parse"}
    literal = Excuse(when="literal", changes=("refused>runs",))
    given = case("SELECT concat(m, 5) AS x FROM demo", refused, LISTS)
    assert verdict_by_calls(given, literal) is Verdict.DEVIATED
    column = case("SELECT upper(m) AS x FROM demo", refused, LISTS)
    assert verdict_by_calls(column, literal) is Verdict.FAILED
    early = Excuse(when="literal", changes=("error>refused",))
    errors = case("SELECT log(2, '8') AS x FROM demo", results(runtime_errors=[{"at": 0}]), LISTS)
    assert verdict_by_calls(errors, early) is Verdict.DEVIATED
    unknown = case("SELECT nope('8') AS x FROM demo", results(runtime_errors=[{"at": 0}]), LISTS)
    assert verdict_by_calls(unknown, early) is Verdict.FAILED


def test_a_relation_must_hold_between_the_two_results_of_a_call() -> None:
    sorted_ = Excuse(changes=("list>list",), relation="same elements")
    sql = "SELECT array_sort(m) AS x FROM demo"
    assert verdict_by_calls(case(sql, results({"x": [2, 1]}), LISTS), sorted_) is Verdict.DEVIATED
    assert verdict_by_calls(case(sql, results({"x": [2, 2]}), LISTS), sorted_) is Verdict.FAILED


def test_all_reasons_together_excuse_what_is_different() -> None:
    given = case("SELECT element_at(l, 0) AS x, hour(n) AS y FROM demo", results({"y": 5}), LISTS)
    changed = Excuse(functions=("hour",), changes=("value>null",))
    reasons = {
        "a": Deviation("a", "", "", "calls", calls=(EMPTY,)),
        "b": Deviation("b", "", "", "calls", calls=(changed,)),
    }
    assert check(given, Deviations(reasons)).reasons == ("a",)
    two = case("SELECT to_json(l) AS x, hour(n) AS y FROM demo", results({"y": 5}), LISTS)
    assert check(two, Deviations(reasons)).verdict is Verdict.DEVIATED
    del reasons["b"]
    assert check(two, Deviations(reasons)).verdict is Verdict.FAILED


def test_with_send_error_no_error_may_get_lost() -> None:
    rows = LISTS, {"at": 5, "data": {"l": {"a": 1}}}
    sql = "SELECT to_json(l) AS x, l + 1 AS y FROM demo"
    expect = {"results": [{"at": at, "rows": [{"error": "*"}]} for at in (0, 5, 7)]}
    given = case(sql, expect, *rows)
    given = msgspec.structs.replace(given, options={"sendError": True})
    assert verdict_by_calls(given, EMPTY) is Verdict.FAILED


def test_only_our_own_expectation_counts_where_there_is_one() -> None:
    given = case("SELECT a FROM demo", {"results": [{"at": 0, "rows": [{"a": 1}]}]}, ROW)
    reason = Deviation("r", "", "", "runs")
    ours = Expected(given.sql, "r", expectation({"results": []}))
    assert check(given, Deviations({"r": reason}, {given.id: ours})).verdict is Verdict.FAILED
    other = Expected("SELECT 1 FROM demo", "r", expectation({"results": []}))
    assert check(given, Deviations({"r": reason}, {given.id: other})).verdict is Verdict.PASSED


def test_the_command_names_failing_cases_and_counts(tmp_path: Path) -> None:
    good = {"id": "a/1", "sql": "SELECT a FROM demo", "streams": [{"ddl": DEMO, "rows": [ROW]}]}
    lines = [
        {**good, "expect": {"results": [{"at": 0, "rows": [{"a": 1}]}]}},
        {**good, "id": "a/2", "expect": {"results": [{"at": 0, "rows": [{"a": 2}]}]}},
    ]
    path = tmp_path / "cases.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    command = [sys.executable, str(HERE.parents[1] / "scripts" / "conformance"), "-v", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "a/2",
        "    SELECT a FROM demo",
        '    -      0 ms [{"a": 2}]',
        '    +      0 ms [{"a": 1}]',
        "1 passed, 1 failed",
    ]


def test_a_file_that_holds_no_cases_is_refused_with_the_line(tmp_path: Path) -> None:
    path = tmp_path / "cases.jsonl"
    path.write_text('{"id": 5}\n')
    with pytest.raises(ValueError, match=r"cases.jsonl:1: "):
        list(read_cases(path))
