"""The properties of one source or sink, merged from all the places that may give them.

Later ones win (runtime specification, section 2.1): the ``default`` section of
``etc/<kind>/<type>.yaml``, the section named by ``confKey`` or ``resourceId``, the named
connection, EXTRA, the properties written with the stream or action.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from engine.api import Config
from engine.catalog import Stream
from engine.config.convert import config_from
from engine.config.document import read
from engine.config.interpolate import interpolate
from engine.config.positions import Positions
from engine.config.rule import ActionDef, Count, PropertySet, RuleSet
from engine.errors import ConfigError
from engine.registry import Plugin, PluginKind


class SinkOptions(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"
):
    """What every sink understands (runtime specification, section 6.1)."""

    send_single: bool = False
    """False: a message holds the list of all rows emitted together; True: one row each."""
    omit_if_empty: bool = False
    data_field: str = ""
    """Send this member of the row instead of the row."""
    fields: tuple[str, ...] = ()
    exclude_fields: tuple[str, ...] = ()
    format: str = "json"
    buffer_length: Count = 1024
    concurrency: Count = 1
    """Accepted as in eKuiper; a sink has one worker."""


_LATER = frozenset(
    {
        "batchSize",
        "cleanCacheAtStop",
        "compression",
        "compressionProps",
        "dataTemplate",
        "enableCache",
        "encProps",
        "encryption",
        "lingerInterval",
        "maxDiskCache",
        "memoryCacheThreshold",
        "resendAlterQueue",
        "resendDestination",
        "resendInterval",
        "schemaId",
    }
)
"""Common sink properties of the reference that this version refuses rather than ignores."""
_OFF: tuple[Any, ...] = (None, False, 0, "", {}, "0")


class Properties:
    """Named sections that rules and streams may refer to."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._connections: dict[str, PropertySet] = {}
        self._sections: dict[tuple[PluginKind, str, str], dict[str, Any]] = {}

    def add(self, rules: RuleSet) -> None:
        """Take the connections and sections of a rule file."""
        self._connections.update(rules.connections)
        for (type_, key), section in rules.source_configs.items():
            self._sections[PluginKind.SOURCE, type_, key] = section.properties
        for (type_, key), section in rules.sink_configs.items():
            self._sections[PluginKind.SINK, type_, key] = section.properties

    def for_source(self, stream: Stream, plugin: Plugin) -> Config:
        """Return the configuration of a stream's source.

        Raises:
            ConfigError: a property is unknown, missing or of the wrong type.
        """
        known = _keys(plugin)
        merged = self._merged(
            PluginKind.SOURCE, plugin, stream.options.conf_key, stream.properties, stream.where
        )
        merged.update(stream.options.extra)
        options = msgspec.to_builtins(stream.options)
        for key in known & {"datasource", "format", "key", "delimiter"}:
            if key in stream.given:
                merged[key] = options[key]
        return config_from(
            merged,
            _config_type(plugin),
            where=f"source {plugin.name} of {stream.kind} {stream.name}",
            positions=stream.where,
        )

    def for_sink(self, action: ActionDef, plugin: Plugin) -> tuple[Config, SinkOptions]:
        """Return the configuration of an action's sink and its common options.

        Raises:
            ConfigError: a property is unknown, missing or of the wrong type.
        """
        known = _keys(plugin)
        resource = str(action.properties.get("resourceId", "default"))
        given = {k: v for k, v in action.properties.items() if k != "resourceId"}
        merged = self._merged(PluginKind.SINK, plugin, resource, given, action.where)
        where = f"sink {action.type}"
        for key in sorted(_LATER & merged.keys() - known):
            if merged.pop(key) not in _OFF:
                raise ConfigError(f"{where}: {key} is not supported yet", at=action.where.of(key))
        common = set(SinkOptions.__struct_encode_fields__) - known
        own = {k: v for k, v in merged.items() if k not in common}
        shared = {k: v for k, v in merged.items() if k in common}
        config = config_from(own, _config_type(plugin), where=where, positions=action.where)
        options = config_from(shared, SinkOptions, where=where, positions=action.where)
        if options.fields and options.exclude_fields:
            raise ConfigError(f"{where}: give fields or excludeFields, not both", at=action.at)
        return config, options

    def _merged(
        self,
        kind: PluginKind,
        plugin: Plugin,
        section: str,
        given: Mapping[str, Any],
        where: Positions,
    ) -> dict[str, Any]:
        sections = self._file_sections(kind, plugin.name)
        merged = dict(sections.get("default") or {})
        named = self._sections.get((kind, plugin.name, section), sections.get(section))
        if named is None and section != "default":
            raise ConfigError(
                f"{kind.singular} {plugin.name} has no section {section!r}",
                hint=f"write it into etc/{kind}/{plugin.name}.yaml",
            )
        merged.update(named or {})
        selector = given.get("connectionSelector", merged.get("connectionSelector"))
        if selector is not None:
            merged.pop("connectionSelector", None)
            merged.update(self._connection(str(selector), where))
        merged.update({k: v for k, v in given.items() if k != "connectionSelector"})
        return merged

    def _connection(self, name: str, where: Positions) -> dict[str, Any]:
        if name not in self._connections:
            raise ConfigError(
                f"unknown connection {name!r}",
                at=where.of("connectionSelector"),
                hint="define it under 'connections:'",
            )
        return self._connections[name].properties

    def _file_sections(self, kind: PluginKind, name: str) -> dict[str, Any]:
        path = self._root / "etc" / kind / f"{name}.yaml"
        if not path.is_file():
            return {}
        document = interpolate(read(path), os.environ)
        if not isinstance(document.value, dict):
            raise ConfigError(f"{path}: expected a mapping of sections")
        return document.value


def _config_type(plugin: Plugin) -> type[Config]:
    owner = plugin.export if plugin.is_shared else plugin.factory_type()
    return getattr(owner, "config_type", Config)


def _keys(plugin: Plugin) -> set[str]:
    return set(_config_type(plugin).__struct_encode_fields__)
