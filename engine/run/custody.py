"""Rows that sinks keep in their caches: each is one row of the account, whoever keeps it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

_TICKET = 0x80
_FEWEST_TRIMMED = 4096
_ONE_LESS = bytes(held - 1 if held & ~_TICKET else held for held in range(256))
_WITHOUT_TICKET = bytes(held & ~_TICKET for held in range(256))
_ONE_MORE = bytes(min(held + 1, 255) if held else 0 for held in range(256))


class Custody:
    """Who still has to do with which row, in one byte for each row.

    Rows have numbers. While the results that a row is among are on their way to the sinks of the
    rule it is in the hands of their ticket, too. A row leaves when nobody holds it any more, or
    when the first one loses it. Methods take the numbers in any order, best as a ``range``, and
    return how many rows have left.
    """

    __slots__ = ("_base", "_held", "rows")

    def __init__(self) -> None:
        self._base = 0
        """The number of the first byte; lower ones have left."""
        self._held = bytearray()
        """For each row the sinks that hold it; the highest bit stands for the ticket."""
        self.rows = 0
        """Rows that somebody holds."""

    def enter(self, rows: int) -> int:
        """Take rows that a ticket holds, and return the number of the first."""
        first = self._base + len(self._held)
        self._held += bytes((_TICKET,)) * rows
        self.rows += rows
        return first

    def hold(self, numbers: Sequence[int]) -> None:
        """Let one more sink hold rows, while their ticket does."""
        for start, stop in self._runs(numbers):
            self._held[start:stop] = self._held[start:stop].translate(_ONE_MORE)

    def release(self, numbers: Sequence[int]) -> int:
        """Let a sink be done with rows that it held; what was lost meanwhile stays lost."""
        return self._change(numbers, _ONE_LESS, 1)

    def release_ticket(self, numbers: Sequence[int]) -> int:
        """Let the ticket be done with rows."""
        return self._change(numbers, _WITHOUT_TICKET, _TICKET)

    def lose(self, numbers: Sequence[int]) -> int:
        """Let rows leave, whoever else holds them."""
        left = 0
        for start, stop in self._runs(numbers):
            left += stop - start - self._held.count(0, start, stop)
            self._held[start:stop] = bytes(stop - start)
        return self._left(left)

    def clear(self) -> None:
        """Let all rows leave."""
        self._base += len(self._held)
        self._held.clear()
        self.rows = 0

    def _change(self, numbers: Sequence[int], table: bytes, last: int) -> int:
        """Translate bytes; those that are ``last`` before become 0."""
        left = 0
        for start, stop in self._runs(numbers):
            left += self._held.count(last, start, stop)
            self._held[start:stop] = self._held[start:stop].translate(table)
        return self._left(left)

    def _left(self, rows: int) -> int:
        self.rows -= rows
        if not self.rows:
            self.clear()
        elif len(self._held) > _FEWEST_TRIMMED and self._held[0] == 0:
            gone = len(self._held) - len(self._held.lstrip(b"\0"))
            if gone > len(self._held) // 2:  # so that trimming costs each row a constant
                del self._held[:gone]
                self._base += gone
        return rows

    def _runs(self, numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
        """Yield the places of consecutive numbers, without those that have left already."""
        if isinstance(numbers, range) and numbers.step == 1:
            start, stop = max(0, numbers.start - self._base), numbers.stop - self._base
            if start < stop:
                yield start, stop
            return
        for number in numbers:
            if number >= self._base:
                yield number - self._base, number - self._base + 1
