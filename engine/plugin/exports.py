"""What a plugin file exports: its symbol, and several functions where it has a table of them.

A function file may hold ``functions = {"name": Class, …}``. The table is also read without running
the file, so its keys must be written out.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

from engine.errors import PluginError
from engine.plugin.ekuiper import from_sdk, sdk_class
from engine.plugin.files import PluginFile
from engine.plugin.kind import PluginKind
from engine.suggest import did_you_mean

_TABLE = "functions"
LOOKUP = "Lookup"
"""Ending of a second symbol in a source file: the class for lookup tables, if it has its own."""


@dataclass(frozen=True, slots=True)
class Export:
    """One thing that a plugin file exports."""

    name: str
    """What rules call it."""
    symbol: str
    value: Any


def exports_of(module: ModuleType, file: PluginFile) -> dict[str, Export]:
    """Return what a module exports, by symbol; functions of its table by their name.

    Raises:
        PluginError: it exports nothing under the names that it should.
    """
    symbols = [file.symbol]
    if file.kind is PluginKind.SOURCE:
        symbols.append(file.symbol + LOOKUP)
    found = {
        symbol: Export(file.name, symbol, getattr(module, symbol))
        for symbol in symbols
        if hasattr(module, symbol)
    }
    if file.kind is PluginKind.FUNCTION and hasattr(module, _TABLE):
        found |= _table(getattr(module, _TABLE), file)
    if not found and (only := sdk_class(module, file.kind)) is not None:
        found[file.symbol] = Export(file.name, file.symbol, only)
    if not found:
        raise _misnamed(module, file)
    return {
        symbol: replace(export, value=from_sdk(export.value, file.kind, file.source))
        for symbol, export in found.items()
    }


def _table(table: Any, file: PluginFile) -> dict[str, Export]:
    place = f"{file.source}:{line_of(file.read(), _TABLE)}"
    if not (isinstance(table, Mapping) and table and all(isinstance(key, str) for key in table)):
        raise PluginError(
            f"{place}: {_TABLE} is no table of functions",
            hint=f'write {_TABLE} = {{"name": Class, …}}, or call the variable something else',
        )
    hidden = sorted(set(table) - set(declared_functions(file.read(), file)))
    if hidden:
        raise PluginError(
            f"{place}: the table doesn't spell out {', '.join(hidden)}",
            hint=f'write {_TABLE} = {{"{hidden[0]}": …}} with the names as plain texts',
        )
    return {name: Export(name, name, value) for name, value in table.items()}


def _misnamed(module: ModuleType, file: PluginFile) -> PluginError:
    own = [
        name
        for name, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, file.kind.bases)
        and value.__module__.startswith(module.__name__)
    ]
    near = did_you_mean(file.symbol, [name for name in vars(module) if not name.startswith("_")])
    if not file.symbol.isidentifier():
        return PluginError(
            f"{file.path}: {file.name!r} is no name of a plugin",
            hint="a name has letters and digits, such as mySource, and begins with a letter;"
            " what follows an @ is the version",
        )
    if own:
        line = line_of(file.read(), own[0])
        return PluginError(
            f"{file.source}:{line}: expected the symbol {file.symbol}, found {', '.join(own)}",
            hint=f"name the class {file.symbol}, as the file is called {file.name},"
            f" or the file {own[0]}.py",
        )
    return PluginError(
        f"{file.source}:1: expected the symbol {file.symbol}, it exports no {file.kind.base_names}",
        hint=near or f"define class {file.symbol}, derived from engine.api.{file.kind.base_names}",
    )


def declared_functions(source: bytes, file: PluginFile) -> tuple[str, ...]:
    """Return the functions that a file exports, as far as its text tells."""
    if _TABLE.encode() not in source:
        return (file.name,)
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError):
        return (file.name,)
    tables = [value for name, value in _assignments(body) if name == _TABLE]
    if not tables or not isinstance(tables[-1], ast.Dict):
        return (file.name,)
    keys = tables[-1].keys
    names = [key.value for key in keys if isinstance(key, ast.Constant)]
    own = [file.name] if any(file.symbol in _names(node) for node in body) else []
    return tuple(dict.fromkeys([*own, *(name for name in names if isinstance(name, str))]))


def line_of(source: bytes, symbol: str) -> int:
    """Return the line where a module-level name is defined last, 1 if it isn't found."""
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError):
        return 1
    return next((node.lineno for node in reversed(body) if symbol in _names(node)), 1)


def _assignments(body: list[ast.stmt]) -> Iterator[tuple[str, ast.expr]]:
    for node in body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
            yield from (
                (target.id, node.value) for target in targets if isinstance(target, ast.Name)
            )


def _names(node: ast.stmt) -> set[str]:
    """Return the names that a statement defines."""
    if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
        return {node.name}
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
    return {name for name, _ in _assignments([node])}
