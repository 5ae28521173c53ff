"""Which columns of a stream its rules read, and the row types that hold just those.

A row is an instance of a generated Struct with one slot for each column (``c0``, ``c1`` …), or a
plain dict where a rule needs all columns (``SELECT *``). Of a Struct there are two twins with the
same slots: one whose decoder verifies the kinds that the compiled code relies on, one that takes
anything.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, UnsetType

from engine.batch import Metadata, PickedMetadata
from engine.sql.kinds import Kind

_SLOT_TYPES: dict[Kind, Any] = {
    Kind.NUMBER: int | float | None | UnsetType,
    Kind.BIGINT: Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)] | None | UnsetType,
    Kind.FLOAT: float | None | UnsetType,
    Kind.STRING: str | None | UnsetType,
    Kind.BOOLEAN: bool | None | UnsetType,
}
_UNSAFE_NAME = re.compile(r'["\\\x00-\x1f]')
"""What msgspec doesn't take in the name of a field; such columns are read from dicts."""


class ColumnUse(msgspec.Struct, frozen=True):
    """One column that a query reads; ``kind`` is what its code relies on."""

    name: str
    kind: Kind = Kind.ANY


class Layout:
    """The columns that all readers of one stream need; it only grows, so slots never move."""

    def __init__(self) -> None:
        self.whole = False
        """Some reader needs every column: rows are dicts."""
        self.keeps_payloads = False
        """Some reader wants the message as it came beside each row."""
        self._kinds: dict[str, Kind] = {}

    def require(
        self, uses: tuple[ColumnUse, ...], *, whole: bool = False, payloads: bool = False
    ) -> None:
        """Make room for another reader."""
        self.whole = self.whole or whole or any(_UNSAFE_NAME.search(use.name) for use in uses)
        self.keeps_payloads = self.keeps_payloads or payloads
        for use in uses:
            known = self._kinds.setdefault(use.name, use.kind)
            if known != use.kind:
                self._kinds[use.name] = Kind.ANY

    @property
    def form(self) -> tuple[Any, ...]:
        """What it is by now: a decoder that was made for another form doesn't fit."""
        return self.whole, self.keeps_payloads, tuple(self._kinds.items())

    def slot(self, name: str) -> str:
        """Return the attribute that holds a column."""
        return f"c{list(self._kinds).index(name)}"

    def verifies(self, uses: tuple[ColumnUse, ...]) -> bool:
        """Tell whether typed rows of this layout have the kinds that a reader relies on."""
        return not self.whole and all(use.kind in (Kind.ANY, self._kinds[use.name]) for use in uses)

    @property
    def names(self) -> tuple[str, ...]:
        """The columns in the order of their slots."""
        return tuple(self._kinds)

    def row_type(self, *, typed: bool) -> type[msgspec.Struct]:
        """Return the row type that verifies the kinds, or its twin that takes anything."""
        slots = [f"c{number}" for number in range(len(self._kinds))]
        kinds = self._kinds.values() if typed else [Kind.ANY] * len(slots)
        return msgspec.defstruct(
            "Row" if typed else "AnyRow",
            [
                (slot, _SLOT_TYPES.get(kind, Any), UNSET)
                for slot, kind in zip(slots, kinds, strict=True)
            ],
            rename=dict(zip(slots, self._kinds, strict=True)),
            gc=False,
        )


class Frame:
    """Rows on their way from a stream's decoder to its rules; never changed once made.

    ``whole``: the rows are dicts, else Structs of the layout. ``typed`` tells that Structs have the
    kinds of the layout. ``payloads``, where the layout keeps them, holds the message of each row.
    ``supplied`` are values for each row that earlier operators have computed, by the name that
    generated code has for them. ``decoding`` are the nanoseconds that decoding them took.
    """

    __slots__ = (
        "decoding",
        "meta",
        "payloads",
        "received_at",
        "rows",
        "supplied",
        "typed",
        "whole",
    )

    def __init__(
        self,
        rows: list[Any],
        meta: Metadata,
        received_at: int,
        *,
        whole: bool,
        typed: bool = False,
        payloads: list[bytes] | None = None,
        supplied: Mapping[str, Sequence[Any]] = MappingProxyType({}),
    ) -> None:
        self.decoding = 0
        self.supplied = supplied
        self.whole = whole
        self.rows = rows
        self.meta = meta
        self.received_at = received_at
        self.typed = typed
        self.payloads = payloads

    def __len__(self) -> int:
        return len(self.rows)

    def part(self, start: int, stop: int) -> Frame:
        """Return some consecutive rows of a frame that comes from a decoder."""
        made = Frame(
            self.rows[start:stop],
            PickedMetadata(self.meta, range(start, stop)),
            self.received_at,
            whole=self.whole,
            typed=self.typed,
            payloads=None if self.payloads is None else self.payloads[start:stop],
        )
        made.decoding = self.decoding
        return made
