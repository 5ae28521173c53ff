"""The life of one rule: defined once, started and stopped many times, replaced in place."""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import TaskGroup

from engine.api import Sink
from engine.clock import Clock
from engine.config.rule import RuleDef
from engine.errors import ConfigError, EngineError
from engine.run.build import Builder
from engine.run.chains import Chains
from engine.run.logs import RuleLogs, check_log_file
from engine.run.parts import RuleParts
from engine.run.patrol import Patrol
from engine.run.rule import ResultLimit, Rule
from engine.run.schedule import run_length, schedule_of
from engine.run.signals import Signals
from engine.run.status import RuleState
from engine.run.waiting import Flag

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Home:
    """What all rules of an engine have in common."""

    clock: Clock
    zone: tzinfo
    tasks: TaskGroup
    builder: Builder
    logs: RuleLogs
    drain: float
    """Seconds that a stopping rule has to deliver what it holds."""
    checkpoints: Path
    """The file with the checkpoints of all rules, if there are any."""
    chains: Chains
    held: Callable[[Iterable[str]], AbstractContextManager[None]]
    """Lets those wait who publish to some topics inside the engine."""
    trial: Callable[[RuleDef], RuleParts]
    """Makes all parts of a rule, to raise what is wrong with its definition."""


class RuleLife:
    """One rule from its creation to its deletion.

    Whatever is asked of it is done in the order in which it was asked, one after the other; what is
    asked twice in a row is done once. ``rule`` is the rule as it is defined now: another object
    after an update, the same one over stops and starts.
    """

    def __init__(
        self,
        definition: RuleDef,
        home: Home,
        limit: ResultLimit | None = None,
        extra_sinks: tuple[Sink[Any], ...] = (),
    ) -> None:
        """Raises ``ConfigError`` if an option of its life is wrong; the rest is not looked at."""
        self.home = home
        self._patience = math.inf
        """The shortest time, in seconds, that anybody gives a stop which isn't done yet."""
        self._limit = limit
        self._extra_sinks = extra_sinks
        self._signals = Signals(home.tasks, f"rule[{definition.id}].life")
        self._patrol: Patrol | None = None
        self._idle = Flag(is_set=True)
        """Set while no run is going on."""
        self._over = Flag(is_set=True)
        """Set while the rule neither runs nor waits for its schedule."""
        self._is_deleted = False
        self.is_held = False
        """Whether it was stopped by hand."""
        self.last_start = 0
        """Epoch milliseconds, 0: never; likewise the other ones."""
        self.last_stop = 0
        self.check(definition)
        self.rule = self.make(definition)

    @property
    def definition(self) -> RuleDef:
        return self.rule.definition

    @property
    def is_active(self) -> bool:
        """Whether it runs or waits for its schedule."""
        return not self._over.is_set()

    @property
    def is_busy(self) -> bool:
        """Whether something that was asked of it isn't done yet."""
        return self._signals.is_busy

    @property
    def next_start(self) -> int:
        """When its schedule starts it next, 0 if it doesn't."""
        return 0 if self._patrol is None else self._patrol.next_start() or 0

    async def quiet(self) -> None:
        """Return when nothing of it goes on, or will by itself."""
        await self._signals.done()
        await self._over.wait()

    # -- what may be asked ---------------------------------------------------------------------

    async def start(self) -> None:
        """Start the rule, or let it wait for its schedule; one that runs is left alone.

        Raises:
            EngineError: it can't be built; it stays as it was.
        """

        async def start() -> None:
            self.is_held = False
            self.start_now()

        await self.ask("start", start)

    async def stop(self, drain: float | None = None) -> None:
        """Stop the rule until somebody starts it: its schedule doesn't.

        ``drain`` are the seconds that it has to deliver what it holds, by default the engine's; it
        shortens the time that a stop is taking already.
        """
        seconds = self.home.drain if drain is None else drain
        self._patience = min(self._patience, seconds)

        async def stop() -> None:
            self.is_held = True
            await self.halt(min(seconds, self._patience))
            self._patience = math.inf

        if self.rule.status.state is RuleState.STOPPING:
            self.home.tasks.start_soon(self.rule.stop, seconds, name=f"rule[{self.rule.id}].stop")
        await self.ask("stop", stop)

    async def restart(self) -> None:
        """Stop the rule after it has drained and start it.

        Raises:
            EngineError: it can't be built any more; it stays stopped.
        """

        async def restart() -> None:
            self.is_held = False
            topics = self._topics()
            with self.home.held(topics):
                await self.halt()
                self.start_now()
                if topics:
                    await self.rule.status.begun()

        await self.ask("restart", restart)

    async def delete(self, forget: Callable[[], None]) -> None:
        """Stop the rule for good; then call ``forget``."""

        async def delete() -> None:
            await self.halt()
            forget()

        await self.ask("delete", delete)

    def bury(self) -> None:
        """Nothing may be asked of the rule any more."""
        self._is_deleted = True

    async def ask(
        self, kind: str, work: Callable[[], Awaitable[None]], *, repeats: bool = False
    ) -> None:
        """Have something done when everything asked before is done; return when it is.

        Unless it ``repeats``, it is done together with the last thing asked if that is of its kind.
        """

        async def carry_out() -> None:
            if self._is_deleted:
                raise ConfigError(f"there is no rule {self.definition.id}")
            await work()

        await self._signals.send(kind, carry_out, repeats=repeats).outcome()

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Let nothing that is asked of the rule be done within the block."""
        begun, done = anyio.Event(), anyio.Event()

        async def hold() -> None:
            begun.set()
            await done.wait()

        self._signals.send("hold", hold, repeats=True)
        try:
            await begun.wait()
            yield
        finally:
            done.set()

    # -- what is done in answer; only one of these at a time -----------------------------------

    def check(self, definition: RuleDef) -> None:
        """Look at the options that say how a rule lives.

        Raises:
            ConfigError: one of them is wrong.
        """
        check_log_file(definition)
        schedule_of(definition, self.home.zone, self.home.clock.now())

    def is_due(self, definition: RuleDef) -> bool:
        """Tell whether a rule so defined would run now, rather than wait for its schedule."""
        now = self.home.clock.now()
        schedule = schedule_of(definition, self.home.zone, now)
        return schedule is None or schedule.current(now) is not None

    def make(self, definition: RuleDef) -> Rule:
        """Return a rule for ``adopt``."""
        return Rule(definition, self.home.clock, self._build, self._limit)

    def _build(self, rule: Rule) -> RuleParts:
        parts = self.home.builder.build(rule, self._extra_sinks)
        self.home.chains.enter(rule, parts)
        return parts

    def held_topics(self) -> AbstractContextManager[None]:
        """Let those wait who publish what the rule reads, while another run takes its place."""
        return self.home.held(self._topics())

    def _topics(self) -> list[str]:
        """Return the topics inside the engine that the rule reads now."""
        parts = self.rule.parts
        inputs = [] if parts is None or not self.is_active else parts.inputs
        streams = [source.reader for source in inputs if not source.is_table]
        return [topic for reader in streams for topic in reader.topics]

    def adopt(self, rule: Rule) -> None:
        """Put another rule in the place of the one that is stopped."""
        self.rule = rule

    def start_now(self) -> None:
        """Start the rule unless it is active; one that failed doesn't wait for its schedule.

        Raises:
            EngineError: it can't be built; it stays as it was.
        """
        if self.is_active:
            if not self.rule.status.state.is_failure:
                return
            self._end_schedule()
        self.prepare()
        self.begin()

    def prepare(self) -> None:
        """Make everything that ``begin`` needs.

        Raises:
            EngineError: the definition can't work.
        """
        schedule = schedule_of(self.definition, self.home.zone, self.home.clock.now())
        patrol = None
        if schedule is not None:
            patrol = Patrol(schedule, self.home.clock, self._scheduled_start, self._scheduled_stop)
        if patrol is None or patrol.enter():
            self.rule.prepare()
        else:
            self.home.trial(self.definition)
        self._patrol = patrol

    def begin(self) -> None:
        """Start what ``prepare`` has made, or let it wait for its schedule."""
        self._over.clear()
        if self.rule.status.state is RuleState.STARTING:
            self._launch()
        else:
            self.rule.status.become(RuleState.WAITING)
        if self._patrol is not None:
            name = f"rule[{self.rule.id}].schedule"
            self.home.tasks.start_soon(self._follow, self._patrol, name=name)

    async def halt(self, drain: float | None = None) -> None:
        """Stop the rule and its schedule; it has ``drain`` seconds, by default the engine's."""
        self._end_schedule()
        await self._drain(self.home.drain if drain is None else drain)
        if self.rule.status.state is RuleState.WAITING:
            self.rule.status.become(RuleState.STOPPED)
        self._over.set()

    # -- a run ---------------------------------------------------------------------------------

    def _launch(self) -> None:
        self.last_start = self.home.clock.now()
        self._idle.clear()
        self.home.tasks.start_soon(self._run, name=f"rule[{self.rule.id}]")

    async def _run(self) -> None:
        rule = self.rule
        length = run_length(rule.definition)
        try:
            with self.home.logs.of(rule.definition):
                if length is None:
                    await rule.run()
                else:
                    await self._run_for(rule, length)
        finally:
            self.last_stop = self.home.clock.now()
            self._idle.set()
            self._settle()

    async def _run_for(self, rule: Rule, length: int) -> None:
        async with anyio.create_task_group() as timers:
            timers.start_soon(self._end_after, length)
            await rule.run()
            timers.cancel_scope.cancel()

    async def _end_after(self, length: int) -> None:
        await self.home.clock.sleep_until(self.last_start + length)
        self._scheduled_stop("duration terminated")

    async def _drain(self, seconds: float) -> None:
        if not self._idle.is_set():
            await self.rule.stop(seconds)
            await self._idle.wait()

    def _settle(self) -> None:
        """No run is going on: the rule is over, unless its schedule goes on."""
        status = self.rule.status
        if self._patrol is None:
            self._over.set()
        elif not self._patrol.goes_on:
            if not status.state.is_failure:
                reason = status.message or "no scheduled time is left"
                logger.warning("rule=%s runs no more by its schedule: %s", self.rule.id, reason)
                status.become(RuleState.STOPPED, reason)
            self._over.set()
        elif status.state is RuleState.STOPPED:
            status.become(RuleState.WAITING, status.message)

    # -- the schedule --------------------------------------------------------------------------

    def _end_schedule(self) -> None:
        if self._patrol is not None:
            self._patrol.end()
            self._patrol = None

    async def _follow(self, patrol: Patrol) -> None:
        await patrol.run()
        if self._patrol is patrol and self._idle.is_set():
            self._settle()

    def _scheduled_start(self) -> None:
        self._signals.send("scheduled start", self._start_by_schedule)

    async def _start_by_schedule(self) -> None:
        if self._patrol is None or not self._idle.is_set():
            return  # stopped by hand, or running still
        try:
            self.rule.prepare()
        except EngineError as error:
            logger.error("rule=%s can't be started by its schedule: %s", self.rule.id, error)
            self.rule.status.become(RuleState.FAILED, str(error))
            return
        self._launch()

    def _scheduled_stop(self, message: str = "") -> None:
        """A run has lasted long enough; whoever notices doesn't wait for its end."""

        async def stop() -> None:
            if self._idle.is_set():
                return
            await self._drain(self.home.drain)
            status = self.rule.status
            if message and not status.state.is_failure:
                status.become(status.state, message)

        self._signals.send("scheduled stop", stop)
