"""Installing, updating, removing and describing the plugins of one root folder.

Every operation either happens as a whole or leaves everything as it was, also if the process is
killed in the middle; two operations of one root never run at the same time. Nothing needs a
restart: rules that start afterwards find what is there then, running ones keep what they have.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from engine.errors import PluginError
from engine.packages.archive import LIMITS, Limits, unpack
from engine.packages.change import ChangeSet, remove_empty, settle
from engine.packages.contents import Contents, contents_of
from engine.packages.fetch import FETCH_LIMITS, Fetched, FetchLimits, fetch
from engine.packages.pack import pack
from engine.packages.record import RECORDS, Record, checksum, read_record, record_path
from engine.packages.report import Installed, PluginReport, Removed
from engine.packages.skeleton import create
from engine.packages.users import User, users_of
from engine.plugin.describe import PluginDescription
from engine.plugin.files import STAGING, has_staging
from engine.registry import (
    FileState,
    Origin,
    PluginKind,
    PluginRegistry,
    PresentFile,
    plugin_name,
)
from engine.state.errors import StoreFailed
from engine.state.lock import FolderLock

_UNPACKED = "unpacked"


class Packages:
    """The packages of one root; the methods wait for disk and network, so call them in a thread."""

    def __init__(
        self,
        root: Path | str,
        registry: PluginRegistry | None = None,
        *,
        limits: Limits = LIMITS,
        fetch_limits: FetchLimits = FETCH_LIMITS,
    ) -> None:
        """``registry`` is that of a running engine, if there is one."""
        self._root = Path(root).resolve()
        self._registry = registry or PluginRegistry(self._root)
        self._limits = limits
        self._fetch_limits = fetch_limits

    # -- changing ------------------------------------------------------------------------------

    def install(self, kind: PluginKind, name: str, place: str, *, sha256: str = "") -> Installed:
        """Install the plugin in the zip at ``place``, a path or an http(s) URL.

        Raises:
            PluginError: it is installed already, or can't be used; nothing has changed.
        """
        name = plugin_name(name)
        with self._exclusive() as staging:
            if present := self._in_root(kind, name):
                raise PluginError(
                    f"{kind.singular} {name} is installed already: {present[0].file}",
                    hint=f"use: headrace plugin update {kind.singular} {name} {place}",
                )
            return self._place(kind, name, staging, place, sha256)

    def update(
        self, kind: PluginKind, name: str, place: str = "", *, sha256: str = ""
    ) -> Installed:
        """Install another version in the place of all that are there, older or newer.

        ``place`` is by default where the installed version came from. Configuration and data
        files that were changed since they were installed stay; the new ones come beside them, with
        ``.new`` behind their names.

        Raises:
            PluginError: it isn't installed, or the new version can't be used; nothing has changed.
        """
        name = plugin_name(name)
        with self._exclusive() as staging:
            if not self._in_root(kind, name):
                raise self._not_here(kind, name)
            record = read_record(self._root, kind, name)
            if not place and record is None:
                raise PluginError(
                    f"{kind.singular} {name} wasn't installed from a package",
                    hint="say where the new version is",
                )
            return self._place(kind, name, staging, place or _source(record), sha256)

    def remove(self, kind: PluginKind, name: str, *, force: bool = False) -> Removed:
        """Remove all versions of a plugin, with what was installed for it and not changed since.

        Raises:
            PluginError: it isn't in the root, or rules use it and ``force`` isn't set; nothing has
                changed.
        """
        name = plugin_name(name)
        with self._exclusive() as staging:
            present = self._in_root(kind, name)
            if not present:
                raise self._not_here(kind, name)
            users = self._users(kind, name)
            if users and not force:
                names = ", ".join(f"{user.rule} ({user.file})" for user in users)
                raise PluginError(
                    f"{kind.singular} {name} is used by {names}",
                    hint="change or remove them first, or use --force",
                )
            record = read_record(self._root, kind, name)
            changes = ChangeSet(self._root, staging)
            changes.remove(Path(present[0].file))
            changes.decide()
            for file in present[1:]:
                changes.remove(Path(file.file))
            removed, kept = _sorted_files(self._root, record)
            for path in removed:
                changes.remove(self._root / path)
            changes.remove(record_path(self._root, kind, name))
            _make(changes)
            remove_empty(_folders_of(self._root, removed))
            files = [*(str(Path(file.file).relative_to(self._root)) for file in present), *removed]
            return Removed(kind.singular, name, tuple(files), tuple(kept), users)

    # -- making --------------------------------------------------------------------------------

    def pack(
        self, kind: PluginKind, name: str, target: Path | None = None, *, version: str = ""
    ) -> Path:
        """Write the package of a plugin in the root; see ``engine.packages.pack``."""
        self.settle()
        return pack(self._registry, self._root, kind, name, target, version=version)

    def new(self, kind: PluginKind, name: str) -> tuple[Path, Path]:
        """Write a plugin that works and its test; return where they are.

        Raises:
            PluginError: the name can't be one, or is taken.
        """
        if self._registry.has(kind, name):
            found = self._registry.describe(kind, name)
            raise PluginError(
                f"there is a {kind.singular} {found.name} already: {found.file}",
                hint="choose another name",
            )
        return create(self._root, kind, name)

    # -- looking -------------------------------------------------------------------------------

    def all(self, kind: PluginKind | None = None) -> list[PluginReport]:
        """Return all plugins that there are, wherever they come from, broken ones included."""
        self.settle()
        return [
            self._report(one, description, is_full=False)
            for one in (PluginKind if kind is None else (kind,))
            for description in self._registry.describe_all(one)
        ]

    def describe(self, kind: PluginKind, name: str) -> PluginReport:
        """Return all that is known of a plugin, and which rules below the root use it.

        Raises:
            PluginError: there is none of that name.
        """
        self.settle()
        return self._report(kind, self._registry.describe(kind, name), is_full=True)

    def _report(
        self, kind: PluginKind, plugin: PluginDescription, *, is_full: bool
    ) -> PluginReport:
        record, metadata, error = None, None, plugin.error
        try:
            record = read_record(self._root, kind, plugin.name)
            metadata = _metadata(self._root, kind, plugin.name) if is_full else None
        except PluginError as problem:
            error = error or str(problem)
        return PluginReport(
            plugin=msgspec.structs.replace(plugin, error=error),
            package=record,
            metadata=metadata,
            used_by=self._users(kind, plugin.name) if is_full else (),
        )

    def _users(self, kind: PluginKind, name: str) -> tuple[User, ...]:
        functions = self._registry.describe(kind, name).functions
        return users_of(self._root, kind, frozenset(functions or (name,)))

    # -- placing -------------------------------------------------------------------------------

    def _place(
        self, kind: PluginKind, name: str, staging: Path, place: str, sha256: str
    ) -> Installed:
        fetched = fetch(place, staging, sha256=sha256, limits=self._fetch_limits)
        folder = staging / _UNPACKED
        folder.mkdir()
        names = unpack(fetched.path, folder, self._limits)
        contents = contents_of(kind, name, folder, names, fetched.path.name)
        try:
            plugin = self._registry.examine(kind, contents.plugin.path)
        except PluginError as error:
            error.message = error.message.replace(f"{folder}{os.sep}", "")
            raise
        old = self._in_root(kind, name)
        record = read_record(self._root, kind, name)
        changes = ChangeSet(self._root, staging)
        kept = self._place_files(changes, kind, name, folder, contents, record, fetched)
        target = self._root / "plugins" / kind / contents.plugin.path.name
        changes.put(contents.plugin.path, target)
        changes.decide()  # by now all that the plugin needs is there
        for file in old:
            if Path(file.file) != target:
                changes.remove(Path(file.file))
        _drop_caches(contents.plugin.path)
        _make(changes)
        return Installed(
            kind.singular,
            name,
            plugin.version,
            str(target),
            plugin.functions,
            old[0].version if old else None,
            tuple(kept),
            self._shadow(kind, name),
        )

    def _place_files(
        self,
        changes: ChangeSet,
        kind: PluginKind,
        name: str,
        folder: Path,
        contents: Contents,
        record: Record | None,
        fetched: Fetched,
    ) -> list[str]:
        """Add the files below ``etc/`` and the record; return the files that had to stay."""
        own = Path("etc", kind)
        placed = {own / name / path.relative_to(folder / "etc"): path for path in contents.data}
        for path in (contents.config, contents.metadata):
            if path is not None:
                placed[own / path.name] = path
        known = {} if record is None else record.files
        files: dict[str, str] = {}
        kept = []
        for target, new in placed.items():
            key = target.as_posix()
            current = checksum(self._root / target)
            files[key] = checksum(new)
            if current in ("", files[key], known.get(key)):
                changes.put(new, self._root / target)
            else:
                changes.put(new, self._root / f"{key}.new")
                kept.append(key)
        for gone in known.keys() - files.keys():
            if checksum(self._root / gone) == known[gone]:
                changes.remove(self._root / gone)
        made = Record(
            kind=kind.singular,
            name=name,
            version=contents.plugin.version,
            source=fetched.source,
            sha256=fetched.sha256,
            installed_at=time.time_ns() // 1_000_000,
            requirements=contents.requirements,
            files=files,
        )
        text = msgspec.json.format(msgspec.json.encode(made))
        changes.put_text(text, record_path(self._root, kind, name))
        return kept

    def _shadow(self, kind: PluginKind, name: str) -> str:
        """Return the built-in or distributed plugin whose place an installed one takes, if any."""
        files = [file for file in self._registry.files(kind) if file.name == name]
        return next((file.file for file in files if file.state is FileState.HIDDEN), "")

    # -- what is there -------------------------------------------------------------------------

    def _in_root(self, kind: PluginKind, name: str) -> list[PresentFile]:
        """Return the files of a plugin in the root, the one that counts first."""
        return [
            file
            for file in self._registry.files(kind)
            if file.name == name and file.origin is Origin.ROOT
        ]

    def _not_here(self, kind: PluginKind, name: str) -> PluginError:
        try:
            found = self._registry.describe(kind, name)
        except PluginError as error:
            return error
        hints = {
            Origin.BUNDLED: "it comes with the engine; one in the root would go before it",
            Origin.INSTALLED: "it belongs to a Python distribution; use pip for that",
            Origin.REGISTERED: "it belongs to the program that embeds the engine",
        }
        hint = f"its plugin is called {found.name}"
        if found.origin in hints:
            hint = hints[found.origin]
        return PluginError(f"{kind.singular} {name} isn't installed in {self._root}", hint=hint)

    # -- one at a time -------------------------------------------------------------------------

    @contextmanager
    def _exclusive(self) -> Iterator[Path]:
        """Yield an empty staging folder that nobody else uses; it is gone afterwards."""
        staging = self._root / STAGING
        made = [folder for folder in (staging, staging.parent) if not os.path.isdir(folder)]
        try:
            lock = FolderLock(staging)
        except StoreFailed as error:
            raise PluginError(
                f"another installation is under way in {self._root}, or it can't be written to",
                hint=f"wait for it; if there is none, look at the rights of {staging.parent}",
            ) from error
        try:
            settle(self._root, staging)
            _empty(staging)
            yield staging
        except OSError as error:
            where = error.filename or self._root
            raise PluginError(f"{where}: {error.strerror or error}; nothing has changed") from error
        finally:
            shutil.rmtree(staging, ignore_errors=True)
            lock.release()
            records = self._root / RECORDS
            remove_empty([*(records / one for one in PluginKind), records, *made])

    def settle(self) -> None:
        """Bring an interrupted operation to its end, unless one is going on; engines start so."""
        if has_staging(self._root):
            with suppress(PluginError), self._exclusive():
                pass  # entering does it


def _make(changes: ChangeSet) -> None:
    try:
        changes.make()
    except OSError as error:
        raise PluginError(
            f"{error.filename or 'the root'}: {error.strerror or error}; nothing has changed",
            hint="look at the rights of the folder, and whether the disk is full",
        ) from error


def _source(record: Record | None) -> str:
    assert record is not None
    return record.source


def _sorted_files(root: Path, record: Record | None) -> tuple[list[str], list[str]]:
    """Return which installed files are as they were installed, and which were changed since."""
    removed: list[str] = []
    kept: list[str] = []
    for path, digest in ({} if record is None else record.files).items():
        current = checksum(root / path)
        if current:
            (removed if current == digest else kept).append(path)
    return removed, kept


def _folders_of(root: Path, files: list[str]) -> list[Path]:
    """Return the folders that files were in below ``etc/<kind>/``, the innermost first."""
    folders = {parent for file in files for parent in Path(file).parents if len(parent.parts) > 2}
    return [root / folder for folder in sorted(folders, key=lambda f: -len(f.parts))]


def _metadata(root: Path, kind: PluginKind, name: str) -> dict[str, Any] | None:
    path = root / "etc" / kind / f"{name}.json"
    try:
        found: dict[str, Any] = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        raise PluginError(f"{path}: can't be read: {error}") from error
    return found


def _drop_caches(path: Path) -> None:
    """Remove what Python may have cached while the plugin was examined."""
    if path.is_dir():
        for cache in path.rglob("__pycache__"):
            shutil.rmtree(cache, ignore_errors=True)


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.name == FolderLock.NAME:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
