"""Where we differ from the reference on purpose: which cases, why, and what we do instead.

``deviations.toml`` gives the reasons. Each says which cases it holds for, so that it also holds for
cases of the same kind that nobody has recorded yet, and names the rule in ``RULES`` that such a
case must pass. For the cases we know, ``expected/*.jsonl`` gives our own expectation in full, and
then only that counts.
"""

from __future__ import annotations

import fnmatch
import json
import re
import tomllib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from engine.testing import Emission, Outcome
from tests.conformance.calls import (
    CONDITIONS,
    RELATIONS,
    Arguments,
    Difference,
    Excuse,
    excuses,
    find_differences,
)
from tests.conformance.cases import Case, Expectation, Results, expectation
from tests.conformance.compare import differences, is_error, same_emission
from tests.conformance.corrections import CORRECTIONS
from tests.conformance.model.query import model
from tests.conformance.model.rows import Unsupported

HERE = Path(__file__).resolve().parent
_TEXT = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", re.DOTALL)
_ALIAS = r"\bFROM\s+(\w+)\s+AS\s+(\w+)"

Run = Callable[[Case], Awaitable[Outcome]]
Rule = Callable[["Trial"], Awaitable[list[str]]]


class Match(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Conditions on a case; all that are given must hold."""

    sql: str = ""
    """A regular expression that is found in the query, in any case."""
    code: str = ""
    """The same, in the query without what is in quotes."""
    ddl: str = ""
    """The same, in the statement of some stream or table."""
    data: str = ""
    """The same, in some message."""
    stage: tuple[str, ...] = ()
    """Where the reference gives up; ``none`` where it doesn't, ``error`` where rows fail."""
    options: dict[str, Any] = {}

    def holds(self, case: Case) -> bool:
        """Tell whether a case fulfils all conditions."""
        return (
            _found(self.sql, [case.sql])
            and _found(self.code, [_TEXT.sub("''", case.sql)])
            and _found(self.ddl, [stream.ddl for stream in _inputs(case)])
            and _found(self.data, [text for stream in _inputs(case) for text in _texts(stream)])
            and (not self.stage or not _stages(case.expect).isdisjoint(self.stage))
            and all(case.options.get(name) == value for name, value in self.options.items())
        )


class Deviation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One reason for being different."""

    name: str
    reason: str
    spec: str
    """The item of the specification."""
    ours: str
    """What must hold for a case which has no expectation of its own.

    A name in ``CORRECTIONS`` puts the recorded expectation right, together with all others that
    apply; one in ``RULES`` is a rule that the case must pass then, if it still differs.
    """
    ids: tuple[str, ...] = ("*",)
    """Patterns as of file names; one of them must fit the id."""
    match: tuple[Match, ...] = (Match(),)
    """One of them must hold."""
    rewrite: tuple[str, str] = ("", "")
    """For the rule ``rewritten``: what to replace in the query, and by what."""
    calls: tuple[Excuse, ...] = ()
    """For ``calls`` and ``values``: which calls may give something else, and what."""

    @property
    def is_correction(self) -> bool:
        """Whether it puts the expectation right."""
        return self.ours in CORRECTIONS

    def applies(self, case: Case) -> bool:
        """Tell whether a case is of this kind."""
        return any(fnmatch.fnmatchcase(case.id, pattern) for pattern in self.ids) and any(
            match.holds(case) for match in self.match
        )

    async def is_kept(self, trial: Trial) -> bool:
        """Tell whether a case of this kind came out in the way that is declared."""
        return not await RULES[self.ours](trial)


@dataclass(frozen=True, slots=True)
class Expected:
    """Our own expectation of a case we know."""

    sql: str
    deviation: str
    expect: Expectation


@dataclass(frozen=True, slots=True)
class Trial:
    """A case that came out different, and the reason that may excuse it."""

    case: Case
    deviation: Deviation
    outcome: Outcome
    run: Run
    others: tuple[Deviation, ...] = ()
    """All reasons that may excuse the case."""


@dataclass(slots=True)
class Deviations:
    """All reasons by name, and our expectations by the id of the case."""

    reasons: dict[str, Deviation] = field(default_factory=dict)
    expected: dict[str, Expected] = field(default_factory=dict)

    def own(self, case: Case) -> Expected | None:
        """Return our expectation of a case, None where it has none of its own."""
        known = self.expected.get(case.id)
        return known if known is not None and known.sql == case.sql else None

    def applying(self, case: Case) -> Iterator[Deviation]:
        """Yield the reasons that may excuse a case."""
        return (reason for reason in self.reasons.values() if reason.applies(case))


def read_deviations(folder: Path = HERE) -> Deviations:
    """Read ``deviations.toml`` and ``expected/*.jsonl``.

    Raises:
        ValueError: something in them doesn't fit together.
    """
    table = tomllib.loads((folder / "deviations.toml").read_text(encoding="utf-8"))
    found = Deviations()
    for entry in msgspec.convert(table["deviation"], list[Deviation]):
        if entry.ours not in RULES and not entry.is_correction:
            raise ValueError(f"{entry.name}: there is no rule or correction {entry.ours!r}")
        for excuse in entry.calls:
            if excuse.when not in CONDITIONS or excuse.relation not in RELATIONS:
                raise ValueError(f"{entry.name}: {excuse.when or excuse.relation!r} is not known")
        if entry.name in found.reasons:
            raise ValueError(f"{entry.name} is there twice")
        found.reasons[entry.name] = entry
    for path in sorted((folder / "expected").glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            value = json.loads(line)
            if value["deviation"] not in found.reasons:
                raise ValueError(f"{path}: {value['id']}: no deviation {value['deviation']!r}")
            found.expected[value["id"]] = Expected(
                value["sql"], value["deviation"], expectation(value["expect"])
            )
    return found


# -- what must hold where there is no expectation --------------------------------------------------


async def _accepted(trial: Trial) -> list[str]:
    """The reference refuses it; we run it, and all that comes out are rows."""
    if not trial.case.expect.is_refusal:
        return ["the reference doesn't refuse it"]
    return _unfinished(trial.outcome) or await _modelled(trial)


async def _modelled(trial: Trial) -> list[str]:
    """Compare with what the model says, where it knows the query."""
    try:
        known = await model(trial.case, trial.run)
        return differences(Expectation(known.emissions()), trial.outcome)
    except Unsupported:
        return []


async def _computes(trial: Trial) -> list[str]:
    """The reference refuses it; we run it, and it gives rows that aren't errors."""
    rows = trial.outcome.rows
    problems = await _accepted(trial)
    return problems or ([] if rows and not all(map(is_error, rows)) else ["it gives no row"])


async def _refused(trial: Trial) -> list[str]:
    """The reference runs it; we refuse it before anything runs."""
    return [] if trial.outcome.refused is not None else ["it isn't refused"]


async def _more_fields(trial: Trial) -> list[str]:
    """The reference leaves fields out of its rows; all others are the same."""
    expected, actual = trial.case.expect.results, trial.outcome.emissions
    shown = [
        Emission(
            emission.at, [_restricted(row, known) for row, known in zip(ours, theirs, strict=True)]
        )
        for emission, recorded in zip(actual, expected, strict=False)
        for ours, theirs in [(emission.rows, recorded.rows)]
        if len(ours) == len(theirs)
    ]
    if len(shown) < max(len(expected), len(actual)):
        return ["there are more or fewer rows"]
    return differences(trial.case.expect, replace(trial.outcome, emissions=shown))


def _restricted(row: Any, known: Any) -> Any:
    return {name: row[name] for name in known if name in row}


async def _sooner(trial: Trial) -> list[str]:
    """The same is emitted in the same order, some of it sooner; more may come at the end."""
    expected, actual = trial.case.expect.results, trial.outcome.emissions
    if len(actual) < len(expected):
        return ["something is missing"]
    pairs = list(zip(expected, actual, strict=False))
    if any(ours.at > theirs.at for theirs, ours in pairs):
        return ["something comes later"]
    moved = [Emission(theirs.at, ours.rows) for theirs, ours in pairs]
    return differences(trial.case.expect, replace(trial.outcome, emissions=moved))


async def _survives(trial: Trial) -> list[str]:
    """The reference dies of it; we do the same up to there, and then go on."""
    if not trial.case.expect.is_failure:
        return ["the reference doesn't fail"]
    before = trial.case.expect.results
    same = msgspec.structs.replace(trial.case.expect, error="", stage="")
    begin = Outcome(trial.outcome.emissions[: len(before)])
    problems = _unfinished(trial.outcome) or await _modelled(trial)
    if problems or not differences(same, begin):
        return problems
    return [text for text, reasons in await _reasons(trial) if not reasons]


async def _calls(trial: Trial) -> list[str]:
    """All that is different is excused call by call, some of it by this reason."""
    if trial.outcome.failure or trial.case.expect.is_failure:
        return ["a rule that dies isn't excused by a call"]
    found = await _reasons(trial)
    if not any(trial.deviation.name in reasons for _, reasons in found):
        return ["nothing is different in the way of this reason"]
    problems = [text for text, reasons in found if not reasons]
    runs = trial.case.expect.is_refusal and trial.outcome.refused is None
    return problems or (await _modelled(trial) if runs else [])


async def _reasons(trial: Trial) -> list[tuple[str, list[str]]]:
    """Return each difference with the names of the reasons that excuse it."""
    found = find_differences(trial.case, trial.outcome)
    if found is None:
        return [("the query can't be parsed", [])]
    arguments = Arguments(trial.case, trial.run)
    return [
        (
            difference.text,
            [
                reason.name
                for reason in trial.others
                if await _is_excused(reason, difference, arguments)
            ],
        )
        for difference in found
    ]


async def _is_excused(reason: Deviation, difference: Difference, arguments: Arguments) -> bool:
    for excuse in reason.calls:
        if await excuses(excuse, difference, arguments):
            return True
    return False


async def _succeeds(trial: Trial) -> list[str]:
    """Where the reference has an error we may have a row, or filter it; all else is the same."""
    expect = trial.case.expect
    failed = {error["at"] for error in expect.runtime_errors}
    failed |= {entry.at for entry in expect.results if any(map(is_error, entry.rows))}
    problems = _unfinished(trial.outcome)
    expected = [entry for entry in expect.results if not all(map(is_error, entry.rows))]
    for emission in trial.outcome.emissions:
        if expected and same_emission(expected[0], emission):
            del expected[0]
        elif emission.at not in failed:
            problems.append(f"unexpected at {emission.at} ms: {emission.rows}")
    return problems + [f"missing at {entry.at} ms: {entry.rows}" for entry in expected]


async def _rewritten(trial: Trial) -> list[str]:
    """It does what another query does, which says the same in words the reference knows."""
    sql = re.sub(*trial.deviation.rewrite, trial.case.sql, flags=re.IGNORECASE)
    if sql == trial.case.sql:
        return [f"nothing to replace in {sql}"]
    return await _same_as(trial, sql)


async def _same_as(trial: Trial, sql: str) -> list[str]:
    """Compare with what another query does with the same rows."""
    other = await trial.run(msgspec.structs.replace(trial.case, sql=sql))
    mine = trial.outcome
    if mine.refused or other.refused:
        return [f"refused: {mine.refused or other.refused}"]
    if mine.failure or other.failure:
        return [f"failed: {mine.failure or other.failure}"]
    wanted = Expectation([Results(entry.at, _plain(entry)) for entry in other.emissions])
    return differences(wanted, mine)


async def _without_alias(trial: Trial) -> list[str]:
    """It does what the query does that calls its stream by its name."""
    found = re.search(_ALIAS, trial.case.sql, re.IGNORECASE)
    if found is None:
        return ["the stream has no alias"]
    qualifier = re.compile(rf"(?<![\w.]){re.escape(found[2])}\.")
    sql = qualifier.sub("", trial.case.sql.replace(found[0], f"FROM {found[1]}"))
    return await _same_as(trial, sql)


async def _runs(trial: Trial) -> list[str]:
    """It runs to its end; the results differ in ways that need an expectation of their own."""
    return _unfinished(trial.outcome)


RULES: dict[str, Rule] = {
    "accepted": _accepted,
    "computes": _computes,
    "refused": _refused,
    "survives": _survives,
    "more fields": _more_fields,
    "sooner": _sooner,
    "succeeds": _succeeds,
    "rewritten": _rewritten,
    "without alias": _without_alias,
    "runs": _runs,
    "calls": _calls,
}


def _unfinished(outcome: Outcome) -> list[str]:
    """Return why an outcome isn't that of a rule which ran to the end."""
    if outcome.refused is not None:
        return [f"refused: {outcome.refused}"]
    if outcome.failure:
        return [f"the rule failed: {outcome.failure}"]
    return [
        f"not a row at {emission.at} ms: {row!r}"
        for emission in outcome.emissions
        for row in emission.rows
        if not (isinstance(row, dict) and all(isinstance(name, str) for name in row))
    ]


def _plain(emission: Emission) -> list[Any]:
    """Return rows as an expectation has them; the words of an error don't count."""
    return [{"error": "*"} if is_error(row) else row for row in emission.rows]


def _found(pattern: str, texts: list[str]) -> bool:
    if not pattern:
        return True
    return any(re.search(pattern, text, re.IGNORECASE | re.DOTALL) for text in texts)


def _inputs(case: Case) -> Iterator[Any]:
    yield from case.tables
    yield from case.streams


def _texts(stream: Any) -> Iterator[str]:
    return (row.payload().decode(errors="replace") for row in stream.rows)


def _stages(expect: Expectation) -> set[str]:
    if expect.error:
        return {expect.stage}
    has_errors = expect.runtime_errors or any(
        is_error(row) for entry in expect.results for row in entry.rows
    )
    return {"none", "error"} if has_errors else {"none"}
