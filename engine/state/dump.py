"""The stored state of a rule for people: what `state show` prints, without the rule's plugins."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from engine.state.codec import CODEC, StandIn
from engine.state.errors import UnreadableState
from engine.state.scope import scope_key, split
from engine.state.store import CheckpointStore, Skipped

_SHOWN_ITEMS = 20
_SHOWN_WIDTH = 80
_EXACT = 1 << 53  # greater integers lose digits in most readers of JSON


@dataclass(frozen=True, slots=True)
class PartDump:
    """One part of a checkpoint: a plugin's scope or the state of an operator."""

    name: str
    """``function[delta]/0`` for a scope, else the part's own name."""
    size: int
    """Bytes in the checkpoint."""
    values: dict[str, Any] = field(default_factory=dict)
    counters: dict[str, int] = field(default_factory=dict)
    problem: str = ""
    """Why it can't be shown."""


@dataclass(frozen=True, slots=True)
class RuleDump:
    """What the store has of a rule; ``number`` is 0 if there is no checkpoint that is whole."""

    rule_id: str
    number: int = 0
    at: int = 0
    """When the checkpoint was taken, in epoch milliseconds; 0 if nobody said."""
    meta: dict[str, Any] = field(default_factory=dict)
    parts: tuple[PartDump, ...] = ()
    skipped: tuple[Skipped, ...] = ()

    def text(self, *, items: int = _SHOWN_ITEMS, width: int = _SHOWN_WIDTH) -> str:
        """Return it for a terminal: at most ``items`` keys of each part, lines of ``width``."""
        return "\n".join(self._lines(items, width))

    def _lines(self, items: int, width: int) -> Iterator[str]:
        if not self.number:
            yield f"rule {self.rule_id}: no stored state"
        else:
            size = sum(part.size for part in self.parts)
            yield (
                f"rule {self.rule_id}: checkpoint {self.number}{_when(self.at)}, "
                f"{len(self.parts)} parts, {size:,} bytes"
            )
        for each in self.skipped:
            yield f"! checkpoint {each.number or 'file'} is skipped: {each.reason}"
        yield from _entries("", self.meta, items, width)
        for part in self.parts:
            yield f"{part.name} ({part.size:,} bytes)"
            if part.problem:
                yield f"  ! {part.problem}"
            yield from _entries("  ", part.values, items, width)
            yield from _entries("  # ", part.counters, items, width)

    def json(self) -> dict[str, Any]:
        """Return all of it as JSON-like data; values that JSON doesn't know become text."""
        return {
            "rule": self.rule_id,
            "checkpoint": self.number,
            "at": self.at,
            "meta": plain(self.meta),
            "parts": [
                {
                    "name": part.name,
                    "size": part.size,
                    "values": plain(part.values),
                    "counters": plain(part.counters),
                    **({"problem": part.problem} if part.problem else {}),
                }
                for part in self.parts
            ],
            "skipped": [{"checkpoint": s.number, "reason": s.reason} for s in self.skipped],
        }


def dump_rule(store: CheckpointStore, rule_id: str) -> RuleDump:
    """Return what the newest whole checkpoint of a rule holds.

    Raises:
        StoreFailed: the disk fails to read.
    """
    loaded = store.load(rule_id)
    found = loaded.checkpoint
    if found is None:
        return RuleDump(rule_id, skipped=loaded.skipped)
    parts = tuple(_part(name, data) for name, data in sorted(found.parts.items()))
    return RuleDump(rule_id, found.number, found.at, found.meta, parts, loaded.skipped)


def _part(name: str, data: bytes) -> PartDump:
    key = scope_key(name)
    try:
        if key is None:
            return PartDump(name, len(data), {"state": CODEC.inspect(data)})
        values, counters = split(data)
        shown = f"{key[0]}/{key[1]}"
        return PartDump(shown, len(data), CODEC.inspect(values), CODEC.inspect(counters))
    except UnreadableState as error:
        return PartDump(name, len(data), problem=error.message)


def plain(value: Any) -> Any:
    """Return a state value as JSON-like data: sets as lists, dates as text, bytes as base64."""
    match value:
        case None | bool() | str():
            return value
        case int():
            return value if abs(value) <= _EXACT else str(value)
        case float():
            return value if abs(value) < float("inf") else str(value)  # NaN compares with nothing
        case StandIn():
            return {"type": value.name, "value": plain(value.members)}
        case bytes() | bytearray():
            return base64.b64encode(value).decode()
        case datetime() | date() | time():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case Decimal() | UUID():
            return str(value)
        case Mapping():
            return {k if isinstance(k, str) else repr(k): plain(v) for k, v in value.items()}
    return [plain(item) for item in value]


def _entries(indent: str, values: Mapping[str, Any], items: int, width: int) -> Iterator[str]:
    if not isinstance(values, Mapping):
        yield _cut(f"{indent}{values!r}", width)
        return
    for number, (key, value) in enumerate(values.items()):
        if number == items:
            yield f"{indent}… and {len(values) - items:,} more"
            return
        yield _cut(f"{indent}{key} = {value!r}", width)


def _cut(line: str, width: int) -> str:
    line = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)
    return line if len(line) <= width else line[: width - 1] + "…"


def _when(at: int) -> str:
    if not at:
        return ""
    try:
        return f" of {datetime.fromtimestamp(at // 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"
    except (OverflowError, ValueError, OSError):
        return f" of {at} ms"
