"""The fate of one batch of results, until every sink of the rule is done with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from engine.run.metrics import RuleMetrics
from engine.run.receipt import Receipt


class Ticket:
    """Counts a batch once: rows that every sink took as delivered, all others as dropped.

    Rows that a sink keeps in its cache are in custody from then on, and are counted when the last
    sink that keeps them says what became of them.
    """

    __slots__ = ("_error", "_first", "_lost", "_metrics", "_receipt", "_rows", "_sinks")

    def __init__(
        self,
        rows: int,
        sinks: int,
        metrics: RuleMetrics,
        receipt: Receipt,
        error: Callable[[str, str], None],
    ) -> None:
        self._rows = rows
        self._sinks = sinks
        self._metrics = metrics
        self._receipt = receipt
        self._error = error
        self._lost: dict[int, tuple[str, str]] = {}
        self._first: int | None = None
        metrics.unconfirmed += rows

    def lose(self, place: str, reason: str, message: str, indexes: Iterable[int]) -> None:
        """Note rows that a sink will never take; the first sink that says so is counted."""
        self._error(place, message)
        for index in indexes:
            self._lost.setdefault(index, (place, reason))

    def keep(self, indexes: Sequence[int]) -> Sequence[int]:
        """Note rows that a sink keeps in its cache, and return their numbers in custody."""
        if self._first is None:
            self._first = self._metrics.keep(self._rows)
        first, rows = self._first, self._rows  # results may hold errors beside the rows
        numbers: Sequence[int]
        if isinstance(indexes, range) and indexes.step == 1:
            numbers = range(first + min(indexes.start, rows), first + min(indexes.stop, rows))
        else:
            numbers = [first + index for index in indexes if index < rows]
        self._metrics.custody.hold(numbers)
        return numbers

    def confirm(self) -> None:
        """One sink is done with the batch, or has what is left of it in its cache."""
        self._sinks -= 1
        if self._sinks:
            return
        if self._first is None:
            self._count()
        else:
            self._leave_to_custody(self._first)
        self._receipt.done()

    def _count(self) -> None:
        metrics = self._metrics
        lost = list(self._lost.values())[: self._rows]  # results may hold errors beside the rows
        metrics.unconfirmed -= self._rows
        metrics.delivered += self._rows - len(lost)
        for place, reason in lost:
            metrics.drop(place, reason, 1)

    def _leave_to_custody(self, first: int) -> None:
        for index, (place, reason) in self._lost.items():
            if index < self._rows:
                self._metrics.lose((first + index,), place, reason)
        self._metrics.confirm(range(first, first + self._rows))
