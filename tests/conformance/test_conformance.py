"""The recorded cases of the reference, run through the engine; see ``scripts/conformance``."""

from __future__ import annotations

import fnmatch

import pytest

from tests.conformance.cases import Case, read_cases
from tests.conformance.deviations import HERE, read_deviations
from tests.conformance.runner import Verdict, check

RECORDINGS = HERE / "recordings"
DEVIATIONS = read_deviations()

COMPLETE = (
    "aggregate/*",
    "analytic/[!w]*",
    "analytic/w[!i]*",
    "analytic/window/[!l]*",
    "analytic/window/lag-[!o]*",
    "analytic/window/lag-of-col",
    "errors/*",
    "function/aggregate/[!r]*",
    "function/analytic/*",
    "function/array/*",
    "function/datetime/*",
    "function/hashing/*",
    "function/json/*",
    "function/math/*",
    "function/multi/*",
    "function/object/*",
    "function/other/*",
    "function/string/*",
    "function/transform/*",
    "select/*",
    "window/[!t]*",
    "window/tumbling/[!d]*",
    "window/tumbling/default-names",
)
"""Which cases must all pass. What is not here is not finished; nothing is ever taken out."""


def cases() -> list[Case]:
    found = (case for path in sorted(RECORDINGS.glob("*.jsonl")) for case in read_cases(path))
    return [case for case in found if any(fnmatch.fnmatch(case.id, kind) for kind in COMPLETE)]


@pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in cases()])
def test_a_recorded_case_gives_what_is_expected(case: Case) -> None:
    report = check(case, DEVIATIONS)
    assert report.verdict is not Verdict.FAILED, "\n".join([case.sql, *report.differences])


def test_every_expectation_of_our_own_is_that_of_a_recorded_case() -> None:
    recorded = {
        case.id: case.sql for path in RECORDINGS.glob("*.jsonl") for case in read_cases(path)
    }
    ours = {name: expected.sql for name, expected in DEVIATIONS.expected.items()}
    assert ours == {name: recorded.get(name) for name in ours}


def test_every_expectation_of_our_own_differs_from_the_reference() -> None:
    recorded = {case.id: case for path in RECORDINGS.glob("*.jsonl") for case in read_cases(path)}
    same = [
        name
        for name, expected in DEVIATIONS.expected.items()
        if expected.expect.results == recorded[name].expect.results
        and bool(expected.expect.error) == bool(recorded[name].expect.error)
    ]
    assert same == []


def test_the_expectation_of_a_case_is_of_a_kind_that_its_reason_covers() -> None:
    recorded = {case.id: case for path in RECORDINGS.glob("*.jsonl") for case in read_cases(path)}
    wrong = [
        name
        for name, expected in DEVIATIONS.expected.items()
        if not DEVIATIONS.reasons[expected.deviation].applies(recorded[name])
    ]
    assert wrong == []
