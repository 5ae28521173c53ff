"""What an unpacked package holds: the plugin, its defaults, its metadata, its files, its needs.

::

    Random@v1.0.0.py      the plugin, or a folder of that name with __init__.py
    random.yaml           default configuration, in sections
    random.json           metadata for those who show it
    etc/…                 files for run time
    requirements.txt      Python packages that must be there
    README.md, LICENSE …  for people; not installed
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from engine.config.document import read
from engine.errors import ConfigError, PluginError
from engine.plugin.script import Script, check_script
from engine.registry import PluginFile, PluginKind, plugin_name, symbol_of

REQUIREMENTS = "requirements.txt"
DATA = "etc"
_FOR_PEOPLE = ("readme", "license", "licence", "copying", "notice", "changelog", "changes")
_PROGRAM = re.compile(r"(\.py|\.so|\.pyd)$")


@dataclass(frozen=True, slots=True)
class Contents:
    """The parts of one package, below the folder that it was unpacked into."""

    plugin: PluginFile
    config: Path | None = None
    metadata: Path | None = None
    data: tuple[Path, ...] = field(default=())
    """The files in ``etc/``."""
    requirements: tuple[str, ...] = ()


def contents_of(
    kind: PluginKind, name: str, folder: Path, names: Sequence[PurePosixPath], archive: str
) -> Contents:
    """Return the parts of the package for one plugin; ``names`` are all its files.

    Raises:
        PluginError: something is missing, too much or malformed, or something that it needs isn't
            installed.
    """
    name = plugin_name(name)
    top = sorted({path.parts[0] for path in names})
    plugin = _plugin(kind, name, folder, top, archive)
    known = {plugin.path.name, DATA, REQUIREMENTS, f"{name}.yaml", f"{name}.json"}
    others = [one for one in top if one not in known and not _is_for_people(folder / one)]
    if others:
        raise PluginError(
            f"{archive}: it must not hold {', '.join(others[:5])}",
            hint=f"beside the plugin there may be {name}.yaml, {name}.json, {DATA}/ and "
            f"{REQUIREMENTS}; files for run time go into {DATA}/",
        )
    requirements = _requirements(folder / REQUIREMENTS, archive)
    check_script(Script(dependencies=requirements), f"{archive}: {REQUIREMENTS}")
    return Contents(
        plugin,
        _mapping(folder / f"{name}.yaml", archive, inner="section"),
        _mapping(folder / f"{name}.json", archive),
        tuple(folder / path for path in sorted(names) if path.parts[0] == DATA),
        requirements,
    )


def _plugin(
    kind: PluginKind, name: str, folder: Path, top: Sequence[str], archive: str
) -> PluginFile:
    """Return the one plugin among the names at the root of a package."""
    files = [
        file
        for one in top
        if one != DATA and (file := PluginFile.at(kind, folder / one)) is not None
    ]
    own = [file for file in files if file.name == name and file.source.is_file()]
    if len(own) == 1:
        return own[0]
    wanted = f"{name}.py or {symbol_of(name)}.py, with or without @VERSION"
    if len(own) > 1:
        both = ", ".join(file.path.name for file in own)
        raise PluginError(f"{archive}: a package holds one plugin, not {both}", hint="remove one")
    hint = f"at its root there must be {wanted}"
    if len(top) == 1 and (folder / top[0]).is_dir() and top[0] != DATA:
        hint = f"pack what is in the folder {top[0]}, not the folder"
    found = f", but {', '.join(top[:5])}" if top else ", it is empty"
    raise PluginError(f"{archive}: it holds no {kind.singular} {name}{found}", hint=hint)


def _is_for_people(path: Path) -> bool:
    is_text = path.is_file() and not _PROGRAM.search(path.name)
    return is_text and path.name.lower().startswith(_FOR_PEOPLE)


def _mapping(path: Path, archive: str, *, inner: str = "") -> Path | None:
    """Return a configuration file if there is one that can be read.

    Raises:
        PluginError: it isn't a mapping, with ``inner`` of mappings.
    """
    if not path.is_file():
        return None
    try:
        value = read(path).value
    except ConfigError as error:
        where = f"{archive}: {path.name}"
        if error.at is not None:
            where = f"{where}:{error.at.line}"
        raise PluginError(f"{where}: {error.message}", hint=error.hint) from error
    if not isinstance(value, dict):
        raise PluginError(f"{archive}: {path.name} is no mapping")
    wrong = [key for key, section in value.items() if inner and not _is_section(section)]
    if wrong:
        raise PluginError(
            f"{archive}: {path.name}: {wrong[0]} is no {inner}",
            hint="write the properties below 'default:'",
        )
    return path


def _is_section(value: Any) -> bool:
    return value is None or isinstance(value, dict)


def _requirements(path: Path, archive: str) -> tuple[str, ...]:
    """Return the requirements in a file, one a line; comments and blank lines don't count.

    Raises:
        PluginError: a line is an option of pip, or the file is no text.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except FileNotFoundError:
        return ()
    except UnicodeDecodeError as error:
        raise PluginError(f"{archive}: {path.name} is no UTF-8 text") from error
    found = []
    for number, line in enumerate(lines, 1):
        text = re.sub(r"(^|\s)#.*", "", line).strip()
        if text.startswith("-"):
            raise PluginError(
                f"{archive}: {path.name}:{number}: {text!r} is an option of pip",
                hint="write names and versions only, such as numpy>=2",
            )
        if text:
            found.append(text)
    return tuple(found)
