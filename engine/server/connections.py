"""How connections are doing: those that rules use, and named ones that no rule uses."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any, Literal

import anyio
import msgspec

from engine.config.rule import PropertySet
from engine.config.secrets import masked
from engine.engine import Engine
from engine.errors import ConfigError, EngineError
from engine.registry import PluginKind
from engine.run.rule import Rule
from engine.run.status import Connection
from engine.run.waiting import happens_within
from engine.server.connection_users import Users, connection_users
from engine.server.problems import missing
from engine.server.sandbox import Role, check_connection

logger = logging.getLogger(__name__)

_AT_ONCE = 4
"""Connections that are checked at the same time."""
_ROLES: tuple[tuple[Role, PluginKind, str], ...] = (
    ("sources", PluginKind.SOURCE, "source"),
    ("lookups", PluginKind.SOURCE, "lookup"),
    ("sinks", PluginKind.SINK, "sink"),
)
"""The roles of plugins in the order in which connections are tried in them."""
Word = Literal["connected", "connecting", "disconnected"]


class ConnectionStatus(msgspec.Struct, frozen=True, rename="camel"):
    """How one connection is doing; times are epoch milliseconds, 0: never."""

    status: Word
    err: str
    """Why it isn't there."""
    since: int
    """When it became as it is."""
    last_connected: int
    last_disconnected: int
    last_error: str
    last_check: int


class Connections:
    """Named connections with their state.

    While rules use a connection its state is what they say. Otherwise it is opened and closed again
    now and then.
    """

    def __init__(self, engine: Engine, every: float) -> None:
        """``every`` is the number of seconds between two checks; 0: only when somebody asks."""
        self._engine = engine
        self._every = every
        self._known: dict[str, tuple[PropertySet, Connection]] = {}
        self._problem = ""
        self._asked = anyio.Event()

    # -- reading -------------------------------------------------------------------------------

    def all(self, *, anonymous: bool = False) -> list[dict[str, Any]]:
        """Return the named connections, and with ``anonymous`` also those that rules just have."""
        users = connection_users(self._engine)
        names = sorted(self._engine.properties.connections())
        found = [self._shown(name, users.get(name, {})) for name in names]
        return [*found, *self._anonymous(users)] if anonymous else found

    def shown(self, name: str) -> dict[str, Any]:
        """Return a connection without its secrets, with its state and the number of its users.

        Raises:
            Problem: there is none.
        """
        return self._shown(name, connection_users(self._engine).get(name, {}))

    def _shown(self, name: str, users: Users) -> dict[str, Any]:
        found = self._properties(name)
        return {
            "id": name,
            "typ": found.type,
            "props": masked(found.properties),
            "isNamed": True,
            **_short(self._status_of(name, users)),
            "refCount": len(users),
        }

    def status(self, name: str) -> ConnectionStatus:
        """Return how a connection is doing.

        Raises:
            Problem: there is none.
        """
        return self._status_of(name, connection_users(self._engine).get(name, {}))

    def _status_of(self, name: str, users: Users) -> ConnectionStatus:
        record = self._record(name)
        self._ask_rules(record, users)
        return _status(record)

    def samples(self) -> Iterator[tuple[str, str, int]]:
        """Yield id, type and 1 (connected), 0 or -1 (lost) of each named connection."""
        users = connection_users(self._engine)
        for name, found in sorted(self._named().items()):
            word = self._status_of(name, users.get(name, {})).status
            yield name, found.type, {"connected": 1, "connecting": 0, "disconnected": -1}[word]

    # -- checking ------------------------------------------------------------------------------

    async def run(self) -> None:
        """Check connections again and again."""
        if not self._every:
            return
        while True:
            self._asked = anyio.Event()
            limiter = anyio.CapacityLimiter(_AT_ONCE)
            names = self._named()
            self._known = {name: known for name, known in self._known.items() if name in names}
            users = connection_users(self._engine) if names else {}
            async with anyio.create_task_group() as tasks:
                for name in names:
                    tasks.start_soon(self._check_one, name, users.get(name, {}), limiter)
            await happens_within(self._engine.clock, self._asked, self._every)

    def check_soon(self) -> None:
        """Let the next round of checks begin now, for what has been defined."""
        self._asked.set()

    async def check(self, name: str) -> ConnectionStatus:
        """Look how a connection is doing now; if no rule uses it, by opening it.

        Raises:
            Problem: there is none.
        """
        return await self._checked(name, connection_users(self._engine).get(name, {}))

    async def _checked(self, name: str, users: Users) -> ConnectionStatus:
        record = self._record(name)
        if not self._ask_rules(record, users):
            found = self._properties(name)
            error = await self._error_of(found)
            if self._known.get(name, (None, None))[1] is record:  # nobody has changed it meanwhile
                record.note(not error, error, self._engine.clock.now())
        return _status(record)

    async def _check_one(self, name: str, users: Users, limiter: anyio.CapacityLimiter) -> None:
        async with limiter:
            try:
                before = _status(self._record(name)).status
                after = await self._checked(name, users)
            except EngineError as error:  # it has been deleted meanwhile
                logger.debug("connection %s: %s", name, error)
                return
            if after.status != before and after.err:
                logger.warning("connection %s: %s", name, after.err)

    async def _error_of(self, found: PropertySet) -> str:
        """Return why a connection can't be opened, "" if it can.

        That is tried in the first role for which its properties are enough.
        """
        plugins, errors = self._engine.plugins, []
        for role, kind, name in _ROLES:
            has_role = plugins.has(kind, found.type) and (
                name in plugins.describe(kind, found.type).roles
            )
            if not has_role:
                continue
            try:
                await check_connection(self._engine, role, found.type, found.properties)
            except ConfigError as failure:  # a sink may need what a source doesn't
                errors.append(failure.message)
            except EngineError as failure:
                return failure.message
            else:
                return ""
        return errors[0] if errors else f"there is no source or sink {found.type}"

    def _named(self) -> dict[str, PropertySet]:
        """Return the named connections, none while the file with some of them can't be read."""
        try:
            found, problem = self._engine.properties.connections(), ""
        except EngineError as error:
            found, problem = {}, str(error)
        if problem and problem != self._problem:
            logger.error("%s", problem)
        self._problem = problem
        return found

    # -- inside --------------------------------------------------------------------------------

    def _properties(self, name: str) -> PropertySet:
        found = self._engine.properties.connections().get(name)
        if found is None:
            self._known.pop(name, None)
            raise missing(f"connection {name}")
        return found

    def _record(self, name: str) -> Connection:
        """Return what is known of a connection as it is defined now."""
        found = self._properties(name)
        known = self._known.get(name)
        if known is None or known[0] != found:
            known = self._known[name] = found, Connection(connected=False)
        return known[1]

    def _ask_rules(self, record: Connection, users: Users) -> bool:
        """Take in what running rules say of a connection; False: they say nothing."""
        told = [
            connection
            for rule_id, operators in users.items()
            if rule_id in self._engine.rules
            for operator, connection in _of(self._engine.rules[rule_id])
            if operator in operators
        ]
        if not told:
            return False
        worst = next((each for each in told if not each.connected), told[0])
        if (record.connected, record.message) != (worst.connected, worst.message):
            record.note(worst.connected, worst.message, worst.since)
        record.last_try = max(record.last_try, worst.last_try)
        return True

    def _anonymous(self, users: dict[str, Users]) -> Iterator[dict[str, Any]]:
        """Yield the connections of running rules that no name stands for."""
        named: Users = {}
        for found in users.values():
            for rule_id, operators in found.items():
                named.setdefault(rule_id, set()).update(operators)
        for rule_id, rule in self._engine.rules.items():
            parts = rule.parts
            if parts is None:
                continue
            reports = dict(_of(rule))
            ends: list[tuple[str, str, Any]] = [
                (s.reader.name, s.reader.stream.source_type, s.reader.config) for s in parts.inputs
            ]
            types = {f"sink[{action.name}]": action.type for action in rule.definition.actions}
            ends += [(s.name, types.get(s.name, ""), s.config) for s in parts.all_sinks]
            for operator, plugin, config in ends:
                if operator in reports and operator not in named.get(rule_id, ()):
                    yield {
                        "id": f"{rule_id}/{operator}",
                        "typ": plugin,
                        "props": masked(msgspec.to_builtins(config, enc_hook=_plain)),
                        "isNamed": False,
                        **_short(_status(reports[operator])),
                        "refCount": 1,
                    }


def _of(rule: Rule) -> Iterator[tuple[str, Connection]]:
    """Yield what the operators of a rule say of their connections, while it runs."""
    if not rule.status.state.is_final:
        yield from rule.status.connections.items()


def _plain(value: object) -> object:
    """Return a property of a type of its own, such as a duration, as a number or text."""
    return float(value) if isinstance(value, float) else str(value)


def _status(known: Connection) -> ConnectionStatus:
    word: Word = "connected" if known.connected else "disconnected"
    if not known.connected and not known.message:
        word = "connecting"
    return ConnectionStatus(
        status=word,
        err="" if known.connected else known.message,
        since=known.since,
        last_connected=known.last_connected,
        last_disconnected=known.last_disconnected,
        last_error=known.last_disconnected_message,
        last_check=known.last_try,
    )


def _short(status: ConnectionStatus) -> dict[str, str]:
    return {"status": status.status, "err": status.err}
