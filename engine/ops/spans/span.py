"""The interface of spans."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

S_co = TypeVar("S_co", covariant=True)
R_contra = TypeVar("R_contra", contravariant=True)


class Span(Protocol[S_co, R_contra]):
    """Slices of rows in the order of their positions, which are any ascending numbers.

    Rows enter at the new end and leave at the old one, a whole slice at a time; ``len`` is the
    number of slices.
    """

    def __len__(self) -> int: ...

    @property
    def oldest(self) -> int:
        """The position of the oldest slice; there must be one."""

    def push(self, at: int, rows: Sequence[R_contra]) -> None:
        """Add rows to the newest slice if it is at this position, else in a slice of their own."""

    def evict(self, before: int) -> None:
        """Let go of the slices at positions before this one."""

    def value(self) -> S_co:
        """Return the state of all rows, which is the caller's to keep."""

    def snapshot(self) -> Any:
        """Return all slices as a msgpack-able value."""

    def restore(self, value: Any) -> None:
        """Take the place of a span that a snapshot was taken of."""
