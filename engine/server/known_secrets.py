"""The secrets of what is defined, for a file in which ``***`` stands for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from engine.config.interpolate import MASK
from engine.server.configs import ConnectionDef
from engine.server.definitions import Definitions, Kind
from engine.server.secrets import masked_statement, restored

_STATEMENTS = {"streams": Kind.STREAM, "tables": Kind.TABLE}
_SECTIONS = {"sourceConfig": Kind.SOURCE_CONFIG, "sinkConfig": Kind.SINK_CONFIG}


class KnownSecrets:
    """What is defined now; a full import would have forgotten it when it takes entries."""

    def __init__(self, definitions: Definitions, entries: Mapping[str, Mapping[str, str]]) -> None:
        """``entries`` are by section and name what else is exported, as JSON text."""
        self._definitions = definitions
        self._entries = entries

    def restore(self, sections: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """Return the entries of an export with the secrets of those that are defined here."""
        return {
            section: {name: self._restored(section, name, value) for name, value in entries.items()}
            for section, entries in sections.items()
        }

    def _restored(self, section: str, name: str, value: Any) -> Any:
        if section in _STATEMENTS:
            return self._statement(_STATEMENTS[section], name, value)
        given = value
        if isinstance(value, str):
            if MASK not in value:
                return value
            try:
                given = msgspec.json.decode(value)
            except (msgspec.MsgspecError, RecursionError):
                return value  # whoever takes it says what is wrong with it
        return restored(given, self._known(section, name))

    def _statement(self, kind: Kind, name: str, value: Any) -> Any:
        """Return the statement that is stored if one was exported from it."""
        sql = value.get("sql") if isinstance(value, dict) else value
        stored = self._definitions.get(kind, name)
        return stored if stored is not None and sql == masked_statement(stored) else value

    def _known(self, section: str, name: str) -> Any:
        if section == "rules":
            return _decoded(self._definitions.get(Kind.RULE, name))
        if section in self._entries:
            return _decoded(self._entries[section].get(name))
        *_, plugin, key = ["", *name.split(".")]
        if section in _SECTIONS:
            of_plugin = self._sections(_SECTIONS[section], plugin or name)
        elif section == "connectionConfig":
            of_plugin = self._connections(plugin or name)
        else:
            return None
        return of_plugin.get(key) if plugin else of_plugin

    def _sections(self, kind: Kind, plugin: str) -> dict[str, Any]:
        return {
            name.removeprefix(f"{plugin}."): _decoded(text)
            for name, text in self._definitions.all(kind).items()
            if name.startswith(f"{plugin}.")
        }

    def _connections(self, plugin: str) -> dict[str, Any]:
        found = (
            (name, msgspec.json.decode(text, type=ConnectionDef))
            for name, text in self._definitions.all(Kind.CONNECTION).items()
        )
        return {name: connection.props for name, connection in found if connection.typ == plugin}


def _decoded(text: str | None) -> Any:
    return None if text is None else msgspec.json.decode(text)
