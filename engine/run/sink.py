"""From results to a sink: gather, compose messages, deliver, retry; then confirm."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import anyio

from engine.api import CURRENT_USE, Config, Context, Sink, Use
from engine.backoff import Backoff
from engine.clock import Clock
from engine.codec import Message
from engine.guard import close_quietly, guarded
from engine.offspring import begin_use, children_of
from engine.run.alarm import Alarm
from engine.run.caches import DESTINATION, Cache
from engine.run.dynamic import dynamic_properties
from engine.run.flow import Flow, FlowClosed, Lane, Overflow
from engine.run.gathering import Gatherer
from engine.run.messages import Claim, Composer, Messages
from engine.run.messages import Outgoing as Outgoing
from engine.run.metrics import OperatorMetrics
from engine.run.outlet import Letters, Outlet, text_of
from engine.run.properties import SinkOptions
from engine.run.tokens import Tokens
from engine.run.waiting import happens_within
from engine.template import compile_template, is_template

if TYPE_CHECKING:
    from engine.run.forwarding import Forwarder

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Due:
    """Results gathered before ``at`` (epoch milliseconds) have waited long enough; None: all."""

    at: int | None

    def __len__(self) -> int:
        return 0


class SinkRunner:
    """Runs one sink of one rule; its tasks and queue are its own."""

    def __init__(
        self,
        name: str,
        sink: Sink[Any],
        config: Config,
        options: SinkOptions,
        ctx: Context,
        clock: Clock,
        *,
        cache: Cache | None = None,
        letters: Letters | None = None,
        takes_tokens: bool = False,
        message: Message | None = None,
    ) -> None:
        """``cache`` keeps what can't be delivered now, ``letters`` take what never will be.
        ``message`` is what its schema says, for a format that has schemas.

        ``takes_tokens`` says that the sink wants to know batches again.

        Raises:
            ConfigError: the options can't work.
        """
        self.name = name
        self.config = config
        self.cache = cache
        self.options = options
        self.flow: Flow[Outgoing | Due] = Flow(_never)
        self._lane = Lane(options.buffer_length, Overflow.BLOCK)
        self._sink = sink
        self._use = Use(config, ctx)
        self._clock = clock
        self._letters = letters
        self._outlet = Outlet(name, sink, ctx, clock, letters, takes_tokens=takes_tokens)
        self._outgoing: Outgoing | None = None
        """The results that messages are being made of."""
        dynamic = dynamic_properties(config, clock)
        if cache is not None and is_template(options.resend_destination):
            dynamic[DESTINATION] = compile_template(options.resend_destination, clock=clock)
        self._tokens = Tokens(name, tuple(dynamic)) if takes_tokens else None
        self._composer = Composer(
            options,
            dynamic,
            clock,
            self._lose,
            takes_payloads=sink.takes_payloads,
            message=message,
        )
        self._forwarder: Forwarder | None = None
        if cache is not None:
            from engine.run.forwarding import Forwarder  # few sinks have a cache

            self._forwarder = Forwarder(
                self._outlet,
                cache,
                clock,
                tuple(dynamic),
                redirects=options.redirects(config),
                more_waits=lambda: not self.flow.is_empty,
            )

    @property
    def metrics(self) -> OperatorMetrics:
        return self._outlet.metrics

    @property
    def waiting(self) -> int:
        """Rows that wait for the sink, in its queue and in its cache."""
        return self.flow.rows + (0 if self._forwarder is None else self._forwarder.rows)

    @property
    def writes_json(self) -> bool:
        """Whether results are encoded as JSON for the sink."""
        return self._composer.writes_json

    @property
    def forwards_payloads(self) -> bool:
        """Whether messages can go out as they came in, without being rows in between."""
        return self._composer.forwards_payloads

    @property
    def topics(self) -> Sequence[str]:
        """The topics inside the engine that it publishes to; they may hold ``{{…}}``."""
        token = CURRENT_USE.set(self._use)
        try:
            return tuple(getattr(self._sink, "topics", ()))
        finally:
            CURRENT_USE.reset(token)

    async def put(self, outgoing: Outgoing) -> None:
        """Queue results, after waiting for room."""
        await self.flow.put(outgoing, self._lane)

    def flush(self) -> None:
        """Send what is gathered, and what is queued by now, without waiting for more."""
        self.flow.put_anyway(Due(None))

    # -- life ----------------------------------------------------------------------------------

    async def run(self, opened: Callable[[], None]) -> None:
        """Open the sink, deliver all that comes until the queue is closed, close it."""
        CURRENT_USE.set(self._use)
        begin_use(self._sink)
        try:
            with children_of(self._sink):
                await guarded(self._open_and_deliver(opened), self.name)
        finally:
            with anyio.CancelScope(shield=True):
                await close_quietly(self._sink, self.name)
            if self._letters is not None:
                self._letters.done()

    async def _open_and_deliver(self, opened: Callable[[], None]) -> None:
        if self._forwarder is not None:
            await self._forwarder.run(self._deliver_all, opened)
        elif await self._opened():
            opened()
            await self._deliver_all()

    async def _opened(self) -> bool:
        """Open the sink; False: it isn't there, and the rule has ended without anything for it."""
        delays = self._delays()
        closed = self.flow.closed
        while not await self._outlet.open():
            if not closed.is_set():
                await happens_within(self._clock, closed, delays())
            elif not self.flow.is_empty:
                await self._wait(delays())
            if closed.is_set() and self.flow.is_empty:
                return False
        return True

    async def _deliver_all(self) -> None:
        if self.options.is_batched:
            await self._deliver_gathered()
        else:
            await self._deliver_each()

    async def _deliver_each(self) -> None:
        try:
            while True:
                item = await self.flow.get()
                if isinstance(item, Outgoing):
                    self.metrics.records_in += len(item)
                    await self._deliver(item)
        except FlowClosed:
            return

    async def _deliver_gathered(self) -> None:
        """Deliver results once there are enough, or the first has waited long enough."""
        gatherer = Gatherer(self.options.batch_size)
        async with anyio.create_task_group() as timers:
            alarm = Alarm(
                self._clock,
                lambda when: self.flow.put_anyway(Due(when)),
                timers,
                f"{self.name}.linger",
            )
            try:
                await self._gather(gatherer, alarm)
            except FlowClosed:
                rest = gatherer.flush()
                if rest is not None:
                    await self._deliver(rest)
            alarm.end()

    async def _gather(self, gatherer: Gatherer, alarm: Alarm) -> None:
        linger = int(self.options.linger_interval * 1000)
        due: int | None = None
        while True:
            item = await self.flow.get()
            if isinstance(item, Due):
                is_due = item.at is None or (
                    due is not None and not item.at < due <= item.at + linger
                )
                enough = gatherer.flush() if is_due else None
                if enough is not None:
                    due = None
                    await self._deliver(enough)
            else:
                self.metrics.records_in += len(item)
                for enough in gatherer.add(item):
                    due = None
                    await self._deliver(enough)
            if not len(gatherer):
                due = None
            elif due is None and linger:
                due = self._clock.now() + linger
            alarm.set(due)

    # -- delivery ------------------------------------------------------------------------------

    async def _deliver(self, outgoing: Outgoing) -> None:
        """Make messages of results and hand them to the sink; then nothing more is owed."""
        ticket = outgoing.ticket
        messages = self._prepare(outgoing)
        if not messages.places and not messages.batch.sizes:  # an empty window has sizes
            ticket.confirm()
        elif self._forwarder is not None:
            stored = self._stored_form(outgoing, messages)
            await self._forwarder.deliver(messages, ticket, stored)
        else:
            await self._persist(messages, ticket)
            ticket.confirm()
        self.metrics.processed += len(outgoing)

    def _prepare(self, outgoing: Outgoing) -> Messages:
        """Return the messages for the sink; what can't be made into one is lost, counted."""
        self._outgoing = outgoing
        messages = self._composer.compose(outgoing)
        self._outgoing = None
        if outgoing.traces is not None:
            messages.trace(outgoing.traces)
        if self._tokens is None or outgoing.start is None:
            return messages
        return replace(messages, token=self._tokens.next(messages.batch, outgoing.start))

    async def _persist(self, messages: Messages, claim: Claim) -> None:
        """Send messages, again and again until the sink has them or has refused them."""
        left = await self._outlet.send(messages, claim)
        if left is None:
            return
        delays = self._delays()
        attempts = 1
        while left is not None:
            await self._wait(delays())
            attempts += 1
            messages = messages.picked(left)
            left = await self._outlet.send(messages, claim, attempts)

    def _delays(self) -> Callable[[], float]:
        """Return what gives the seconds until each next attempt."""
        interval = float(self.options.resend_interval)
        return (lambda: interval) if interval else Backoff().next

    async def _wait(self, seconds: float) -> None:
        await self._clock.sleep_until(self._clock.now() + int(seconds * 1000))

    def _stored_form(
        self, outgoing: Outgoing, messages: Messages
    ) -> Callable[[Sequence[int]], Messages]:
        """Return what gives some of the messages as they are to be in the cache."""
        field = self.options.resend_indicator_field
        if not field:
            return messages.picked

        def marked(indexes: Sequence[int]) -> Messages:
            made = self._composer.compose(outgoing.marked(field))  # what fails has failed before
            is_same = len(made.places) == len(messages.places)
            return (made if is_same else messages).picked(indexes)

        return marked

    def _lose(self, ticket: Claim, reason: str, error: Exception, places: Sequence[int]) -> None:
        """Count rows that no message could be made of."""
        outgoing = self._outgoing
        if outgoing is None:
            return
        self._outlet.lose(ticket, reason, error, places)
        if self._letters is not None:
            rows = outgoing.decoded()
            self._letters.unmade(self.name, text_of(error), [rows[place] for place in places])


def _never(_: Outgoing | Due) -> None:
    raise AssertionError("a blocking queue drops nothing")
