"""Runs recorded cases against the engine and says which came out as expected."""

# ruff: noqa: T201  # a command prints

from __future__ import annotations

import argparse
import logging
import re
import signal
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import FrameType

import anyio

from engine.testing import Outcome, run_case
from tests.conformance.calls import LACKING
from tests.conformance.cases import START, Case, read_cases
from tests.conformance.deviations import HERE, Deviations, read_deviations
from tests.conformance.judgement import judge

TIMEOUT = 10.0
"""Seconds of real time that one case may take."""


class Verdict(StrEnum):
    """How a case came out."""

    PASSED = "passed"
    DEVIATED = "deviated"
    """Other than the reference, for a declared reason and in the declared way."""
    MISSING = "missing"
    """Refused as expected, but only because the engine doesn't have yet what it needs."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Report:
    """What became of one case."""

    case: Case
    verdict: Verdict
    reasons: tuple[str, ...] = ()
    """Why it came out other than the reference, as far as it may."""
    differences: list[str] = field(default_factory=list)


class CutOff(KeyboardInterrupt):
    """A case takes too long; no ``except Exception`` on its way holds this."""


def check(case: Case, deviations: Deviations, timeout: float = TIMEOUT) -> Report:
    """Run a case and compare; whatever goes wrong is part of the report."""
    try:
        return anyio.run(_check, case, deviations, timeout)
    except (TimeoutError, CutOff):
        return Report(case, Verdict.FAILED, (), [f"not done after {timeout:g} s"])
    except Exception as error:
        return Report(case, Verdict.FAILED, (), _crash(error))


async def run(case: Case) -> Outcome:
    """Run a case in the engine, whatever is expected of it."""
    return await run_case(
        case.sql,
        [stream.feed() for stream in case.streams],
        tables=[table.feed() for table in case.tables],
        options=case.options,
        advance_to=case.advance_to,
        start=START,
        root=HERE,
    )


async def _check(case: Case, deviations: Deviations, seconds: float) -> Report:
    with anyio.fail_after(seconds):
        outcome = await run(case)
        found = await judge(case, outcome, deviations, run)
    if not found.differences:
        lacks = outcome.refused and re.search(LACKING, outcome.refused.message)
        verdict = Verdict.MISSING if lacks else Verdict.PASSED
        return Report(case, Verdict.DEVIATED if found.reasons else verdict, found.reasons)
    verdict = Verdict.DEVIATED if found.is_excused else Verdict.FAILED
    return Report(case, verdict, found.reasons, found.differences)


def _crash(error: BaseException) -> list[str]:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    where = traceback.extract_tb(error.__traceback__)[-1]
    text = "".join(traceback.format_exception_only(error)).strip()
    return [f"the engine crashed: {text}", f"  in {where.filename}:{where.lineno} {where.name}"]


@contextmanager
def cut_off(seconds: float) -> Iterator[None]:
    """Raise ``CutOff`` inside the block after so long, even if it never waits for anything."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(signum: int, frame: FrameType | None) -> None:
        raise CutOff

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, 2)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# -- the command -----------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the cases of the given files; return 0 if none failed."""
    parser = argparse.ArgumentParser(
        prog="conformance", description="Run recorded cases against the engine in virtual time."
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.jsonl")
    parser.add_argument("-v", "--verbose", action="store_true", help="show what is different")
    parser.add_argument("--deviations", action="store_true", help="count deviations by reason")
    parser.add_argument("-k", dest="pattern", default="", help="only ids that contain this")
    parser.add_argument("--timeout", type=float, default=TIMEOUT, help="seconds for one case")
    options = parser.parse_args(arguments)
    logging.disable(logging.CRITICAL)
    try:
        deviations = read_deviations()
        cases = [case for path in options.files for case in read_cases(path)]
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    reports = []
    for case in cases:
        if options.pattern not in case.id:
            continue
        with cut_off(options.timeout + 1):
            report = check(case, deviations, options.timeout)
        reports.append(report)
        if report.verdict is Verdict.FAILED:
            _print_failure(report, verbose=options.verbose)
    return _summarise(reports, deviations, by_reason=options.verbose or options.deviations)


def _print_failure(report: Report, *, verbose: bool) -> None:
    print(report.case.id)
    if not verbose:
        return
    print(f"    {report.case.sql}")
    if report.reasons:
        print(f"    (compared with what is expected by {', '.join(report.reasons)})")
    for line in report.differences:
        print("\n".join(f"    {part}" for part in line.splitlines()))


def _summarise(reports: list[Report], deviations: Deviations, *, by_reason: bool) -> int:
    verdicts = Counter(report.verdict for report in reports)
    failed = verdicts[Verdict.FAILED]
    if by_reason and verdicts[Verdict.MISSING]:
        print(f"{verdicts[Verdict.MISSING]} of those passed are refused for what isn't there yet")
    if by_reason and verdicts[Verdict.DEVIATED]:
        print(f"{verdicts[Verdict.DEVIATED]} of those passed differ from the reference on purpose:")
        names = Counter(
            name
            for report in reports
            if report.verdict is Verdict.DEVIATED
            for name in report.reasons
        )
        for name, count in names.most_common():
            print(f"{count:>6} {name}: {deviations.reasons[name].reason}")
    print(f"{len(reports) - failed} passed, {failed} failed")
    return 1 if failed else 0
