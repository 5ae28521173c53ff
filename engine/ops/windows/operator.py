"""What all window operators have in common: how rows, time and panes pass in and out."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo
from typing import Any, Generic, Protocol, TypeVar

from engine.ops.pane import Pane

S = TypeVar("S")
R_co = TypeVar("R_co", covariant=True)
R_contra = TypeVar("R_contra", contravariant=True)


@dataclass(frozen=True, slots=True)
class Timing:
    """How windows read time.

    In processing time ``opened_at`` is when the rule began (epoch ms); windows are aligned from
    there, a row's timestamp is its time of arrival, and ``tick`` is given the time of the clock. In
    event time it is None: windows are aligned from the first row, rows come in the order of
    their timestamps, and ``tick`` is given the watermark.
    """

    opened_at: int | None = None
    zone: tzinfo = UTC
    """Where tumbling, hopping and session windows are aligned."""
    max_empty: int = 1
    """Empty panes that are given in a row; further ones are skipped without work for each.

    In event time the run goes on until a row comes, in processing time until the next tick: a rule
    whose ticks come in time gives every empty pane.
    """

    @property
    def is_event_time(self) -> bool:
        return self.opened_at is None


@dataclass(frozen=True, slots=True)
class Arrivals(Generic[R_co]):
    """Rows that reach a window together, with what their window needs to know of each.

    ``times`` ascend within the batch (epoch ms). The columns for certain windows are as long as
    ``rows``.
    """

    rows: Sequence[R_co]
    times: Sequence[int]
    triggers: Sequence[bool] | None = None
    """Sliding: the row fires a window (``OVER (WHEN …)``); None: each row does."""
    begins: Sequence[bool] | None = None
    """State: the row meets the first, or the only, condition."""
    emits: Sequence[bool] | None = None
    """State: the row meets the second condition; None: the window has only one."""
    keys: Sequence[Hashable] | None = None
    """State: the partition of each row, scalars or tuples of such; None: there is only one."""

    def __len__(self) -> int:
        return len(self.rows)

    def part(self, start: int, stop: int) -> Sequence[R_co]:
        """Return some of the rows."""
        whole = start == 0 and stop == len(self.rows)
        return self.rows if whole else self.rows[start:stop]


class WindowOperator(Protocol[S, R_contra]):
    """A window over the rows of one key or of a whole stream.

    Panes come in the order in which they fire and depend on rows, timestamps and ticks only, not on
    how rows are cut into batches. What is due at a row's timestamp fires before the row enters,
    even if no tick said so.
    """

    def add(self, arrivals: Arrivals[R_contra]) -> list[Pane[S]]:
        """Take rows; return the panes that fired."""

    def tick(self, now: int) -> list[Pane[S]]:
        """Take the time of the clock or the watermark (epoch ms); return the panes that fired."""

    def next_deadline(self) -> int | None:
        """Return the least time whose tick fires something, None if none would."""

    def snapshot(self) -> Any:
        """Return all that the operator remembers, as a msgpack-able value."""

    def restore(self, value: Any) -> None:
        """Go on from a snapshot of an operator that was made with the same arguments."""
