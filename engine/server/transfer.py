"""Everything that is defined, as one file, and back: eKuiper's export, rule sets, YAML."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import anyio
import msgspec

from engine.config.document import parse
from engine.config.writing import to_yaml
from engine.errors import EngineError
from engine.registry import PluginKind
from engine.server.configs import Configs, ConnectionDef
from engine.server.definitions import Definitions, Kind
from engine.server.problems import ENCODING, Problem
from engine.server.queries import streams_of
from engine.server.rules import Rules
from engine.server.secrets import masked, masked_statement
from engine.server.streams import StreamKind, Streams
from engine.server.uploads import Uploads

logger = logging.getLogger(__name__)

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
_NOT_HERE = ("nativePlugins", "portablePlugins")
"""What this server can't take from a file of the reference; each entry is reported."""


class Part(Protocol):
    """A kind of definitions that are exported by name as JSON text."""

    async def export(self) -> dict[str, str]:
        """Return all that clients have defined."""

    def is_code(self, key: str, entry: dict[str, Any]) -> bool:
        """Tell whether the server would run an entry, which not everybody may make it do."""

    async def take(self, key: str, entry: dict[str, Any]) -> None:
        """Take an entry in, in place of one of that name."""

    async def clear(self, *, code: bool) -> None:
        """Delete all that clients have defined, with ``code`` also what the server runs."""


@dataclass(slots=True)
class Imported:
    """What came of an import."""

    counts: dict[str, int] = field(default_factory=dict)
    failures: dict[str, dict[str, str]] = field(
        default_factory=lambda: {section: {} for section in SECTIONS}
    )

    @property
    def has_failures(self) -> bool:
        return any(self.failures.values())

    def message(self) -> str:
        """Return how many of what were imported."""
        counts = [self.counts.get(section, 0) for section in ("streams", "tables", "rules")]
        return "imported {} streams, {} tables and {} rules".format(*counts)


class Transfer:
    """Import and export."""

    def __init__(
        self,
        definitions: Definitions,
        streams: Streams,
        rules: Rules,
        configs: Configs,
        uploads: Uploads,
        parts: Mapping[str, Part],
    ) -> None:
        """``parts`` are further sections of a file."""
        self._definitions = definitions
        self._streams = streams
        self._rules = rules
        self._configs = configs
        self._uploads = uploads
        self._parts = parts
        self.last = Imported()
        self._taking = anyio.Lock()

    # -- export --------------------------------------------------------------------------------

    async def export(
        self, rules: Iterable[str] | None = None, *, secrets: bool = False
    ) -> dict[str, dict[str, str]]:
        """Return everything as eKuiper's export has it: by section and name, as text.

        Args:
            rules: only these, with the streams, tables and configurations that they need.
            secrets: as they are; otherwise ``***`` stands for each.

        Raises:
            Problem: there is no such rule.
        """
        show = _as_it_is if secrets else _hidden
        statement = _as_it_is if secrets else masked_statement
        ids = self._rules.ids() if rules is None else list(rules)
        found: dict[str, dict[str, str]] = {section: {} for section in SECTIONS}
        found["rules"] = {rule_id: show(self._rules.text(rule_id)) for rule_id in ids}
        needed = None if rules is None else self._needed(ids)
        for section, kind in (("streams", Kind.STREAM), ("tables", Kind.TABLE)):
            found[section] = {
                name: statement(sql)
                for name, sql in sorted(self._definitions.all(kind).items())
                if needed is None or name in needed
            }
        found["sourceConfig"] = self._sections(Kind.SOURCE_CONFIG, show)
        found["sinkConfig"] = self._sections(Kind.SINK_CONFIG, show)
        found["connectionConfig"] = self._connections(show)
        for section, part in self._parts.items():
            found[section] = {name: show(text) for name, text in (await part.export()).items()}
        return found

    async def rule_set(self, *, secrets: bool = False) -> dict[str, dict[str, str]]:
        """Return streams, tables and rules."""
        everything = await self.export(secrets=secrets)
        return {section: everything[section] for section in ("streams", "tables", "rules")}

    async def export_yaml(self, *, secrets: bool = False) -> str:
        """Return everything as YAML, readable and to be edited."""
        found = await self.export(secrets=secrets)
        document: dict[str, Any] = {}
        for section, prefix in (
            ("sourceConfig", "sources"),
            ("sinkConfig", "sinks"),
            ("connectionConfig", "connections"),
        ):
            entries = {
                f"{prefix}.{plugin}.{key}": properties
                for plugin, text in found[section].items()
                for key, properties in msgspec.json.decode(text).items()
            }
            if entries:
                document[section] = entries
        for section in ("streams", "tables"):
            if found[section]:
                document[section] = {name: {"sql": sql} for name, sql in found[section].items()}
        if found["rules"]:
            document["rules"] = {
                rule_id: msgspec.json.decode(text) for rule_id, text in found["rules"].items()
            }
        return to_yaml(document)

    def _needed(self, ids: Iterable[str]) -> set[str]:
        return {
            stream for rule_id in ids for stream in streams_of(self._rules.definition(rule_id).sql)
        }

    def _sections(self, kind: Kind, show: Callable[[str], str]) -> dict[str, str]:
        by_plugin: dict[str, dict[str, Any]] = {}
        for name, text in sorted(self._definitions.all(kind).items()):
            plugin, _, key = name.partition(".")
            by_plugin.setdefault(plugin, {})[key] = msgspec.json.decode(show(text))
        return {plugin: _json(sections) for plugin, sections in by_plugin.items()}

    def _connections(self, show: Callable[[str], str]) -> dict[str, str]:
        by_plugin: dict[str, dict[str, Any]] = {}
        for name, text in sorted(self._definitions.all(Kind.CONNECTION).items()):
            found = msgspec.json.decode(show(text), type=ConnectionDef)
            by_plugin.setdefault(found.typ, {})[name] = found.props
        return {plugin: _json(sections) for plugin, sections in by_plugin.items()}

    # -- import --------------------------------------------------------------------------------

    async def take(self, text: str, *, partial: bool, code: bool, is_json: bool = True) -> Imported:
        """Take a file in; without ``partial`` everything that is here is deleted first.

        What can't be taken is reported, and nothing else suffers from it. ``code`` tells whether
        whoever sends the file may change what the server runs.

        Raises:
            EngineError: the file can't be read; nothing was changed.
        """
        sections = _sections_of(text, is_json=is_json)
        async with self._taking:
            return await self._take(sections, partial=partial, code=code)

    async def _take(
        self, sections: dict[str, dict[str, Any]], *, partial: bool, code: bool
    ) -> Imported:
        imported = Imported()
        if not partial:
            await self.clear(code=code)
        await self._take_configs(sections, imported)
        await self._take_uploads(sections["uploads"], imported)
        for section, part in self._parts.items():
            for name, value in sections[section].items():
                await self._one(imported, section, name, self._take_part, part, name, value, code)
        for section, kind in (("streams", "stream"), ("tables", "table")):
            for name, value in sections[section].items():
                sql = value.get("sql") if isinstance(value, dict) else value
                await self._one(imported, section, name, self._take_stream, kind, name, sql)
        for rule_id, value in sections["rules"].items():
            await self._one(imported, "rules", rule_id, self._take_rule, rule_id, value)
        for section in _NOT_HERE:
            for name in sections[section]:
                imported.failures[section][name] = "this server has no use for it"
        self.last = imported
        return imported

    async def clear(self, *, code: bool) -> None:
        """Delete everything that is defined, with ``code`` also what the server runs."""
        for rule_id in self._rules.ids():
            await self._rules.delete(rule_id)
        kinds: tuple[StreamKind, ...] = ("table", "stream")
        for kind in kinds:
            for stream in self._streams.defined(kind):
                await self._streams.drop(kind, stream.name, force=True)
        for plugin_kind, kind_ in (
            (PluginKind.SOURCE, Kind.SOURCE_CONFIG),
            (PluginKind.SINK, Kind.SINK_CONFIG),
        ):
            for name in list(self._definitions.all(kind_)):
                plugin, _, key = name.partition(".")
                await self._configs.drop_section(plugin_kind, plugin, key)
        for name in list(self._definitions.all(Kind.CONNECTION)):
            await self._configs.drop_connection(name)
        for part in self._parts.values():
            await part.clear(code=code)

    async def _take_part(self, part: Part, name: str, value: Any, code: bool) -> None:
        entry = msgspec.json.decode(value) if isinstance(value, str) else value
        if not isinstance(entry, dict):
            raise Problem("expected an object")
        if part.is_code(name, entry) and not code:
            raise Problem("what the server runs can only be changed by a known administrator")
        await part.take(name, entry)

    async def _take_stream(self, kind: Any, name: str, sql: Any) -> None:
        if not isinstance(sql, str):
            raise Problem("expected a CREATE statement")
        await self._streams.replace(kind, name, sql)

    async def _take_rule(self, rule_id: str, value: Any) -> None:
        text = value if isinstance(value, str) else _json(value)
        await self._rules.upsert(self._rules.read(text, rule_id))

    async def _take_configs(self, sections: dict[str, dict[str, Any]], into: Imported) -> None:
        for section, kind in (
            ("sourceConfig", PluginKind.SOURCE),
            ("sinkConfig", PluginKind.SINK),
        ):
            for plugin, key, properties in _configs_in(sections[section]):
                name = f"{plugin}.{key}".rstrip(".")
                await self._one(
                    into, section, name, self._take_section, kind, plugin, key, properties
                )
        for plugin, key, properties in _configs_in(sections["connectionConfig"]):
            take = self._take_connection
            await self._one(into, "connectionConfig", key or plugin, take, plugin, key, properties)

    async def _take_section(self, kind: PluginKind, plugin: str, key: str, given: Any) -> None:
        await self._configs.put_section(kind, plugin, key, _properties(given))

    async def _take_connection(self, plugin: str, key: str, given: Any) -> None:
        connection = ConnectionDef(key, plugin, _properties(given))
        await self._configs.put_connection(connection, replace=self._configs.has_connection(key))

    async def _take_uploads(self, uploads: dict[str, Any], into: Imported) -> None:
        for name, value in uploads.items():
            await self._one(into, "uploads", name, self._take_upload, name, value)

    async def _take_upload(self, name: str, value: Any) -> None:
        entry = _decoded(value)
        if not isinstance(entry, dict) or not isinstance(entry.get("content"), str):
            raise Problem("only uploads with their content can be imported")
        await self._uploads.put(name, entry["content"].encode())

    async def _one(
        self,
        into: Imported,
        section: str,
        name: str,
        take: Callable[..., Awaitable[Any]],
        *arguments: Any,
    ) -> None:
        try:
            await take(*arguments)
        except (EngineError, msgspec.MsgspecError) as error:
            logger.warning("import: %s %s: %s", section, name, error)
            into.failures[section][name] = str(error)
        except Exception:  # what comes after it is taken all the same, and the caller hears of it
            logger.exception("import: %s %s", section, name)
            into.failures[section][name] = "the server has failed; its log says more"
        else:
            into.counts[section] = into.counts.get(section, 0) + 1


def _sections_of(text: str, *, is_json: bool) -> dict[str, dict[str, Any]]:
    value = parse(text, is_json=is_json).value
    if not isinstance(value, dict):
        raise Problem("the file isn't a mapping of streams, tables, rules …", code=ENCODING)
    found: dict[str, dict[str, Any]] = {}
    for section in SECTIONS:
        entries = value.get(section) or {}
        if not isinstance(entries, dict):
            raise Problem(f"{section} isn't a mapping of names", code=ENCODING)
        found[section] = {str(name): entry for name, entry in entries.items()}
    if unknown := [str(key) for key in value if key not in SECTIONS]:
        raise Problem(
            f"unknown section {unknown[0][:40]!r}",
            code=ENCODING,
            hint=f"known: {', '.join(SECTIONS)}",
        )
    return found


def _configs_in(section: dict[str, Any]) -> list[tuple[str, str, Any]]:
    """Return type, key and properties of sections written as any export writes them."""
    found: list[tuple[str, str, Any]] = []
    for name, value in section.items():
        parts = name.split(".")
        if len(parts) > 1:  # sources.mqtt.key
            found.append((parts[-2], parts[-1], value))
            continue
        sections = _decoded(value)
        if isinstance(sections, dict):
            found += [(name, str(key), properties) for key, properties in sections.items()]
        else:
            found.append((name, "", None))
    return found


def _decoded(value: Any) -> Any:
    """Return what JSON in a text stands for; None for what is none."""
    if not isinstance(value, str):
        return value
    try:
        return msgspec.json.decode(value)
    except (msgspec.MsgspecError, RecursionError):
        return None


def _properties(given: Any) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise Problem("expected a mapping of properties")
    return given


def _hidden(text: str) -> str:
    value = msgspec.json.decode(text)
    hidden = masked(value)
    return text if hidden == value else _json(hidden)


def _as_it_is(text: str) -> str:
    return text


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
