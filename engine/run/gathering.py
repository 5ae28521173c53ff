"""Gathering results until they are enough to be sent as one message."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from engine.run.messages import Outgoing

_MOST_ROWS = 100_000
"""Rows that wait for ``lingerInterval`` alone; more are sent early rather than fill the memory."""


class Gatherer:
    """Holds results back until there are ``size`` rows or ``flush`` is called.

    ``size`` 0 is no limit but that of memory. Every result is confirmed once all its rows were
    handed on and confirmed.
    """

    def __init__(self, size: int) -> None:
        self._size = size or _MOST_ROWS
        self._shares: list[_Share] = []
        self._rows = 0

    def __len__(self) -> int:
        return self._rows

    def add(self, outgoing: Outgoing) -> Iterator[Outgoing]:
        """Take results, and yield those that have become enough."""
        if not len(outgoing):
            outgoing.ticket.confirm()
            return
        start = 0
        while start < len(outgoing):
            stop = min(len(outgoing), start + self._size - self._rows)
            self._shares.append(_Share(outgoing, start, stop))
            self._rows += stop - start
            start = stop
            if self._rows >= self._size:
                full = self.flush()
                assert full is not None
                yield full

    def flush(self) -> Outgoing | None:
        """Return all that has been gathered, None if that is nothing."""
        if not self._shares:
            return None
        shares, self._shares = self._shares, []
        size, self._rows = self._rows, 0
        ticket, traces = _JointTicket(shares), _traces_of(shares)
        start = shares[-1].outgoing.start
        if all(share.outgoing.rows is None for share in shares):
            payloads = [payload for share in shares for payload in share.payloads()]
            return Outgoing(None, payloads, ticket, [size], start, traces)
        rows = [
            row for share in shares for row in share.outgoing.decoded()[share.start : share.stop]
        ]
        return Outgoing(rows, None, ticket, [size], start, traces)


@dataclass(frozen=True, slots=True)
class _Share:
    """The part of some results that goes into one message."""

    outgoing: Outgoing
    start: int
    stop: int

    @property
    def is_last(self) -> bool:
        """Nothing of the results comes after it."""
        return self.stop == len(self.outgoing)

    def payloads(self) -> list[bytes]:
        return (self.outgoing.payloads or [])[self.start : self.stop]


def _traces_of(shares: Iterable[_Share]) -> dict[int, str] | None:
    """Return the trace contexts of gathered rows, None if none is traced."""
    found: dict[int, str] = {}
    before = 0
    for share in shares:
        for place, context in (share.outgoing.traces or {}).items():
            if share.start <= place < share.stop:
                found[before + place - share.start] = context
        before += share.stop - share.start
    return found or None


class _JointTicket:
    """The tickets of all results that went into one message, seen as one."""

    def __init__(self, shares: list[_Share]) -> None:
        self._shares = shares
        self._ends = list(accumulate(share.stop - share.start for share in shares))

    def lose(self, place: str, reason: str, message: str, indexes: Iterable[int]) -> None:
        """Note lost rows with the results that each is of."""
        for number, own in self._by_share(indexes).items():
            self._shares[number].outgoing.ticket.lose(place, reason, message, own)

    def keep(self, indexes: Sequence[int]) -> Sequence[int]:
        """Note rows that the sink keeps with the results that each is of."""
        kept = self._by_share(indexes)
        return [n for number, own in kept.items() for n in self._keep(number, own)]

    def _keep(self, number: int, own: list[int]) -> Sequence[int]:
        is_run = own[-1] - own[0] == len(own) - 1 and own == sorted(own)
        rows: Sequence[int] = range(own[0], own[-1] + 1) if is_run else own
        return self._shares[number].outgoing.ticket.keep(rows)

    def _by_share(self, indexes: Iterable[int]) -> dict[int, list[int]]:
        """Return, by the number of the share, the places of rows among the results it is of."""
        found: dict[int, list[int]] = {}
        for index in indexes:
            number = bisect_right(self._ends, index)
            share = self._shares[number]
            before = self._ends[number] - (share.stop - share.start)
            found.setdefault(number, []).append(index - before + share.start)
        return found

    def confirm(self) -> None:
        """Confirm the results that are out completely."""
        for share in self._shares:
            if share.is_last:
                share.outgoing.ticket.confirm()
