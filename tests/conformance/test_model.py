"""The model agrees with the reference wherever that has no declared defect."""

from __future__ import annotations

import fnmatch

import pytest

from engine.testing import Emission, Outcome
from tests.conformance.cases import Case, read_cases
from tests.conformance.deviations import HERE, read_deviations
from tests.conformance.judgement import judge
from tests.conformance.model.query import model
from tests.conformance.model.rows import Unsupported
from tests.conformance.runner import run

FILES = ("window", "aggregate", "analytic", "function-aggregate", "function-analytic")
DEVIATIONS = read_deviations()
UNKNOWN = (
    "*/deduplicate*",
    "*/dedup-*",
    "*/changed_cols/*",
    "*/cols/*",
    "*/last*hit*",
    "*hit/last-*",
)
"""Cases of functions that the model doesn't know: they need more than the values of rows."""


def cases() -> list[Case]:
    found = [case for name in FILES for case in read_cases(HERE / "recordings" / f"{name}.jsonl")]
    return [case for case in found if not case.expect.is_refusal]


@pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in cases()])
async def test_the_model_gives_what_the_reference_gives_but_for_declared_reasons(
    case: Case,
) -> None:
    if (await run(case)).refused is not None:
        return  # for a reason that is tested with the engine
    try:
        results = (await model(case, run)).emissions()
    except Unsupported:
        assert any(fnmatch.fnmatch(case.id, kind) for kind in UNKNOWN)
        return
    outcome = Outcome([Emission(entry.at, entry.rows) for entry in results])
    found = await judge(case, outcome, DEVIATIONS, run)
    assert found.is_excused or not found.differences, "\n".join([case.sql, *found.differences])
