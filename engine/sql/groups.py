"""The step from rows to one row for each group, with the values of the aggregates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from engine.errors import RowError
from engine.layout import Frame
from engine.ops.fold import BufferFold, Fold
from engine.sql.ast import Expr, Literal, Supplied
from engine.sql.code import supplied_name
from engine.sql.functions import FunctionRegistry
from engine.sql.grouping import (
    AggregateFold,
    AggregateSite,
    Group,
    GroupSaver,
    GroupsFold,
    compile_groups,
)
from engine.sql.infer import StaticKinds
from engine.sql.plan import Aggregate, Plan
from engine.sql.records import Record, Records, RecordSaver
from engine.sql.stage import Check, Key

GroupResult = tuple[Record, Sequence[Any]]
"""The first record of a group and the values of its aggregates."""


class Grouping:
    """Aggregates of records; what they need is made part of ``records``.

    ``passes`` is the place of the condition that rows must meet to be in a group.
    """

    def __init__(
        self,
        plan: Plan,
        aggregate: Aggregate,
        records: Records,
        functions: FunctionRegistry,
        kinds: Mapping[tuple[str, str], Any],
        saver: RecordSaver,
        *,
        passes: int | None,
    ) -> None:
        self._records = records
        static = StaticKinds(kinds, plan.root.items, functions)
        key = records.add(Key(aggregate.keys)) if aggregate.keys else None
        sites = []
        for call in aggregate.calls:
            spec = functions.get(call.name)
            assert spec is not None
            sites.append(
                AggregateSite(
                    spec,
                    tuple(records.add(argument) for argument in call.args),
                    tuple(static.of(argument) for argument in call.args),
                    None if call.filter is None else records.add(Check(call.filter)),
                    len(call.args) == 1 and _is_number(call.args[0]),
                )
            )
        self._names = [
            supplied_name(Supplied(place="aggregate", index=number)) for number in range(len(sites))
        ]
        self.code = compile_groups(sites, key=key, passes=passes)
        groups = GroupSaver(self.code, sites, saver.dump, saver.load)
        inner = AggregateFold(self.code, sites, groups)
        self.fold: Fold[Any, Record] = inner
        self.is_keyed = key is not None
        if key is not None:
            self.fold = GroupsFold(self.code, inner, groups, key, passes)

    def fitting(
        self, records: list[Record], errors: list[RowError], *, verified: bool
    ) -> list[Record]:
        """Return the records that the aggregates can take; report the others."""
        check = self.code.fitting_verified if verified else self.code.fitting
        return check(records, errors)

    def results(
        self, state: Any, errors: list[RowError], empty: Record | None = None
    ) -> list[GroupResult]:
        """Return for each group its first row and the values of its aggregates.

        ``empty``, if given, stands for the first row of a group without rows.
        """
        found: list[GroupResult] = []
        for group in self._groups(state):
            first = group[0] if group[0] is not None else empty
            if first is None:
                continue
            try:
                found.append((first, self.code.results(group)))
            except RowError as error:
                errors.append(error)
        return found

    def frame(
        self,
        results: Sequence[GroupResult],
        values: Mapping[str, Sequence[Any]],
        *,
        whole: bool,
        typed: bool,
    ) -> Frame:
        """Return a row for each group: its first one with the aggregates and ``values``."""
        supplied: dict[str, Sequence[Any]] = {
            name: [result[index] for _, result in results] for index, name in enumerate(self._names)
        }
        return self._records.frame(
            [first for first, _ in results],
            {**supplied, **values},
            whole=whole,
            typed=typed,
        )

    def _groups(self, state: Any) -> Iterator[Group]:
        if self.is_keyed:
            yield from state.values()
        else:
            yield state


class PassingFold(BufferFold[Record]):
    """Keeps the records of the rows that pass, for queries that need the rows themselves."""

    def __init__(self, saver: RecordSaver, passes: int | None) -> None:
        super().__init__(saver.dump, saver.load)
        self._passes = passes

    def add(self, state: list[Record], rows: Sequence[Record]) -> list[Record]:
        passes = self._passes
        if passes is None:
            state.extend(rows)
        else:
            state.extend([row for row in rows if row[passes]])
        return state


def _is_number(node: Expr) -> bool:
    return isinstance(node, Literal) and type(node.value) in (int, float)
