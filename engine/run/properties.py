"""The properties of one source or sink, merged from all the places that may give them.

Later ones win (runtime specification, section 2.1): the ``default`` section of
``etc/<kind>/<type>.yaml``, the section named by ``confKey`` or ``resourceId``, the named
connection, EXTRA, the properties written with the stream or action.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from engine.api import AnyConfig, Config, Template
from engine.catalog import Stream
from engine.config.convert import config_from, expected, unknown_key
from engine.config.document import Document, read
from engine.config.fields import Duration
from engine.config.interpolate import interpolate
from engine.config.positions import NOWHERE, Positions
from engine.config.rule import ActionDef, Count, PropertySet, RuleSet
from engine.errors import ConfigError
from engine.lookup.options import LookupOptions, lookup_options
from engine.registry import Plugin, PluginKind
from engine.run.dynamic import templates_of
from engine.run.sealing import CompressionMethod, CompressionProps, EncryptionProps
from engine.schemas.files import SUFFIXES
from engine.state.options import CacheOptions
from engine.suggest import did_you_mean
from engine.template import TemplateError, compile_template, is_template


class SinkOptions(
    CacheOptions, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"
):
    """What every sink understands (runtime specification, sections 6.1 and 6.5).

    Without a cache ``resend_interval`` is the pause between two attempts as well; 0 then means
    pauses that grow.
    """

    send_single: bool = False
    """False: a message holds the list of all rows emitted together; True: one row each."""
    omit_if_empty: bool = False
    data_field: str = ""
    """Send this member of the row instead of the row."""
    fields: tuple[str, ...] = ()
    """Keep only these, in this order."""
    exclude_fields: tuple[str, ...] = ()
    data_template: str = ""
    """A template whose text is sent, or read as JSON where something follows that needs data."""
    format: str = "json"
    schema_id: str = ""
    """``<schema>.<Message>``, for formats protobuf and custom."""
    delimiter: str = ","
    """Between the columns of format delimited."""
    has_header: bool = False
    """Format delimited: the first line of each message names the columns."""
    batch_size: Count = 0
    """Rows that are gathered into one message; 0: as many as come in ``linger_interval``."""
    linger_interval: Duration = Duration(0)
    """The longest time that a gathered row waits for others; 0: until there are enough."""
    compression: CompressionMethod = ""
    compression_props: CompressionProps = CompressionProps()
    encryption: Literal["", "aes"] = ""
    enc_props: EncryptionProps = EncryptionProps()
    buffer_length: Count = 1024
    concurrency: Count = 1
    """Accepted as in eKuiper; a sink has one worker."""

    @property
    def is_batched(self) -> bool:
        """Whether rows are gathered to be sent together."""
        return self.batch_size > 0 or self.linger_interval > 0

    def redirects(self, config: Config) -> dict[str, str]:
        """Return the property of the sink that ``resendDestination`` stands for, with its value.

        Raises:
            ConfigError: this sink has no such property.
        """
        if not self.resend_destination:
            return {}
        fields = zip(config.__struct_fields__, config.__struct_encode_fields__, strict=True)
        for name, key in fields:
            if key in _DESTINATIONS and isinstance(getattr(config, name), Template):
                return {key: self.resend_destination}
        raise ConfigError(
            "resendDestination: this sink has one place only to send to",
            hint=f"it is for sinks with a property {' or '.join(_DESTINATIONS)}",
        )

    def check(self) -> None:
        """Raise ``ConfigError`` for options that don't go together."""
        if self.resend_priority and not self.resend_alter_queue:
            raise ConfigError(
                "resendPriority is for resending beside new results",
                hint="add resendAlterQueue: true, or leave it out: all go in their order",
            )
        if self.fields and self.exclude_fields:
            raise ConfigError("give fields or excludeFields, not both")
        if self.schema_id and self.format.lower() not in SUFFIXES:
            raise ConfigError(
                f"format {self.format} has no schemas, so that schemaId means nothing",
                hint=f"schemaId is for format {' and '.join(SUFFIXES)}",
            )
        is_text = self.format.lower() in ("json", "delimited")
        if self.is_batched and not is_text:
            raise ConfigError(
                f"a message of format {self.format} holds one row, so that rows can't be gathered",
                hint="leave batchSize and lingerInterval out, or choose json or delimited",
            )
        if self.data_template and self.format.lower() == "binary":
            raise ConfigError(
                "a dataTemplate makes text, which format binary can't hold",
                hint="leave format out to send the text as it is",
            )


_DESTINATIONS = ("topic", "path", "url")
_OPERATION = "xOperation"
"""What eKuiper is to do with an entry of its file of connections: ``create`` or ``delete``."""


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

    def instead(self, rules: RuleSet) -> Properties:
        """Return what there is when these rule files are all that there are."""
        made = Properties(self._root)
        made.add(rules)
        return made

    def copy(self) -> Properties:
        """Return properties that can be changed on their own."""
        copied = Properties(self._root)
        copied.become(self)
        return copied

    def become(self, other: Properties) -> None:
        """Hold what others hold, and nothing else."""
        self._connections = dict(other._connections)
        self._sections = dict(other._sections)

    def for_source(self, stream: Stream, plugin: Plugin) -> Config:
        """Return the configuration of a stream's source.

        Raises:
            ConfigError: a property is unknown, missing or of the wrong type.
        """
        return self._for_source(stream, plugin)[0]

    def for_lookup(self, table: Stream, plugin: Plugin) -> tuple[Config, LookupOptions]:
        """Return the configuration of a lookup table's source, and how the table is asked.

        Raises:
            ConfigError: a property is unknown, missing or of the wrong type.
        """
        return self._for_source(table, plugin)

    def _for_source(self, stream: Stream, plugin: Plugin) -> tuple[Config, LookupOptions]:
        """Return the configuration of a source; the group ``lookup`` is for lookup tables only.

        Raises:
            ConfigError: a property is unknown, missing or of the wrong type.
        """
        known = _keys(plugin)
        merged, places = self._merged(
            PluginKind.SOURCE, plugin, stream.options.conf_key, stream.properties, stream.where
        )
        for key, value in stream.options.extra.items():
            merged[key] = value
            places.pop(key, None)
        options = msgspec.to_builtins(stream.options)
        if issubclass(_config_type(plugin), AnyConfig):
            known = {"datasource"}
        for key in known & {"datasource", "format", "key", "delimiter", "kind"}:
            if key in stream.given:
                merged[key] = options[key]
                places.pop(key, None)
        where = f"source {plugin.name} of {stream.kind} {stream.name}"
        positions = stream.where.over(places)
        lookup = LookupOptions()
        if stream.options.kind == "lookup":
            lookup = lookup_options(merged, where=where, positions=positions)
        _check_names(merged, plugin, set(options), where, positions)
        config = _config(merged, plugin, where, positions)
        return config, lookup

    def for_sink(self, action: ActionDef, plugin: Plugin) -> tuple[Config, SinkOptions]:
        """Return the configuration of an action's sink and its common options.

        Raises:
            ConfigError: a property is unknown, missing or of the wrong type.
        """
        known = _keys(plugin)
        resource = str(action.properties.get("resourceId", "default"))
        given = {k: v for k, v in action.properties.items() if k != "resourceId"}
        merged, places = self._merged(PluginKind.SINK, plugin, resource, given, action.where)
        positions = action.where.over(places)
        where = f"sink {action.type}"
        if "tableDataField" in merged.keys() - known:
            merged.setdefault("dataField", merged.pop("tableDataField"))
        common = set(SinkOptions.__struct_encode_fields__)
        _check_names(merged, plugin, common, where, positions)
        own = {k: v for k, v in merged.items() if k in known or k not in common}
        applied = common - (known - _shared_options(plugin))
        shared = {k: v for k, v in merged.items() if k in applied}
        config = _config(own, plugin, where, positions)
        options = config_from(shared, SinkOptions, where=where, positions=positions)
        try:
            options.check()
        except ConfigError as error:
            raise ConfigError(f"{where}: {error.message}", at=action.at, hint=error.hint) from None
        _check_templates(config, options, where, positions)
        return config, options

    def _merged(
        self,
        kind: PluginKind,
        plugin: Plugin,
        section: str,
        given: Mapping[str, Any],
        where: Positions,
    ) -> tuple[dict[str, Any], dict[str | int, Positions]]:
        """Return all properties, and the places of those that aren't given at ``where``."""
        document = self._section_file(kind, plugin.name)
        sections = document.value
        merged = dict(sections.get("default") or {})
        inner = document.positions.below("default")
        places: dict[str | int, Positions] = {key: inner.below(key) for key in merged}
        added = self._sections.get((kind, plugin.name, section))
        if added is None and section != "default" and section not in sections:
            known = self.sections(kind, plugin.name)
            raise ConfigError(
                f"{kind.singular} {plugin.name} has no section {section!r}",
                at=where.of("confKey" if kind is PluginKind.SOURCE else "resourceId"),
                hint=did_you_mean(section, known) or f"write it into etc/{kind}/{plugin.name}.yaml",
            )
        named = sections.get(section) or {} if added is None else added
        merged.update(named)
        if added is None:
            inner = document.positions.below(section)
            places |= {key: inner.below(key) for key in named}
        selector = given.get("connectionSelector", merged.get("connectionSelector"))
        if selector is not None:
            merged.pop("connectionSelector", None)
            merged.update(self._connection(str(selector), where))
        merged.update({k: v for k, v in given.items() if k != "connectionSelector"})
        return merged, {key: place for key, place in places.items() if key not in given}

    def sections(self, kind: PluginKind, name: str) -> dict[str, Any]:
        """Return all sections of a plugin by name; those that were added win over its file.

        Raises:
            ConfigError: the file can't be read.
        """
        found = dict(self._section_file(kind, name).value)
        for (of_kind, of_name, key), section in self._sections.items():
            if (of_kind, of_name) == (kind, name):
                found[key] = section
        return found

    def connections(self) -> dict[str, PropertySet]:
        """Return the named connections; those that were added win over those of the file.

        Raises:
            ConfigError: the file can't be read.
        """
        return {**self._file_connections(), **self._connections}

    def _connection(self, name: str, where: Positions) -> dict[str, Any]:
        known = self._connections.get(name) or self._file_connections().get(name)
        if known is None:
            raise ConfigError(
                f"unknown connection {name!r}",
                at=where.of("connectionSelector"),
                hint="define it under 'connections:' or in etc/connections/connection.yaml",
            )
        return known.properties

    def _section_file(self, kind: PluginKind, name: str) -> Document:
        return _sections_of(self._root / "etc" / kind / f"{name}.yaml")

    def _file_connections(self) -> dict[str, PropertySet]:
        """Return the connections in eKuiper's file for them: ``type: {name: properties}``."""
        path = self._root / "etc" / "connections" / "connection.yaml"
        found: dict[str, PropertySet] = {}
        for type_, sets in _sections_of(path).value.items():
            for name, properties in (sets or {}).items():
                if not isinstance(properties, dict):
                    raise ConfigError(f"{path}: {type_}.{name}: expected properties")
                own = {key: value for key, value in properties.items() if key != _OPERATION}
                if properties.get(_OPERATION, "create") == "create":
                    found[str(name)] = PropertySet(name=str(name), type=type_, properties=own)
        return found


def _sections_of(path: Path) -> Document:
    """Return a file that holds mappings by name, an empty one if there is no such file.

    Raises:
        ConfigError: it can't be read, or holds something else.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return Document({}, NOWHERE)
    except OSError as error:
        raise ConfigError(f"can't read {path}: {error.strerror or error}") from None
    document = interpolate(read(path), os.environ)
    if document.value is None:
        return document._replace(value={})
    if not isinstance(document.value, dict):
        raise ConfigError(f"{path}: expected a mapping of sections")
    for name, section in document.value.items():
        if not isinstance(section, dict | None):
            what = "a mapping of properties by name"
            raise expected(what, section, str(name), document.positions.below(name))
    return document


def _check_names(
    given: Mapping[str, Any], plugin: Plugin, common: set[str], where: str, positions: Positions
) -> None:
    """Refuse what neither the plugin knows nor what is ``common`` to all of its kind.

    Raises:
        ConfigError: a name is unknown; the nearest one of all of these is told.
    """
    kind = _config_type(plugin)
    if issubclass(kind, AnyConfig) or not kind.__struct_config__.forbid_unknown_fields:
        return
    known = _keys(plugin)
    for key in given:
        if key not in known and key not in common:
            raise unknown_key(key, sorted(known | common), where, positions)


def _check_templates(config: Config, options: SinkOptions, where: str, places: Positions) -> None:
    """Compile all templates once, to say where in the file one is malformed."""
    templates = [(path, str(text)) for path, text in templates_of(config)]
    if options.data_template:
        templates.append((("dataTemplate",), options.data_template))
    if is_template(options.resend_destination):
        templates.append((("resendDestination",), options.resend_destination))
    for path, text in templates:
        try:
            compile_template(text)
        except TemplateError as error:
            error.place(places.below(*path))
            error.message = f"{where}: {'.'.join(path)}: {error.message}"
            raise


def _config(properties: dict[str, Any], plugin: Plugin, where: str, positions: Positions) -> Config:
    kind = _config_type(plugin)
    if issubclass(kind, AnyConfig):
        return kind(properties=properties)
    return config_from(properties, kind, where=where, positions=positions)


def _config_type(plugin: Plugin) -> type[Config]:
    return getattr(_owner(plugin), "config_type", Config)


def _shared_options(plugin: Plugin) -> frozenset[str]:
    return getattr(_owner(plugin), "shared_options", frozenset())


def _owner(plugin: Plugin) -> object:
    """Return what tells of a plugin without being made: its class, or the shared instance."""
    return plugin.export if plugin.is_shared else plugin.factory_type()


def _keys(plugin: Plugin) -> set[str]:
    return set(_config_type(plugin).__struct_encode_fields__)
