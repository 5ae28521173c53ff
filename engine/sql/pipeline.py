"""What runs between a rule's queue and its sinks: frames in, results out, time told from outside.

A pipeline is pure and synchronous: it reads no clock and no loop. ``push`` takes rows, ``tick``
tells that time has passed, ``next_deadline`` asks to be told.
"""

from __future__ import annotations

from typing import Protocol

from engine.layout import Frame
from engine.sql.query import Query, Result


class Pipeline(Protocol):
    """The operators of one rule."""

    def push(self, frame: Frame, now: int) -> Result:
        """Take rows that arrived at ``now`` (epoch milliseconds) and return what they lead to."""

    def tick(self, now: int) -> Result:
        """Return what the passing of time leads to."""

    def next_deadline(self) -> int | None:
        """Return when ``tick`` has something to do, None if time alone does nothing."""


class RowPipeline:
    """A query without windows: every row is for itself."""

    def __init__(self, query: Query) -> None:
        self.query = query

    def push(self, frame: Frame, now: int) -> Result:
        return self.query(frame)

    def tick(self, now: int) -> Result:
        return Result([], [])

    def next_deadline(self) -> int | None:
        return None
