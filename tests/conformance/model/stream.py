"""When the rows of a stream get to the query: as they come, or let go by the watermark."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.duration import parse_duration
from tests.conformance.model.rows import Arrived, Unsupported

_TOLERANCE = 1_000
"""lateTolerance where it isn't given, in ms."""


@dataclass(frozen=True, slots=True)
class Release:
    """The rows that get to the query with one message, by number, in their order."""

    at: int
    message: int
    rows: tuple[int, ...]
    watermark: int = 0
    """Where the watermark stands afterwards, epoch ms; in event time only."""


def releases(arrived: Arrived, options: Mapping[str, Any]) -> list[Release]:
    """Return what gets to the query, message by message.

    Raises:
        Unsupported: times aren't epoch milliseconds.
    """
    if not options.get("isEventTime"):
        return [Release(row.at, row.message, (number,)) for number, row in enumerate(arrived.rows)]
    tolerance = round(parse_duration(options.get("lateTolerance", _TOLERANCE)) * 1_000)
    found: list[Release] = []
    waiting: list[tuple[int, int]] = []
    newest: int | None = None
    for number, row in enumerate(arrived.rows):
        time = row.values.get(arrived.timestamp)
        if not isinstance(time, int) or isinstance(time, bool):
            raise Unsupported("times that aren't integers")
        watermark = None if newest is None else newest - tolerance
        if watermark is not None and time < watermark:
            continue  # late
        waiting.append((time, number))
        if newest is None or time > newest:
            newest = time
            due = sorted(entry for entry in waiting if entry[0] <= newest - tolerance)
            waiting = [entry for entry in waiting if entry not in due]
            rows = tuple(number for _, number in due)
            found.append(Release(row.at, row.message, rows, newest - tolerance))
    return found
