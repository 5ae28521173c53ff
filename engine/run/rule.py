"""One rule at work: its sources, its queue, its query and its sinks, supervised together."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from time import perf_counter_ns
from typing import Any

import anyio
from anyio.abc import TaskGroup

from engine.blame import message_of
from engine.clock import SET_BACK, Clock
from engine.config.rule import RuleDef
from engine.errors import EngineError
from engine.guard import guarded
from engine.run.alarm import Alarm
from engine.run.checkpoints import Snapshot
from engine.run.flow import Flow, FlowClosed, Lane
from engine.run.inlet import Inlet
from engine.run.metrics import RuleMetrics
from engine.run.parts import RuleInput, RuleParts
from engine.run.receipt import Receipt
from engine.run.restarts import Restarts
from engine.run.sink import Outgoing
from engine.run.source import Arrival
from engine.run.status import RuleState, RuleStatus
from engine.run.ticket import Ticket
from engine.run.traced import follow
from engine.run.waiting import Flag, happens_within
from engine.run.watchdog import Watchdog
from engine.sql.query import Result

logger = logging.getLogger(__name__)

_DRAIN = 10.0
"""Seconds that rows have to reach the sinks after their source has failed."""


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has reached ``at`` (epoch milliseconds)."""

    at: int

    def __len__(self) -> int:
        return 0


@dataclass(frozen=True, slots=True)
class _SourceFailure:
    """Why a source ended a run, and when (epoch milliseconds)."""

    error: Exception
    at: int


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
        self.finished = Flag()
        self.trace = definition.options.tracing
        """Which rows are traced in this run and the next; see ``engine.run.tracing``."""
        self.taps: list[Callable[[Result], None]] = []
        """Called with all results, for those who watch; they must be quick and change nothing."""
        self._clock = clock
        self._build = build
        self._limit = limit
        self._stopping: Flag | None = None
        self._scope: anyio.CancelScope | None = None
        self._reading: anyio.CancelScope | None = None
        self._unopened = 0
        self._opened_at: int | None = None
        self._open_streams: set[str] = set()
        self._positions: dict[str, Mapping[str, Any]] = {}
        self._latest = 0
        """The time of the clock when something was last taken from the queue."""
        self._was_set_back = False
        self._flow: Flow[Arrival | Tick] = Flow(self._dropped)
        self._alarm: Alarm | None = None
        self._watchdog: Watchdog | None = None
        self._failure: _SourceFailure | None = None
        self._inlets: list[Inlet] = []

    @property
    def id(self) -> str:
        return self.definition.id

    @property
    def counts(self) -> dict[str, int]:
        """What the query noticed in this run beside results; see ``Pipeline.counts``."""
        return {} if self.parts is None else self.parts.pipeline.counts()

    # -- starting and stopping -----------------------------------------------------------------

    def prepare(self) -> None:
        """Plan the rule and make its parts.

        Raises:
            EngineError: the rule can't run as it is defined.
        """
        self.parts = self._build(self)
        self.metrics.give_up("stopped before")
        self.status.starting()
        self.finished = Flag()
        self._stopping = Flag()

    async def run(self) -> None:
        """Run until the sources end, ``stop`` is called or something fails for good."""
        restarts = Restarts(self.definition.options.restart_strategy)
        try:
            error = await self._run_once()
            while error is not None:
                message = message_of(error)
                self.metrics.failed(message, self._clock.now())
                if self._is_stopping:
                    logger.error("rule=%s failed while it was stopping: %s", self.id, message)
                    break
                delay = restarts.delay_after(self._healthy_for())
                if delay is None:
                    logger.error("rule=%s failed: %s", self.id, message)
                    self.status.become(RuleState.FAILED, message)
                    return
                self.metrics.give_up("restart")
                logger.warning("rule=%s restarts in %.1f s: %s", self.id, delay, message)
                self.status.become(RuleState.BACKING_OFF, message)
                if await happens_within(self._clock, self._stopping_event(), delay):
                    break
                error = self._rebuild() or await self._run_once()
            self.status.become(RuleState.STOPPED, "" if self._is_stopping else "done")
        finally:
            if not self.status.state.is_final:
                self.status.become(RuleState.STOPPED)
            self.finished.set()

    def _rebuild(self) -> EngineError | None:
        """Make the parts for a restart; return why that can't be done now."""
        self._opened_at = None
        try:
            self.parts = self._build(self)
        except EngineError as error:
            return error
        self.status.starting()
        return None

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

    def _stopping_event(self) -> Flag:
        assert self._stopping is not None
        return self._stopping

    def _healthy_for(self) -> float:
        """Return for how many seconds the run that just ended had all its parts open."""
        if self._opened_at is None:
            return 0
        ended = self._clock.now() if self._failure is None else self._failure.at
        return (ended - self._opened_at) / 1000

    # -- one run -------------------------------------------------------------------------------

    async def _run_once(self) -> BaseException | None:
        """Run all parts; return what ended the rule, None for a regular end."""
        assert self.parts is not None
        self._failure = None
        self._flow = Flow(self._dropped)
        self._positions = self.parts.positions.copy()
        self._latest, self._was_set_back = max(self._clock.now(), self.parts.saved_at), False
        self._inlets = []
        for joined in self.parts.tables:
            joined.reports.attach(self.status.connection)
        try:
            with anyio.CancelScope() as self._scope:
                async with anyio.create_task_group() as tasks:
                    await self._run_parts(tasks, self.parts)
                    if self._failure is not None:
                        self._limit_drain(self._scope)
        except Exception as error:
            return error
        finally:
            for joined in self.parts.tables:
                joined.reports.detach(self.status.connection)
            for inlet in self._inlets:
                inlet.end()
            # not before: what the sinks have confirmed is acknowledged through the sources
            for source in self.parts.inputs:
                await source.reader.close()
        return None if self._failure is None else self._failure.error

    def _limit_drain(self, scope: anyio.CancelScope) -> None:
        """Let what a source gave before it failed reach the sinks, for a limited time."""
        is_dry = not (self.metrics.queued or self.metrics.unconfirmed)
        scope.deadline = anyio.current_time() + (0 if is_dry else _DRAIN)

    async def _run_parts(self, tasks: TaskGroup, parts: RuleParts) -> None:
        self._unopened = len(parts.sinks) + len(parts.inputs)
        self._opened_at = None
        self._open_streams = {source.label for source in parts.inputs if not source.is_table}
        for sink in parts.sinks:
            tasks.start_soon(sink.run, self._opened, name=f"rule[{self.id}].{sink.name}")
        if parts.letters is not None:
            name = f"rule[{self.id}].{parts.letters.sink.name}"
            tasks.start_soon(parts.letters.run, name=name)
        self._alarm = Alarm(self._clock, self._ring, tasks, f"rule[{self.id}].alarm")
        self._watchdog = self._new_watchdog()
        if self._watchdog is not None:
            tasks.start_soon(self._watchdog.run, name=f"rule[{self.id}].watchdog")
        tasks.start_soon(self._query, parts, tasks, name=f"rule[{self.id}].query")
        await self._read(parts)

    def _opened(self) -> None:
        """One of the parts is open."""
        self._unopened -= 1
        if self._unopened == 0:
            self._opened_at = self._clock.now()
            self.status.opened()

    async def _read(self, parts: RuleParts) -> None:
        """Keep the sources going; when they end or are stopped, let the rule run dry."""
        try:
            with anyio.CancelScope() as self._reading:
                if self._is_stopping:
                    return
                if len(parts.inputs) == 1:  # most have one, and a task takes memory
                    await self._read_one(parts.inputs[0])
                    return
                async with anyio.create_task_group() as tasks:
                    for source in parts.inputs:
                        name = f"rule[{self.id}].{source.reader.name}"
                        tasks.start_soon(self._read_one, source, name=name)
        finally:
            self._flow.close()

    async def _read_one(self, source: RuleInput) -> None:
        inlet = Inlet(self, source, self.definition.options, self.status.connection)
        self._inlets.append(inlet)
        source.reader.attach(inlet)
        try:
            await source.reader.run(self._opened, self._flow.closed)
        except Exception as error:
            self._fail(error)
            return
        finally:
            source.reader.detach(inlet)
            inlet.leave()
        if not source.is_table:
            self._stream_ended(source)

    def _fail(self, error: Exception) -> None:
        """End the run for a source that failed; what has come before is dealt with first."""
        if self._failure is None:
            self._failure = _SourceFailure(error, self._clock.now())
        if self._reading is not None:
            self._reading.cancel()

    def _stream_ended(self, source: RuleInput) -> None:
        self._open_streams.discard(source.label)
        if not self._open_streams and self._reading is not None:
            self._reading.cancel()  # tables have nobody left to read them

    async def _query(self, parts: RuleParts, tasks: TaskGroup) -> None:
        await guarded(self._compute(parts, tasks), f"rule[{self.id}].query")

    async def _compute(self, parts: RuleParts, tasks: TaskGroup) -> None:
        """Take batches from the queue, run the query, hand the results to every sink."""
        checkpoints = parts.checkpoints
        if checkpoints is not None:
            checkpoints.on_completed = partial(self._set_alarm, parts)
        self._set_alarm(parts)
        try:
            while True:
                item = await self._flow.get()
                await self._look_at_clock(parts)
                if isinstance(item, Tick):
                    result = await parts.pipeline.tick(min(item.at, self._latest))
                    self._write_letters(parts, result)
                    await self._deliver(parts, self._counted(result), None)
                else:
                    await self._process(parts, item)
                if parts.relief is not None:
                    parts.relief.look(has_come=not isinstance(item, Tick))
                if checkpoints is not None:
                    due = checkpoints.next_due()
                    if due is not None and due <= self._clock.now():
                        parts.start = checkpoints.take(self._snapshot(parts), tasks)
                self._set_alarm(parts)
        except FlowClosed:
            if checkpoints is not None:
                if parts.relief is not None:
                    parts.relief.flush()
                await checkpoints.completed()
                checkpoints.take(self._snapshot(parts), tasks)
                await checkpoints.completed()
        finally:
            self._end_timers()
            for sink in parts.sinks:
                sink.flow.close()
            if parts.letters is not None:
                parts.letters.done()

    async def _look_at_clock(self, parts: RuleParts) -> None:
        """When the clock was set back let windows begin anew: their ends may be hours away."""
        now, before = self._clock.now(), self._latest
        self._latest = now
        if now < before - SET_BACK:
            self._was_set_back = True
            logger.warning(
                "rule=%s the clock was set back by %.1f s, so that open windows end now",
                self.id,
                (before - now) / 1000,
            )
            result = await parts.pipeline.set_back(before, now)
            self._write_letters(parts, result)
            await self._deliver(parts, self._counted(result), None)

    def _end_timers(self) -> None:
        for timer in (self._alarm, self._watchdog):
            if timer is not None:
                timer.end()

    def _set_alarm(self, parts: RuleParts) -> None:
        """Be woken when the pipeline or the next checkpoint is due."""
        assert self._alarm is not None
        times = [parts.pipeline.next_deadline()]
        if parts.checkpoints is not None:
            times.append(parts.checkpoints.next_due())
        if parts.relief is not None:
            times.append(parts.relief.due)
        self._alarm.set(min((time for time in times if time is not None), default=None))

    def _snapshot(self, parts: RuleParts) -> Snapshot:
        """Return all that the rule remembers now, and how far its sources have been read."""
        assert parts.plugins is not None
        return Snapshot(
            parts.plugins.snapshot(),
            parts.pipeline.snapshot(),
            dict(self._positions),
            self._clock.now(),
        )

    async def _process(self, parts: RuleParts, arrival: Arrival) -> None:
        if not len(arrival):
            await self._deliver(parts, Result(None, []), arrival)
            return
        frame = arrival.frame
        started = perf_counter_ns()
        now = frame.received_at
        if self._was_set_back:  # it may have arrived by the time of before
            now = min(now, self._latest)
        result = await parts.pipeline.push(arrival.stream, frame, now)
        parts.metrics.took(perf_counter_ns() - started)
        self.metrics.queued -= len(arrival)
        self._counted(result, arrival)
        self._write_letters(parts, result, arrival)
        if self.definition.options.send_error and arrival.failures:
            failures = [{"error": error.message} for _, error in arrival.failures]
            result.rows = [*(result.rows or []), *failures]
            if result.sizes is not None:
                result.sizes = [*result.sizes, *[1] * len(failures)]
        await self._deliver(parts, result, arrival)

    def _write_letters(
        self, parts: RuleParts, result: Result, arrival: Arrival | None = None
    ) -> None:
        """Hand what gave no result to the dead letters, if the rule has any."""
        letters = parts.letters
        if letters is None:
            return
        if arrival is not None and arrival.failures:
            letters.undecodable(arrival)
        if result.errors:
            letters.failed(result.errors)
        if result.late and self.definition.options.late == "deadLetter":
            letters.late(result.late)

    async def _deliver(self, parts: RuleParts, result: Result, arrival: Arrival | None) -> None:
        """Hand results to every sink; ``arrival`` is what they came of, if it was rows."""
        counted = len(result)
        if self.definition.options.send_error:  # the errors among the results have their account
            counted -= len(result.errors) + (0 if arrival is None else len(arrival.failures))
        if self._limit is not None:
            counted = self._cut(result, self._limit, counted)
        has_results = bool(len(result) or result.sizes)
        receipt = self._receipt_of(parts, arrival, has_results=has_results)
        if not has_results:
            receipt.done()
            return
        ticket = Ticket(counted, len(parts.sinks), self.metrics, receipt, self._note_error)
        for tap in self.taps:
            tap(result)
        for sink in parts.sinks:
            outgoing = Outgoing(result.rows, result.payloads, ticket, result.sizes, parts.start)
            if result.traces is not None:
                follow(outgoing, result.traces, sink.name)
            await sink.put(outgoing)

    def _receipt_of(
        self, parts: RuleParts, arrival: Arrival | None, *, has_results: bool
    ) -> Receipt:
        """Return what the sinks confirm when they have the results of a batch."""
        own = Receipt(None, 1) if arrival is None else arrival.receipt
        checkpoints = parts.checkpoints
        if checkpoints is None:
            return own
        if arrival is not None and arrival.position is not None:
            self._positions[arrival.stream] = arrival.position
        if parts.covers:
            if arrival is not None:
                checkpoints.cover(arrival)
            return checkpoints.result() if has_results else Receipt(None, 1)
        if not has_results:
            return own
        confirmed = checkpoints.result()

        def both() -> None:
            own.done()
            confirmed.done()

        return Receipt(both, 1)

    def _cut(self, result: Result, limit: ResultLimit, counted: int) -> int:
        """Keep the results that the limit allows; returns how many of ``counted`` are left."""
        allowed = limit.take(len(result))
        result.rows = None if result.rows is None else result.rows[:allowed]
        result.payloads = None if result.payloads is None else result.payloads[:allowed]
        kept = min(counted, allowed)
        self.metrics.drop("query", "limit", counted - kept)
        return kept

    def _counted(self, result: Result, arrival: Arrival | None = None) -> Result:
        """Enter a result, and the failures of the rows it came of, into the account."""
        metrics = self.metrics
        failed = len(result.errors)
        self._count_query(result, arrival, failed)
        for error in result.errors:
            metrics.error("query", error.reason)
        if failed:
            self._note_error("query", result.errors[-1].message)
        rows = 0
        if arrival is not None:
            rows = len(arrival.frame)
            for _, failure in arrival.failures:
                metrics.error("decode", failure.reason)
                self._note_error("decode", failure.message)
        passed = len(result) - (failed if self.definition.options.send_error else 0)
        metrics.surplus += result.surplus
        metrics.windowed += result.absorbed
        for reason, count in result.dropped.items():
            metrics.drop("query", reason, count)
            rows -= count
        metrics.filtered += rows + result.surplus - result.absorbed - passed - failed
        return result

    def _count_query(self, result: Result, arrival: Arrival | None, failed: int) -> None:
        """Enter a result into the counts of the query itself."""
        assert self.parts is not None
        query = self.parts.metrics
        query.records_out += len(result)
        query.last_invocation = self._clock.now()
        if arrival is not None:
            query.records_in += len(arrival.frame)
            query.processed += len(arrival.frame)
        if failed:
            query.failed(result.errors[-1].message, failed, query.last_invocation)

    def checkpoint_failed(self, message: str) -> None:
        """Note why a checkpoint could not be saved; the rule goes on without it."""
        self._note_error("checkpoint", message)

    def _ring(self, when: int) -> None:
        self._flow.put_anyway(Tick(when))

    def _note_error(self, place: str, message: str) -> None:
        self.metrics.failed(f"{place}: {message}", self._clock.now())
        logger.debug("rule=%s op=%s %s", self.id, place, message)

    # -- the queue -----------------------------------------------------------------------------

    async def receive(self, arrival: Arrival, lane: Lane) -> None:
        """Queue a batch from a source.

        Even one of only messages that are known queues: it is done with after those before it.
        """
        if not len(arrival) and not arrival.identities:
            arrival.receipt.done()
            return
        metrics = self.metrics
        metrics.received += len(arrival)
        metrics.queued += len(arrival)
        if len(arrival):
            metrics.last_message = arrival.frame.received_at
        if self._watchdog is not None:
            self._watchdog.feed()
        await self._flow.put(arrival, lane)

    def release(self, lane: Lane) -> None:
        """Let a source in that waits for room in the queue."""
        self._flow.release(lane)

    def given_up(self, stream: str) -> Callable[[], None]:
        """Return what counts the rows that this run leaves for good; later ones are no matter."""
        finished = self.finished

        def count() -> None:
            if self.finished is finished and finished.is_set() and self.metrics.pending:
                logger.warning(
                    "rule=%s has ended before it was done with %s rows; other rules read on from "
                    "stream %s, so that they are lost to it",
                    self.id,
                    self.metrics.pending,
                    stream,
                )
                self.metrics.give_up("ended before")

        return count

    def ended(self, source: RuleInput, error: Exception | None = None) -> None:
        """A source has nothing more, or failed for good."""
        if error is not None:
            self._fail(error)
        elif not source.is_table:
            self._stream_ended(source)

    @property
    def waiting(self) -> int:
        """Rows that wait for the query."""
        return self._flow.rows

    def _new_watchdog(self) -> Watchdog | None:
        every = self.definition.options.expect_every
        if not every:
            return None
        return Watchdog(every, self._clock, self.status, lambda: self.metrics.last_message)

    def _dropped(self, arrival: Arrival | Tick) -> None:
        assert isinstance(arrival, Arrival)  # time has no lane, and is never dropped
        self.metrics.queued -= len(arrival)
        self.metrics.drop("queue", "full", len(arrival))
        if self.parts is not None:
            self.parts.metrics.failed("buffer full, rows dropped", len(arrival), self._clock.now())
        arrival.receipt.done()
