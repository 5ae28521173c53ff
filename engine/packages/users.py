"""Which rules below a root use which plugins, as far as their files tell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from engine.catalog import resolve
from engine.config.load import SUFFIXES, load
from engine.config.rule import Definition, RuleDef, RuleSet, StreamDef
from engine.errors import EngineError
from engine.registry import PluginKind, plugin_name
from engine.sql.ast import Call, Input
from engine.sql.walk import walk

_MOST_FILES = 2_000
_LARGEST = 4 << 20
_SKIPPED = frozenset({"plugins", "data", "node_modules", "__pycache__", "tests"})


class User(msgspec.Struct, frozen=True):
    """A rule or stream that uses a plugin."""

    rule: str
    """Its id; ``stream NAME`` or ``table NAME`` where no rule of the file reads it."""
    file: str
    """From the root on, with the line."""


def users_of(root: Path, kind: PluginKind, names: frozenset[str]) -> tuple[User, ...]:
    """Return who uses a plugin; ``names`` is what rules call it: of functions there may be several.

    Files that can't be read as rules are passed over.
    """
    files = [(file.relative_to(root), rules) for file, rules in _rule_sets(root)]
    if kind is PluginKind.SOURCE:
        return tuple(dict.fromkeys(_readers(files, names)))
    found = [
        User(rule.id, _place(file, rule))
        for file, rules in files
        for rule in rules.rules.values()
        if names & (_sinks_of(rule) if kind is PluginKind.SINK else _query_of(rule).calls)
    ]
    return tuple(dict.fromkeys(found))


def _readers(files: Sequence[tuple[Path, RuleSet]], names: frozenset[str]) -> Iterator[User]:
    """Yield the rules, of all files, that read a stream of some sources."""
    rules = [(file, rule) for file, found in files for rule in found.rules.values()]
    for file, found in files:
        for stream in (*found.streams.values(), *found.tables.values()):
            if _source_of(stream) not in names:
                continue
            readers = [one for one in rules if stream.name in _query_of(one[1]).inputs]
            for place, rule in readers:
                yield User(rule.id, _place(place, rule))
            if not readers:
                yield User(f"{stream.kind} {stream.name}", _place(file, stream))


def _rule_sets(root: Path) -> Iterator[tuple[Path, RuleSet]]:
    for file in _rule_files(root):
        try:
            yield file, load(file, environ=None)
        except EngineError:
            continue


def _rule_files(root: Path) -> Iterator[Path]:
    """Yield the files that may hold rules; ``etc/<kind>/`` holds none."""
    configs = {root / "etc" / kind for kind in PluginKind}
    folders, left = [root], _MOST_FILES
    while folders:
        try:
            entries = sorted(folders.pop().iterdir())
        except OSError:
            continue
        for entry in entries:
            if entry.name.startswith(".") or entry.name in _SKIPPED or entry in configs:
                continue
            if entry.is_dir():
                if not entry.is_symlink():
                    folders.append(entry)
            elif entry.name.lower().endswith(SUFFIXES) and left > 0:
                left -= 1
                if _is_small(entry):
                    yield entry


def _is_small(path: Path) -> bool:
    try:
        return path.stat().st_size <= _LARGEST
    except OSError:
        return False


class _Query(NamedTuple):
    """What a query names."""

    calls: frozenset[str] = frozenset()
    inputs: frozenset[str] = frozenset()


def _query_of(rule: RuleDef) -> _Query:
    from engine.sql.parse import parse_select  # sqlglot takes a while to import

    try:
        query = parse_select(rule.sql)
    except EngineError:
        return _Query()
    calls = frozenset(node.name for node in walk(query) if isinstance(node, Call))
    inputs = frozenset(node.name for node in walk(query) if isinstance(node, Input))
    return _Query(calls, inputs)


def _sinks_of(rule: RuleDef) -> set[str]:
    return {plugin_name(action.type) for action in rule.actions}


def _source_of(stream: StreamDef) -> str:
    try:
        return plugin_name(resolve(stream).source_type)
    except EngineError:
        return ""


def _place(file: Path, definition: Definition) -> str:
    at = definition.at
    return f"{file.as_posix()}:{at.line}" if at is not None else file.as_posix()
