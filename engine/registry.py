"""Finding and loading plugins: which file or distribution stands behind a name.

Look-up order for a name: ``plugins/<kind>/`` of the root, installed distributions (entry points
``headrace.<kind>``), the bundled ``plugins/``. Nothing is imported before it is used.
"""

from __future__ import annotations

import importlib.util
import inspect
import logging
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import EntryPoint, entry_points
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any

from semver import Version

from engine.api import Function, Sink, Source
from engine.errors import EngineError, PluginError
from engine.suggest import did_you_mean

logger = logging.getLogger(__name__)

BUNDLED = Path(__file__).resolve().parent.parent / "plugins"
_MODULE_NUMBERS = count()


class PluginKind(StrEnum):
    """The kinds of plugins; the value is the name of their folder."""

    SOURCE = "sources"
    SINK = "sinks"
    FUNCTION = "functions"

    @property
    def singular(self) -> str:
        return self.value.removesuffix("s")

    @property
    def base(self) -> type[Any]:
        return {"sources": Source, "sinks": Sink, "functions": Function}[self.value]


@dataclass(frozen=True, slots=True)
class PluginFile:
    """A plugin file (or package folder) and what its name says."""

    kind: PluginKind
    name: str
    version: str
    path: Path

    @property
    def symbol(self) -> str:
        """The name that the file must export."""
        return symbol_of(self.name)


def symbol_of(name: str) -> str:
    """Return the symbol of a plugin name: the same with an upper-case first letter."""
    return name[:1].upper() + name[1:]


def plugin_name(text: str) -> str:
    """Return the plugin name of a name or symbol."""
    return text[:1].lower() + text[1:]


def version_key(version: str) -> tuple[bool, Any]:
    """Return what versions sort by: semantic ones above all others, those as text."""
    try:
        return True, Version.parse(version)
    except ValueError:
        return False, version


@dataclass(slots=True)
class Plugin:
    """A loaded plugin: makes instances, or is one shared by all."""

    kind: PluginKind
    name: str
    version: str
    origin: str
    export: Any

    @property
    def is_shared(self) -> bool:
        """Whether the symbol is an instance, shared by all rules."""
        return isinstance(self.export, self.kind.base)

    def factory_type(self) -> Any:
        """Return the class that a constructor makes, as far as it tells."""
        if inspect.isclass(self.export):
            return self.export
        returned = getattr(self.export, "__annotations__", {}).get("return")
        return returned if inspect.isclass(returned) else type(self.instance())

    def instance(self) -> Any:
        """Return the instance for one use.

        Raises:
            PluginError: the constructor fails or makes something else.
        """
        if self.is_shared:
            return self.export
        try:
            made = self.export()
        except EngineError:
            raise
        except Exception as error:
            raise PluginError(f"{self.origin}: {symbol_of(self.name)}() failed: {error}") from error
        if not isinstance(made, self.kind.base):
            raise PluginError(
                f"{self.origin}: {symbol_of(self.name)}() made {type(made).__name__}",
                hint=f"it must be an engine.api.{self.kind.base.__name__}",
            )
        return made


class PluginRegistry:
    """The plugins that one engine can use."""

    def __init__(self, root: Path, bundled: Path = BUNDLED) -> None:
        self._folders = [root / "plugins"]
        if bundled.resolve() != self._folders[0].resolve():
            self._folders.append(bundled)
        self._loaded: dict[tuple[PluginKind, str], Plugin] = {}

    def get(self, kind: PluginKind, name: str) -> Plugin:
        """Return the plugin called ``name``, loading it when first used.

        Raises:
            PluginError: there is none, or it can't be loaded.
        """
        key = kind, plugin_name(name)
        if key not in self._loaded:
            self._loaded[key] = self._load(kind, plugin_name(name), name)
        return self._loaded[key]

    def register(self, kind: PluginKind, name: str, export: Any) -> None:
        """Add a plugin that lives in the program itself; it wins over files of that name."""
        self._loaded[kind, plugin_name(name)] = Plugin(
            kind, plugin_name(name), "", f"registered {kind.singular} {name}", export
        )

    def has(self, kind: PluginKind, name: str) -> bool:
        """Tell whether there is a plugin called ``name``, without loading it."""
        key = plugin_name(name)
        return (kind, key) in self._loaded or self._find(kind, key) is not None

    def names(self, kind: PluginKind) -> list[str]:
        """Return the names of all plugins of a kind."""
        found = {file.name for folder in self._folders for file in files_in(folder, kind)}
        return sorted(found | {plugin_name(point.name) for point in _entry_points(kind)})

    def _load(self, kind: PluginKind, name: str, asked: str) -> Plugin:
        found = self._find(kind, name)
        if found is None:
            known = self.names(kind)
            hint = did_you_mean(asked, known) or f"there are {', '.join(known)}"
            raise PluginError(f"unknown {kind.singular} {asked!r}", hint=hint)
        if isinstance(found, PluginFile):
            module = _import_file(found)
            export, origin = _exported(module, found), str(found.path)
            version = found.version
        else:
            export, origin, version = _from_entry_point(found)
        if not (isinstance(export, kind.base) or callable(export)):
            raise PluginError(
                f"{origin}: {symbol_of(name)} is a {type(export).__name__}",
                hint=f"export a subclass or an instance of engine.api.{kind.base.__name__}",
            )
        if inspect.isclass(export) and not issubclass(export, kind.base):
            raise PluginError(
                f"{origin}: {symbol_of(name)} is no {kind.base.__name__}",
                hint=f"derive it from engine.api.{kind.base.__name__}",
            )
        logger.info("loaded %s %s %s from %s", kind.singular, name, version or "-", origin)
        return Plugin(kind, name, version, origin, export)

    def _find(self, kind: PluginKind, name: str) -> PluginFile | EntryPoint | None:
        first, *rest = self._folders
        candidates = _latest(files_in(first, kind), name)
        if candidates is not None:
            return candidates
        for point in _entry_points(kind):
            if plugin_name(point.name) == name:
                return point
        for folder in rest:
            if (candidates := _latest(files_in(folder, kind), name)) is not None:
                return candidates
        return None


def files_in(folder: Path, kind: PluginKind) -> Iterator[PluginFile]:
    """Yield the plugin files of a kind in a ``plugins`` folder."""
    try:
        paths = sorted((folder / kind).iterdir())
    except OSError:
        return
    for path in paths:
        is_package = path.is_dir() and (path / "__init__.py").is_file()
        if path.name.startswith(("_", ".")) or not (path.suffix == ".py" or is_package):
            continue
        stem = path.name if is_package else path.name.removesuffix(".py")
        name, _, version = stem.partition("@")
        yield PluginFile(kind, plugin_name(name), _shown_version(version), path)


def _shown_version(version: str) -> str:
    return version[1:] if version[:1] in "vV" and version[1:2].isdigit() else version


def _latest(files: Iterator[PluginFile], name: str) -> PluginFile | None:
    versions = [file for file in files if file.name == name]
    versions.sort(key=lambda file: version_key(file.version))
    if len(versions) > 1:
        others = ", ".join(file.path.name for file in versions[:-1])
        logger.info("%s takes the place of %s", versions[-1].path.name, others)
    return versions[-1] if versions else None


def _entry_points(kind: PluginKind) -> list[EntryPoint]:
    return list(entry_points(group=f"headrace.{kind}"))


def _import_file(file: PluginFile) -> ModuleType:
    path = file.path / "__init__.py" if file.path.is_dir() else file.path
    module_name = f"headrace_plugin_{next(_MODULE_NUMBERS)}_{file.name}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise PluginError(f"{path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # needed by dataclasses, typing and pickle
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        del sys.modules[module_name]
        raise PluginError(f"{path}:{error.lineno}: syntax error: {error.msg}") from error
    except ImportError as error:
        del sys.modules[module_name]
        raise PluginError(
            f"{path}: {error}",
            hint=f"install it: {sys.executable} -m pip install {error.name or '…'}",
        ) from error
    except Exception as error:
        del sys.modules[module_name]
        raise PluginError(f"{path}: {type(error).__name__}: {error}") from error
    return module


def _exported(module: ModuleType, file: PluginFile) -> Any:
    if hasattr(module, file.symbol):
        return getattr(module, file.symbol)
    own = [
        name
        for name, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, file.kind.base)
        and value.__module__ == module.__name__
    ]
    found = f"found {', '.join(own)}" if own else f"it exports no {file.kind.base.__name__}"
    raise PluginError(
        f"{file.path}: expected the symbol {file.symbol}, {found}",
        hint=f"name the class {file.symbol}, as the file is called {file.name}",
    )


def _from_entry_point(point: EntryPoint) -> tuple[Any, str, str]:
    distribution = point.dist
    version = distribution.version if distribution else ""
    origin = f"{distribution.name if distribution else 'entry point'} ({point.value})"
    try:
        return point.load(), origin, version
    except Exception as error:
        raise PluginError(f"{origin}: {error}") from error
