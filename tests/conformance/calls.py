"""What came out different in a case, down to the call that did it.

A reason of the rule ``calls`` says which functions may give something else than the reference, for
which arguments, and what may become of what. So a case is excused only if each field, each row that
is there on one side only, and each refusal that differs has such a call; all that agrees with the
reference without a reason must still agree.
"""

from __future__ import annotations

import math
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from itertools import chain
from typing import Any

import msgspec

from engine.errors import EngineError
from engine.sql import ast
from engine.sql.functions import builtins
from engine.sql.parse import parse_select
from engine.sql.printer import to_sql
from engine.sql.walk import walk
from engine.testing import Emission, Outcome
from tests.conformance.cases import Case, Results
from tests.conformance.compare import is_error, same_row, same_value

LACKING = r"not supported|unknown function"
"""In the message of a refusal: the engine doesn't have yet what it needs."""
Run = Callable[[Case], Awaitable[Outcome]]


class End(Enum):
    """What there may be instead of a value."""

    NULL = "null"
    ERROR = "error"
    """The row has an error, or at least isn't there although it came in."""
    REFUSED = "refused"
    RUNS = "runs"
    UNKNOWN = "unknown"
    """An argument that can't be told."""


class Excuse(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which calls may give something else, and what."""

    functions: tuple[str, ...] = ()
    """Their names, or their category as "math/*"; any function if there are none."""
    when: str = ""
    """The condition on the arguments, one of ``CONDITIONS``."""
    changes: tuple[str, ...] = ()
    """What of the reference may become what of ours: "null>value"; see ``_names_of``."""
    relation: str = ""
    """How the two values of a field that is nothing but the call are related: see ``RELATIONS``."""
    inside: bool = False
    """Whether the call must stand inside an expression; what it gives itself must not differ."""
    around: bool = False
    """Whether it is the other fields that may differ; for calls that change what they are given."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """A call that may be the cause of a difference, and the two results of its field."""

    call: ast.Call
    before: Any
    after: Any
    whole: bool
    """Whether the field is nothing but this call."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is different, at an instant (None: before anything ran)."""

    at: int | None
    text: str
    suspects: tuple[Suspect, ...]
    bystanders: tuple[ast.Call, ...] = ()
    """Calls of the other fields."""


# -- conditions on arguments, relations between results --------------------------------------------


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _deep(value: Any) -> Iterator[Any]:
    yield value
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _deep(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _deep(item)


def _some(test: Callable[[Any], bool]) -> Callable[[Sequence[Any]], bool]:
    return lambda arguments: any(test(value) for value in arguments)


def _some_inside(test: Callable[[Any], bool]) -> Callable[[Sequence[Any]], bool]:
    return lambda arguments: any(test(value) for given in arguments for value in _deep(given))


def _is_empty(value: Any) -> bool:
    return value in ([], {}) or (isinstance(value, list) and all(item == [] for item in value))


def _is_scientific(value: Any) -> bool:
    """Tell whether the reference writes a number with an exponent."""
    return _is_number(value) and value != 0 and not 1e-4 <= abs(value) < 1e6


def _holds_containers(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(item, (list, dict)) for item in value)


_PLAIN_TOKENS = frozenset(
    {"yyyy", "YYYY", "yy", "YY", "M", "MM", "MMM", "MMMM", "d", "dd", "EEE", "EEEE"}
    | {"HH", "h", "hh", "a", "m", "mm", "s", "ss", "z", "Z", "X", "XX", "XXX", "G", "T"}
)
"""Runs of letters that the reference writes without a defect."""


def _is_unusual_pattern(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    runs = [found[0] for found in re.finditer(r"([A-Za-z])\1*|[^-/:,; _()]", value)]
    return not _PLAIN_TOKENS.issuperset(runs)


_PATH = re.compile(r"\[\s*(-|\?|['\"])|[()#]")
"""In a path: what the reference doesn't know, or knows in another way."""
_TIME = re.compile(
    r"^\d+/\d+/\d+|W\d\d|^\d{8}T|T\d\d(:?\d\d)?(Z|[+-]\d\d:?(\d\d)?)?$"
    r"| \d\d?(:\d\d?){0,2}([.,]\d+)? ?(Z|UTC|GMT|[+-]\d\d:?(\d\d)?)$"
)
"""Times that the reference can't read."""


def _to_type(kind: type, name: str) -> Callable[[Sequence[Any]], bool]:
    return lambda arguments: isinstance(arguments[0], kind) and arguments[-1] == name


GIVES_NULL = "gives null"
"""The condition that a call gives null for arguments that aren't."""
MADE_NUMBERS = "made numbers"
"""The condition that numbers are compared of which some don't come from the stream."""
CONDITIONS: dict[str, Callable[[Sequence[Any]], bool]] = {
    "": lambda arguments: True,
    GIVES_NULL: lambda arguments: arguments[-1] is None and None not in arguments[:-1],
    MADE_NUMBERS: _some_inside(_is_number),
    "null": _some(lambda value: value is None),
    "null inside": _some_inside(lambda value: value is None),
    "empty": _some(_is_empty),
    "scientific": _some_inside(_is_scientific),
    "beyond ASCII": _some(lambda value: isinstance(value, str) and not value.isascii()),
    "number": _some_inside(_is_number),
    "beyond 53 bits": _some(lambda value: _is_number(value) and abs(value) > 1 << 53),
    "beyond 63 bits": _some(lambda value: _is_number(value) and abs(value) >= 1 << 63),
    "no number": _some(lambda value: isinstance(value, (str, bool, list, dict))),
    "text": _some(lambda value: isinstance(value, str)),
    "text to bigint": _to_type(str, "bigint"),
    "text to datetime": _to_type(str, "datetime"),
    "unusual pattern": lambda arguments: _is_unusual_pattern(arguments[-1]),
    "bytes": _some(lambda value: isinstance(value, bytes)),
    "to bytes": lambda arguments: arguments[-1] == "bytea",
    "zero": _some(lambda value: _is_number(value) and value == 0),
    "negative": _some(lambda value: _is_number(value) and value < 0),
    "unusual path": _some(lambda value: isinstance(value, str) and bool(_PATH.search(value))),
    "time by the standard": _some(
        lambda value: isinstance(value, str) and bool(_TIME.search(value))
    ),
    "fill text": lambda arguments: len(arguments) == 3,
    "containers inside": _some(_holds_containers),
    "dotted": _some_inside(lambda value: isinstance(value, str) and "." in value),
    "literal": _some(lambda value: value is not End.UNKNOWN),
    "whole float": _some(lambda value: isinstance(value, float) and value.is_integer()),
    "condition": _some(lambda value: isinstance(value, bool)),
    "mixed numbers": lambda arguments: {int, float} <= set(map(type, arguments)),
    "no share": lambda arguments: _is_number(arguments[-1]) and not 0 <= arguments[-1] <= 1,
}
"""What the arguments of a call in a row must be like; for a refusal, those that are literals."""


def _same_time(before: Any, after: Any) -> bool:
    return isinstance(after, datetime) and before == f"{after:%Y-%m-%d %H:%M:%S}"


def _zero_padded(before: Any, after: Any) -> bool:
    return isinstance(after, str) and after.lstrip("0") == before


def _to_milliseconds(before: Any, after: Any) -> bool:
    return isinstance(after, int) and abs(before - after * 1_000_000) < 1_000_000


def _to_character(before: Any, after: Any) -> bool:
    return isinstance(after, str) and len(after) == 1 and ord(after) == before


def _same_elements(before: Any, after: Any) -> bool:
    if not isinstance(before, list) or not isinstance(after, list):
        return False
    left = list(after)
    for value in before:
        place = next((index for index, item in enumerate(left) if same_value(value, item)), None)
        if place is None:
            return False
        del left[place]
    return not left


def _next_in_last_place(before: Any, after: Any) -> bool:
    """Tell whether two written numbers are apart by one in the last digit."""
    digits = [re.sub(r"\D", "", str(value)) for value in (before, after)]
    return all(digits) and abs(int(digits[0]) - int(digits[1])) == 1


def _written_plain(before: Any, after: Any) -> bool:
    """Tell whether a text becomes the other one with its numbers written without exponents."""

    def plain(found: re.Match[str]) -> str:
        value = float(found[0])
        return str(int(value)) if value.is_integer() else repr(value)

    return isinstance(after, str) and re.sub(r"\d(\.\d+)?e[+-]\d\d+", plain, str(before)) == after


def _found_more(before: Any, after: Any) -> bool:
    """Tell whether the second result is that of a function for which more elements are equal."""
    if isinstance(before, bool) or isinstance(after, bool):
        return before is False and after is True
    if isinstance(before, list) and isinstance(after, list):
        return _is_within(before, after) or _is_within(after, before)
    return isinstance(after, int) and after >= 0


def _is_within(part: list[Any], whole: list[Any]) -> bool:
    return all(any(same_value(item, other) for other in whole) for item in part)


def _cut_off(before: Any, after: Any) -> bool:
    """Tell whether a number is another one cut off, not rounded; or that is garbage."""
    if not _is_number(before) or not _is_number(after):
        return False
    return bool(abs(after) <= abs(before) or before * after <= 0 or abs(before) < abs(after) / 2)


def _less_than_one_apart(before: Any, after: Any) -> bool:
    return _is_number(before) and _is_number(after) and abs(before - after) < 1


def _beyond_64_bits(before: Any, after: Any) -> bool:
    return isinstance(after, float) and abs(after) >= 1 << 63


def _same_shown(before: Any, after: Any) -> bool:
    """Tell whether a text is the other one with other padding, or its beginning."""
    if not isinstance(before, str) or not isinstance(after, str):
        return False
    return before.strip().startswith(after.strip())


RELATIONS: dict[str, Callable[[Any, Any], bool]] = {
    "": lambda before, after: True,
    "same time": _same_time,
    "zero-padded": _zero_padded,
    "milliseconds": _to_milliseconds,
    "character": _to_character,
    "same elements": _same_elements,
    "next in last place": _next_in_last_place,
    "written plain": _written_plain,
    "found more": _found_more,
    "cut off": _cut_off,
    "same shown": _same_shown,
    "beyond 64 bits": _beyond_64_bits,
    "less than one apart": _less_than_one_apart,
    "wrapped date": lambda before, after: isinstance(after, str) and after[:4] > str(before)[:4],
}
"""What ours must be to what the reference gives."""


# -- finding what is different ---------------------------------------------------------------------


class Query:
    """The calls of a query, by the field that shows their result."""

    def __init__(self, sql: str) -> None:
        """Raises EngineError if this isn't a query."""
        self.select = parse_select(sql)
        self._items = {item.name: item for item in self.select.items}

    @property
    def filters(self) -> bool:
        """Whether rows may be missing although they have no error."""
        calls = (builtins().get(call.name) for call in self.all_calls())
        return (
            self.select.where is not None
            or self.select.having is not None
            or any(spec is not None and spec.returns_rows for spec in calls)
        )

    def calls_of(self, field: str) -> list[tuple[ast.Call, bool]]:
        """Return the calls behind a field, and whether the field is nothing but that call."""
        item = self._items.get(field)
        if item is None:
            return []
        return [(call, call is item.expr) for call in self._calls(item.expr, {field})]

    def _calls(self, expr: ast.Node, seen: set[str]) -> Iterator[ast.Call]:
        for node in walk(expr):
            if isinstance(node, ast.Call):
                yield node
            elif isinstance(node, ast.Column) and node.name in self._items.keys() - seen:
                yield from self._calls(self._items[node.name].expr, {*seen, node.name})

    def all_calls(self) -> list[ast.Call]:
        """Return all calls of the query."""
        return [node for node in walk(self.select) if isinstance(node, ast.Call)]

    def suspects(self, before: Any, after: Any) -> tuple[Suspect, ...]:
        """Return all calls with what their fields are in two rows, or in what is there instead."""
        found = [
            Suspect(call, _field_of(before, name), _field_of(after, name), whole=whole)
            for name in self._items
            for call, whole in self.calls_of(name)
        ]
        known = [suspect.call for suspect in found]
        ends = tuple(row if isinstance(row, End) else End.RUNS for row in (before, after))
        others = [call for call in self.all_calls() if not any(call is other for other in known)]
        return (*found, *(Suspect(call, ends[0], ends[1], whole=False) for call in others))


def _field_of(row: Any, name: str) -> Any:
    if isinstance(row, End):
        return row
    value = row.get(name)
    return End.NULL if value is None else value


def find_differences(case: Case, outcome: Outcome) -> list[Difference] | None:
    """Return what is different, None if that can't be told; a death is no difference here."""
    try:
        query = Query(case.sql)
    except EngineError:
        return None
    expect = case.expect
    if outcome.refused is not None:
        if re.search(LACKING, outcome.refused.message):
            return None
        gives = any(not is_error(row) for entry in expect.results for row in entry.rows)
        before = End.RUNS if gives or not expect.runtime_errors else End.ERROR
        return [_refusal(query, before, End.REFUSED)]
    if expect.is_refusal:
        return [_refusal(query, End.REFUSED, End.RUNS)]
    last = max((entry.at for entry in expect.results), default=-1)
    return list(_rows(case, query, outcome, until=last if expect.is_failure else None))


def _refusal(query: Query, before: End, after: End) -> Difference:
    calls = tuple(Suspect(call, before, after, whole=False) for call in query.all_calls())
    return Difference(None, f"{before.value}, ours {after.value}", calls)


def _rows(case: Case, query: Query, outcome: Outcome, until: int | None) -> Iterator[Difference]:
    wanted: dict[int, list[Any]] = {}
    for entry in case.expect.results:
        wanted.setdefault(entry.at, []).extend(row for row in entry.rows if not is_error(row))
    given: dict[int, list[Any]] = {}
    for emission in outcome.emissions:
        given.setdefault(emission.at, []).extend(row for row in emission.rows if not is_error(row))
    failed = {error["at"] for error in case.expect.runtime_errors}
    failed |= {entry.at for entry in case.expect.results if any(map(is_error, entry.rows))}
    may_lack = query.filters or bool(outcome.errors)
    instants = {entry.at for entry in case.expect.results}
    instants |= {emission.at for emission in outcome.emissions}
    for at in sorted(instants):
        if until is not None and at > until:
            return
        if case.options.get("sendError") and _size(case.expect.results, at) != _size(
            outcome.emissions, at
        ):
            yield Difference(at, f"not as many rows and errors at {at} ms", ())
        left, right = _unmatched(wanted.get(at, []), given.get(at, []))
        for before, after in zip(left, right, strict=False):
            yield from _fields(query, at, before, after)
        for before in left[len(right) :]:
            suspects = query.suspects(before, End.ERROR) if may_lack else ()
            yield Difference(at, f"missing at {at} ms", suspects)
        for after in right[len(left) :]:
            suspects = query.suspects(End.ERROR, after) if query.filters or at in failed else ()
            yield Difference(at, f"unexpected at {at} ms", suspects)


def _size(results: Sequence[Emission | Results], at: int) -> int:
    return sum(len(entry.rows) for entry in results if entry.at == at)


def _unmatched(wanted: list[Any], given: list[Any]) -> tuple[list[Any], list[Any]]:
    left, right = [], list(given)
    for row in wanted:
        place = next((index for index, other in enumerate(right) if same_row(row, other)), None)
        if place is None:
            left.append(row)
        else:
            del right[place]
    return left, right


def _fields(query: Query, at: int, before: Any, after: Any) -> Iterator[Difference]:
    for name in {**before, **after}:
        if name in before and name in after and same_value(before[name], after[name]):
            continue
        values = _field_of(before, name), _field_of(after, name)
        calls = query.calls_of(name)
        yield Difference(
            at,
            f"{name} at {at} ms: {values[0]!r}, ours {values[1]!r}",
            tuple(Suspect(call, *values, whole=whole) for call, whole in calls),
            tuple(query.all_calls()),
        )


# -- excusing it -----------------------------------------------------------------------------------


class Arguments:
    """The arguments of the calls of a case in each row, as the engine itself computes them."""

    def __init__(self, case: Case, run: Run) -> None:
        self._case = case
        self._run = run
        self._select = parse_select(case.sql)
        self._known: dict[str, dict[int, list[Any]]] = {}

    async def of(
        self, call: ast.Call, at: int | None, *, with_result: bool = False
    ) -> list[list[Any]]:
        """Return the arguments in each row of an instant; all rows where there are windows."""
        if at is None:
            return [[_literal(argument) for argument in call.args]]
        columns = [await self._values(argument) for argument in call.args]
        if with_result:
            columns.append(await self._values(call))
        if self._select.window is not None:
            columns = [{0: list(chain.from_iterable(values.values()))} for values in columns]
            at = 0
        height = max((len(values.get(at, [])) for values in columns), default=0)
        return [
            [
                values[at][row] if row < len(values.get(at, [])) else End.UNKNOWN
                for values in columns
            ]
            for row in range(height)
        ] or [[]]

    async def _values(self, argument: ast.Expr) -> dict[int, list[Any]]:
        if isinstance(argument, ast.Star) or self._select.joins:
            return {}
        item = ast.Item(expr=argument, name="x", alias="x")
        sql = to_sql(ast.Select(items=(item,), source=self._select.source))
        if sql not in self._known:
            outcome = await self._run(msgspec.structs.replace(self._case, sql=sql))
            found = self._known[sql] = {}
            for emission in outcome.emissions:
                values = [row.get("x") for row in emission.rows if not is_error(row)]
                found.setdefault(emission.at, []).extend(values)
        return self._known[sql]


def _literal(argument: ast.Expr) -> Any:
    """Return the value of a literal; conditions count as booleans, as they do in the reference."""
    if isinstance(argument, ast.Literal):
        return argument.value
    if isinstance(argument, ast.Unary) and isinstance(argument.operand, ast.Literal):
        value = argument.operand.value
        return -value if isinstance(value, (int, float)) else value
    if isinstance(argument, (ast.Between, ast.In, ast.Like)):
        return True
    if isinstance(argument, ast.Binary) and argument.op not in tuple("+-*/%&|^"):
        return True
    return End.UNKNOWN


async def excuses(excuse: Excuse, difference: Difference, arguments: Arguments) -> bool:
    """Tell whether one of the calls that may be the cause is excused."""
    if excuse.around:
        own = [suspect.call for suspect in difference.suspects]
        for call in difference.bystanders:
            if any(call is other for other in own):
                continue
            if await _applies(excuse, call, difference.at, arguments):
                return True
    for suspect in difference.suspects:
        if is_permitted(excuse, suspect) and await _applies(
            excuse, suspect.call, difference.at, arguments
        ):
            return True
    return False


async def _applies(excuse: Excuse, call: ast.Call, at: int | None, arguments: Arguments) -> bool:
    if excuse.functions and known_as(call).isdisjoint(excuse.functions):
        return False
    if not excuse.when:
        return True
    holds = CONDITIONS[excuse.when]
    if excuse.when == MADE_NUMBERS and not _makes_values(call):
        return False
    rows = await arguments.of(call, at, with_result=excuse.when == GIVES_NULL)
    return any(row and holds(row) for row in rows)


def _makes_values(call: ast.Call) -> bool:
    made = (ast.Call, ast.Literal, ast.Binary)
    return any(isinstance(node, made) for argument in call.args for node in walk(argument))


def known_as(call: ast.Call) -> set[str]:
    """Return what a call can be named by in ``Excuse.functions``."""
    spec = builtins().get(call.name)
    own = call.name.lower()
    return {own} if spec is None else {own, spec.name, f"{spec.category}/*"}


def is_permitted(excuse: Excuse, suspect: Suspect) -> bool:
    """Tell whether what becomes of what is one of the changes of an excuse."""
    changes = {
        f"{before}>{after}"
        for before in _names_of(suspect.before)
        for after in _names_of(suspect.after)
    }
    if changes.isdisjoint(excuse.changes) or (excuse.inside and suspect.whole):
        return False
    are_values = not isinstance(suspect.before, End) and not isinstance(suspect.after, End)
    if not excuse.relation or not suspect.whole or not are_values:
        return True
    return RELATIONS[excuse.relation](suspect.before, suspect.after)


def _names_of(value: Any) -> tuple[str, ...]:
    """Return what a result can be called in ``Excuse.changes``."""
    if isinstance(value, End):
        return (value.value,)
    if isinstance(value, dict) and list(value) == ["$float"]:
        return ("infinite",)
    if isinstance(value, float) and not math.isfinite(value):
        return ("infinite",)
    names = ["value", "default"] if value in (False, 0, "") else ["value"]
    if isinstance(value, list):
        names += ["list"] if value else ["list", "empty"]
    return tuple(names)
