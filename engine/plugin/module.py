"""Importing a plugin file as a module of its own, so that several versions may run side by side."""

from __future__ import annotations

import importlib
import re
import shlex
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from itertools import count
from pathlib import Path
from types import CodeType, ModuleType, TracebackType

from engine.errors import EngineError, PluginError
from engine.plugin.files import PluginFile
from engine.suggest import did_you_mean

_PREFIX = "headrace_plugin_"
_numbers = count()


def import_file(file: PluginFile) -> ModuleType:
    """Run a plugin file and return its module, which nobody else shares.

    Raises:
        PluginError: it fails; the message has file and line.
    """
    _install_finder()
    name = f"{_PREFIX}{next(_numbers)}_{file.name}"
    is_package = file.path != file.source
    if is_package:
        importlib.invalidate_caches()  # its modules may be newer than what the finders remember
    spec = spec_from_file_location(
        name,
        file.source,
        loader=_TextLoader(name, str(file.source)),
        submodule_search_locations=[str(file.path)] if is_package else None,
    )
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module  # needed by dataclasses, typing and pickle
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        _forget(name)
        raise _explained(error, file, name) from error
    return module


class _TextLoader(SourceFileLoader):
    """Compiles the text each time: a compiled file might be that of the version before.

    (Python takes a compiled file for current if the text has the same size and the same second.)
    """

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


class _PackageFinder(MetaPathFinder):
    """Finds the modules inside of package plugins, to be loaded like the plugin itself."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith(_PREFIX) or path is None:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _TextLoader(spec.loader.name, spec.loader.path)
        return spec


_FINDER = _PackageFinder()


def _install_finder() -> None:
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)


def _forget(name: str) -> None:
    for known in [*sys.modules]:
        if known == name or known.startswith(f"{name}."):
            del sys.modules[known]


def place_in(file: Path, trace: TracebackType | None) -> str:
    """Return ``file:line`` of the innermost call of a traceback that is in a file or folder."""
    found = str(file)
    while trace is not None:
        path = Path(trace.tb_frame.f_code.co_filename)
        if path == file or file in path.parents:
            found = f"{path}:{trace.tb_lineno}"
        trace = trace.tb_next
    return found


def _explained(error: BaseException, file: PluginFile, module: str) -> PluginError:
    """Return an error of importing a plugin in words for its user."""
    place = place_in(file.path, error.__traceback__)
    if isinstance(error, SyntaxError):
        where = f"{error.filename or file.source}:{error.lineno or 1}"
        return PluginError(f"{where}: syntax error: {error.msg}", hint=_excerpt(error))
    if isinstance(error, ImportError):
        return PluginError(f"{place}: {_without(module, error)}", hint=_remedy(error, file, module))
    if isinstance(error, EngineError):
        return PluginError(f"{place}: {error.message}", hint=error.hint)
    if isinstance(error, SystemExit):
        return PluginError(
            f"{place}: it ends the program while it is imported",
            hint="put what a script does under: if __name__ == '__main__'",
        )
    message = str(error).partition("\n")[0]
    return PluginError(f"{place}: {type(error).__name__}: {message}".rstrip(": "))


def _excerpt(error: SyntaxError) -> str:
    line = (error.text or "").strip()
    return f"look at: {line}" if line else ""


def _without(module: str, error: ImportError) -> str:
    return str(error).replace(f"{module}.", ".").replace(module, "the package")


def _remedy(error: ImportError, file: PluginFile, module: str) -> str:
    """Return what to do about a name or module that can't be imported."""
    wanted = error.name or ""
    if "circular import" in str(error):
        return "move what both modules need into a third one"
    if not isinstance(error, ModuleNotFoundError):
        missing = re.search(r"cannot import name '([^']*)'", str(error))
        choices = dir(sys.modules[wanted]) if wanted in sys.modules else []
        return did_you_mean(missing[1], choices) if missing else ""
    top = wanted.partition(".")[0]
    if wanted.startswith(module) or top in ("", "engine"):
        return "check the name of the module"
    if top == "plugins":
        return "plugins don't see each other: put what two of them need into a package of its own"
    beside = file.path.parent / top
    if beside.is_dir() or beside.with_suffix(".py").is_file():
        return f"make {file.name} a package folder and import it as: from . import {top}"
    return f"install it: {shlex.quote(sys.executable)} -m pip install {top}"
