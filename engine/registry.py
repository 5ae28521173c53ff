"""The plugins of an engine by name, loaded when they are used.

Look-up order: what the application has registered, ``plugins/<kind>/`` of the root, installed
distributions (entry points ``headrace.<kind>``), the bundled ``plugins/``. Files that are added,
changed or removed count for whatever is built afterwards; what runs already keeps the plugins that
it started with.
"""

from __future__ import annotations

import logging
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import msgspec

from engine.errors import PluginError
from engine.plugin.describe import (
    PluginDescription,
    describe_file,
    describe_plugins,
    describe_script,
)
from engine.plugin.distributions import origin_of, version_of
from engine.plugin.files import PluginFile, files_in, plugin_name, symbol_of
from engine.plugin.finder import FileState, Finder, Found, Origin, PresentFile
from engine.plugin.kind import PluginKind
from engine.plugin.loader import LoadedFile, Loader, load_file
from engine.plugin.plugin import Plugin
from engine.plugin.script import read_script
from engine.plugin.version import version_key
from engine.sql.functions import builtins
from engine.suggest import did_you_mean

__all__ = (
    "BUNDLED",
    "FileState",
    "Origin",
    "Plugin",
    "PluginDescription",
    "PluginFile",
    "PluginKind",
    "PluginRegistry",
    "PresentFile",
    "files_in",
    "plugin_name",
    "symbol_of",
    "version_key",
)

logger = logging.getLogger(__name__)

BUNDLED = Path(__file__).resolve().parent.parent / "plugins"


class PluginRegistry:
    """The plugins that one engine can use."""

    def __init__(self, root: Path, bundled: Path = BUNDLED) -> None:
        own = root / "plugins"
        others = bundled if bundled.resolve() != own.resolve() else None
        self._loader = Loader()
        self._finders = {
            kind: Finder(kind, own, others, self._loader.declared) for kind in PluginKind
        }
        self._registered: dict[PluginKind, dict[str, Plugin]] = {kind: {} for kind in PluginKind}

    # -- for rules -----------------------------------------------------------------------------

    def get(self, kind: PluginKind, name: str) -> Plugin:
        """Return the plugin called ``name`` as it is now, loading it when first used.

        Raises:
            PluginError: there is none, or it can't be used.
        """
        registered = self._registered_as(kind, name)
        if registered is not None:
            return registered
        found, key = self._found(kind, name)
        if isinstance(found, EntryPoint):
            return self._finders[kind].distributions.load(found)
        return self._load(found, key).plugin(key)

    def stream_source(self, name: str) -> Plugin:
        """Return the source plugin called ``name`` for a stream or a scanned table.

        Raises:
            PluginError: there is none, or it can't be used, or only for lookup tables.
        """
        plugin = self.get(PluginKind.SOURCE, name)
        if not plugin.is_stream_source:
            raise PluginError(
                f"source {name} is for lookup tables only",
                hint="create a table WITH (TYPE = …, KIND = 'lookup', KEY = …)",
            )
        return plugin

    def lookup_source(self, name: str) -> Plugin:
        """Return the source plugin called ``name`` for a lookup table.

        Raises:
            PluginError: there is none, or it can't be used, or not for lookup tables.
        """
        plugin = self.get(PluginKind.SOURCE, name)
        if plugin.file is not None:
            plugin = self._load(plugin.file, plugin.name).lookup()
        if not plugin.is_lookup_source:
            raise PluginError(
                f"source {name} can't serve lookup tables",
                hint="use it for a stream, or a table WITH (KIND = 'scan')",
            )
        return plugin

    def register(self, kind: PluginKind, name: str, export: Any) -> None:
        """Add a plugin that lives in the program itself; it wins over files of that name.

        Raises:
            PluginError: it breaks the contract, or has the name of a built-in function.
        """
        origin = f"registered {kind.singular} {name}"
        if kind is PluginKind.FUNCTION:
            _refuse_builtin(name, origin)
        plugin = Plugin(kind, _key(kind, name), "", origin, export)
        plugin.check()
        self._registered[kind][plugin.name] = plugin

    def has(self, kind: PluginKind, name: str) -> bool:
        """Tell whether there is a plugin called ``name``, without loading it."""
        if self._registered_as(kind, name) is not None:
            return True
        return self._find(kind, name)[0] is not None

    def names(self, kind: PluginKind) -> list[str]:
        """Return the names of all plugins of a kind; of functions, what SQL calls them."""
        return sorted({*self._registered[kind], *self._finders[kind].names()})

    # -- for those who manage them -------------------------------------------------------------

    def files(self, kind: PluginKind) -> list[PresentFile]:
        """Return all files and distributions with plugins of a kind, used or not, by name."""
        return self._finders[kind].files(self._registered[kind])

    def problems(self, kind: PluginKind | None = None) -> list[str]:
        """Return which folders of plugins can't be read, and why."""
        kinds = PluginKind if kind is None else (kind,)
        return [problem for one in kinds for problem in self._finders[one].problems()]

    def describe(self, kind: PluginKind, name: str) -> PluginDescription:
        """Return all that is known of a plugin; what is wrong with it is part of that.

        ``name`` is that of the plugin, its symbol or one of its functions.

        Raises:
            PluginError: there is none of that name.
        """
        finder, key = self._finders[kind], plugin_name(name)
        registered = self._registered_as(kind, name)
        if registered is not None:
            known = self._known(kind, registered.name, Origin.REGISTERED, registered.origin)
            return describe_plugins([registered], known)
        found = finder.named(key) or self._find(kind, name)[0]
        if found is None:
            raise self._unknown(kind, name)
        if isinstance(found, PluginFile):
            return self._describe_file(found)
        known = self._known(kind, key, Origin.INSTALLED, origin_of(found), version_of(found))
        try:
            return describe_plugins([finder.distributions.load(found)], known)
        except PluginError as error:
            return msgspec.structs.replace(known, error=str(error))

    def describe_all(self, kind: PluginKind | None = None) -> list[PluginDescription]:
        """Return the descriptions of all plugins, broken ones included."""
        return [
            self.describe(one, name)
            for one in (PluginKind if kind is None else (kind,))
            for name in sorted({*self._registered[one], *self._finders[one].plugin_names()})
        ]

    def examine(self, kind: PluginKind, path: Path) -> PluginDescription:
        """Return the description of a plugin file anywhere, loaded apart from all others.

        Those who install plugins ask before they put the file into its place.

        Raises:
            PluginError: it isn't named like a plugin, or can't be used in this engine.
        """
        file = PluginFile.at(kind, path)
        if file is None:
            raise PluginError(
                f"{path}: this is no plugin",
                hint="a plugin is a file NAME.py or NAME@VERSION.py, or a folder with __init__.py",
            )
        finder = self._finders[kind]
        for name in finder.of(file):
            finder.check_exporters(file, name)
            _refuse(kind, name, file)
        loaded = load_file(file)
        for symbol in loaded.symbols:
            loaded.of_symbol(symbol)
        known = PluginDescription(
            kind=kind.singular,
            name=file.name,
            version=file.version,
            file=str(path),
            functions=self._functions(kind, file.name, file),
            data_path=str(Path("etc", kind, file.name)),
        )
        return describe_file(loaded, describe_script(loaded.script, known))

    def _describe_file(self, file: PluginFile) -> PluginDescription:
        kind, finder = file.kind, self._finders[file.kind]
        known = self._known(
            kind, file.name, finder.origin(file), str(file.path), file.version, file=file
        )
        try:
            known = describe_script(read_script(file.read(), file.source), known)
            finder.check_version(file)
            for name in finder.of(file):
                finder.check_exporters(file, name)
                _refuse(kind, name, file)
            return describe_file(self._loader.load(file), known)
        except PluginError as error:
            return msgspec.structs.replace(known, error=str(error))

    def _known(
        self,
        kind: PluginKind,
        name: str,
        origin: Origin,
        where: str,
        version: str = "",
        file: PluginFile | None = None,
    ) -> PluginDescription:
        """Return what is known of a plugin before it is loaded."""
        is_hidden = name in self._registered[kind]
        return PluginDescription(
            kind=kind.singular,
            name=name,
            version=version,
            origin=origin,
            file=where,
            versions=tuple(self._finders[kind].present(name, is_hidden=is_hidden)),
            functions=self._functions(kind, name, file),
            data_path=str(Path("etc", kind, name)),
        )

    def _functions(self, kind: PluginKind, name: str, file: PluginFile | None) -> tuple[str, ...]:
        if kind is not PluginKind.FUNCTION:
            return ()
        return (name,) if file is None else self._finders[kind].of(file)

    # -- looking up ----------------------------------------------------------------------------

    def _found(self, kind: PluginKind, name: str) -> tuple[Found, str]:
        """Return what has a name and may be used, and the name as `_find` does.

        Raises:
            PluginError: there is none, or it can't be used.
        """
        found, key = self._find(kind, name)
        if found is None:
            raise self._unknown(kind, name)
        if isinstance(found, PluginFile):
            self._finders[kind].check_version(found)
        _refuse(kind, name, found)
        return found, key

    def _find(self, kind: PluginKind, name: str) -> tuple[Found | None, str]:
        """Return what has a name, None if nothing has, and the name as it stands there.

        A symbol stands for its plugin, but names in tables of functions are exact.
        """
        finder, key = self._finders[kind], plugin_name(name)
        if kind is PluginKind.FUNCTION and key != name:
            exact = finder.find(name)
            if exact is not None:
                return exact, name
        return finder.find(key), key

    def _load(self, file: PluginFile, name: str) -> LoadedFile:
        loaded = self._loader.current(file)
        if loaded is not None:
            return loaded
        finder = self._finders[file.kind]
        finder.check_exporters(file, name)
        if superseded := finder.superseded(file):
            others = ", ".join(one.path.name for one in superseded)
            logger.info("%s takes the place of %s", file.path.name, others)
        return self._loader.load(file)

    def _registered_as(self, kind: PluginKind, name: str) -> Plugin | None:
        return self._registered[kind].get(_key(kind, name))

    def _unknown(self, kind: PluginKind, name: str) -> PluginError:
        names = self.names(kind)
        hint = did_you_mean(name, names) or f"there are {', '.join(names)}"
        others = [one for one in PluginKind if one is not kind and self.has(one, name)]
        if others:
            hint = f"plugins/{others[0]} has one; a {kind.singular} belongs in plugins/{kind}"
        if problems := self._finders[kind].problems():
            hint = f"{hint}; {'; '.join(problems)}"
        return PluginError(f"unknown {kind.singular} {name!r}", hint=hint)


def _key(kind: PluginKind, name: str) -> str:
    """Return the name under which something is registered: a function's is exact."""
    return name if kind is PluginKind.FUNCTION else plugin_name(name)


def _refuse_builtin(name: str, where: str) -> None:
    """Check that a function doesn't have the name of a built-in one, whatever its case.

    Raises:
        PluginError: it has.
    """
    if builtins().get(name) is not None:
        raise PluginError(
            f"{where}: {name} is a built-in function", hint="give the function another name"
        )


def _refuse(kind: PluginKind, name: str, found: Found) -> None:
    if kind is PluginKind.FUNCTION:
        where = str(found.source) if isinstance(found, PluginFile) else origin_of(found)
        _refuse_builtin(name, where)
