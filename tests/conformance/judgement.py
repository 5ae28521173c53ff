"""Whether a case came out as it should: as the reference, or other for declared reasons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from engine.errors import EngineError
from engine.testing import Outcome
from tests.conformance.calls import Query
from tests.conformance.cases import Case
from tests.conformance.compare import crashes, differences
from tests.conformance.corrections import correct
from tests.conformance.deviations import Deviation, Deviations, Run, Trial
from tests.conformance.draft import draft
from tests.conformance.model.query import model
from tests.conformance.model.rows import Unsupported


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is different, and the reasons for which that may be."""

    differences: list[str]
    reasons: tuple[str, ...] = ()
    is_excused: bool = False


async def judge(case: Case, outcome: Outcome, deviations: Deviations, run: Run) -> Judgement:
    """Compare what a case gave with what it should give."""
    bugs = crashes(outcome)
    if bugs:
        return Judgement([*differences(case.expect, outcome), *bugs])
    own = deviations.own(case)
    if own is not None:
        found = differences(own.expect, outcome)
        return Judgement(found, (own.deviation,), not found)
    found = differences(case.expect, outcome)
    if not found:
        return Judgement([])
    applying = tuple(deviations.applying(case))
    corrections = [reason for reason in applying if reason.is_correction]
    corrected, reasons = await _corrected(case, outcome, corrections, run)
    if reasons and not differences(corrected.expect, outcome):
        return Judgement(found, reasons, is_excused=True)
    for reason in applying:
        if reason.is_correction:
            continue
        trial = Trial(corrected, reason, outcome, run, applying)
        if await reason.is_kept(trial):
            return Judgement(found, (*reasons, reason.name), is_excused=True)
    return Judgement(differences(corrected.expect, outcome), reasons)


async def _corrected(
    case: Case, outcome: Outcome, corrections: Sequence[Deviation], run: Run
) -> tuple[Case, tuple[str, ...]]:
    """Return a case with its expectation put right, and the reasons that changed something."""
    if not corrections or outcome.refused is not None:
        return case, ()
    try:
        found = draft(case, Query(case.sql), await model(case, run))
    except (EngineError, Unsupported):
        return case, ()
    reasons = tuple(
        reason.name for reason in corrections if correct(found, reason.ours, reason.calls)
    )
    return msgspec.structs.replace(case, expect=found.expectation()), reasons
