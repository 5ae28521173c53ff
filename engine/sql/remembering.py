"""The stage that computes analytic functions: of rows before all else, or of groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine.errors import RowError
from engine.layout import Frame
from engine.ops.analytic import MAX_PARTITIONS, Partitions
from engine.sql.ast import Supplied
from engine.sql.code import supplied_name
from engine.sql.finish import MakeQuery, later_needs
from engine.sql.functions import FunctionRegistry
from engine.sql.plan import Aggregate, Analytic, AnalyticCall, AnalyticOfGroups, Plan, Scan
from engine.sql.records import Record, Records
from engine.sql.stage import Args, Check, needs_of


class AnalyticStage:
    """Analytic functions over rows in their order; those that read others run after them."""

    def __init__(
        self,
        plan: Plan,
        calls: Sequence[AnalyticCall],
        make: MakeQuery,
        functions: FunctionRegistry,
        carried: Sequence[Supplied],
        *,
        stream: str = "",
        max_partitions: int = MAX_PARTITIONS,
    ) -> None:
        """``carried`` are the values that rows have already and that must not get lost.

        ``stream`` is the label of the stream of the rows; the calls on others are left out.
        More partitions than that are forgotten.
        """
        own = [call for call in calls if call.stream == stream]
        needs = later_needs(plan, before=(Scan,))
        metadata = [key for key in needs.metadata if not stream or key[0] in ("", stream)]
        self._levels: list[_Level] = []
        self._numbers = frozenset(call.number for call in own)
        done: list[int] = []
        while len(done) < len(own):
            ready = [
                call
                for call in own
                if call.number not in done and _reads(plan, call) & self._numbers <= {*done}
            ]
            earlier = [Supplied(place="analytic", index=number) for number in done]
            records = Records(metadata, [*carried, *earlier])
            self._levels.append(_Level(ready, records, make, functions, max_partitions))
            done += [call.number for call in ready]

    def __call__(self, frame: Frame, errors: list[RowError]) -> Frame:
        """Return the rows with the values of all calls; a row with an error is left out."""
        for level in self._levels:
            frame = level(frame, errors)
        return frame

    @property
    def is_needed(self) -> bool:
        """Whether any function is called over this stream."""
        return bool(self._levels)

    def has(self, number: int) -> bool:
        """Tell whether this stage computes a call of the plan."""
        return number in self._numbers

    @property
    def evicted(self) -> int:
        """Partitions that were forgotten because there were too many."""
        return sum(partitions.evicted for level in self._levels for partitions in level.partitions)

    def texts(self) -> list[str]:
        """Return the Python text that was generated, for people."""
        return [text for level in self._levels for text in level.query.texts()]

    def snapshot(self) -> Any:
        """Return all that is remembered as a value."""
        return [[p.snapshot() for p in level.partitions] for level in self._levels]

    def restore(self, value: Any) -> None:
        """Go on from a snapshot."""
        for level, saved in zip(self._levels, value, strict=True):
            for partitions, state in zip(level.partitions, saved, strict=True):
                partitions.restore(state)


def analytic_of_groups(
    plan: Plan, make: MakeQuery, functions: FunctionRegistry, max_partitions: int
) -> AnalyticStage | None:
    """Return the stage of the calls that see the groups of one window after the other, if any."""
    calls = plan.find(AnalyticOfGroups)
    if calls is None:
        return None
    needs = later_needs(plan, before=(Aggregate, Analytic, Scan))
    own = {call.number for call in calls.calls}
    carried = [
        node
        for node in needs.supplied
        if node.place != "ranking" and not (node.place == "analytic" and node.index in own)
    ]
    return AnalyticStage(plan, calls.calls, make, functions, carried, max_partitions=max_partitions)


def _reads(plan: Plan, call: AnalyticCall) -> set[int]:
    """Return the numbers of the calls whose values a call reads."""
    parts = [*call.args, *call.partition_by, *([] if call.when is None else [call.when])]
    needs = needs_of(plan, parts)
    return {node.index for node in needs.supplied if node.place == "analytic"}


class _Level:
    """Calls that don't read each other, computed in one go over the rows."""

    def __init__(
        self,
        calls: Sequence[AnalyticCall],
        records: Records,
        make: MakeQuery,
        functions: FunctionRegistry,
        max_partitions: int,
    ) -> None:
        self._records = records
        self._sites: list[tuple[str, Partitions, int, int, int | None]] = []
        self.partitions: list[Partitions] = []
        for call in calls:
            spec = functions.get(call.name)
            assert spec is not None
            assert spec.tracker is not None, f"{call.name} is not analytic"
            partitions = Partitions(spec.tracker, max_partitions)
            self.partitions.append(partitions)
            self._sites.append(
                (
                    supplied_name(Supplied(place="analytic", index=call.number)),
                    partitions,
                    records.add(Args(call.args)),
                    records.add(Args(call.partition_by)),
                    None if call.when is None else records.add(Check(call.when)),
                )
            )
        self.query = make(records.stage(None))

    def __call__(self, frame: Frame, errors: list[RowError]) -> Frame:
        records = self.query.records(frame, errors)
        kept: list[Record] = []
        columns: dict[str, list[Any]] = {name: [] for name, *_ in self._sites}
        sites = self._sites
        for record in records:
            values = []
            try:
                for _, partitions, args, partition, valid in sites:
                    values.append(
                        partitions.step(
                            record[partition],
                            *record[args],
                            valid=valid is None or record[valid],
                        )
                    )
            except RowError as error:
                errors.append(error)
                continue
            kept.append(record)
            for column, value in zip(columns.values(), values, strict=True):
                column.append(value)
        return self._records.frame(kept, columns, whole=frame.whole, typed=frame.typed)
