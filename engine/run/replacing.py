"""Going from one definition of a rule to another one, and back if it can't start."""

from __future__ import annotations

import logging
from collections.abc import Callable

import anyio
import anyio.lowlevel

from engine.config.rule import RuleDef
from engine.errors import EngineError
from engine.run.life import RuleLife
from engine.run.parts import RuleParts
from engine.run.rule import Rule
from engine.run.status import RuleState
from engine.state.scope import RuleState as PluginState

logger = logging.getLogger(__name__)

_PROBATION = 0.02
"""Seconds of real time that it must then have been up."""
_TURNS = 20
"""Passes over the loop that it must have been up, for seconds say little while the loop is busy."""


class Replacement:
    """A rule that gets a definition which has been tried; the steps are taken in this order.

    Nothing else must happen to the rule meanwhile, see ``RuleLife.held``.
    """

    def __init__(self, life: RuleLife, definition: RuleDef, *, starts: bool) -> None:
        """``starts``: with the new definition the rule runs, otherwise it stays stopped."""
        self.life = life
        self.definition = definition
        self._starts = starts
        self._old = life.rule
        self._was_active = False
        self._state: PluginState | None = None

    def check(self, trial: Callable[[RuleDef], RuleParts]) -> RuleParts:
        """Try the definition and return what it would be made of; nothing is touched.

        Raises:
            EngineError: it can't work.
        """
        self.life.check(self.definition)
        return trial(self.definition)

    @property
    def runs_at_once(self) -> bool:
        """Whether the rule will run as soon as it has the new definition."""
        return self._starts and not self.life.is_held and self.life.is_due(self.definition)

    async def take_down(self) -> None:
        """Let the rule drain, take its last checkpoint and stop."""
        self._old = self.life.rule
        self._was_active = self.life.is_active
        await self.life.halt()

    async def bring_up(self) -> None:
        """Start the rule as it is defined now.

        Raises:
            EngineError: why it can't.
        """
        life = self.life
        if self.definition.sql != self._old.definition.sql:
            # what its functions remember belongs to the calls of the old query
            self._state = life.home.builder.take_state(self.definition.id)
        life.adopt(life.make(self.definition))
        if self._starts and not life.is_held:
            life.start_now()
            failure = await failure_to_start(life.rule)
            if failure:
                raise EngineError(f"rule {self.definition.id} can't start: {failure}")
        account = self._old.metrics.balance()
        logger.info("rule=%s has a new definition; before: %s", self.definition.id, account)

    async def give_up(self) -> None:
        """Stop what ``bring_up`` has started."""
        await self.life.halt(0)

    async def take_back(self) -> None:
        """Put the old definition in force again.

        Raises:
            EngineError: the rule can't be started any more.
        """
        life = self.life
        await self.give_up()
        if self._state is not None:
            life.home.builder.give_state(self.definition.id, self._state)
        life.adopt(self._old)
        if self._was_active:
            life.start_now()
            await life.rule.status.begun()


async def replace(replacement: Replacement) -> None:
    """Replace the definition of a rule, or leave everything as it was.

    Raises:
        EngineError: why the old definition is in force.
    """
    with replacement.life.held_topics():
        await replacement.take_down()
        try:
            await replacement.bring_up()
        except EngineError as error:
            try:
                await replacement.take_back()
            except EngineError as second:
                raise EngineError(f"{error}\nwith the old definition neither: {second}") from None
            raise EngineError(str(error), hint="the old definition is in force again") from None


async def failure_to_start(rule: Rule) -> str:
    """Wait until a rule that was just started is up; return why it isn't, "" if it is.

    A connection that isn't there yet is no failure.
    """
    status = rule.status
    await status.begun()
    for _ in range(_TURNS):
        await anyio.lowlevel.checkpoint()
    with anyio.move_on_after(_PROBATION):
        while status.state is RuleState.STARTING or status.state.is_up:
            await status.changed.wait()
    has_failed = status.state in (RuleState.FAILED, RuleState.BACKING_OFF)
    return status.message if has_failed else ""
