"""The rows of a query on their way into its windows."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from engine.errors import RowError
from engine.sql import ast
from engine.sql.functions import builtins
from engine.sql.walk import children, walk
from tests.conformance.cases import Case
from tests.conformance.model.aggregates import check_row
from tests.conformance.model.rows import Arrived, Row, Unsupported, epoch
from tests.conformance.model.scope import Scope, key_of
from tests.conformance.model.stream import Release, releases
from tests.conformance.model.tracking import TRACKERS, Columns, Step
from tests.conformance.model.windows import TIMED, Entering, Firing, Moment, Timeline, firings

Histories = dict[int, dict[Hashable, list[Step]]]
"""What the analytic functions have seen, by the ``id`` of the call and by partition."""
EACH_ROW = ast.Window(kind="COUNT", lengths=(1, 1))
"""What a query without a window is computed over."""


class Entrance:
    """A query, the rows of its stream, and which of them are in which window."""

    def __init__(self, case: Case, select: ast.Select, arrived: Arrived) -> None:
        self.select = select
        self.window = select.window or EACH_ROW
        self.is_event_time = bool(case.options.get("isEventTime"))
        self.sends_errors = bool(case.options.get("sendError"))
        self.arrived = arrived
        self.releases = releases(arrived, case.options)
        self.rows = [number for release in self.releases for number in release.rows]
        self._owners = {id(node): item.alias for item in select.items for node in walk(item.expr)}
        """The alias of the item that a node is in, by its ``id``."""
        self.aggregates = calls_of_kind(select, "aggregate")
        analytic = calls_of_kind(select, "analytic")
        self.of_groups = [call for call in analytic if self._reaches_aggregate(call)]
        """Analytic functions over aggregates: they compare one window with the next."""
        self._of_rows = [call for call in analytic if call not in self.of_groups]
        self.is_grouped = bool(self.aggregates or select.group_by)
        self._failed: dict[int, tuple[int, int]] = {}
        self._tracked: dict[int, dict[int, Callable[[], Any]]] = {}
        self._track()
        entering = [row for release in self.releases for row in self._entering(release)]
        last = max((row.at for row in case.streams[0].rows), default=0)
        timeline = Timeline(
            entering,
            [Moment(release.watermark, release.at, release.message) for release in self.releases],
            epoch(0),
            epoch(max(last, case.advance_to or 0)),
            self.is_event_time,
        )
        self.firings = firings(self.window, timeline)

    # -- rows --------------------------------------------------------------------------------------

    def row(self, number: int) -> Row:
        """Return a row of the stream by its number."""
        return self.arrived.rows[number]

    def time_of(self, number: int) -> int:
        """Return the timestamp of a row, epoch ms."""
        row = self.row(number)
        return row.values[self.arrived.timestamp] if self.is_event_time else epoch(row.at)

    def scope(self, number: int, **more: Any) -> Scope:
        """Return the values of expressions in a row."""
        calls = {**self._tracked.get(number, {}), **more.pop("calls", {})}
        time = more.pop("time", None) or self.time_of(number)
        values = self.row(number).values
        return Scope(self.select, self.arrived.kinds, values, time=time, calls=calls, **more)

    def _track(self) -> None:
        """Compute the analytic functions of each row; one with an error gives its row up."""
        histories: Histories = {}
        for release in self.releases:
            for number in release.rows:
                self._tracked[number] = values = {}
                for call in self._of_rows:
                    try:
                        result = self.step(call, self.scope(number), histories)
                        values[id(call)] = partial(_same, result)
                    except Unsupported as error:
                        values[id(call)] = partial(_raise, error)
                    except RowError:
                        self._failed[number] = (release.at, release.message)
                        break

    def _reaches_aggregate(self, node: ast.Node, seen: frozenset[str] = frozenset()) -> bool:
        """Tell whether there is an aggregate in an expression or behind an alias that it names."""
        if isinstance(node, ast.Call) and any(node is call for call in self.aggregates):
            return True
        if isinstance(node, ast.Column) and not node.stream and node.name not in seen:
            for item in self.select.items:
                if item.alias == node.name:
                    return self._reaches_aggregate(item.expr, seen | {node.name})
        return any(self._reaches_aggregate(child, seen) for child in children(node))

    def arguments_of(self, call: ast.Call, scope: Scope) -> list[Any]:
        """Return the arguments of a call in a row; ``*`` is all columns."""
        values = [scope.value_in(self._owners.get(id(call), ""), node) for node in call.args]
        return [
            Columns(value) if isinstance(node, ast.Star) else value
            for node, value in zip(call.args, values, strict=True)
        ]

    def step(self, call: ast.Call, scope: Scope, histories: Histories) -> Any:
        """Return the value of an analytic function for the next row or group.

        Raises:
            RowError: it has none; the row doesn't count then.
            Unsupported: the function isn't known.
        """
        function = TRACKERS.get(call.name.lower())
        if function is None:
            raise Unsupported(call.name)
        over = call.over or ast.Over()
        partitions = histories.setdefault(id(call), {})
        key = key_of([scope.value(expr) for expr in over.partition_by])
        is_valid = scope.is_true(over.when)
        arguments = self.arguments_of(call, scope)
        history = [*partitions.get(key, ()), Step(arguments, is_valid)]
        result = function(history)
        partitions[key] = history
        return result

    def _entering(self, release: Release) -> Iterator[Entering]:
        """Yield the rows of a release as the window sees them; note those with an error."""
        for number in release.rows:
            if number in self._failed:
                continue
            row = Entering(number, self.time_of(number), release.at, release.message)
            try:
                if not self._enters(number):
                    continue
                row = self._controlled(row)
                self._check(number)
            except RowError:
                self._failed[number] = (release.at, release.message)
                if self.window.kind in TIMED:
                    continue  # elsewhere such a row has its place, but isn't used
            yield row

    def _enters(self, number: int) -> bool:
        scope = self.scope(number)
        if not scope.is_true(self.window.filter):
            return False
        return not self._filters_first or scope.is_true(self.select.where)

    def _controlled(self, row: Entering) -> Entering:
        window, scope = self.window, self.scope(row.number)
        return replace(
            row,
            triggers=scope.is_true(window.when),
            begins=window.begin is not None and scope.is_true(window.begin),
            emits=None if window.emit is None else scope.is_true(window.emit),
            partition=key_of([scope.value(expr) for expr in self._partition]),
        )

    def _check(self, number: int) -> None:
        """Raise RowError if a row can't be tested, or not be grouped and aggregated."""
        scope = self.scope(number)
        scope.is_true(self.select.where)
        if self.is_grouped:
            for key in self.select.group_by:
                scope.value(key)
            for call in self.aggregates:
                if scope.is_true(call.filter):
                    check_row(call.name.lower(), self.arguments_of(call, scope))

    @property
    def _partition(self) -> tuple[ast.Expr, ...]:
        """What state windows are apart by: the keys of GROUP BY, too (8.2, item 15)."""
        keys = self.select.group_by if self.window.kind == "STATE" else ()
        return (*self.window.partition_by, *keys)

    @property
    def _filters_first(self) -> bool:
        """Whether WHERE comes before the window: where that makes no difference (8.2, item 5)."""
        return not self.is_event_time and self.window.kind in TIMED

    # -- rows in windows ---------------------------------------------------------------------------

    def passing(self, firing: Firing) -> list[int]:
        """Return the rows of a window for which WHERE holds."""
        where = self.select.where
        return [
            number
            for number in firing.rows
            if number not in self._failed and self.scope(number).is_true(where)
        ]

    def fails(self, firing: Firing) -> bool:
        """Tell whether a window has a row with an error."""
        if self.window.kind not in TIMED:
            return any(number in self._failed for number in firing.rows)
        return any(firing.start <= self.time_of(number) < firing.end for number in self._failed)

    def until(self, number: int) -> list[int]:
        """Return the rows up to one of them, in their order."""
        return self.rows[: self.rows.index(number) + 1]

    def arrival_errors(self) -> list[tuple[int, int]]:
        """Return at which instants, with which messages, rows are given up before any window."""
        return sorted([*self.arrived.broken, *self._failed.values()])


def calls_of_kind(node: ast.Node, kind: str) -> list[ast.Call]:
    """Return the calls of functions of a kind, in the order in which they are computed."""
    found = [call for child in children(node) for call in calls_of_kind(child, kind)]
    if isinstance(node, ast.Call):
        spec = builtins().get(node.name)
        found += [node] if spec is not None and spec.kind == kind else []
    return found


def _same(value: Any) -> Any:
    return value


def _raise(error: Exception) -> Any:
    raise error
