"""The join step: from the rows of each stream to joined rows, with the tables that they ask."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Protocol

from engine.batch import JoinedMetadata, Row
from engine.errors import RowError
from engine.layout import Frame
from engine.ops.join import NO_ROW, Pair, join_pairs
from engine.sql.ast import Supplied
from engine.sql.code import supplied_name
from engine.sql.finish import MakeQuery
from engine.sql.plan import Join, JoinSide, Plan
from engine.sql.query import Query
from engine.sql.records import Record, Records
from engine.sql.stage import Args, Check, Key, Needs

Combination = tuple[Record, ...]
"""One record of each stream and table."""


class Lookup(Protocol):
    """A lookup table that a query asks."""

    async def find(self, values: Sequence[tuple[Any, ...]]) -> list[list[Row] | RowError]:
        """Return the rows for each key, or why they can't be told; a null finds nothing."""


class Joiner:
    """Joins the rows of all parts of a query, one side after the other."""

    def __init__(
        self,
        plan: Plan,
        join: Join,
        records: Sequence[Records],
        nothing: Sequence[Record],
        make: MakeQuery,
        needs: Needs,
        lookups: Mapping[str, Lookup],
    ) -> None:
        """``records`` and ``nothing`` are what rows of each part are made into, and the record of
        no row; ``make`` compiles for joined rows, ``needs`` is what comes after reads."""
        self._labels = [scan.label for scan in plan.scans]
        self._records = records
        self._nothing: Combination = tuple(nothing)
        self._needs = needs
        self._steps = [
            _Step(self, index, side, make, lookups.get(side.scan.label))
            for index, side in enumerate(join.sides, 1)
        ]

    async def join(
        self, parts: Sequence[Sequence[Record]], errors: list[RowError]
    ) -> list[Combination]:
        """Return the combinations of the records of each part, those of lookup tables left out."""
        combinations = [self._with(self._nothing, 0, record) for record in parts[0]]
        for index, step in enumerate(self._steps, 1):
            combinations = await step(combinations, parts[index], errors)
        return combinations

    def frame(self, combinations: Sequence[Combination], values: Mapping[str, Any]) -> Frame:
        """Return joined rows with all that later stages read; ``values`` are the same for all."""
        size = len(combinations)
        supplied: dict[str, Sequence[Any]] = {name: [v] * size for name, v in values.items()}
        for node in self._needs.supplied_by("analytic"):
            supplied[supplied_name(node)] = self._column(combinations, node)
        return Frame(
            [tuple([record[0] for record in combination]) for combination in combinations],
            self._metadata(combinations),
            0,
            whole=False,
            supplied=supplied,
        )

    @staticmethod
    def _with(combination: Combination, index: int, record: Record) -> Combination:
        return (*combination[:index], record, *combination[index + 1 :])

    def _column(self, combinations: Sequence[Combination], node: Supplied) -> list[Any]:
        for index, records in enumerate(self._records):
            if node in records.supplied:
                place = records.place(node)
                return [combination[index][place] for combination in combinations]
        raise AssertionError(f"nobody computes {node}")

    def _metadata(self, combinations: Sequence[Combination]) -> Any:
        if not self._needs.metadata:
            return JoinedMetadata(self._labels, [()] * len(combinations))
        return JoinedMetadata(
            self._labels,
            [
                tuple(
                    records.metadata_of(record)
                    for records, record in zip(self._records, combination, strict=True)
                )
                for combination in combinations
            ],
        )


class _Step:
    """The join of one more stream or table to those before it."""

    def __init__(
        self,
        joiner: Joiner,
        index: int,
        side: JoinSide,
        make: MakeQuery,
        lookup: Lookup | None,
    ) -> None:
        self._joiner = joiner
        self._index = index
        self._lookup = lookup
        self._kind = side.kind
        self._has_keys = bool(side.left_keys)
        left, right, on = (Records(joiner._needs.metadata, ()) for _ in range(3))
        # a lookup table wants the values as they are, all others keys that can be compared
        part = Args(side.left_keys) if side.scan.role == "lookup" else Key(side.left_keys)
        self._left_key = left.add(part)
        self._right_key = right.add(Key(side.right_keys))
        self._left = make(left.stage(None))
        self._right = make(right.stage(None))
        self._on: Query | None = None
        self._is_met = 0
        if side.on is not None:
            self._is_met = on.add(Check(side.on))
            self._on = make(on.stage(None))

    async def __call__(
        self, left: list[Combination], right: Sequence[Record], errors: list[RowError]
    ) -> list[Combination]:
        if self._lookup is not None:
            return await self._look_up(self._lookup, left, errors)
        joiner, index = self._joiner, self._index
        nothing = joiner._nothing
        alone = [joiner._with(nothing, index, record) for record in right]
        left_keys: Sequence[Hashable] = left
        right_keys: Sequence[Hashable] = right
        if self._has_keys:
            left, left_keys = self._keyed(self._left, self._left_key, left, errors)
            alone, right_keys = self._keyed(self._right, self._right_key, alone, errors)

        def test(pairs: Sequence[Pair]) -> list[bool]:
            combined = [joiner._with(left[a], index, alone[b][index]) for a, b in pairs]
            return self._passing(combined, errors)

        pairs = join_pairs(
            self._kind,
            left_keys,
            right_keys,
            has_keys=self._has_keys,
            test=None if self._on is None else test,
        )
        return [
            joiner._with(
                nothing if a == NO_ROW else left[a],
                index,
                nothing[index] if b == NO_ROW else alone[b][index],
            )
            for a, b in pairs
        ]

    async def _look_up(
        self, lookup: Lookup, left: list[Combination], errors: list[RowError]
    ) -> list[Combination]:
        left, keys = self._keyed(self._left, self._left_key, left, errors)
        found = await lookup.find(keys)
        joiner, index = self._joiner, self._index
        rest = joiner._nothing[index][1:]
        joined: list[Combination] = []
        for combination, rows in zip(left, found, strict=True):
            if isinstance(rows, RowError):
                errors.append(rows)
                continue
            matches = [joiner._with(combination, index, (row, *rest)) for row in rows]
            if self._on is not None and matches:
                kept = self._passing(matches, errors)
                matches = [match for match, keep in zip(matches, kept, strict=True) if keep]
            if not matches and self._kind == "LEFT":
                matches = [joiner._with(combination, index, joiner._nothing[index])]
            joined += matches
        return joined

    def _keyed(
        self, query: Query, place: int, combinations: list[Combination], errors: list[RowError]
    ) -> tuple[list[Combination], list[Any]]:
        """Return the combinations whose key could be computed, and the keys."""
        frame = self._joiner.frame(combinations, {})
        records = query.records(frame, errors)
        if len(records) == len(combinations):
            return combinations, [record[place] for record in records]
        # joined rows are tuples made for this frame, so each can be told from all others
        places = {id(row): place for place, row in enumerate(frame.rows)}
        kept = [combinations[places[id(record[0])]] for record in records]
        return kept, [record[place] for record in records]

    def _passing(self, combinations: list[Combination], errors: list[RowError]) -> list[bool]:
        """Tell which combinations meet the condition; one with an error doesn't."""
        assert self._on is not None
        frame = self._joiner.frame(combinations, {})
        records = self._on.records(frame, errors)
        if len(records) == len(combinations):
            return [record[self._is_met] for record in records]
        passing = {id(record[0]) for record in records if record[self._is_met]}
        return [id(row) in passing for row in frame.rows]
