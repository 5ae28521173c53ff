"""Rule files and folders of them to one `RuleSet`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from engine.config.convert import expected, unknown_key
from engine.config.document import Document, parse, read
from engine.config.interpolate import interpolate
from engine.config.positions import Positions
from engine.config.rule import Definition, Ignored, PropertySet, RuleDef, RuleSet, StreamDef
from engine.config.rules import RULE_KEYS, rule_from, rules_from
from engine.config.streams import connections_from, sections_from, streams_from
from engine.errors import ConfigError

SUFFIXES = (".yaml", ".yml", ".json")

_PROJECT_KEYS = ("streams", "tables", "connections", "plugins", "rules")
_CONFIG_KEYS = ("sourceConfig", "sinkConfig", "connectionConfig")
_IGNORED_KEYS = ("nativePlugins", "portablePlugins", "Service", "Schema", "uploads", "scripts")
_JSON_TEXT_KEYS = ("rules", *_CONFIG_KEYS)
_SINGLE_RULE = frozenset(("id", "sql", "actions", "graph"))

D = TypeVar("D", bound=Definition)
K = TypeVar("K")


def load(
    paths: Sequence[Path | str] | Path | str,
    *,
    environ: Mapping[str, str] | None = os.environ,
    defaults: Mapping[str, Any] | None = None,
) -> RuleSet:
    """Read rule files, and the ``*.yaml``, ``*.yml`` and ``*.json`` files of folders by name.

    ``environ`` replaces ``${VAR}``; None leaves such text alone. ``defaults`` are rule options
    for all rules, in the spelling of the file.

    Raises:
        ConfigError: a file can't be read or is wrong, or two define the same.
    """
    given = [paths] if isinstance(paths, (Path, str)) else paths
    collected = _Collector(defaults)
    for path in _files(given):
        collected.add(read(path), environ)
    return collected.result()


def load_text(
    text: str,
    *,
    file: str = "",
    is_json: bool = False,
    environ: Mapping[str, str] | None = None,
    defaults: Mapping[str, Any] | None = None,
) -> RuleSet:
    """Read one rule file given as text; ``file`` is its name in messages.

    Raises:
        ConfigError: as `load`.
    """
    collected = _Collector(defaults)
    collected.add(parse(text, file=file, is_json=is_json), environ)
    return collected.result()


def _files(paths: Iterable[Path | str]) -> Iterator[Path]:
    seen: set[str] = set()
    for path in paths:
        for file in _files_of(Path(path)):
            real = os.path.realpath(file)
            if real not in seen:
                seen.add(real)
                yield file


def _files_of(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    try:
        names = sorted(entry.name for entry in path.iterdir() if entry.is_file())
    except OSError as error:
        raise ConfigError(f"can't read {path}: {error.strerror}") from None
    files = [
        path / name
        for name in names
        if name.lower().endswith(SUFFIXES) and not name.startswith(".")
    ]
    if not files:
        raise ConfigError(f"the folder {path} has no {', '.join(SUFFIXES)} files")
    return files


class _Collector:
    """Definitions of several files, each name once."""

    def __init__(self, defaults: Mapping[str, Any] | None) -> None:
        self.defaults = defaults
        self.streams: dict[str, StreamDef] = {}
        self.tables: dict[str, StreamDef] = {}
        self.rules: dict[str, RuleDef] = {}
        self.connections: dict[str, PropertySet] = {}
        self.source_configs: dict[tuple[str, str], PropertySet] = {}
        self.sink_configs: dict[tuple[str, str], PropertySet] = {}
        self.plugins: list[Any] = []
        self.ignored: list[Ignored] = []
        self.files: list[str] = []

    def add(self, document: Document, environ: Mapping[str, str] | None) -> None:
        root = document.value
        if root is None:
            raise ConfigError("the file is empty", at=document.at())
        if not isinstance(root, dict):
            raise expected("a mapping with rules or streams", root, "the file", document.positions)
        _check_keys(root, document.positions)
        document = _with_json_texts(document)
        if environ is not None:
            document = interpolate(document, environ)
        self.add_project(document.value, document.positions)
        self.files.append(document.file)

    def add_project(self, root: dict[str, Any], places: Positions) -> None:
        for stream in streams_from(root.get("streams"), "stream", places.below("streams")):
            self.add_stream(self.streams, stream)
        for table in streams_from(root.get("tables"), "table", places.below("tables")):
            self.add_stream(self.tables, table)
        for connection in connections_from(root.get("connections"), places.below("connections")):
            _put(self.connections, connection.name, connection, f"connection {connection.name!r}")
        self.add_configs(root, places)
        self.add_plugins(root.get("plugins"), places.below("plugins"))
        for rule in self.rules_of(root, places):
            _put(self.rules, rule.id, rule, f"rule {rule.id!r}")
        self.ignored.extend(_ignored(root, places))

    def add_stream(self, streams: dict[str, StreamDef], stream: StreamDef) -> None:
        name = stream.name
        first = self.streams.get(name) or self.tables.get(name)
        if first:
            raise _twice(stream, first, f"{stream.kind} {name!r}")
        streams[name] = stream

    def add_configs(self, root: dict[str, Any], places: Positions) -> None:
        for key in _CONFIG_KEYS:
            for entry in sections_from(root.get(key), key, places.below(key)):
                what = f"{key} {entry.type}.{entry.name}"
                if key == "connectionConfig":
                    _put(self.connections, entry.name, entry, what)
                else:
                    is_source = key == "sourceConfig"
                    configs = self.source_configs if is_source else self.sink_configs
                    _put(configs, (entry.type, entry.name), entry, what)

    def add_plugins(self, value: Any, places: Positions) -> None:
        if value is None:
            return
        if not isinstance(value, list):
            raise expected("a list", value, "plugins", places)
        self.plugins.extend(value)

    def rules_of(self, root: dict[str, Any], places: Positions) -> Iterator[RuleDef]:
        if _SINGLE_RULE.isdisjoint(root):
            yield from rules_from(root.get("rules"), places.below("rules"), self.defaults)
            return
        rule = {key: root[key] for key in RULE_KEYS if key in root}
        yield rule_from(rule, places, defaults=self.defaults)

    def result(self) -> RuleSet:
        return RuleSet(
            streams=self.streams,
            tables=self.tables,
            rules=self.rules,
            connections=self.connections,
            plugins=tuple(self.plugins),
            source_configs=self.source_configs,
            sink_configs=self.sink_configs,
            ignored=tuple(self.ignored),
            files=tuple(self.files),
        )


def _check_keys(root: dict[str, Any], places: Positions) -> None:
    is_rule = not _SINGLE_RULE.isdisjoint(root)
    known = [*_PROJECT_KEYS, *_CONFIG_KEYS, *_IGNORED_KEYS]
    if is_rule:
        known = [*RULE_KEYS, *known]
    for key in root:
        # 'x-…' is room for anchors
        if key not in known and not key.startswith("x-"):
            raise unknown_key(key, known, "the rule" if is_rule else "the file", places)
    if is_rule and root.get("rules") is not None:
        message = "the file has 'rules' and is a rule itself; move that one into 'rules'"
        raise ConfigError(message, at=places.of_key("rules"))


def _with_json_texts(document: Document) -> Document:
    """Return the document with the JSON texts in an exported file read into it."""
    root = dict(document.value)
    for key in _JSON_TEXT_KEYS:
        section = root.get(key)
        if not isinstance(section, dict):
            continue
        places = document.positions.below(key)
        root[key] = {name: _unpacked(item, name, places) for name, item in section.items()}
    return document._replace(value=root)


def _unpacked(value: Any, name: str, places: Positions) -> Any:
    if not isinstance(value, str) or not value.lstrip().startswith("{"):
        return value
    inner = parse(value, file=places.origin.file, is_json=True, outer=places.below(name))
    places.children[name] = inner.positions
    return inner.value


def _ignored(root: dict[str, Any], places: Positions) -> Iterator[Ignored]:
    for key in _IGNORED_KEYS:
        if root.get(key):
            at = places.of_key(key)
            warning = f"{key} has no meaning here and was ignored"
            yield Ignored(key=key, warning=warning, at=at, where=places.below(key))


def _put(definitions: dict[K, D], key: K, new: D, what: str) -> None:
    if key in definitions:
        raise _twice(new, definitions[key], what)
    definitions[key] = new


def _twice(new: Definition, first: Definition, what: str) -> ConfigError:
    return ConfigError(f"{what} is already defined at {first.at}", at=new.at)
