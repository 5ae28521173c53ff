"""From results to a sink: gather, compose messages, deliver, retry; then confirm."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any

import anyio

from engine.api import CURRENT_USE, Config, Context, Sink, Use
from engine.backoff import Backoff
from engine.clock import Clock
from engine.errors import EngineError, NotConnected, Rejected
from engine.run.alarm import Alarm
from engine.run.dynamic import dynamic_properties
from engine.run.flow import Flow, FlowClosed, Overflow
from engine.run.gathering import Gatherer
from engine.run.guard import guarded
from engine.run.messages import Claim, Composer, Messages
from engine.run.messages import Outgoing as Outgoing
from engine.run.metrics import OperatorMetrics
from engine.run.properties import SinkOptions
from engine.run.waiting import happens_within

logger = logging.getLogger(__name__)

_CLOSING = 5.0
"""Seconds that a plugin has to close."""


@dataclass(frozen=True, slots=True)
class Due:
    """Results gathered before ``at`` (epoch milliseconds) have waited long enough."""

    at: int

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
    ) -> None:
        self.name = name
        self.metrics = OperatorMetrics()
        self.config = config
        self.options = options
        self.flow: Flow[Outgoing | Due] = Flow(options.buffer_length, Overflow.BLOCK, _never)
        self._sink = sink
        self._use = Use(config, ctx)
        self._clock = clock
        dynamic = dynamic_properties(config, clock)
        self._composer = Composer(
            options, dynamic, clock, self._lose, takes_payloads=sink.takes_payloads
        )

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

    # -- life ----------------------------------------------------------------------------------

    async def run(self, opened: Callable[[], None]) -> None:
        """Open the sink, deliver all that comes until the queue is closed, close it."""
        CURRENT_USE.set(self._use)
        try:
            await guarded(self._open_and_deliver(opened), self.name)
        finally:
            with anyio.CancelScope(shield=True):
                await close_quietly(self._sink, self.name)

    async def _open_and_deliver(self, opened: Callable[[], None]) -> None:
        try:
            await self._persist(self._open, self._wait_to_open)
        except FlowClosed:
            return
        opened()
        if self.options.is_batched:
            await self._deliver_gathered()
        else:
            await self._deliver_each()

    async def _wait_to_open(self, seconds: float) -> None:
        """Wait for the next attempt to open.

        Raises:
            FlowClosed: the rule has ended, and there is nothing for the sink.
        """
        closed = self.flow.closed
        if not closed.is_set():
            await happens_within(self._clock, closed, seconds)
        elif not self.flow.is_empty:
            await self._wait(seconds)
        if closed.is_set() and self.flow.is_empty:
            raise FlowClosed

    async def _wait(self, seconds: float) -> None:
        await self._clock.sleep_until(self._clock.now() + int(seconds * 1000))

    async def _open(self) -> None:
        sink = self._sink
        await guarded(sink.open(), f"{self.name}: open()", seconds=sink.open_timeout)

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
            alarm = Alarm(self._clock, lambda when: self.flow.put_anyway(Due(when)))
            timers.start_soon(alarm.run, name=f"{self.name}.linger")
            try:
                await self._gather(gatherer, alarm)
            except FlowClosed:
                rest = gatherer.flush()
                if rest is not None:
                    await self._deliver(rest)
            timers.cancel_scope.cancel()

    async def _gather(self, gatherer: Gatherer, alarm: Alarm) -> None:
        linger = int(self.options.linger_interval * 1000)
        due: int | None = None
        while True:
            item = await self.flow.get()
            if isinstance(item, Due):
                is_due = due is not None and not item.at < due <= item.at + linger
                enough = gatherer.flush() if is_due else None
                if enough is not None:
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

    async def _persist(
        self, work: Callable[[], Awaitable[None]], wait: Callable[[float], Awaitable[None]]
    ) -> None:
        """Do something again, with growing delays, for as long as it finds nobody at the end."""
        backoff = Backoff()
        is_lost = False
        while True:
            try:
                await work()
            except NotConnected as error:
                is_lost = True
                self._use.ctx.report_connection(False, error.message)
                await wait(backoff.next())
                continue
            finally:
                self.metrics.last_invocation = self._clock.now()
            if is_lost:
                self._use.ctx.report_connection(True)
            return

    # -- delivery ------------------------------------------------------------------------------

    async def _deliver(self, outgoing: Outgoing) -> None:
        """Make messages of results and hand them to the sink; then nothing more is owed."""
        ticket = outgoing.ticket
        messages = self._prepare(outgoing)
        if messages.places or messages.batch.sizes:  # an empty window is an emission, too
            await self._collect(messages, ticket)
        self.metrics.processed += len(outgoing)
        ticket.confirm()

    def _prepare(self, outgoing: Outgoing) -> Messages:
        """Return the messages for the sink; what can't be made into one is lost, counted."""
        return self._composer.compose(outgoing)

    async def _collect(self, messages: Messages, ticket: Claim) -> None:
        size = len(messages.places)
        started = perf_counter_ns()
        try:
            await self._persist(lambda: self._sink.collect(messages.batch), self._wait)
        except Rejected as error:
            lost = range(size) if error.indexes is None else error.indexes
            self._lose(ticket, "rejected", error, messages.rows_of(lost))
            self.metrics.records_out += size - len(lost)
        except Exception as error:
            logger.warning("%s: %s: %s", self.name, type(error).__name__, error)
            self._lose(ticket, "sink error", error, messages.rows_of(range(size)))
        else:
            self.metrics.records_out += size
        self.metrics.took(perf_counter_ns() - started)

    def _lose(self, ticket: Claim, reason: str, error: Exception, places: Sequence[int]) -> None:
        message = error.message if isinstance(error, EngineError) else str(error)
        self.metrics.failed(message, len(places), self._clock.now())
        ticket.lose(self.name, reason, message, places)


async def close_quietly(plugin: Any, name: str) -> None:
    """Close a plugin; what goes wrong is logged, for nothing depends on it any more."""
    try:
        await guarded(plugin.close(), f"{name}: close()", seconds=_CLOSING)
    except Exception as error:
        logger.warning("%s: close failed: %s: %s", name, type(error).__name__, error)


def _never(_: Outgoing | Due) -> None:
    raise AssertionError("a blocking queue drops nothing")
