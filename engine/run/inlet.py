"""Where the batches of one stream enter a rule, and what becomes of them when the rule leaves."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from engine.config.rule import RuleOptions
from engine.run.flow import Lane, Overflow
from engine.run.parts import RuleInput
from engine.run.receipt import Receipt
from engine.run.source import Arrival


class Intake(Protocol):
    """The rule, as its inlets see it."""

    async def receive(self, arrival: Arrival, lane: Lane) -> None:
        """Queue a batch from a source."""

    def release(self, lane: Lane) -> None:
        """Let a source in that waits for room in the queue."""

    def ended(self, source: RuleInput, error: Exception | None = None) -> None:
        """A source has nothing more, or failed for good."""

    def given_up(self, stream: str) -> Callable[[], None]:
        """Return what counts the rows that this run leaves for good."""


class Inlet:
    """Reads one stream for one run of a rule; see ``Subscriber``."""

    def __init__(
        self,
        rule: Intake,
        source: RuleInput,
        options: RuleOptions,
        report: Callable[[str, bool, str], None],
    ) -> None:
        """``report`` hears of the connection of a source that the rule shares with others."""
        self._rule = rule
        self._source = source
        self._report = report
        overflow = options.overflow or source.reader.stream.options.overflow or "block"
        self._lane = Lane(options.buffer_length, Overflow(overflow))
        self._held: deque[Receipt] = deque()
        """Of a source with other readers: the batches that this rule may not be done with."""
        self._has_left = False

    async def receive(self, arrival: Arrival) -> None:
        arrival.stream = self._source.label
        if self._source.reader.is_shared:
            if self._has_left:  # it was on its way to several rules
                self._abandon([arrival.receipt])
                return
            while self._held and self._held[0].is_done:
                self._held.popleft()
            arrival.receipt = Receipt(arrival.receipt.done, 1)
            self._held.append(arrival.receipt)
        await self._rule.receive(arrival, self._lane)

    def ended(self, error: Exception | None = None) -> None:
        self._rule.ended(self._source, error)

    def connection(self, operator: str, connected: bool, message: str = "") -> None:
        self._report(operator, connected, message)

    def leave(self) -> None:
        """Take no more, and hold up nobody who waits for room."""
        self._has_left = True
        self._rule.release(self._lane)

    def end(self) -> None:
        """The run is over: what it isn't done with now it never will be."""
        held = [receipt for receipt in self._held if not receipt.is_done]
        self._held.clear()
        self._abandon(held)

    def _abandon(self, receipts: Sequence[Receipt]) -> None:
        if receipts:
            self._source.reader.abandon(receipts, self._rule.given_up(self._source.label))
