"""One rule at work: its sources, its queue, its query and its sinks, supervised together."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import anyio
from anyio.abc import TaskGroup

from engine.backoff import Backoff
from engine.clock import Clock
from engine.config.rule import RuleDef
from engine.errors import EngineError
from engine.run.flow import Flow, FlowClosed, Overflow
from engine.run.metrics import RuleMetrics
from engine.run.sink import Outgoing, SinkRunner
from engine.run.source import Arrival, StreamReader
from engine.run.status import RuleState, RuleStatus
from engine.run.ticket import Ticket
from engine.sql.query import Query, Result

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class RuleParts:
    """What one run of a rule consists of, made new for each start."""

    query: Query
    source: StreamReader
    sinks: list[SinkRunner]


class ResultLimit:
    """How many results some rules may give together; ``reached`` is set after the last."""

    def __init__(self, results: int) -> None:
        self._left = results
        self.reached = anyio.Event()

    def take(self, wanted: int) -> int:
        """Return how many of ``wanted`` results are still allowed."""
        allowed = min(wanted, self._left)
        self._left -= allowed
        if self._left == 0:
            self.reached.set()
        return allowed


class Rule:
    """A rule and its life; ``build`` makes its parts for each start."""

    def __init__(
        self,
        definition: RuleDef,
        clock: Clock,
        build: Callable[[Rule], RuleParts],
        limit: ResultLimit | None = None,
    ) -> None:
        self.definition = definition
        self.metrics = RuleMetrics()
        self.status = RuleStatus(clock)
        self.parts: RuleParts | None = None
        self.finished = anyio.Event()
        self._clock = clock
        self._build = build
        self._limit = limit
        self._stopping: anyio.Event | None = None
        self._scope: anyio.CancelScope | None = None
        self._reading: anyio.CancelScope | None = None
        self._unopened = 0
        self._flow: Flow[Arrival] = self._new_flow()

    @property
    def id(self) -> str:
        return self.definition.id

    # -- starting and stopping -----------------------------------------------------------------

    def prepare(self) -> None:
        """Plan the rule and make its parts.

        Raises:
            EngineError: the rule can't run as it is defined.
        """
        self.parts = self._build(self)
        self._give_up_pending("stopped before")
        self.status.become(RuleState.STARTING)
        self.finished = anyio.Event()
        self._stopping = anyio.Event()

    async def run(self) -> None:
        """Run until the sources end, ``stop`` is called or something fails for good."""
        strategy = self.definition.options.restart_strategy
        backoff = Backoff(
            strategy.delay,
            strategy.max_delay,
            multiplier=strategy.multiplier,
            jitter=strategy.jitter_factor,
        )
        attempts = strategy.attempts
        try:
            while True:
                error = await self._run_once()
                if error is None or self._is_stopping:
                    break
                message = _text_of(error)
                self.metrics.last_error = message
                if attempts == 0:
                    logger.error("rule=%s failed: %s", self.id, message)
                    self.status.become(RuleState.FAILED, message)
                    return
                attempts -= 1
                self._give_up_pending("restart")
                delay = backoff.next()
                logger.warning("rule=%s restarts in %.1f s: %s", self.id, delay, message)
                self.status.become(RuleState.BACKING_OFF, message)
                if await self._stopped_within(delay):
                    break
                try:
                    self.parts = self._build(self)
                except EngineError as failure:
                    self.status.become(RuleState.FAILED, str(failure))
                    return
                self.status.become(RuleState.STARTING)
            self.status.become(RuleState.STOPPED, "" if self._is_stopping else "done")
        finally:
            if not self.status.state.is_final:
                self.status.become(RuleState.STOPPED)
            self.finished.set()

    async def stop(self, drain: float) -> None:
        """Stop reading, let what is inside reach the sinks for up to ``drain`` seconds, end."""
        if self._stopping is None or self.finished.is_set():
            return
        if not self.status.state.is_final:
            self.status.become(RuleState.STOPPING)
        self._stopping.set()
        if self._reading is not None:
            self._reading.cancel()
        with anyio.move_on_after(drain):
            await self.finished.wait()
        if not self.finished.is_set() and self._scope is not None:
            self._scope.cancel()
            await self.finished.wait()

    @property
    def _is_stopping(self) -> bool:
        return self._stopping is not None and self._stopping.is_set()

    async def _stopped_within(self, seconds: float) -> bool:
        assert self._stopping is not None
        with anyio.move_on_after(seconds):
            await self._stopping.wait()
        return self._is_stopping

    # -- one run -------------------------------------------------------------------------------

    async def _run_once(self) -> BaseException | None:
        """Run all parts; return what ended the rule, None for a regular end."""
        assert self.parts is not None
        self._flow = self._new_flow()
        try:
            with anyio.CancelScope() as self._scope:
                async with anyio.create_task_group() as tasks:
                    await self._run_parts(tasks, self.parts)
        except Exception as error:
            return error
        return None

    async def _run_parts(self, tasks: TaskGroup, parts: RuleParts) -> None:
        self._unopened = len(parts.sinks) + 1
        for sink in parts.sinks:
            tasks.start_soon(sink.run, self._opened, name=f"rule[{self.id}].{sink.name}")
        tasks.start_soon(self._compute, parts, name=f"rule[{self.id}].query")
        await self._read(parts)

    def _opened(self) -> None:
        """One of the parts is open."""
        self._unopened -= 1
        if self._unopened == 0:
            self.status.opened()

    async def _read(self, parts: RuleParts) -> None:
        """Keep the source going; when it ends or is stopped, let the rule run dry."""
        try:
            with anyio.CancelScope() as self._reading:
                if self._is_stopping:
                    return
                parts.source.attach(self)
                try:
                    await parts.source.run(self._opened, self._flow.closed)
                finally:
                    parts.source.detach(self)
        finally:
            self._flow.close()

    async def _compute(self, parts: RuleParts) -> None:
        """Take batches from the queue, run the query, hand the results to every sink."""
        try:
            while True:
                arrival = await self._flow.get()
                await self._process(parts, arrival)
        except FlowClosed:
            return
        finally:
            for sink in parts.sinks:
                sink.flow.close()

    async def _process(self, parts: RuleParts, arrival: Arrival) -> None:
        metrics = self.metrics
        metrics.queued -= len(arrival)
        result = parts.query(arrival.frame)
        self._count(result, arrival)
        if self.definition.options.send_error and arrival.failures:
            result.rows = [
                *(result.rows or []),
                *({"error": error.message} for _, error in arrival.failures),
            ]
        if self._limit is not None:
            self._cut(result, self._limit)
        if not len(result) and not result.sizes:
            arrival.receipt.done()
            return
        counted = len(result)
        if self.definition.options.send_error:
            counted -= len(result.errors) + len(arrival.failures)
        sinks = parts.sinks
        ticket = Ticket(counted, len(sinks), metrics, arrival.receipt, self._note_error)
        for sink in sinks:
            await sink.flow.put(Outgoing(result.rows, result.payloads, ticket, result.sizes))

    def _cut(self, result: Result, limit: ResultLimit) -> None:
        size = len(result)
        allowed = limit.take(size)
        if allowed < size:
            result.rows = None if result.rows is None else result.rows[:allowed]
            result.payloads = None if result.payloads is None else result.payloads[:allowed]
            self.metrics.drop("query", "limit", size - allowed)

    def _count(self, result: Result, arrival: Arrival) -> None:
        metrics = self.metrics
        failed = len(result.errors)
        for error in result.errors:
            metrics.error("query", error.message.partition(":")[0])
        for _, failure in arrival.failures:
            metrics.error("decode", failure.message.partition(":")[0])
        passed = len(result) - (failed if self.definition.options.send_error else 0)
        metrics.surplus += result.surplus
        metrics.windowed += result.absorbed
        taken = len(arrival.frame) + result.surplus - result.absorbed
        metrics.filtered += taken - passed - failed
        if failed:
            self._note_error("query", result.errors[-1].message)
        if arrival.failures:
            self._note_error("decode", arrival.failures[-1][1].message)

    def _note_error(self, place: str, message: str) -> None:
        self.metrics.last_error = f"{place}: {message}"
        logger.debug("rule=%s op=%s %s", self.id, place, message)

    # -- the queue -----------------------------------------------------------------------------

    async def receive(self, arrival: Arrival) -> None:
        """Queue a batch from a source."""
        if not len(arrival):
            arrival.receipt.done()
            return
        metrics = self.metrics
        metrics.received += len(arrival)
        metrics.queued += len(arrival)
        metrics.last_message = arrival.frame.received_at
        try:
            await self._flow.put(arrival)
        except anyio.get_cancelled_exc_class():
            self._flow.put_anyway(arrival)
            raise

    def ended(self, error: Exception | None = None) -> None:
        """The source has nothing more, or failed for good."""
        self._flow.close(error)

    def _new_flow(self) -> Flow[Arrival]:
        options = self.definition.options
        overflow = Overflow(options.overflow)
        if options.disable_buffer_full_discard is False and overflow is Overflow.BLOCK:
            overflow = Overflow.DROP_OLDEST
        return Flow(options.buffer_length, overflow, self._dropped)

    def _dropped(self, arrival: Arrival) -> None:
        self.metrics.queued -= len(arrival)
        self.metrics.drop("queue", "full", len(arrival))
        arrival.receipt.done()

    def _give_up_pending(self, reason: str) -> None:
        """Count the rows that an ended run left behind as dropped."""
        metrics = self.metrics
        metrics.drop("rule", reason, metrics.pending)
        metrics.queued = metrics.unconfirmed = 0


def _text_of(error: BaseException) -> str:
    """Return the message of an error, the first of a group."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, EngineError):
        return str(error)
    return f"{type(error).__name__}: {error}"
