"""Rules from files, read again: all of them as the files say now, or nothing changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial

import anyio
import msgspec
from anyio.abc import TaskGroup

from engine.catalog import Catalog, Stream, resolve
from engine.config.rule import RuleDef, RuleSet, StreamDef
from engine.errors import ConfigError, EngineError
from engine.registry import PluginKind, PluginRegistry
from engine.run.book import RuleBook
from engine.run.chains import Chains
from engine.run.dead_letters import dead_letter_action
from engine.run.life import RuleLife
from engine.run.parts import RuleParts
from engine.run.properties import Properties
from engine.run.replacing import Replacement
from engine.run.rule import ResultLimit
from engine.run.signals import Signals
from engine.run.status import RuleState
from engine.run.tables import LookupTables
from engine.run.trial import Trial


class Changes(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What an application of files did to the rules, by id."""

    started: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
    """Have a new definition, or read a stream that has."""
    stopped: tuple[str, ...] = ()
    """Are not in the files any more."""
    unchanged: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = [
            f"{len(ids)} {what} ({', '.join(ids)})"
            for what, ids in (
                ("started", self.started),
                ("replaced", self.replaced),
                ("stopped", self.stopped),
            )
            if ids
        ]
        return ", ".join([*parts, f"{len(self.unchanged)} unchanged"])


@dataclass(slots=True)
class _Step:
    """What has to be done to get from the rules as they are to those of the files."""

    found: RuleSet
    catalog: Catalog
    properties: Properties
    trial: Trial
    tables: list[Stream] = field(default_factory=list)
    """Lookup tables to be closed."""
    fresh: list[RuleLife] = field(default_factory=list)
    """Of rules that are new, not in the book yet."""
    replacements: list[Replacement] = field(default_factory=list)
    lives: list[RuleLife] = field(default_factory=list)
    """Those of the replacements and of the rules that are gone."""
    gone: list[RuleLife] = field(default_factory=list)
    was_active: list[RuleLife] = field(default_factory=list)
    """Those of them that were to run, or to wait for their schedule, before."""
    unchanged: list[str] = field(default_factory=list)


class Reloader:
    """Makes what runs be what files say; remembers what it has taken from them."""

    def __init__(
        self,
        rules: RuleBook,
        catalog: Catalog,
        properties: Properties,
        plugins: PluginRegistry,
        tables: LookupTables,
        trial: Callable[[Catalog, Properties], Trial],
        chains: Chains,
        tasks: TaskGroup,
    ) -> None:
        """What was begun is finished in one of the ``tasks``, even if nobody waits for it."""
        self._rules = rules
        self._catalog = catalog
        self._properties = properties
        self._plugins = plugins
        self._tables = tables
        self._trial = trial
        self._chains = chains
        self._signals = Signals(tasks, "reload")
        self._stopping: anyio.CancelScope | None = None
        """Within it rules are stopped, to be started anew."""
        self._streams: dict[str, StreamDef] = {}
        self._ids: frozenset[str] = frozenset()
        """What the files in force define."""

    async def apply(
        self, found: RuleSet, *, limit: ResultLimit | None = None, forget: bool = False
    ) -> Changes:
        """Make what runs be what was found; see ``Engine.apply``.

        Raises:
            EngineError: why nothing has changed.
        """
        work = partial(self._apply, found, limit, forget=forget)
        return await self._signals.send("apply", work, repeats=True).outcome()

    async def _apply(self, found: RuleSet, limit: ResultLimit | None, *, forget: bool) -> Changes:
        step = self._compare(found, limit)
        self._try(step)
        async with AsyncExitStack() as held:
            for life in step.lives:
                await held.enter_async_context(life.held())
            self._check_presence(step)
            await self._carry_out(step)
            self._conclude(step, forget=forget)
        return Changes(
            started=tuple(life.rule.id for life in step.fresh if life.definition.triggered),
            replaced=tuple(each.definition.id for each in step.replacements),
            stopped=tuple(life.rule.id for life in step.gone),
            unchanged=tuple(step.unchanged),
        )

    def give_up(self) -> None:
        """Start nothing any more: all rules are to be stopped."""
        if self._stopping is not None:
            self._stopping.cancel()

    # -- comparing -----------------------------------------------------------------------------

    def _compare(self, found: RuleSet, limit: ResultLimit | None) -> _Step:
        """Return what is to be done.

        Raises:
            EngineError: a stream or a property is wrong, or a name is taken.
        """
        catalog, properties = self._catalog.copy(), self._properties.instead(found)
        changed = self._compare_streams(found, catalog)
        trial = self._trial(catalog, properties)
        step = _Step(found, catalog, properties, trial)
        step.tables = self._changed_tables(changed, trial)
        changed |= {table.name for table in step.tables}
        for definition in found.rules.values():
            self._compare_rule(step, definition, changed, limit)
        for rule_id, life in self._rules.lives.items():
            if rule_id in found.rules:
                continue
            if rule_id in self._ids:
                self._end(step, life)
            elif self._must_follow(step, life, changed):
                self._replace(step, life, life.definition, starts=True)
        return step

    def _compare_streams(self, found: RuleSet, catalog: Catalog) -> set[str]:
        """Bring the streams of a catalog up to date; return the names of those that changed."""
        defined = {**found.streams, **found.tables}
        changed: set[str] = set()
        for name, definition in defined.items():
            if self._streams.get(name) != definition:
                catalog.add(resolve(definition), replace=name in self._streams)
                changed.add(name)
        for name in self._streams.keys() - defined.keys():
            catalog.drop(name)
            changed.add(name)
        return changed

    def _changed_tables(self, changed: set[str], trial: Trial) -> list[Stream]:
        return [
            stream
            for stream in self._catalog
            if stream.is_lookup
            and (stream.name in changed or self._tables.differs(stream.name, trial.tables))
        ]

    def _compare_rule(
        self, step: _Step, definition: RuleDef, changed: set[str], limit: ResultLimit | None
    ) -> None:
        life = self._rules.lives.get(definition.id)
        is_ours = definition.id in self._ids
        if life is None or not (is_ours or life.is_active or life.is_busy):
            step.fresh.append(self._rules.make(definition, limit))
        elif not is_ours:
            hint = "stop that one, or give this one another id"
            message = f"a rule {definition.id} that isn't of these files is running"
            raise ConfigError(message, at=definition.at, hint=hint)
        elif life.definition != definition:
            by_hand = life.is_active and not life.definition.triggered
            starts = (definition.triggered or by_hand) and not life.is_held
            self._replace(step, life, definition, starts=starts)
        elif self._must_follow(step, life, changed):
            self._replace(step, life, definition, starts=True)
        else:
            step.unchanged.append(definition.id)

    def _replace(self, step: _Step, life: RuleLife, definition: RuleDef, *, starts: bool) -> None:
        step.lives.append(life)
        step.replacements.append(Replacement(life, definition, starts=starts))

    def _end(self, step: _Step, life: RuleLife) -> None:
        step.lives.append(life)
        step.gone.append(life)

    def _must_follow(self, step: _Step, life: RuleLife, changed: set[str]) -> bool:
        """Tell whether a rule that is defined as before would still be made otherwise now."""
        parts, has_failed = life.rule.parts, life.rule.status.state.is_failure
        if parts is None or life.is_held or not (life.is_active or has_failed):
            return False
        return bool(parts.streams & changed) or not self._stands(step, life.definition, parts)

    def _stands(self, step: _Step, definition: RuleDef, parts: RuleParts) -> bool:
        """Tell whether sources and sinks still have the properties that they would get now."""
        properties = step.properties
        for source in parts.inputs:
            stream = step.catalog[source.reader.stream.name]
            plugin = self._plugins.stream_source(stream.source_type)
            if source.reader.config != properties.for_source(stream, plugin):
                return False
        pairs = list(zip(definition.actions, parts.sinks, strict=False))
        letters = dead_letter_action(definition)
        if letters is not None and parts.letters is not None:
            pairs.append((letters, parts.letters.sink))
        for action, sink in pairs:
            plugin = self._plugins.get(PluginKind.SINK, action.type)
            if (sink.config, sink.options) != properties.for_sink(action, plugin):
                return False
        return True

    def _try(self, step: _Step) -> None:
        """Build all rules that are to be started, with the new streams.

        Raises:
            EngineError: one of them can't work.
        """
        planned = []
        for replacement in step.replacements:
            parts = replacement.check(step.trial.build)
            if replacement.runs_at_once:
                planned.append((replacement.definition, parts))
        for life in step.fresh:
            # where nothing has to stop for them, they are built once only: to run
            if step.lives or not life.definition.triggered:
                parts = step.trial.build(life.definition)
                if life.definition.triggered and life.is_due(life.definition):
                    planned.append((life.definition, parts))
        self._chains.check_together(planned, [life.rule.id for life in step.lives])

    def _check_presence(self, step: _Step) -> None:
        """Check, now that nobody else can change them, that the rules are still there.

        Raises:
            EngineError: one was deleted.
        """
        for life in step.lives:
            if self._rules.lives.get(life.rule.id) is not life:
                raise EngineError(f"rule {life.rule.id} was deleted meanwhile", hint="try again")

    # -- carrying out --------------------------------------------------------------------------

    async def _carry_out(self, step: _Step) -> None:
        """Do it, or undo it.

        Raises:
            EngineError: what has failed; everything is as before.
        """
        async with AsyncExitStack() as held:
            await self._take_down(step, held)
            await self._go_over(step)

    async def _go_over(self, step: _Step) -> None:
        """Start what is defined now, or again what was."""
        before = self._catalog.copy(), self._properties.copy()
        try:
            await self._switch(step, step.catalog, step.properties)
            for life in step.fresh:
                if life.definition.triggered:
                    life.prepare()
            await _bring_up(step.replacements)
        except EngineError as error:
            for replacement in step.replacements:
                await replacement.give_up()
            await self._switch(step, *before)
            failures = await self._take_back(step)
            if not step.lives:  # nothing had to be undone
                raise
            raise _undone(error, failures) from None
        for life in step.fresh:
            self._rules.add(life)
            if life.definition.triggered:
                life.begin()

    async def _take_down(self, step: _Step, held: AsyncExitStack) -> None:
        """Stop all rules that change or end, those that feed others before them.

        Those that go on wait before they publish what one of the rules reads that come back; so
        they do until ``held`` is left.

        Raises:
            EngineError: the engine is being stopped.
        """
        step.was_active = [life for life in step.gone if life.is_active]
        replaced = {each.life.rule.id: each for each in step.replacements}
        with anyio.CancelScope() as self._stopping:
            for group in self._rules.in_order(life.rule.id for life in step.lives):
                async with anyio.create_task_group() as tasks:
                    for life in group:
                        replacement = replaced.get(life.rule.id)
                        if replacement is None:
                            tasks.start_soon(life.halt)
                        else:
                            held.enter_context(life.held_topics())
                            tasks.start_soon(replacement.take_down)
        cancelled, self._stopping = self._stopping.cancelled_caught, None
        if cancelled:
            raise EngineError("the rules are being stopped")

    async def _switch(self, step: _Step, catalog: Catalog, properties: Properties) -> None:
        """Put other streams and properties in force; nothing that reads them runs."""
        for table in step.tables:
            await self._tables.close(table.name)
        self._catalog.become(catalog)
        self._properties.become(properties)
        await self._tables.open(stream for stream in catalog if stream.is_lookup)

    async def _take_back(self, step: _Step) -> list[EngineError]:
        failures = []
        for replacement in step.replacements:
            try:
                await replacement.take_back()
            except EngineError as error:
                failures.append(error)
        for life in step.was_active:
            try:
                life.start_now()
            except EngineError as error:
                failures.append(error)
        return failures

    def _conclude(self, step: _Step, *, forget: bool) -> None:
        """Remember what is in force now."""
        found = step.found
        self._streams = {**found.streams, **found.tables}
        self._ids = frozenset(found.rules)
        for life in step.gone:
            if forget:
                self._rules.forget(life)
            elif not life.rule.status.state.is_failure:
                life.rule.status.become(RuleState.STOPPED, "not in the rule files any more")


async def _bring_up(replacements: Iterable[Replacement]) -> None:
    """Start the rules with their new definitions, all at the same time.

    Raises:
        EngineError: the first one that can't start.
    """
    errors: list[EngineError] = []

    async def bring_up(replacement: Replacement) -> None:
        try:
            await replacement.bring_up()
        except EngineError as error:
            errors.append(error)

    async with anyio.create_task_group() as tasks:
        for replacement in replacements:
            tasks.start_soon(bring_up, replacement)
    if errors:
        raise errors[0]


def _undone(error: EngineError, failures: list[EngineError]) -> EngineError:
    if failures:
        rest = "; ".join(str(failure) for failure in failures)
        return EngineError(f"{error}\nand when going back: {rest}")
    return EngineError(str(error), hint="everything is as it was before")
