"""Fields whose calls give something else than in the reference, as declared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from engine.errors import RowError
from engine.sql import ast
from engine.sql.functions import builtins
from tests.conformance.calls import CONDITIONS, End, Excuse, Suspect, is_permitted, known_as
from tests.conformance.compare import same_value
from tests.conformance.draft import Draft, Entry, put
from tests.conformance.model.rows import Unsupported


def values(draft: Draft, excuses: Sequence[Excuse]) -> None:
    """Calls of some functions give something else, as ``calls`` of the reason says."""
    for entry in draft.entries:
        if entry.firing is None:
            continue
        rows = draft.rows_of(entry.firing)
        if rows is None or draft.model.fails(entry.firing):
            continue
        if entry.is_error:
            calls = draft.query.all_calls()
            suspects = [Suspect(call, End.ERROR, _worst(rows), whole=False) for call in calls]
            if any(_is_excused(draft, entry, suspect, excuses) for suspect in suspects):
                draft.replace(entry.firing)
            continue
        for row, other in draft.pairs(entry, rows):
            for name in list({**row, **other}):
                suspects = list(_suspects(draft, name, row, other))
                if any(_is_excused(draft, entry, suspect, excuses) for suspect in suspects):
                    put(row, name, other.get(name))


def _worst(rows: list[Any]) -> Any:
    """Return null if some row has nothing but nulls, else that there are values."""
    return True if all(rows) else End.NULL


def _suspects(draft: Draft, name: str, row: Any, other: Any) -> Iterator[Suspect]:
    if name in row and name in other and same_value(row[name], other[name]):
        return
    before, after = (
        End.NULL if values.get(name) is None else values[name] for values in (row, other)
    )
    for call, whole in draft.query.calls_of(name):
        yield Suspect(call, before, after, whole=whole)


def _is_excused(draft: Draft, entry: Entry, suspect: Suspect, excuses: Sequence[Excuse]) -> bool:
    return any(
        is_permitted(excuse, suspect)
        and (not excuse.functions or not known_as(suspect.call).isdisjoint(excuse.functions))
        and (
            not excuse.when
            or any(
                arguments and CONDITIONS[excuse.when](arguments)
                for arguments in _arguments(draft, entry, suspect.call)
            )
        )
        for excuse in excuses
    )


def _arguments(draft: Draft, entry: Entry, call: ast.Call) -> list[list[Any]]:
    """Return the arguments of a call in the rows that it is about, those before if it tracks.

    The last list has the first argument of all of them.
    """
    model, firing = draft.model, entry.firing
    spec = builtins().get(call.name)
    assert firing is not None
    numbers = model.passing(firing)
    if spec is not None and spec.kind == "analytic" and numbers:
        numbers = model.until(numbers[-1])
    found = []
    for number in numbers:
        scope = model.scope(number)
        try:
            found.append([scope.value(argument) for argument in call.args])
        except (RowError, Unsupported):
            continue
    together = [value for arguments in found for value in arguments[:1]]
    return [*found, together] if found else [[]]
