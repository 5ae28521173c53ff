"""What a file defines, taken in: eKuiper's export, rule sets, YAML."""

from __future__ import annotations

import base64
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import msgspec

from engine.catalog import Catalog
from engine.config.document import parse
from engine.config.interpolate import MASK
from engine.errors import EngineError
from engine.registry import PluginKind
from engine.server.configs import Configs, ConnectionDef
from engine.server.definitions import Definitions, Kind
from engine.server.exports import SECTIONS
from engine.server.known_secrets import KnownSecrets
from engine.server.problems import ENCODING, Problem
from engine.server.rules import Rules, Written
from engine.server.snapshot import Part, Snapshot
from engine.server.streams import StreamKind, Streams
from engine.server.uploads import Uploads

logger = logging.getLogger(__name__)

_NOT_HERE = ("nativePlugins", "portablePlugins")
"""What this server has no use for in a file of the reference; each entry is reported."""
_STREAM_KINDS: tuple[tuple[str, StreamKind], ...] = (("streams", "stream"), ("tables", "table"))


@dataclass(slots=True)
class Imported:
    """What came of an import."""

    counts: dict[str, int] = field(default_factory=dict)
    failures: dict[str, dict[str, str]] = field(
        default_factory=lambda: {section: {} for section in SECTIONS}
    )

    is_undone: bool = False
    """Whether everything is as it was before, for all of it was to be replaced or nothing."""

    @property
    def has_failures(self) -> bool:
        """Whether anything can't be taken that another server of this kind may have exported."""
        return any(
            failures for section, failures in self.failures.items() if section not in _NOT_HERE
        )

    def message(self) -> str:
        """Return how many of what were imported."""
        if self.is_undone:
            return "imported nothing, all is as it was before"
        counts = [self.counts.get(section, 0) for section in ("streams", "tables", "rules")]
        return "imported {} streams, {} tables and {} rules".format(*counts)


class Imports:
    """Takes files in, one after the other."""

    def __init__(
        self,
        definitions: Definitions,
        catalog: Catalog,
        streams: Streams,
        rules: Rules,
        configs: Configs,
        uploads: Uploads,
        parts: Mapping[str, Part],
    ) -> None:
        """``parts`` are further sections of a file."""
        self._definitions = definitions
        self._catalog = catalog
        self._streams = streams
        self._rules = rules
        self._configs = configs
        self._uploads = uploads
        self._parts = parts
        self.last = Imported()
        self._taking = anyio.Lock()

    async def take(self, text: str, *, partial: bool, code: bool, is_json: bool = True) -> Imported:
        """Take a file in: with ``partial`` beside what is here, otherwise in the place of that.

        What can't be taken is reported. With ``partial`` all else is taken; otherwise everything
        is as it was before, also if this is cancelled. Rules that come back keep their state, and
        ``***`` is the secret that is known here.
        ``code`` tells whether whoever sends the file may change what the server runs.

        Raises:
            EngineError: the file can't be read, or the disk fails; nothing was changed.
        """
        sections = _sections_of(text, is_json=is_json)
        async with self._taking:
            imported = Imported()
            entries = {section: await part.export() for section, part in self._parts.items()}
            sections = KnownSecrets(self._definitions, entries).restore(sections)
            if partial:
                await self._take_all(sections, imported, entries, code=code)
            else:
                await self._replace_all(sections, imported, entries, code=code)
            for section in _NOT_HERE:
                for name in sections[section]:
                    imported.failures[section][name] = "this server has no use for it"
            self.last = imported
            return imported

    async def _replace_all(
        self,
        sections: dict[str, dict[str, Any]],
        imported: Imported,
        entries: dict[str, dict[str, str]],
        *,
        code: bool,
    ) -> None:
        await self._check(sections, imported)
        if imported.has_failures:
            imported.is_undone = True
            return
        known = self._rules.ids()
        snapshot = await self._snapshot(entries, sections["uploads"])
        try:
            await self.clear(code=code)
            await self._take_all(sections, imported, entries, code=code, or_nothing=True)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await snapshot.put_back(code=code)
            raise
        if imported.has_failures:
            with anyio.CancelScope(shield=True):
                await snapshot.put_back(code=code)
            imported.is_undone = True
            return
        for rule_id in known:
            self._rules.forget_left(rule_id)
        for path in await self._uploads.names():
            if (name := Path(path).name) not in sections["uploads"]:
                await self._tried(imported, "uploads", name, self._uploads.drop, name)

    async def _check(self, sections: dict[str, dict[str, Any]], imported: Imported) -> None:
        """Find what is wrong whatever else is defined, before anything is touched."""
        for section, kind in _STREAM_KINDS:
            for name, value in sections[section].items():
                await self._tried(imported, section, name, self._check_stream, kind, name, value)
        for rule_id, value in sections["rules"].items():
            await self._tried(imported, "rules", rule_id, self._read_rule, rule_id, value)
        for name, value in sections["uploads"].items():
            await self._tried(imported, "uploads", name, self._check_upload, name, value)

    async def _snapshot(
        self, entries: dict[str, dict[str, str]], uploads: Iterable[str]
    ) -> Snapshot:
        return Snapshot(
            self._definitions,
            self._catalog,
            self._rules,
            self._configs,
            self._parts,
            entries,
            self._uploads,
            {name: await self._uploads.find(name) for name in uploads},
        )

    async def _take_all(
        self,
        sections: dict[str, dict[str, Any]],
        imported: Imported,
        entries: dict[str, dict[str, str]],
        *,
        code: bool,
        or_nothing: bool = False,
    ) -> None:
        """Take a file in; with ``or_nothing`` no rule starts unless everything can be taken.

        ``entries`` are what the parts have exported before anything was touched.
        """
        await self._take_configs(sections, imported)
        for name, value in sections["uploads"].items():
            await self._one(imported, "uploads", name, self._take_upload, name, value)
        for section, part in self._parts.items():
            for name, value in sections[section].items():
                known = None if code else _decoded(entries[section].get(name))
                take = self._take_part
                await self._one(imported, section, name, take, part, name, value, known, code)
        for section, kind in _STREAM_KINDS:
            for name, value in sections[section].items():
                await self._one(imported, section, name, self._take_stream, kind, name, value)
        if or_nothing:
            for rule_id, value in sections["rules"].items():
                await self._tried(imported, "rules", rule_id, self._try_rule, rule_id, value)
            if imported.has_failures:
                return
        for rule_id, value in sections["rules"].items():
            await self._one(imported, "rules", rule_id, self._take_rule, rule_id, value)

    async def clear(self, *, code: bool) -> None:
        """Delete everything that is defined, with ``code`` also what the server runs.

        The state of rules stays.
        """
        for rule_id in self._rules.ids():
            await self._rules.delete(rule_id, keep_state=True)
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

    async def _take_part(
        self, part: Part, name: str, value: Any, known: Any, may_change_code: bool
    ) -> None:
        entry = msgspec.json.decode(value) if isinstance(value, str) else value
        if not isinstance(entry, dict):
            raise Problem("expected an object")
        if part.is_code(name, entry) and not may_change_code:
            if entry == known:
                return  # nothing changes
            raise Problem("what the server runs can only be changed by a known administrator")
        await part.take(name, entry)

    async def _check_stream(self, kind: StreamKind, name: str, value: Any) -> None:
        self._streams.check(kind, name, _statement(value))

    async def _take_stream(self, kind: StreamKind, name: str, value: Any) -> None:
        await self._streams.replace(kind, name, _statement(value))

    async def _read_rule(self, rule_id: str, value: Any) -> Written:
        text = value if isinstance(value, str) else _json(value)
        return self._rules.read(text, rule_id)

    async def _try_rule(self, rule_id: str, value: Any) -> None:
        self._rules.validate(await self._read_rule(rule_id, value))
        await anyio.lowlevel.checkpoint()

    async def _take_rule(self, rule_id: str, value: Any) -> None:
        await self._rules.upsert(await self._read_rule(rule_id, value))

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

    async def _check_upload(self, name: str, value: Any) -> None:
        if _content(value) is None and await self._uploads.find(name) is None:
            raise Problem(
                "the file hasn't its content", hint="export with ?secrets=1, which has it"
            )
        self._uploads.check_name(name)

    async def _take_upload(self, name: str, value: Any) -> None:
        await self._check_upload(name, value)
        data = _content(value)
        if data is not None:
            await self._uploads.put(name, data)

    async def _one(
        self,
        into: Imported,
        section: str,
        name: str,
        take: Callable[..., Awaitable[Any]],
        *arguments: Any,
    ) -> None:
        if await self._tried(into, section, name, take, *arguments):
            into.counts[section] = into.counts.get(section, 0) + 1

    async def _tried(
        self,
        into: Imported,
        section: str,
        name: str,
        work: Callable[..., Awaitable[Any]],
        *arguments: Any,
    ) -> bool:
        """Do something with an entry; False: it failed, and that is noted."""
        try:
            await work(*arguments)
        except (EngineError, msgspec.MsgspecError) as error:
            logger.warning("import: %s %s: %s", section, name, error)
            into.failures[section][name] = str(error)
        except Exception:  # what comes after it is looked at all the same, and the caller hears it
            logger.exception("import: %s %s", section, name)
            into.failures[section][name] = "the server has failed; its log says more"
        else:
            return True
        return False


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


def _statement(value: Any) -> str:
    sql = value.get("sql") if isinstance(value, dict) else value
    if not isinstance(sql, str):
        raise Problem("expected a CREATE statement")
    return sql


def _content(value: Any) -> bytes | None:
    """Return the content of an upload; None: what is here is to stay, as ``***`` says."""
    entry = _decoded(value)
    found = entry if isinstance(entry, dict) else {}
    content, encoded = found.get("content"), found.get("base64")
    if content == MASK:
        return None
    if isinstance(content, str):
        return content.encode("utf-8", "surrogatepass")
    if not isinstance(encoded, str):
        raise Problem("only uploads with their content can be imported")
    try:
        return base64.b64decode(encoded, validate=True)
    except ValueError:
        raise Problem("its 'base64' is none") from None


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


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
