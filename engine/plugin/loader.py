"""Loading plugin files: checked, imported when first used, and again when they have changed."""

from __future__ import annotations

import logging
from pathlib import Path
from types import ModuleType

from engine.errors import PluginError
from engine.plugin.exports import LOOKUP, Export, declared_functions, exports_of
from engine.plugin.files import Fingerprint, PluginFile
from engine.plugin.module import import_file
from engine.plugin.plugin import Plugin
from engine.plugin.script import Script, check_script, read_script
from engine.state.codec import CODEC

logger = logging.getLogger(__name__)


class LoadedFile:
    """A plugin file that was imported, and its plugins; they last as long as somebody uses them."""

    def __init__(self, file: PluginFile, module: ModuleType, script: Script) -> None:
        self.file = file
        self.module = module
        self.script = script
        self.doc = (module.__doc__ or "").strip()
        self._exports = exports_of(module, file)
        self._plugins: dict[str, Plugin] = {}

    @property
    def symbols(self) -> list[str]:
        """The symbols that it exports, with the names in its table of functions."""
        return list(self._exports)

    def plugin(self, name: str) -> Plugin:
        """Return the plugin that rules call ``name``.

        Raises:
            PluginError: there is none, or it breaks the contract.
        """
        symbol = self.file.symbol
        if name in self._exports:  # a function of the table
            return self.of_symbol(name)
        if name == self.file.name and symbol in self._exports:
            return self.of_symbol(symbol)
        if name == self.file.name and symbol + LOOKUP in self._exports:
            return self.of_symbol(symbol + LOOKUP)
        raise PluginError(
            f"{self.file.source}: exports {', '.join(self._exports)}, but no {name}",
            hint=f"define class {symbol}" if name == self.file.name else "",
        )

    def lookup(self) -> Plugin:
        """Return the plugin for lookup tables: its own symbol if there is one, else the source."""
        second = self.file.symbol + LOOKUP
        return self.of_symbol(second if second in self._exports else self.file.symbol)

    def of_symbol(self, symbol: str) -> Plugin:
        """Return the plugin behind one of ``symbols``.

        Raises:
            PluginError: it breaks the contract.
        """
        if symbol not in self._plugins:
            plugin = self._made(self._exports[symbol])
            plugin.check()
            self._plugins[symbol] = plugin
        return self._plugins[symbol]

    def _made(self, export: Export) -> Plugin:
        file = self.file
        return Plugin(
            file.kind,
            export.name,
            file.version,
            str(file.path),
            export.value,
            symbol=export.symbol,
            file=file,
            script=self.script,
        )


class Loader:
    """Keeps what was loaded from each file for as long as the file stays the same."""

    def __init__(self) -> None:
        self._loaded: dict[Path, tuple[Fingerprint, LoadedFile]] = {}
        self._declared: dict[Path, tuple[Fingerprint, tuple[str, ...]]] = {}

    def load(self, file: PluginFile) -> LoadedFile:
        """Return the plugins of a file as it is now.

        Raises:
            PluginError: the file can't be read or run, asks for what isn't there, or exports
                nothing.
        """
        if (known := self.current(file)) is not None:
            return known
        fingerprint = Fingerprint.of(file)  # before reading: a later change shows next time
        loaded = load_file(file)
        CODEC.classes.alias(loaded.module, f"plugins.{file.kind}.{file.name}")
        verb = "loaded again" if file.path in self._loaded else "loaded"
        name = f"{file.name} {file.version}".rstrip()
        logger.info("%s %s %s from %s", verb, file.kind.singular, name, file.path)
        self._loaded[file.path] = fingerprint, loaded
        return loaded

    def current(self, file: PluginFile) -> LoadedFile | None:
        """Return what was loaded from a file, None if nothing was or the file has changed."""
        known = self._loaded.get(file.path)
        same = known[0].renewed(file) if known is not None else None
        if known is None or same is None:
            return None
        self._loaded[file.path] = same, known[1]
        return known[1]

    def declared(self, file: PluginFile) -> tuple[str, ...]:
        """Return the functions that a file exports, without running it; none if it can't be read.

        What is wrong with the file shows when one of them is used.
        """
        known = self._declared.get(file.path)
        try:
            if known is not None and (same := known[0].renewed(file)) is not None:
                self._declared[file.path] = same, known[1]
                return known[1]
            fingerprint = Fingerprint.of(file)
            names = declared_functions(file.read(), file)
        except PluginError:
            return (file.name,)
        self._declared[file.path] = fingerprint, names
        return names


def load_file(file: PluginFile) -> LoadedFile:
    """Import a plugin file, after checking what it asks for.

    Raises:
        PluginError: see ``Loader.load``.
    """
    script = read_script(file.read(), file.source)
    check_script(script, file.source)
    return LoadedFile(file, import_file(file), script)
