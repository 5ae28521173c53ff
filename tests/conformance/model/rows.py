"""The rows of a case as its query sees them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from engine.errors import EngineError
from engine.sql import ast
from engine.sql.kinds import Kind
from engine.sql.parse import parse_create
from engine.sql.walk import walk
from engine.testing import Outcome
from tests.conformance.cases import START, Case, Input
from tests.conformance.compare import is_error

Run = Callable[[Case], Awaitable[Outcome]]


class Unsupported(Exception):
    """The model can't compute a query."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the stream."""

    at: int
    """When it arrives, in ms after the start."""
    message: int
    """Which message of the stream it is in."""
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Arrived:
    """What came in from the stream of a case."""

    rows: list[Row]
    broken: list[tuple[int, int]]
    """When and as which message something came that isn't a row."""
    kinds: dict[tuple[str, str], Kind]
    timestamp: str
    """The column with the time, "" if there is none."""


async def read_rows(case: Case, select: ast.Select, run: Run) -> Arrived:
    """Return the rows of the only stream of a case, decoded as the engine does it.

    Raises:
        Unsupported: there is more than one input.
    """
    if len(case.streams) != 1 or case.tables or select.joins:
        raise Unsupported("several inputs")
    stream = case.streams[0]
    try:
        create = parse_create(stream.ddl)
    except EngineError as error:
        raise Unsupported(str(error)) from None
    timestamp = create.options.get("TIMESTAMP", "")
    found = await run(_alone(case, stream, _columns(select, create, timestamp)))
    if found.refused or found.failure:
        raise Unsupported(str(found.refused or found.failure))
    rows, broken = [], []
    for emission in found.emissions:
        message = emission.at
        at = stream.rows[message].at
        for row in emission.rows:
            if is_error(row):
                broken.append((at, message))
            else:
                rows.append(Row(at, message, row))
    kinds = {
        (label, field.name): Kind(field.type.name.lower())
        for field in create.fields
        if isinstance(field.type, ast.ScalarType)
        for label in ("", select.source.name)
    }
    return Arrived(rows, broken, kinds, timestamp)


def _alone(case: Case, stream: Input, columns: str) -> Case:
    """Return a case that only decodes, each message at the instant of its number."""
    messages = [
        msgspec.structs.replace(message, at=number) for number, message in enumerate(stream.rows)
    ]
    return msgspec.structs.replace(
        case,
        sql=f"SELECT {columns} FROM {stream.name or parse_create(stream.ddl).name}",
        streams=[msgspec.structs.replace(stream, rows=messages)],
        options={"sendError": True},
        advance_to=None,
    )


def _columns(select: ast.Select, create: ast.CreateStream, timestamp: str) -> str:
    """Return what the query reads of the stream: only that is decoded."""
    nodes = list(walk(select))
    if any(isinstance(node, ast.Star) for node in nodes):
        return "*"
    names = dict.fromkeys(node.name for node in nodes if isinstance(node, ast.Column))
    if timestamp:
        names[timestamp] = None
    if create.fields:
        declared = {field.name for field in create.fields}
        names = {name: None for name in names if name in declared}
    return ", ".join(f"`{name}`" for name in names) or "1 AS `1`"


def epoch(at: int) -> int:
    """Return an instant after the start in epoch milliseconds."""
    return START + at
