"""The rules of a server: defined as JSON, kept over restarts, started and stopped by clients."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import anyio
import anyio.lowlevel
import msgspec
from anyio.abc import TaskGroup

from engine.config.document import parse
from engine.config.interpolate import MASK
from engine.config.rule import RuleDef
from engine.config.rules import rule_from
from engine.config.version import check_version
from engine.engine import Engine
from engine.errors import EngineError
from engine.explain import plan_of
from engine.run.operators import operators_of
from engine.run.report import RuleReport, in_ekuiper
from engine.server.definitions import Change, Condition, Definitions, Kind, anything
from engine.server.problems import RULE, Problem, missing
from engine.server.queries import streams_of
from engine.server.secrets import masked, masked_json, restored
from engine.server.stream_json import schema_of
from engine.server.turns import Turns
from engine.sql.ast import Column, Star

logger = logging.getLogger(__name__)

_WORDS_OF_PATHS = frozenset({"bulkstart", "bulkstop", "status", "tags", "usage", "validate"})
"""What stands in paths in the place of an id."""
_MOST_TABLE_ROWS = 1000
_READ_AT_ONCE = 200
"""Rules that are looked at before others get their turn."""
_RECOVERED_AT_ONCE = 20
"""Rules that are started before others get their turn."""


@dataclass(frozen=True, slots=True)
class Written:
    """A rule as a client wrote it."""

    definition: RuleDef
    text: str
    """Its JSON, as it is stored and given back."""


@dataclass(frozen=True, slots=True)
class KnownRules:
    """The rules of a server at a moment."""

    definitions: Sequence[RuleDef]
    """Those that the engine has; ``triggered`` is whether they run."""
    broken: Mapping[str, str]
    """Those that it doesn't take, and why."""


class Rules:
    """What can be done with rules.

    A change is checked completely, then stored, then carried out; where the last fails, what was
    stored before is stored again.
    """

    def __init__(
        self, engine: Engine, definitions: Definitions, turns: Turns, tasks: TaskGroup
    ) -> None:
        """``tasks`` is for what goes on after a reply."""
        self._engine = engine
        self._definitions = definitions
        self._turns = turns
        self._tasks = tasks
        self._broken: dict[str, str] = {}
        """Stored rules that the engine doesn't take, and why."""

    # -- reading -------------------------------------------------------------------------------

    def ids(self) -> list[str]:
        """Return the ids of all rules, sorted."""
        return sorted({*self._engine.rules, *self._broken})

    def text(self, rule_id: str) -> str:
        """Return the JSON of a rule.

        Raises:
            Problem: there is no such rule.
        """
        text = self._definitions.get(Kind.RULE, rule_id)
        if text is None:
            definition = self._engine.rules[self._known(rule_id)].definition
            return msgspec.json.encode(as_written(definition)).decode()
        return text

    def shown(self, rule_id: str) -> str:
        """Return the JSON of a rule as clients see it: word for word, but for secrets.

        Raises:
            Problem: there is no such rule.
        """
        return masked_json(self.text(rule_id))

    def summary(self, rule_id: str) -> dict[str, Any]:
        """Return what the list of rules says of one."""
        rule = self._engine.rules.get(rule_id)
        if rule is None:
            return {
                "id": rule_id,
                "name": rule_id,
                "status": "stopped by error",
                "version": "",
                "trace": False,
                "tags": [],
            }
        definition = rule.definition
        return {
            "id": rule_id,
            "name": definition.name or rule_id,
            "status": in_ekuiper(rule.status.state),
            "version": definition.version,
            "trace": rule.trace is not None,
            "tags": list(definition.tags),
        }

    def summaries(self) -> list[dict[str, Any]]:
        """Return what the list of rules says, sorted by id; rules of trials are no part of it."""
        return [self.summary(rule_id) for rule_id in self.ids()]

    def report(self, rule_id: str) -> RuleReport:
        """Return all about a rule.

        Raises:
            Problem: there is no such rule, or it is one that the engine doesn't take.
        """
        if rule_id in self._broken:
            raise Problem(self._broken[rule_id], code=RULE)
        return self._engine.status(self._known(rule_id))

    def status(self, rule_id: str) -> dict[str, Any]:
        """Return the status of a rule with its metrics, as eKuiper has it.

        Raises:
            Problem: there is no such rule.
        """
        if rule_id in self._broken:
            return {"status": "stopped by error", "message": self._broken[rule_id]}
        return self._engine.status(self._known(rule_id)).flat()

    async def short_statuses(self) -> dict[str, Any]:
        """Return state and exceptions of all rules."""
        found = {}
        for number, rule_id in enumerate(self.ids()):
            if number % _READ_AT_ONCE == 0:
                await anyio.lowlevel.checkpoint()
            if rule_id in self._broken:
                message = self._broken[rule_id]
                found[rule_id] = _short("stopped by error", message, 0)
                continue
            rule = self._engine.rules.get(rule_id)
            if rule is None:  # it was deleted meanwhile
                continue
            operators = () if rule.parts is None else operators_of(rule.parts)
            found[rule_id] = _short(
                in_ekuiper(rule.status.state),
                rule.metrics.last_error,
                sum(operator.metrics.exceptions for operator in operators),
            )
        return found

    def definition(self, rule_id: str) -> RuleDef:
        """Return a rule as the engine knows it.

        Raises:
            Problem: there is no such rule, or it is one that the engine doesn't take.
        """
        if rule_id in self._broken:
            raise Problem(self._broken[rule_id], code=RULE)
        return self._engine.rules[self._known(rule_id)].definition

    def topology(self, rule_id: str) -> dict[str, Any]:
        """Return the operators of a rule and who feeds whom.

        Raises:
            EngineError: there is no such rule, or it can't be planned any more.
        """
        self.definition(rule_id)
        found: dict[str, Any] = msgspec.to_builtins(self._engine.topology(rule_id))
        return found

    def result_columns(self, rule_id: str) -> dict[str, Any]:
        """Return the columns of a rule's results; the types of those that a stream declares.

        Raises:
            EngineError: there is no such rule, or it can't be planned any more.
        """
        sql = self.definition(rule_id).sql
        plan = plan_of(sql, self._engine.catalog, self._engine.functions)
        declared = {
            name: column
            for scan in plan.scans
            for name, column in schema_of(
                self._engine.catalog[scan.stream], self._engine.schemas
            ).items()
        }
        found: dict[str, Any] = {}
        for item in plan.root.items:
            if isinstance(item.expr, Star):
                found |= declared
            elif not item.invisible:
                column = item.expr.name if isinstance(item.expr, Column) else ""
                found[item.name] = declared.get(column, {})
        return found

    def tables(self, rule_id: str) -> list[dict[str, Any]]:
        """Return the last rows that a rule has of each scan table, without secrets.

        Raises:
            Problem: there is no such rule.
        """
        self.definition(rule_id)
        parts = self._engine.rules[rule_id].parts
        found = {} if parts is None else parts.pipeline.tables()
        return [
            {"emitter": label, "content": masked(rows[-_MOST_TABLE_ROWS:])}
            for label, rows in found.items()
        ]

    def times(self) -> dict[str, int]:
        """Return the milliseconds that decoders and query of each rule have taken in its run.

        That of a stream which rules share counts for each of them.
        """
        found = {}
        for rule_id, rule in self._engine.rules.items():
            if rule.parts is not None:
                decoding = sum(s.reader.decoding.total_latency for s in rule.parts.inputs)
                found[rule_id] = (decoding + rule.parts.metrics.total_latency) // 1_000_000
        return found

    def tagged(self, tags: Iterable[str]) -> list[str]:
        """Return the rules that have all of some tags."""
        wanted = set(tags)
        return [
            rule_id
            for rule_id in sorted(self._engine.rules)
            if wanted <= set(self._engine.rules[rule_id].definition.tags)
        ]

    # -- defining ------------------------------------------------------------------------------

    def read(self, text: str, rule_id: str = "", *, needs_id: bool = True) -> Written:
        """Return a rule from its JSON; ``rule_id`` is the one that the path says.

        ``***`` where a secret of the rule as it is now would stand is that secret.

        Raises:
            EngineError: it isn't a rule, or has another id.
        """
        document = parse(text, is_json=True)
        value = document.value
        if isinstance(value, dict) and rule_id:
            if value.get("id", rule_id) != rule_id:
                raise Problem(
                    f"the rule says its id is {value['id']!r}, the path says {rule_id!r}",
                    code=RULE,
                )
            if "id" not in value:
                value = {"id": rule_id, **value}
                text = msgspec.json.encode(value).decode()
        if isinstance(value, dict) and not needs_id:
            value.setdefault("id", "unnamed")
        if MASK in text and isinstance(value, dict):
            old = self._definitions.get(Kind.RULE, str(value.get("id", "")))
            if old is not None:
                value = restored(value, msgspec.json.decode(old))
                text = msgspec.json.encode(value).decode()
        definition = rule_from(value, document.positions)
        if definition.id in _WORDS_OF_PATHS:
            raise Problem(f"a rule can't be called {definition.id}", code=RULE)
        return Written(definition, text)

    def validate(self, written: Written) -> list[str]:
        """Try a rule without running anything; returns the streams that it reads.

        Raises:
            EngineError: what is wrong with it.
        """
        self._engine.check(written.definition)
        return sorted(streams_of(written.definition.sql))

    async def create(self, written: Written) -> str:
        """Define a new rule, and start it if it is ``triggered``; returns its id.

        Raises:
            EngineError: it is wrong or its id is taken; nothing was defined.
        """
        definition = written.definition
        async with self._turns.of(f"rule {definition.id}"):
            if definition.id in self._engine.rules or definition.id in self._broken:
                raise Problem(f"rule {definition.id} is defined already", code=RULE)
            await self._define(written)
        return definition.id

    async def upsert(self, written: Written, condition: Condition = anything) -> None:
        """Replace a rule, or define it; a running one goes on with the new definition.

        Raises:
            EngineError: the rule is as it was before.
        """
        definition = written.definition
        rule_id = definition.id
        async with self._turns.of(f"rule {rule_id}"):
            condition(self._definitions.get(Kind.RULE, rule_id))
            known = self._engine.rules.get(rule_id)
            if known is None:
                await self._define(written)
                self._broken.pop(rule_id, None)
                return
            check_version(known.definition.version, definition.version, f"rule {rule_id}")
            before = self._stored(rule_id)
            try:
                await self._engine.update(
                    definition, versions=False, tried=lambda: self._store(written)
                )
                if definition.triggered and not self._engine.rules.life(rule_id).is_active:
                    await self._engine.start(rule_id)
            except BaseException:
                if self._stored(rule_id) != before:
                    with anyio.CancelScope(shield=True):
                        await self._definitions.apply(*before)
                raise

    async def delete(
        self, rule_id: str, condition: Condition = anything, *, keep_state: bool = False
    ) -> None:
        """Stop a rule and forget it with its state; that can be kept for one of the same id.

        Raises:
            EngineError: there is no such rule.
        """
        async with self._turns.of(f"rule {rule_id}"):
            if rule_id not in self._broken:
                self._known(rule_id)
            condition(self._definitions.get(Kind.RULE, rule_id))
            await self._definitions.apply(
                Change(Kind.RULE, rule_id, None), Change(Kind.TRIGGERED, rule_id, None)
            )
            self._broken.pop(rule_id, None)
            if rule_id in self._engine.rules:
                await self._engine.rules.delete(rule_id, keep_state=keep_state)

    def forget_left(self, rule_id: str) -> None:
        """Forget the state that was kept of a deleted rule, if none of its id has come back.

        Raises:
            StoreFailed: it can't be deleted.
        """
        if rule_id not in self._engine.rules:
            self._engine.rules.forget_left(rule_id)

    def known(self) -> KnownRules:
        """Return all rules as they are now."""
        book = self._engine.rules
        return KnownRules(
            [
                msgspec.structs.replace(rule.definition, triggered=book.life(rule_id).is_active)
                for rule_id, rule in book.items()
            ],
            dict(self._broken),
        )

    async def bring_back(self, known: KnownRules) -> None:
        """Give the engine rules again that have been deleted; what is stored isn't touched."""
        self._broken = dict(known.broken)
        for definition in known.definitions:
            try:
                await self._engine.create(definition)
            except EngineError as error:
                logger.error("rule=%s can't be brought back: %s", definition.id, error)
                self._broken[definition.id] = str(error)

    async def tag(self, rule_id: str, change: Callable[[list[str]], list[str]]) -> None:
        """Change the tags of a rule; nothing else happens to it.

        Raises:
            EngineError: there is no such rule.
        """
        async with self._turns.of(f"rule {rule_id}"):
            definition = self.definition(rule_id)
            value = msgspec.json.decode(self.text(rule_id))
            value["tags"] = change(list(definition.tags))
            written = Written(rule_from(value), msgspec.json.encode(value).decode())
            await self._store(written, triggered=self._is_triggered(rule_id, definition))
            rule = self._engine.rules[rule_id]
            rule.definition = msgspec.structs.replace(definition, tags=written.definition.tags)

    # -- running -------------------------------------------------------------------------------

    async def start(self, rule_id: str) -> None:
        """Start a rule, now and whenever the server starts; one that runs is left alone.

        Raises:
            EngineError: there is no such rule, or it can't be planned.
        """
        async with self._turns.of(f"rule {rule_id}"):
            if rule_id in self._broken:
                await self._mend(rule_id)
            self._known(rule_id)
            await self._trigger(rule_id, True)
            await self._engine.start(rule_id)

    async def stop(self, rule_id: str) -> None:
        """Let a rule drain and stop; it stays so until somebody starts it.

        Returns at once: the rule says that it is stopping while it is.

        Raises:
            EngineError: there is no such rule.
        """
        self.definition(rule_id)
        await self._trigger(rule_id, False)
        self._later(self._engine.stop, rule_id)

    async def restart(self, rule_id: str) -> None:
        """Stop a rule and start it as it is defined now; returns at once.

        Raises:
            EngineError: there is no such rule, or it can't be planned any more.
        """
        self._engine.check(self.definition(rule_id))
        await self._trigger(rule_id, True)
        self._later(self._engine.restart, rule_id)

    async def reset_state(self, rule_id: str) -> None:
        """Forget what a rule remembers; one that runs starts anew.

        Raises:
            EngineError: there is no such rule, or it can't be built any more and goes on as it is.
        """
        self.definition(rule_id)
        async with self._turns.of(f"rule {rule_id}"):
            await self._engine.rules.reset(rule_id)

    async def recover(self) -> None:
        """Define all stored rules and start those that are triggered."""
        for number, (rule_id, text) in enumerate(self._definitions.all(Kind.RULE).items()):
            try:
                definition = self.read(text).definition
                triggered = self._is_triggered(rule_id, definition)
                await self._engine.create(msgspec.structs.replace(definition, triggered=triggered))
            except EngineError as error:
                logger.error("rule=%s can't be recovered: %s", rule_id, error)
                self._broken[rule_id] = str(error)
            if number % _RECOVERED_AT_ONCE == 0:
                await anyio.lowlevel.checkpoint()

    # -- inside --------------------------------------------------------------------------------

    def _known(self, rule_id: str) -> str:
        if rule_id not in self._engine.rules:
            raise missing(f"rule {rule_id}")
        return rule_id

    def _is_triggered(self, rule_id: str, definition: RuleDef) -> bool:
        stored = self._definitions.get(Kind.TRIGGERED, rule_id)
        return definition.triggered if stored is None else stored == "true"

    async def _mend(self, rule_id: str) -> None:
        """Take in a rule that couldn't be recovered; what it lacked may be there by now."""
        text = self._definitions.get(Kind.RULE, rule_id)
        if text is None:
            raise missing(f"rule {rule_id}")
        definition = msgspec.structs.replace(self.read(text).definition, triggered=False)
        await self._engine.create(definition)
        del self._broken[rule_id]

    async def _define(self, written: Written) -> None:
        """Take in a new rule and store it, or neither."""
        await self._engine.create(written.definition)
        try:
            await self._store(written)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._engine.delete(written.definition.id)
            raise

    async def _store(self, written: Written, *, triggered: bool | None = None) -> None:
        definition = written.definition
        if definition.temp:
            return
        runs = definition.triggered if triggered is None else triggered
        await self._definitions.apply(
            Change(Kind.RULE, definition.id, written.text),
            Change(Kind.TRIGGERED, definition.id, str(runs).lower()),
        )

    def _stored(self, rule_id: str) -> list[Change]:
        """Return the changes that make what is stored of a rule what it is now."""
        return [
            Change(kind, rule_id, self._definitions.get(kind, rule_id))
            for kind in (Kind.RULE, Kind.TRIGGERED)
        ]

    async def _trigger(self, rule_id: str, triggered: bool) -> None:
        if self._definitions.get(Kind.RULE, rule_id) is not None:
            await self._definitions.apply(Change(Kind.TRIGGERED, rule_id, str(triggered).lower()))

    def _later(self, work: Callable[[str], Any], rule_id: str) -> None:
        async def carry_out() -> None:
            try:
                await work(rule_id)
            except EngineError as error:
                logger.warning("rule=%s %s", rule_id, error)

        self._tasks.start_soon(carry_out, name=f"rule[{rule_id}].asked")


def as_written(definition: RuleDef) -> Mapping[str, Any]:
    """Return a rule that came from a file as a client would write it."""
    value: dict[str, Any] = {"id": definition.id}
    if definition.name:
        value["name"] = definition.name
    if definition.version:
        value["version"] = definition.version
    value["sql"] = definition.sql
    value["actions"] = [{action.type: action.properties} for action in definition.actions]
    options = msgspec.to_builtins(definition.options)
    defaults = msgspec.to_builtins(type(definition.options)())
    changed = {key: item for key, item in options.items() if item != defaults[key]}
    if changed:
        value["options"] = changed
    if definition.tags:
        value["tags"] = list(definition.tags)
    if not definition.triggered:
        value["triggered"] = False
    return value


def _short(status: str, last_exception: str, exceptions: int) -> dict[str, Any]:
    return {
        "status": status,
        "last_exception": last_exception,
        "exceptions_total": exceptions,
    }
