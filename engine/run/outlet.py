"""The end of a rule: one sink, called for one batch at a time, and what becomes of the messages."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from itertools import groupby
from time import perf_counter_ns
from typing import Any, Protocol

from engine.api import Context, Sink
from engine.batch import Batch, Row
from engine.blame import told
from engine.clock import Clock
from engine.contact import Contact
from engine.errors import NotConnected, Rejected
from engine.guard import guarded
from engine.run.messages import Claim, Messages
from engine.run.metrics import OperatorMetrics

logger = logging.getLogger(__name__)

NETWORK_ERRORS = (ConnectionError, TimeoutError)
"""What counts as not being connected where a plugin doesn't say so itself."""
_LONGEST = 100
"""Characters of a value in a message."""


class Letters(Protocol):
    """Takes what will never be delivered, with the evidence; see `DeadLetters`."""

    def refused(
        self, operator: str, error: str, batch: Batch, indexes: Sequence[int], attempts: int
    ) -> None:
        """Take messages that a sink refused after so many attempts."""

    def unmade(self, operator: str, error: str, rows: Sequence[Row]) -> None:
        """Take rows that no message could be made of."""

    def done(self) -> None:
        """One of those who write letters has ended."""


class Outlet:
    """Opens a sink and hands it messages; counts, and says which are still to be delivered."""

    def __init__(
        self,
        name: str,
        sink: Sink[Any],
        ctx: Context,
        clock: Clock,
        letters: Letters | None = None,
        *,
        takes_tokens: bool = False,
    ) -> None:
        self.name = name
        self.metrics = OperatorMetrics()
        self.letters = letters
        self._sink = sink
        self._clock = clock
        self._takes_tokens = takes_tokens
        what = "not connected, and tried again until it is"
        self._contact = Contact(name, ctx, logger, what)
        self._has_returned = self._has_misnamed = False

    @property
    def takes_payloads(self) -> bool:
        """Whether it takes bytes, not rows."""
        return self._sink.takes_payloads

    async def open(self) -> bool:
        """Open the sink; False: the other side isn't there yet.

        Raises:
            Exception: it can't be opened at all.
        """
        sink = self._sink
        try:
            await guarded(sink.open(), f"{self.name}: open()", seconds=sink.open_timeout)
        except (NotConnected, *NETWORK_ERRORS) as error:
            self._contact.lose(text_of(error))
            return False
        finally:
            self.metrics.last_invocation = self._clock.now()
        self._contact.regain()
        return True

    async def send(
        self, messages: Messages, claim: Claim, attempts: int = 1
    ) -> Sequence[int] | None:
        """Hand messages to the sink; what it refuses for good is lost, counted.

        Returns the messages that are to be sent again, because the other side isn't there; None if
        there are none. ``attempts`` is the number of this attempt.
        """
        size = len(messages.places)
        started = perf_counter_ns()
        metrics = self.metrics
        try:
            await self._collect(messages)
        except (NotConnected, *NETWORK_ERRORS) as error:
            metrics.last_invocation = self._clock.now()
            self._contact.lose(text_of(error))
            left = self._places(getattr(error, "indexes", None), size)
            metrics.records_out += size - len(left)
            return left or None
        except Rejected as error:
            lost = self._places(error.indexes, size)
            self._refuse(messages, claim, "rejected", error, lost, attempts)
            metrics.records_out += size - len(lost)
        except Exception as error:
            logger.warning("%s: %s", self.name, told(error))
            self._refuse(messages, claim, "sink error", error, range(size), attempts)
        else:
            metrics.records_out += size
        metrics.last_invocation = self._clock.now()
        metrics.took(perf_counter_ns() - started)
        self._contact.regain()
        return None

    async def _collect(self, messages: Messages) -> None:
        collect: Callable[..., Awaitable[object]] = self._sink.collect
        named = {"token": messages.token} if self._takes_tokens else {}
        outcome = await collect(messages.batch, **named)
        if outcome is not None and not self._has_returned:
            self._has_returned = True
            logger.warning(
                "%s: collect() returns %s, which says nothing: to return is to have delivered; "
                "raise NotConnected or Rejected otherwise",
                self.name,
                repr(outcome)[:_LONGEST],
            )

    def _places(self, indexes: Sequence[int] | None, size: int) -> Sequence[int]:
        """Return the messages that an error of the sink names, all of them if it names others."""
        if indexes is None:
            return range(size)
        if all(index in range(size) for index in indexes):
            return sorted(set(indexes))
        if not self._has_misnamed:
            self._has_misnamed = True
            logger.warning(
                "%s: collect() names messages %s of a batch of %s; all of it is meant, then",
                self.name,
                repr(indexes)[:_LONGEST],
                size,
            )
        return range(size)

    def lose(self, claim: Claim, reason: str, error: Exception, places: Sequence[int]) -> None:
        """Note rows that will never be delivered."""
        text = text_of(error)
        self.metrics.failed(text, len(places), self._clock.now())
        claim.lose(self.name, reason, text, places)

    def _refuse(
        self,
        messages: Messages,
        claim: Claim,
        reason: str,
        error: Exception,
        indexes: Sequence[int],
        attempts: int,
    ) -> None:
        self.lose(claim, reason, error, messages.rows_of(indexes))
        if self.letters is not None:
            text = text_of(error)
            own = error.reasons if isinstance(error, Rejected) else {}
            for why, some in groupby(indexes, lambda index: own.get(index, text)):
                self.letters.refused(self.name, why, messages.batch, list(some), attempts)


def text_of(error: Exception) -> str:
    """Return what an error says, with its kind and place if the plugin didn't expect it."""
    if isinstance(error, NETWORK_ERRORS):
        return str(error) or type(error).__name__
    return told(error)
