"""Plugin files: what their names say, which of them a folder holds, whether they have changed."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from engine.errors import PluginError
from engine.plugin.kind import PluginKind
from engine.plugin.version import shown_version, version_key

logger = logging.getLogger(__name__)

STAGING = Path("plugins", ".staging")
"""Where plugins are unpacked and checked before they are moved into their places."""
_TICK = 100_000_000
"""Nanoseconds in which a second change may leave the same time on a file or folder."""


def has_staging(root: Path) -> bool:
    """Tell whether an installation goes on or was interrupted; False where that can't be seen."""
    return os.path.isdir(root / STAGING)


def symbol_of(name: str) -> str:
    """Return the symbol of a plugin name: the same with an upper-case first letter."""
    return name[:1].upper() + name[1:]


def plugin_name(text: str) -> str:
    """Return the plugin name of a name or symbol."""
    return text[:1].lower() + text[1:]


@dataclass(frozen=True, slots=True)
class PluginFile:
    """A plugin file (or package folder) and what its name says."""

    kind: PluginKind
    name: str
    version: str
    """As it is shown: without a leading ``v``; empty where the file has none."""
    path: Path

    @classmethod
    def at(cls, kind: PluginKind, path: Path) -> PluginFile | None:
        """Return what a path in a folder of plugins is, None if it is no plugin."""
        if path.name.startswith(("_", ".")):
            return None
        if path.suffix == ".py":
            stem = path.name.removesuffix(".py")
        elif _is_package(path):
            stem = path.name
        else:
            return None
        name, _, version = stem.partition("@")
        return cls(kind, plugin_name(name), shown_version(version), path)

    @property
    def symbol(self) -> str:
        """The name that the file must export."""
        return symbol_of(self.name)

    @property
    def source(self) -> Path:
        """The Python file that exports it."""
        return self.path if self.path.suffix == ".py" else self.path / "__init__.py"

    def read(self) -> bytes:
        """Return the text of the Python file.

        Raises:
            PluginError: it can't be read.
        """
        try:
            return self.source.read_bytes()
        except FileNotFoundError as error:
            if not self.path.is_dir():
                raise self._unreadable(error) from error
            raise PluginError(
                f"{self.path}: a folder is a plugin only with an __init__.py",
                hint=f"write one with: from .{self.name} import {self.symbol}",
            ) from error
        except OSError as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: OSError) -> PluginError:
        return PluginError(
            f"{self.source}: can't be read: {error.strerror or error}",
            hint="check that the file is still there and that the engine may read it",
        )


def _is_package(path: Path) -> bool:
    try:
        return (path / "__init__.py").is_file() or (path.is_dir() and any(path.glob("*.py")))
    except OSError:  # it can't be told, so whoever uses it shall hear why
        return True


def files_in(folder: Path, kind: PluginKind) -> Iterator[PluginFile]:
    """Yield the plugin files of a kind in a ``plugins`` folder, which may be missing.

    Raises:
        OSError: the folder is there, but can't be read.
    """
    try:
        paths = sorted((folder / kind).iterdir())
    except FileNotFoundError:
        return
    for path in paths:
        if (file := PluginFile.at(kind, path)) is not None:
            yield file


class PluginFolder:
    """The plugins of one kind in one place; the folder is read again when it has changed."""

    def __init__(self, place: Path, kind: PluginKind) -> None:
        self.path = place / kind
        self._place = place
        self._kind = kind
        self._stamp: object = None
        self._watched: tuple[str, ...] = ()
        self._files: dict[str, list[PluginFile]] = {}
        self._active: tuple[PluginFile, ...] = ()
        self.problem = ""
        """Why the folder can't be read, empty if it can."""

    def __iter__(self) -> Iterator[PluginFile]:
        """Yield all files, by name, those of a name from the latest version down."""
        for files in self._read().values():
            yield from files

    @property
    def is_unreadable(self) -> bool:
        """Whether the folder is there, but can't be read now; ``problem`` says why."""
        self._read()
        return bool(self.problem)

    def versions(self, name: str) -> Sequence[PluginFile]:
        """Return the files of one plugin, the latest version first."""
        return self._read().get(name, ())

    def active(self) -> tuple[PluginFile, ...]:
        """Return the file of each plugin that takes effect, in one tuple until it is read again."""
        self._read()
        return self._active

    def _read(self) -> dict[str, list[PluginFile]]:
        stamp = modification_times(self._watched)
        if stamp is None or stamp != self._stamp:
            self._watched = self._folders()
            self._stamp = modification_times(self._watched)  # before reading: later changes show
            self._files = {}
            try:
                for file in files_in(self._place, self._kind):
                    self._files.setdefault(file.name, []).append(file)
                self.problem = ""
            except OSError as error:
                problem = f"{self.path} can't be read: {error.strerror or error}"
                if problem != self.problem:
                    logger.error("%s; its plugins can't be used", problem)
                self.problem = problem
            for files in self._files.values():
                files.sort(key=lambda file: version_key(file.version), reverse=True)
            self._active = tuple(files[0] for files in self._files.values())
        return self._files

    def _folders(self) -> tuple[str, ...]:
        """Return the folders whose times change with the list of plugins: this, and packages."""
        found = [str(self.path)]
        try:
            with os.scandir(self.path) as entries:
                found += [entry.path for entry in entries if entry.is_dir()]
        except OSError:
            return ()
        return tuple(found)


class _Stat(NamedTuple):
    """What the file system tells of one file."""

    path: str
    changed: int
    size: int
    number: int


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Tells whether the files of a plugin are still those that were read."""

    stats: tuple[_Stat, ...]
    checksum: int
    """Of paths and contents; decides where times don't: a file may have been just written."""
    is_sure: bool

    @classmethod
    def of(cls, file: PluginFile) -> Fingerprint:
        """Take the fingerprint of a plugin as it is now.

        Raises:
            PluginError: it can't be read.
        """
        stats = _stats(file)
        checksum = 0
        for stat in stats:
            try:
                content = Path(stat.path).read_bytes()
            except OSError as error:
                raise PluginError(
                    f"{stat.path}: can't be read: {error.strerror or error}",
                    hint="check that the file is still there and that the engine may read it",
                ) from error
            checksum = crc32(content, crc32(stat.path.encode(), checksum))
        newest = max((stat.changed for stat in stats), default=0)
        return cls(stats, checksum, not is_fresh(newest))

    def renewed(self, file: PluginFile) -> Fingerprint | None:
        """Return the fingerprint of a plugin that is the same as before, None if it has changed.

        Raises:
            PluginError: it can't be read.
        """
        if self.is_sure and _stats(file) == self.stats:
            return self
        now = Fingerprint.of(file)
        return now if now.checksum == self.checksum else None


def _stats(file: PluginFile) -> tuple[_Stat, ...]:
    text = str(file.path)
    paths = [text] if text.endswith(".py") else sorted(map(str, _inside(file.path)))
    found = []
    for path in paths:
        try:
            stat = os.stat(path)
        except OSError:
            continue
        found.append(_Stat(path, stat.st_mtime_ns, stat.st_size, stat.st_ino))
    return tuple(found)


def _inside(folder: Path) -> Iterator[Path]:
    """Yield the files of a package; what Python caches there is none of them."""
    for path in folder.rglob("*"):
        if "__pycache__" not in path.parts and path.is_file():
            yield path


def modification_times(paths: Sequence[str]) -> tuple[int, ...] | None:
    """Return when each of some files or folders was changed, in nanoseconds.

    None where that doesn't tell whether they are changed later: there is nothing to look at, one of
    them is gone, or the next change may leave the same time.
    """
    try:
        times = tuple([os.stat(path).st_mtime_ns for path in paths])
    except OSError:
        return None
    return times if times and not is_fresh(max(times)) else None


def is_fresh(changed: int) -> bool:
    """Tell whether a time of change, in nanoseconds, is so near that the next may equal it."""
    return time.time_ns() - changed < _TICK
