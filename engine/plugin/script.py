"""What a plugin file says of itself in its inline metadata (PEP 723), checked before it is run.

::

    # /// script
    # requires-python = ">=3.11"
    # dependencies = ["numpy>=2"]
    #
    # [tool.headrace]
    # requires-engine = ">=1.0,<2"
    # ///
"""

from __future__ import annotations

import platform
import re
import shlex
import sys
import tomllib
from collections.abc import Iterator, Sequence
from importlib import metadata
from typing import TYPE_CHECKING, Any

import msgspec

from engine.api import API_VERSION
from engine.errors import PluginError
from engine.plugin.version import satisfies

if TYPE_CHECKING:
    from packaging.requirements import Requirement

_OPENING = "# /// script"
_CLOSING = "# ///"


class Headrace(msgspec.Struct, frozen=True, rename="kebab", forbid_unknown_fields=True):
    """The table ``tool.headrace``."""

    requires_engine: str = ""
    """A range of versions of `engine.api`."""


class _Tools(msgspec.Struct, frozen=True):
    headrace: Headrace = Headrace()


class Script(msgspec.Struct, frozen=True, rename="kebab"):
    """The metadata of one file; all of it is optional."""

    dependencies: tuple[str, ...] = ()
    requires_python: str = ""
    tool: _Tools = _Tools()

    @property
    def requires_engine(self) -> str:
        return self.tool.headrace.requires_engine


def read_script(source: bytes, path: object) -> Script:
    """Return the metadata of a file, empty if it has none.

    Raises:
        PluginError: there is a block that can't be understood; the message has its line.
    """
    if _OPENING.encode() not in source:
        return Script()
    lines = source.decode("utf-8", "replace").splitlines()
    starts = [number for number, line in enumerate(lines) if line.rstrip() == _OPENING]
    if not starts:
        return Script()
    if len(starts) > 1:
        raise PluginError(f"{path}:{starts[1] + 1}: a second block '{_OPENING}'", hint="join them")
    first = starts[0] + 1
    text = _content(lines, first, path)
    try:
        return msgspec.convert(tomllib.loads(text), Script)
    except tomllib.TOMLDecodeError as error:
        inner = re.search(r"line (\d+)", str(error))
        line = first + (int(inner[1]) if inner else text.count("\n") + 1)
        message = re.sub(r" \(at .*\)", "", str(error))
        raise PluginError(
            f"{path}:{line}: inline metadata: {message}", hint="the block holds TOML"
        ) from error
    except msgspec.ValidationError as error:
        raise PluginError(
            f"{path}:{first}: inline metadata: {error}",
            hint="it holds dependencies, requires-python and [tool.headrace] requires-engine",
        ) from error


def _content(lines: Sequence[str], first: int, path: object) -> str:
    """Return the TOML text between the lines that open and close a block."""
    inside = []
    for line in lines[first:]:
        if not (line == "#" or line.startswith("# ")):
            break
        inside.append(line.rstrip())
    if _CLOSING not in inside:
        raise PluginError(
            f"{path}:{first}: the block '{_OPENING}' has no end", hint=f"close it with '{_CLOSING}'"
        )
    last = len(inside) - 1 - inside[::-1].index(_CLOSING)
    return "\n".join(line[2:] for line in inside[:last])


def check_script(script: Script, path: object) -> None:
    """Check that all that a file asks for is there.

    Raises:
        PluginError: something is missing; the hint has the command that installs it.
    """
    if script.requires_engine:
        _check_engine(script.requires_engine, path)
    if script.requires_python:
        _check_python(script.requires_python, path)
    missing = [text for text in script.dependencies if not _is_met(_requirement(text, path))]
    if missing:
        wanted = " ".join(shlex.quote(text) for text in missing)
        raise PluginError(
            f"{path}: it needs {', '.join(map(_shortfall, missing))}",
            hint=f"install it: {shlex.quote(sys.executable)} -m pip install {wanted}",
        )


def _check_engine(wanted: str, path: object) -> None:
    try:
        fits = satisfies(API_VERSION, wanted)
    except ValueError as error:
        raise PluginError(
            f"{path}: requires-engine: {error}", hint='write a range such as ">=1.0,<2"'
        ) from error
    if not fits:
        raise PluginError(
            f"{path}: it needs the plugin API {wanted}, and this is {API_VERSION}",
            hint="install a version of the plugin or of the engine that fits",
        )


def _check_python(wanted: str, path: object) -> None:
    from packaging.specifiers import InvalidSpecifier, SpecifierSet  # few plugins need it

    try:
        fits = SpecifierSet(wanted).contains(platform.python_version(), prereleases=True)
    except InvalidSpecifier as error:
        raise PluginError(
            f"{path}: requires-python: {error}", hint='write a range such as ">=3.11"'
        ) from error
    if not fits:
        raise PluginError(f"{path}: it needs Python {wanted}, not {platform.python_version()}")


def _requirement(text: str, path: object) -> Requirement:
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        return Requirement(text)
    except InvalidRequirement as error:
        reason = str(error).partition("\n")[0]
        raise PluginError(
            f"{path}: dependencies: {text!r}: {reason}", hint="write it as pip takes it"
        ) from error


def _is_met(wanted: Requirement) -> bool:
    if wanted.marker is not None and not wanted.marker.evaluate():
        return True
    found = _installed(wanted.name)
    if found is None or not wanted.specifier.contains(found.version, prereleases=True):
        return False
    return all(_is_met(inner) for extra in wanted.extras for inner in _of_extra(found, extra))


def _of_extra(found: metadata.Distribution, extra: str) -> Iterator[Requirement]:
    """Yield what an extra of a distribution needs beyond the distribution itself."""
    from packaging.requirements import Requirement

    for text in found.requires or ():
        inner = Requirement(text)
        if inner.marker is None or inner.marker.evaluate({"extra": ""}):
            continue
        if inner.marker.evaluate({"extra": extra}):
            inner.marker = None
            yield inner


def _installed(name: str) -> metadata.Distribution | None:
    try:
        return metadata.distribution(name)
    except (metadata.PackageNotFoundError, ValueError):
        return None


def _shortfall(text: str) -> str:
    """Return a requirement that isn't met, with the version that is there instead."""
    from packaging.requirements import Requirement

    found: Any = _installed(Requirement(text).name)
    return f"{text} (installed is {found.version})" if found is not None else text
