"""What a query over one stream gives, window by window."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from engine.errors import EngineError, RowError
from engine.sql import ast
from engine.sql.functions import builtins
from engine.sql.parse import parse_select
from tests.conformance.cases import Case, Results
from tests.conformance.model.aggregates import AGGREGATES
from tests.conformance.model.entrance import Entrance, Histories, calls_of_kind
from tests.conformance.model.rows import Arrived, Run, Unsupported, read_rows
from tests.conformance.model.scope import Scope, key_of
from tests.conformance.model.windows import TIMED, Firing

ERROR = {"error": "*"}


@dataclass(frozen=True, slots=True)
class Given:
    """What one window gives: its rows (None: it emits nothing) and how many errors."""

    rows: list[Any] | None
    errors: int = 0


class QueryModel(Entrance):
    """A query and what it gives; see ``model``."""

    def __init__(self, case: Case, select: ast.Select, arrived: Arrived) -> None:
        super().__init__(case, select, arrived)
        self._given: dict[Firing, Given] = {}
        self._histories: Histories = {}

    def given(self, firing: Firing) -> Given:
        """Return what a window gives.

        Raises:
            Unsupported: the query has something that the model doesn't know.
        """
        for earlier in self.firings:
            if firing in self._given:
                break
            if earlier not in self._given:
                self._given[earlier] = self._compute(earlier)
        return self._given[firing]

    def is_emitted(self, firing: Firing) -> bool:
        """Tell whether the reference has an emission for a window, an empty one perhaps."""
        having = self.select.having
        if self.select.limit == 0:
            return False
        if self.passing(firing) or self.fails(firing):
            return having is None or self.fails(firing) or self.given(firing).rows is not None
        if not self.shows_empty(firing) or having is None:
            return self.shows_empty(firing)
        nothing = {id(call): _nothing for call in (*self.aggregates, *self.of_groups)}
        try:
            return Scope(self.select, self.arrived.kinds, {}, calls=nothing).is_true(having)
        except RowError:
            return True

    def shows_empty(self, firing: Firing) -> bool:
        """Tell whether a window from which no row comes is of a kind that is emitted."""
        if self.window.kind not in TIMED or self.select.group_by:
            return False
        return not self.is_event_time or (not firing.rows and self.select.where is None)

    def _compute(self, firing: Firing) -> Given:
        passing = self.passing(firing)
        limit = self.select.limit
        if not passing:
            if limit == 0 or not firing.is_shown or not self.shows_empty(firing):
                return Given(None)
            if not self.is_grouped:
                return Given([])
        scopes, errors = self._collection(firing, passing)
        kept: list[Scope] = []
        for scope in scopes:
            try:
                for call in self.of_groups:
                    scope.provide(call, self.step(call, scope, self._histories))
                if scope.is_true(self.select.having):
                    self._check_keys(scope)
                    kept.append(scope)
            except RowError:
                errors += 1
        self._rank(kept)
        rows: list[Any] = []
        for scope in _in_order(kept, self.select.order_by):
            try:
                rows += self._selected(scope)
            except RowError:
                errors += 1
        return Given(rows[:limit] or None, errors)

    def _collection(self, firing: Firing, passing: Sequence[int]) -> tuple[list[Scope], int]:
        """Return the rows or groups of a window, and the number of groups with an error."""
        window = (firing.start, firing.end) if self.select.window else None
        if not self.is_grouped:
            return [self.scope(number, window=window) for number in passing], 0
        groups: dict[Hashable, list[int]] = {}
        for number in passing:
            scope = self.scope(number)
            key = key_of([scope.value(expr) for expr in self.select.group_by])
            groups.setdefault(key, []).append(number)
        found, errors = [], 0
        for group in groups.values() if self.select.group_by else [list(passing)]:
            calls = {
                id(call): partial(self._aggregate, call, group, window) for call in self.aggregates
            }
            try:
                for call in self.aggregates:
                    self._aggregate(call, group, window)
            except RowError:
                errors += 1
                continue
            if group:
                found.append(self.scope(group[0], window=window, time=firing.end, calls=calls))
            else:
                kinds = self.arrived.kinds
                found.append(
                    Scope(self.select, kinds, {}, window=window, time=firing.end, calls=calls)
                )
        return found, errors

    def _aggregate(
        self, call: ast.Call, group: Sequence[int], window: tuple[int, int] | None
    ) -> Any:
        function = AGGREGATES.get(call.name.lower())
        if function is None:
            raise Unsupported(call.name)
        scopes = [self.scope(number, window=window) for number in group]
        return function(
            [self.arguments_of(call, scope) for scope in scopes if scope.is_true(call.filter)]
        )

    def _check_keys(self, scope: Scope) -> None:
        """Raise RowError if a row can't be put in order."""
        overs = [call.over for call in calls_of_kind(self.select, "ranking") if call.over]
        for over in overs:
            for expr in (*over.partition_by, *(key.expr for key in over.order_by)):
                scope.value(expr)
        if not calls_of_kind(self.select, "ranking"):
            for key in self.select.order_by:
                scope.value(key.expr)

    def _rank(self, scopes: Sequence[Scope]) -> None:
        """Give each row its number in its partition; not only in that of its window."""
        for call in calls_of_kind(self.select, "ranking"):
            if call.name.lower() != "row_number":
                raise Unsupported(call.name)
            over = call.over or ast.Over()
            partitions: dict[Hashable, list[Scope]] = {}
            for scope in scopes:
                key = key_of([scope.value(expr) for expr in over.partition_by])
                partitions.setdefault(key, []).append(scope)
            for members in partitions.values():
                for number, scope in enumerate(_in_order(members, over.order_by), 1):
                    scope.provide(call, number)

    def _selected(self, scope: Scope) -> list[dict[str, Any]]:
        row: dict[str, Any] = {}
        unnested: tuple[str, Any] | None = None
        for item in self.select.items:
            if item.invisible:
                continue
            spec = builtins().get(item.expr.name) if isinstance(item.expr, ast.Call) else None
            if spec is not None and spec.returns_rows and isinstance(item.expr, ast.Call):
                unnested = item.name, scope.value(item.expr.args[0])
                continue
            value = scope.item(item)
            if isinstance(item.expr, ast.Star):
                row = {**value, **row}
            elif value is not None or (not item.alias and scope.has_null(item.expr)):
                row[item.name] = value
        if unnested is None:
            return [row]
        name, elements = unnested
        if elements is not None and not isinstance(elements, list):
            raise RowError("no list")
        return [
            {**row, **element} if isinstance(element, dict) else {**row, name: element}
            for element in elements or []
        ]

    # -- everything --------------------------------------------------------------------------------

    def emissions(self) -> list[Results]:
        """Return all that the query emits.

        Raises:
            Unsupported: the query has something that the model doesn't know.
        """
        found: list[tuple[tuple[int, int, int], Results]] = []
        if self.sends_errors:
            found += [
                ((at, message, 0), Results(at, [ERROR])) for at, message in self.arrival_errors()
            ]
        for firing in self.firings:
            given = self.given(firing)
            place = (firing.at, firing.cause, 1)
            if self.sends_errors:
                found += [(place, Results(firing.at, [ERROR]))] * given.errors
            if given.rows is not None:
                found.append((place, Results(firing.at, given.rows)))
        return [results for _, results in sorted(found, key=lambda entry: entry[0])]


async def model(case: Case, run: Run) -> QueryModel:
    """Return the model of a case.

    Raises:
        Unsupported: the query has something that the model doesn't know.
    """
    try:
        select = parse_select(case.sql)
    except EngineError as error:
        raise Unsupported(str(error)) from None
    arrived = await read_rows(case, select, run)
    try:
        return QueryModel(case, select, arrived)
    except RowError as error:
        raise Unsupported(str(error)) from None


def _in_order(scopes: list[Scope], keys: Sequence[ast.SortKey]) -> list[Scope]:
    """Return rows in the order of some keys: stable, nulls last in both directions."""
    for key in reversed(keys):
        values = [(scope.value(key.expr), scope) for scope in scopes]
        present = [entry for entry in values if entry[0] is not None]
        present.sort(key=lambda entry: _rank_of(entry[0]), reverse=key.descending)
        scopes = [scope for _, scope in (*present, *(e for e in values if e[0] is None))]
    return scopes


def _rank_of(value: Any) -> tuple[int, Any]:
    """Return the place of a value among others: numbers, then texts, then booleans."""
    if isinstance(value, bool):
        return (2, value)
    if isinstance(value, (int, float)):
        return (0, value)
    return (1, value) if isinstance(value, str) else (3, 0)


def _nothing() -> None:
    """Be null."""
