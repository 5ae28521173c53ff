"""Named properties that clients keep on the server: sections of sources and sinks, connections."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from engine.config.rule import PropertySet, RuleSet
from engine.engine import Engine
from engine.registry import PluginKind
from engine.server.connection_users import connection_users
from engine.server.definitions import Change, Condition, Definitions, Kind, anything
from engine.server.names import checked_name
from engine.server.problems import CONFIG_KEY, Problem, missing
from engine.server.secrets import masked, restored
from engine.server.turns import Turns

_KINDS = {PluginKind.SOURCE: Kind.SOURCE_CONFIG, PluginKind.SINK: Kind.SINK_CONFIG}


class ConnectionDef(msgspec.Struct, frozen=True):
    """A named connection as clients write it; ``typ`` is the type of plugin that it is for."""

    id: str = ""
    typ: str = ""
    props: dict[str, Any] = {}


class Configs:
    """What can be done with sections ("configuration keys") and connections.

    Whatever is built afterwards sees a change; what runs already keeps what it started with.
    """

    def __init__(self, engine: Engine, definitions: Definitions, turns: Turns) -> None:
        self._engine = engine
        self._definitions = definitions
        self._turns = turns
        self._of_files = engine.properties.copy()

    def recover(self) -> None:
        """Let rules and streams use all that is stored."""
        made = self._of_files.copy()
        made.add(
            RuleSet(
                connections={
                    name: PropertySet(name=name, type=found.typ, properties=found.props)
                    for name, found in self._stored_connections()
                },
                source_configs=self._sections(Kind.SOURCE_CONFIG),
                sink_configs=self._sections(Kind.SINK_CONFIG),
            )
        )
        self._engine.properties.become(made)

    # -- sections ------------------------------------------------------------------------------

    def sections(self, kind: PluginKind, plugin: str) -> dict[str, Any]:
        """Return the sections of a source or sink by key, without secrets.

        Raises:
            ConfigError: the file with some of them can't be read.
        """
        checked_name(plugin, f"name of a {kind.singular}")
        found: dict[str, Any] = masked(self._engine.properties.sections(kind, plugin))
        return found

    async def put_section(
        self, kind: PluginKind, plugin: str, key: str, properties: dict[str, Any]
    ) -> None:
        """Add or replace a section. ``{key: {…}}`` is understood as ``{…}``.

        Raises:
            Problem: a name is none.
        """
        name = _section_name(kind, plugin, key)
        if set(properties) == {key} and isinstance(properties[key], dict):
            properties = properties[key]
        async with self._turns.of(f"config {kind} {name}"):
            old = self._engine.properties.sections(kind, plugin).get(key)
            kept = restored(properties, old)
            text = msgspec.json.encode(kept).decode()
            await self._definitions.apply(Change(_KINDS[kind], name, text))
            self.recover()

    async def drop_section(self, kind: PluginKind, plugin: str, key: str) -> None:
        """Forget a section.

        Raises:
            Problem: there is none, or it stands in a file of the server.
        """
        name = _section_name(kind, plugin, key)
        async with self._turns.of(f"config {kind} {name}"):
            if self._definitions.get(_KINDS[kind], name) is None:
                raise missing(f"configuration key {key} of {kind.singular} {plugin}")
            await self._definitions.apply(Change(_KINDS[kind], name, None))
            self.recover()

    def resources(self) -> dict[str, list[str]]:
        """Return the keys of all stored sections of sinks, by type."""
        found: dict[str, list[str]] = {}
        for name in sorted(self._definitions.all(Kind.SINK_CONFIG)):
            plugin, _, key = name.partition(".")
            found.setdefault(plugin, []).append(key)
        return found

    def _sections(self, kind: Kind) -> dict[tuple[str, str], PropertySet]:
        found = {}
        for name, text in self._definitions.all(kind).items():
            plugin, _, key = name.partition(".")
            properties = msgspec.json.decode(text)
            found[plugin, key] = PropertySet(name=key, type=plugin, properties=properties)
        return found

    # -- connections ---------------------------------------------------------------------------

    def has_connection(self, name: str) -> bool:
        """Tell whether there is a connection of that name."""
        return name in self._engine.properties.connections()

    def connection_text(self, name: str) -> str:
        """Return what is stored of a connection, "" if a file of the server has it."""
        return self._definitions.get(Kind.CONNECTION, name) or ""

    async def put_connection(
        self, given: ConnectionDef, condition: Condition = anything, *, replace: bool
    ) -> None:
        """Add a connection, or with ``replace`` change it.

        Raises:
            Problem: it is wrong, or is there already, or isn't there.
        """
        name = checked_name(given.id, "id of a connection")
        if not given.typ:
            raise Problem("a connection needs a 'typ', such as mqtt", code=CONFIG_KEY)
        async with self._turns.of(f"connection {name}"):
            known = self._engine.properties.connections().get(name)
            if known is not None and not replace:
                raise Problem(f"connection {name} is defined already", code=CONFIG_KEY)
            if known is None and replace:
                raise missing(f"connection {name}")
            condition(None if known is None else self.connection_text(name))
            if known is not None:
                self._refuse_if_used(name)
                given = msgspec.structs.replace(
                    given, props=restored(given.props, known.properties)
                )
            text = msgspec.json.encode(given).decode()
            await self._definitions.apply(Change(Kind.CONNECTION, name, text))
            self.recover()

    async def drop_connection(self, name: str, condition: Condition = anything) -> None:
        """Forget a connection.

        Raises:
            Problem: there is none, or a rule uses it.
        """
        async with self._turns.of(f"connection {name}"):
            stored = self._definitions.get(Kind.CONNECTION, name)
            if stored is None:
                raise missing(f"connection {name}")
            condition(stored)
            self._refuse_if_used(name)
            await self._definitions.apply(Change(Kind.CONNECTION, name, None))
            self.recover()

    def _refuse_if_used(self, name: str) -> None:
        if users := connection_users(self._engine).get(name):
            raise Problem(
                f"connection {name} is used by {', '.join(sorted(users))}",
                code=CONFIG_KEY,
                hint="delete these rules first",
            )

    def _stored_connections(self) -> Iterator[tuple[str, ConnectionDef]]:
        for name, text in self._definitions.all(Kind.CONNECTION).items():
            yield name, msgspec.json.decode(text, type=ConnectionDef)


def _section_name(kind: PluginKind, plugin: str, key: str) -> str:
    checked_name(plugin, f"name of a {kind.singular}")
    return f"{plugin}.{checked_name(key, 'key of a configuration')}"
