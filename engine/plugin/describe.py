"""Descriptions of plugins for those who install and use them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from engine.errors import EngineError
from engine.plugin.contract import Capability
from engine.plugin.finder import Origin, PresentFile
from engine.plugin.kind import PluginKind
from engine.plugin.loader import LoadedFile
from engine.plugin.plugin import Plugin
from engine.plugin.schema import config_schema
from engine.plugin.script import Script


class PluginDescription(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """All that is known of one plugin; what needs loading is empty where ``error`` is set."""

    kind: str
    """``source``, ``sink`` or ``function``."""
    name: str
    version: str = ""
    origin: Origin | None = None
    """None: a file that lies in no place of plugins."""
    file: str = ""
    """The file, or the distribution and what it announces."""
    versions: tuple[PresentFile, ...] = ()
    symbols: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()
    """What a function plugin adds to SQL."""
    roles: tuple[str, ...] = ()
    """Among ``source``, ``lookup``, ``sink``, ``function`` and ``aggregate``."""
    export: str = ""
    """``isolated``: an instance for each use; ``shared``: one for all."""
    capabilities: tuple[Capability, ...] = ()
    schema: dict[str, Any] | None = None
    """JSON Schema of the configuration of a source or sink."""
    lookup_schema: dict[str, Any] | None = None
    """The same for lookup tables where they have a class of their own."""
    dependencies: tuple[str, ...] = ()
    requires_python: str = ""
    requires_engine: str = ""
    data_path: str = ""
    """The plugin's own folder, from the root on."""
    doc: str = ""
    error: str = ""
    """Why it can't be used, with file, line and what to do."""


def describe_file(loaded: LoadedFile, known: PluginDescription) -> PluginDescription:
    """Return ``known`` with all that a loaded file tells."""
    plugins: list[Plugin] = []
    errors: list[str] = []
    for symbol in loaded.symbols:
        try:
            plugins.append(loaded.of_symbol(symbol))
        except EngineError as error:
            errors.append(str(error))
    return describe_plugins(
        plugins,
        msgspec.structs.replace(
            known,
            symbols=tuple(loaded.symbols),
            doc=loaded.doc,
            error="\n".join([*([known.error] if known.error else []), *errors]),
        ),
    )


def describe_script(script: Script, known: PluginDescription) -> PluginDescription:
    """Return ``known`` with what a file says that it needs."""
    return msgspec.structs.replace(
        known,
        dependencies=script.dependencies,
        requires_python=script.requires_python,
        requires_engine=script.requires_engine,
    )


def describe_plugins(plugins: Sequence[Plugin], known: PluginDescription) -> PluginDescription:
    """Return ``known`` with all that the plugins behind one name tell."""
    try:
        roles = {role: plugin for plugin in plugins for role in _roles(plugin)}
        capabilities = {one for plugin in plugins for one in plugin.capabilities}
        schemas = {role: _schema(plugin) for role, plugin in roles.items()}
    except (EngineError, TypeError) as error:
        return msgspec.structs.replace(known, error=known.error or str(error))
    own = next((schemas[role] for role in ("source", "sink", "lookup") if role in roles), None)
    lookup = schemas.get("lookup")
    modes = {"shared" if plugin.is_shared else "isolated" for plugin in plugins}
    return msgspec.structs.replace(
        known,
        roles=tuple(roles),
        capabilities=tuple(sorted(capabilities)),
        export=" and ".join(sorted(modes)),
        schema=own,
        lookup_schema=lookup if "source" in roles and lookup != own else None,
        symbols=known.symbols or tuple(plugin.symbol for plugin in plugins),
        doc=known.doc or next((plugin.doc for plugin in plugins if plugin.doc), ""),
    )


def _roles(plugin: Plugin) -> list[str]:
    if plugin.kind is PluginKind.SOURCE:
        found = {"source": plugin.is_stream_source, "lookup": plugin.is_lookup_source}
        return [role for role, holds in found.items() if holds]
    return ["aggregate"] if plugin.is_aggregate else [plugin.kind.singular]


def _schema(plugin: Plugin) -> dict[str, Any] | None:
    if plugin.kind is PluginKind.FUNCTION:
        return None
    return config_schema(plugin.config_type)
