"""The recorded cases: what each feeds to a rule, and what is expected of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from engine.testing import Feed, Message

START = 1_699_999_200_000
"""Where the clock of the recordings starts: 2023-11-14T22:00:00Z."""


class Results(msgspec.Struct, frozen=True):
    """Rows emitted together, at an instant."""

    at: int
    rows: list[Any]


class Expectation(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a rule does with its rows; see the README of the recordings."""

    results: list[Results] = []
    row_order: str = ""
    error: str = ""
    stage: str = ""
    runtime_errors: list[dict[str, Any]] = []
    kinds: dict[str, str] = {}

    @property
    def is_refusal(self) -> bool:
        """Whether nothing runs at all."""
        return bool(self.error) and self.stage not in ("runtime", "panic")

    @property
    def is_failure(self) -> bool:
        """Whether the rule dies."""
        return bool(self.error) and not self.is_refusal


class Arrival(msgspec.Struct, frozen=True):
    """One message: JSON or any other text, and what goes with it."""

    at: int
    data: msgspec.Raw = msgspec.Raw(b"")
    raw: str | None = None
    meta: dict[str, Any] = {}
    rowkind: str = ""
    keyval: Any = None

    def payload(self) -> bytes:
        """Return the message as it is sent, numbers written as in the file."""
        return bytes(self.data) if self.raw is None else self.raw.encode()


class Input(msgspec.Struct, frozen=True):
    """A stream or table with its messages."""

    ddl: str
    name: str = ""
    rows: list[Arrival] = []

    def feed(self) -> Feed:
        """Return the stream for the test kit."""
        return Feed(self.ddl, [self._message(row) for row in self.rows])

    def _message(self, row: Arrival) -> Message:
        if not row.rowkind:
            return Message(row.at, row.payload(), meta=row.meta)
        value = msgspec.json.decode(row.data)
        change = {"rowkind": row.rowkind, "keyval": row.keyval}
        rows = value if isinstance(value, list) else [value]
        return Message(row.at, rows=rows, meta={**row.meta, **change})


class Case(msgspec.Struct, frozen=True):
    """One query with its inputs and what is expected."""

    id: str
    sql: str
    expect: Expectation
    streams: list[Input] = []
    tables: list[Input] = []
    options: dict[str, Any] = {}
    advance_to: int | None = None

    @property
    def category(self) -> str:
        """The first part of the id."""
        return self.id.partition("/")[0]


def read_cases(path: Path) -> Iterator[Case]:
    """Yield the cases of a file.

    Raises:
        ValueError: a line is no case; the message says which.
    """
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                yield case_from(line)
            except (msgspec.MsgspecError, ValueError) as error:
                raise ValueError(f"{path}:{number}: {error}") from None


def case_from(line: str) -> Case:
    """Return the case that a line of a file holds.

    Raises:
        msgspec.MsgspecError: it isn't one.
    """
    case = msgspec.json.decode(line, type=Case)
    # msgspec reads integers beyond 64 bits as floats; what is expected stays exact
    return msgspec.structs.replace(case, expect=expectation(json.loads(line)["expect"]))


def expectation(value: Any) -> Expectation:
    """Return an expectation given as JSON has it.

    Raises:
        msgspec.ValidationError: it isn't one.
    """
    return msgspec.convert(value, Expectation)
