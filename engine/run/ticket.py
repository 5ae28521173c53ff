"""The fate of one batch of results, until every sink of the rule is done with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from engine.run.metrics import RuleMetrics
from engine.run.receipt import Receipt


class Ticket:
    """Counts a batch once: rows that every sink took as delivered, all others as dropped."""

    __slots__ = ("_error", "_lost", "_metrics", "_receipt", "_rows", "_sinks")

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
        metrics.unconfirmed += rows

    def lose(self, place: str, reason: str, message: str, indexes: Iterable[int]) -> None:
        """Note rows that a sink will never take; the first sink that says so is counted."""
        self._error(place, message)
        for index in indexes:
            self._lost.setdefault(index, (place, reason))

    def confirm(self) -> None:
        """One sink is done with the batch."""
        self._sinks -= 1
        if self._sinks:
            return
        metrics = self._metrics
        lost = list(self._lost.values())[: self._rows]  # results may hold errors beside the rows
        metrics.unconfirmed -= self._rows
        metrics.delivered += self._rows - len(lost)
        for place, reason in lost:
            metrics.drop(place, reason, 1)
        self._receipt.done()
