"""The recorded cases of the reference, run through the engine; see ``scripts/conformance``."""

from __future__ import annotations

import pytest

from tests.conformance.cases import Case, read_cases
from tests.conformance.deviations import HERE, read_deviations
from tests.conformance.runner import Verdict, check

RECORDINGS = HERE / "recordings"
DEVIATIONS = read_deviations()


def cases() -> list[Case]:
    return [case for path in sorted(RECORDINGS.glob("*.jsonl")) for case in read_cases(path)]


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
