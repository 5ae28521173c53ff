"""What is defined, as one file: eKuiper's export, rule sets, YAML."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from engine.config.interpolate import MASK
from engine.config.writing import to_yaml
from engine.engine import Engine
from engine.server.configs import ConnectionDef
from engine.server.definitions import Definitions, Kind
from engine.server.needs import Needs, needs_of
from engine.server.rules import Rules
from engine.server.secrets import masked, masked_json, masked_statement
from engine.server.snapshot import Part
from engine.server.uploads import Uploads

SECTIONS = (
    "streams",
    "tables",
    "rules",
    "nativePlugins",
    "portablePlugins",
    "sourceConfig",
    "sinkConfig",
    "connectionConfig",
    "Service",
    "Schema",
    "uploads",
    "scripts",
)


class Exports:
    """Makes files of what is defined."""

    def __init__(
        self,
        engine: Engine,
        definitions: Definitions,
        rules: Rules,
        uploads: Uploads,
        parts: Mapping[str, Part],
    ) -> None:
        """``parts`` are further sections of a file."""
        self._engine = engine
        self._definitions = definitions
        self._rules = rules
        self._uploads = uploads
        self._parts = parts

    async def export(
        self, rules: Iterable[str] | None = None, *, secrets: bool = False
    ) -> dict[str, dict[str, str]]:
        """Return everything as eKuiper's export has it: by section and name, as text.

        Args:
            rules: only these, and what they need: their streams and tables, with these the sections
                and connections that they and the actions choose, schemas, and the services and
                scripts that they call. Which uploads they read can't be told, so there is none.
            secrets: as they are; otherwise ``***`` stands for each, and for the content of uploads,
                of which nobody knows whether it is one.

        Raises:
            Problem: there is no such rule, or a file can't be read.
        """
        ids = self._rules.ids() if rules is None else list(rules)
        needs = None if rules is None else self._needs(ids)
        found = {
            **{section: {} for section in SECTIONS},
            **self._rule_set(ids, needs, secrets=secrets),
            "sourceConfig": self._sections(Kind.SOURCE_CONFIG, needs, secrets=secrets),
            "sinkConfig": self._sections(Kind.SINK_CONFIG, needs, secrets=secrets),
            "connectionConfig": self._connections(needs, secrets=secrets),
        }
        show = _as_it_is if secrets else masked_json
        for section, part in self._parts.items():
            found[section] = {
                name: show(text)
                for name, text in (await part.export()).items()
                if needs is None or needs.has_entry(section, name)
            }
        if needs is None:
            found["uploads"] = await self._files(secrets=secrets)
        return found

    def rule_set(self, *, secrets: bool = False) -> dict[str, dict[str, str]]:
        """Return streams, tables and rules."""
        return self._rule_set(self._rules.ids(), None, secrets=secrets)

    async def export_yaml(self, *, secrets: bool = False) -> str:
        """Return everything as YAML, readable and to be edited.

        Raises:
            Problem: a file can't be read.
        """
        found = await self.export(secrets=secrets)
        document: dict[str, Any] = {}
        for section, prefix in (
            ("sourceConfig", "sources"),
            ("sinkConfig", "sinks"),
            ("connectionConfig", "connections"),
        ):
            document[section] = {
                f"{prefix}.{plugin}.{key}": properties
                for plugin, text in found[section].items()
                for key, properties in msgspec.json.decode(text).items()
            }
        for section in (*self._parts, "uploads"):
            document[section] = _decoded(found[section])
        for section in ("streams", "tables"):
            document[section] = {name: {"sql": sql} for name, sql in found[section].items()}
        document["rules"] = _decoded(found["rules"])
        return to_yaml({section: entries for section, entries in document.items() if entries})

    def _needs(self, ids: Iterable[str]) -> Needs:
        return needs_of(self._engine, [self._rules.definition(rule_id) for rule_id in ids])

    def _rule_set(
        self, ids: Iterable[str], needs: Needs | None, *, secrets: bool
    ) -> dict[str, dict[str, str]]:
        show = _as_it_is if secrets else masked_json
        statement = _as_it_is if secrets else masked_statement
        streams, tables = (
            {
                name: statement(sql)
                for name, sql in sorted(self._definitions.all(kind).items())
                if needs is None or name in needs.streams
            }
            for kind in (Kind.STREAM, Kind.TABLE)
        )
        rules = {rule_id: show(self._rules.text(rule_id)) for rule_id in ids}
        return {"streams": streams, "tables": tables, "rules": rules}

    async def _files(self, *, secrets: bool) -> dict[str, str]:
        found = {}
        for path in await self._uploads.names():
            name = Path(path).name
            data = await self._uploads.find(name)
            if data is not None:  # it hasn't been deleted meanwhile
                found[name] = _json({"name": name, **_written(data, secrets=secrets)})
        return found

    def _sections(self, kind: Kind, needs: Needs | None, *, secrets: bool) -> dict[str, str]:
        by_plugin: dict[str, dict[str, Any]] = {}
        for name, text in sorted(self._definitions.all(kind).items()):
            plugin, _, key = name.partition(".")
            if needs is None or (kind, plugin, key) in needs.sections:
                properties = msgspec.json.decode(text)
                by_plugin.setdefault(plugin, {})[key] = (
                    properties if secrets else masked(properties)
                )
        return {plugin: _json(sections) for plugin, sections in by_plugin.items()}

    def _connections(self, needs: Needs | None, *, secrets: bool) -> dict[str, str]:
        by_plugin: dict[str, dict[str, Any]] = {}
        for name, text in sorted(self._definitions.all(Kind.CONNECTION).items()):
            if needs is None or name in needs.connections:
                found = msgspec.json.decode(text, type=ConnectionDef)
                by_plugin.setdefault(found.typ, {})[name] = (
                    found.props if secrets else masked(found.props)
                )
        return {plugin: _json(sections) for plugin, sections in by_plugin.items()}


def _written(data: bytes, *, secrets: bool) -> dict[str, str]:
    """Return how a file holds the content of another one: as text, if it is some."""
    if not secrets:
        return {"content": MASK}
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = MASK
    if text == MASK:  # which would stand for something else
        return {"base64": base64.b64encode(data).decode()}
    return {"content": text}


def _decoded(entries: Mapping[str, str]) -> dict[str, Any]:
    return {name: msgspec.json.decode(text) for name, text in entries.items()}


def _as_it_is(text: str) -> str:
    return text


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
