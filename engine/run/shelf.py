"""Which rows of the account the records of a cache stand for."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate


@dataclass(slots=True)
class _Entry:
    """Consecutive records, and the numbers of their rows in custody."""

    first: int
    records: int
    numbers: Sequence[int]
    ends: list[int] | None
    """Where the rows of each record end in ``numbers``; None: each record has one row."""

    def split(self, records: int) -> tuple[_Entry, _Entry | None]:
        """Return the first so many records, and the others."""
        if records >= self.records:
            return self, None
        at = records if self.ends is None else self.ends[records - 1]
        ends = self.ends
        one = _Entry(
            self.first, records, self.numbers[:at], None if ends is None else ends[:records]
        )
        rest = None if ends is None else [end - at for end in ends[records:]]
        two = _Entry(self.first + records, self.records - records, self.numbers[at:], rest)
        return one, two

    def each(self) -> Iterator[Sequence[int]]:
        """Yield the numbers of the rows of each record."""
        start = 0
        for end in self.ends or range(1, self.records + 1):
            yield self.numbers[start:end]
            start = end


class Shelf:
    """The numbers that rows have in custody, by the numbers of the records that hold them.

    Records leave mostly in the order in which they came. Those that an earlier run has left come
    first; of them only the number of their rows is known.
    """

    def __init__(self, recovered: range = range(0), records_to: int = 0) -> None:
        """``recovered`` are the numbers of the rows in the records below ``records_to``."""
        self._recovered = recovered
        self._records_to = records_to
        self._entries: deque[_Entry] = deque()

    def put(self, first: int, numbers: Sequence[int], rows: Sequence[int] | None) -> None:
        """Note records from number ``first`` on; ``rows`` says how many of the numbers each has.

        None means one each.
        """
        records = len(numbers) if rows is None else len(rows)
        last = self._entries[-1] if self._entries else None
        if (
            last is not None
            and rows is None
            and last.ends is None
            and isinstance(last.numbers, range)
            and isinstance(numbers, range)
            and last.numbers.stop == numbers.start
            and last.first + last.records == first
        ):
            last.numbers = range(last.numbers.start, numbers.stop)
            last.records += records
            return
        ends = None if rows is None else list(accumulate(rows))
        self._entries.append(_Entry(first, records, numbers, ends))

    def take_each(self, first: int, rows: Sequence[int]) -> list[Sequence[int]]:
        """Remove records and return the numbers that the rows of each have.

        ``rows`` is how many rows each record has.
        """
        old = self._recovered_among(first, len(rows))
        found: list[Sequence[int]] = [self._take_recovered(count) for count in rows[:old]]
        for entry in self._take(first + old, len(rows) - old):
            found.extend(entry.each())
        return found

    def take_page(self, first: int, rows: Sequence[int]) -> list[Sequence[int]]:
        """Remove records and return the numbers of all their rows, in some pieces."""
        old = self._recovered_among(first, len(rows))
        found: list[Sequence[int]] = [self._take_recovered(sum(rows[:old]))] if old else []
        found.extend(entry.numbers for entry in self._take(first + old, len(rows) - old))
        return found

    def take_lost(self, first: int, records: int, rows: int) -> list[Sequence[int]]:
        """Remove records that were written together, ``rows`` in all; return as `take_page`."""
        if self._recovered_among(first, records):
            return [self._take_recovered(rows)]
        return [entry.numbers for entry in self._take(first, records)]

    def empty(self) -> list[Sequence[int]]:
        """Remove all records and return the numbers of their rows."""
        found: list[Sequence[int]] = [self._take_recovered(len(self._recovered))]
        found += [entry.numbers for entry in self._entries]
        self._entries.clear()
        return found

    def _recovered_among(self, first: int, records: int) -> int:
        return max(0, min(records, self._records_to - first))

    def _take_recovered(self, rows: int) -> range:
        found, self._recovered = self._recovered[:rows], self._recovered[rows:]
        return found

    def _take(self, first: int, records: int) -> Iterator[_Entry]:
        """Yield what is known of some records, removing it."""
        if not records:
            return
        stop = first + records
        kept: list[_Entry] = []
        while self._entries and self._entries[0].first < stop:
            entry = self._entries.popleft()
            if entry.first < first:
                before, rest = entry.split(first - entry.first)
                kept.append(before)
                if rest is None:
                    continue
                entry = rest
            found, after = entry.split(stop - entry.first)
            yield found
            if after is not None:
                self._entries.appendleft(after)
        self._entries.extendleft(reversed(kept))
