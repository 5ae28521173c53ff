"""The rules of an engine, by id."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import anyio

from engine.api import Sink
from engine.config.rule import RuleDef
from engine.config.version import check_version
from engine.errors import ConfigError
from engine.run.life import Home, RuleLife
from engine.run.replacing import Replacement, replace
from engine.run.rule import ResultLimit, Rule


class RuleBook(Mapping[str, Rule]):
    """All rules that were defined and not deleted, running or not; to its readers, a mapping."""

    def __init__(self, home: Callable[[], Home]) -> None:
        """``home`` raises ``EngineError`` while the engine isn't running."""
        self._home = home
        self.lives: dict[str, RuleLife] = {}

    def __getitem__(self, rule_id: str) -> Rule:
        return self.lives[rule_id].rule

    def __iter__(self) -> Iterator[str]:
        return iter(self.lives)

    def __len__(self) -> int:
        return len(self.lives)

    def life(self, rule_id: str) -> RuleLife:
        """Return the life of a rule.

        Raises:
            ConfigError: there is no such rule.
        """
        if rule_id not in self.lives:
            raise ConfigError(f"there is no rule {rule_id}")
        return self.lives[rule_id]

    # -- defining ------------------------------------------------------------------------------

    def make(
        self,
        definition: RuleDef,
        limit: ResultLimit | None = None,
        extra_sinks: tuple[Sink[Any], ...] = (),
    ) -> RuleLife:
        """Return the life of a new rule, to be added when it can be.

        Raises:
            ConfigError: a rule of that id is running, or an option is wrong.
        """
        home = self._home()
        known = self.lives.get(definition.id)
        if known is not None and (known.is_active or known.is_busy):
            raise ConfigError(
                f"rule {definition.id} is running",
                at=definition.at,
                hint="stop it first, or update it",
            )
        life = RuleLife(definition, home, limit, extra_sinks)
        if known is not None:
            life.last_start, life.last_stop = known.last_start, known.last_stop
        return life

    def add(self, life: RuleLife) -> None:
        """Take a rule in."""
        self.lives[life.definition.id] = life

    def create(self, definition: RuleDef) -> Rule:
        """Define a rule, and start it if it is ``triggered``.

        Raises:
            EngineError: it is wrong, or there is one of that id.
        """
        home = self._home()
        if definition.id in self.lives:
            hint = "update it, or delete it first"
            raise ConfigError(
                f"there is a rule {definition.id} already", at=definition.at, hint=hint
            )
        if definition.triggered:
            return self.start_all([definition])[0]
        life = self.make(definition)
        home.trial(definition)
        self.add(life)
        return life.rule

    def start_all(
        self,
        definitions: Iterable[RuleDef],
        limit: ResultLimit | None = None,
        extra_sinks: tuple[Sink[Any], ...] = (),
    ) -> list[Rule]:
        """Define rules and start them, or none of them if one is wrong.

        Raises:
            EngineError: a rule is wrong, or one of that id is running.
        """
        lives = [self.make(definition, limit, extra_sinks) for definition in definitions]
        for life in lives:
            life.prepare()
        for life in lives:
            self.add(life)
            life.begin()
        return [life.rule for life in lives]

    async def update(
        self,
        definition: RuleDef,
        *,
        versions: bool,
        tried: Callable[[], Awaitable[None]] | None = None,
    ) -> Rule:
        """Replace the definition of a rule; see ``Engine.update``."""
        life = self.life(definition.id)

        async def update() -> None:
            old = life.definition
            replacement: Replacement | None = None
            if definition != old:
                if versions:
                    check_version(old.version, definition.version, f"rule {old.id}", definition.at)
                stays = definition.triggered or not old.triggered
                replacement = Replacement(life, definition, starts=life.is_active and stays)
                parts = replacement.check(life.home.trial)
                if replacement.runs_at_once:
                    life.home.chains.check(definition, parts)
            if tried is not None:
                await tried()
            if replacement is not None:
                await replace(replacement)

        await life.ask("update", update, repeats=True)
        return life.rule

    async def reset(self, rule_id: str) -> None:
        """Let a rule forget what it remembers; one that runs starts anew.

        What its sinks keep until it can be delivered stays: it is no state of the rule.

        Raises:
            EngineError: the rule can't be built any more; it is as it was.
        """
        life = self.life(rule_id)

        async def reset() -> None:
            was_active = life.is_active
            if was_active:
                life.home.trial(life.definition)
            await life.halt()
            self._forget_state(life)
            if was_active:
                life.start_now()

        await life.ask("reset", reset)

    async def delete(self, rule_id: str, *, keep_state: bool = False) -> None:
        """Stop a rule and forget it, with its state.

        With ``keep_state`` that stays, and what its sinks have still to deliver, for another rule
        of its id, until ``forget_left``.
        """
        life = self.life(rule_id)

        await life.delete(lambda: self.forget(life, keep_state=keep_state))

    def forget(self, life: RuleLife, *, keep_state: bool = False) -> None:
        """Drop a stopped rule and, unless ``keep_state``, what it remembers.

        Raises:
            StoreFailed: its checkpoints can't be deleted; the rule is still there.
        """
        if not keep_state:
            self._forget_state(life)
        life.bury()
        del self.lives[life.definition.id]
        if not keep_state:
            life.home.builder.forget_caches(life.definition.id)

    def forget_left(self, rule_id: str) -> None:
        """Drop what a rule remembered that was deleted with its state kept.

        Raises:
            StoreFailed: its checkpoints can't be deleted.
        """
        home = self._home()
        home.builder.forget_state(rule_id, is_durable=home.checkpoints.exists())
        home.builder.forget_caches(rule_id)

    def _forget_state(self, life: RuleLife) -> None:
        home = life.home
        # an earlier definition may have left checkpoints where this one takes none
        is_durable = life.definition.options.qos > 0 or home.checkpoints.exists()
        home.builder.forget_state(life.definition.id, is_durable=is_durable)

    # -- all of them ---------------------------------------------------------------------------

    async def stop_all(self, drain: float) -> None:
        """Stop every rule, all at the same time, but those that feed others before them.

        All together have ``drain`` seconds to deliver what they hold.
        """
        end = anyio.current_time() + drain

        async def stop(life: RuleLife) -> None:
            with suppress(ConfigError):  # it was deleted before its turn came
                await life.stop(max(0, end - anyio.current_time()))

        for group in self.in_order(self.lives):
            async with anyio.create_task_group() as tasks:
                for life in group:
                    tasks.start_soon(stop, life)

    def in_order(self, rule_ids: Iterable[str]) -> list[list[RuleLife]]:
        """Group rules so that those which feed others come before them."""
        if not self.lives:
            return []
        groups = self._home().chains.in_order(rule_ids)
        return [[self.lives[rule_id] for rule_id in group] for group in groups]

    async def quiet(self) -> None:
        """Return when no rule runs, waits for its schedule or is being changed."""
        while lives := [each for each in self.lives.values() if each.is_active or each.is_busy]:
            await lives[0].quiet()
