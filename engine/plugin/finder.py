"""Which file or distribution stands behind the name of a plugin, of one kind."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from enum import StrEnum
from importlib.metadata import EntryPoint
from pathlib import Path

import msgspec

from engine.errors import PluginError
from engine.plugin.distributions import Distributions, origin_of, version_of
from engine.plugin.files import PluginFile, PluginFolder, modification_times
from engine.plugin.kind import PluginKind

Found = PluginFile | EntryPoint
NamesOf = Callable[[PluginFile], tuple[str, ...]]
"""Gives the functions that a file exports."""


class Origin(StrEnum):
    """Where plugins come from, in the order in which they are looked for."""

    REGISTERED = "registered"
    ROOT = "root"
    INSTALLED = "installed"
    BUNDLED = "bundled"


class FileState(StrEnum):
    """What a plugin file that is present counts for."""

    ACTIVE = "active"
    SUPERSEDED = "superseded"
    """A later version in the same folder takes its place."""
    HIDDEN = "hidden"
    """There is a plugin of that name in a place that comes first."""
    CLASH = "clash"
    """Another file has the same name and version, so that neither can be used."""


class PresentFile(msgspec.Struct, frozen=True, rename="camel"):
    """A plugin file or distribution that is present."""

    name: str
    version: str
    file: str
    """Its path, or the distribution and what it announces."""
    origin: Origin
    state: FileState


class Finder:
    """The plugins of one kind in the root, in installed distributions and among the bundled ones.

    The first place that has a name wins, whatever the versions. Functions are also found in files
    of other names, which have tables of them.
    """

    def __init__(self, kind: PluginKind, root: Path, bundled: Path | None, names: NamesOf) -> None:
        self.distributions = Distributions(kind)
        self._kind = kind
        self._root = PluginFolder(root, kind)
        self._folders = {Origin.ROOT: self._root}
        if bundled is not None:
            self._folders[Origin.BUNDLED] = PluginFolder(bundled, kind)
        self._has_tables = kind is PluginKind.FUNCTION
        self._names = names
        self._exporters = {one.path: _Exporters(one, names) for one in self._folders.values()}

    # -- what a rule asks for ------------------------------------------------------------------

    def find(self, name: str) -> Found | None:
        """Return where the plugin that rules call ``name`` comes from.

        Raises:
            PluginError: several distributions have it.
        """
        return self._first(name, self._exporting)

    def check_version(self, file: PluginFile) -> None:
        """Check that no other file has the same name and version.

        Raises:
            PluginError: one has.
        """
        versions = self._folder(file).versions(file.name)
        twins = [one for one in versions if one.version == file.version]
        if len(twins) > 1:
            files = " and ".join(sorted(one.path.name for one in twins))
            version = f" of version {file.version}" if file.version else ""
            raise PluginError(
                f"{file.path}: two files for {self._kind.singular} {file.name}{version}: {files}",
                hint="remove one, or give it another version",
            )

    def check_exporters(self, file: PluginFile, name: str) -> None:
        """Check that no other file of its folder (from elsewhere: of the root) exports a function.

        Raises:
            PluginError: one does.
        """
        if not self._has_tables:
            return
        exporters = self._exporters[self._folder(file).path].of(name)
        others = [one for one in exporters if one.name != file.name]
        if others:
            raise PluginError(
                f"{file.source}: the function {name} is also exported by {others[0].path.name}",
                hint="rename it in one of the two files",
            )

    def superseded(self, file: PluginFile) -> list[PluginFile]:
        """Return the files whose place a file takes."""
        return [one for one in self._folder(file).versions(file.name) if one != file]

    def names(self) -> set[str]:
        """Return all names that rules may use."""
        files = (file for folder in self._folders.values() for file in folder.active())
        return {*self.distributions.names(), *(name for file in files for name in self.of(file))}

    def of(self, file: PluginFile) -> tuple[str, ...]:
        """Return what rules call the plugins in a file."""
        return self._names(file) if self._has_tables else (file.name,)

    # -- what is there -------------------------------------------------------------------------

    def named(self, name: str) -> Found | None:
        """Return the plugin whose file or entry point is called ``name``.

        Raises:
            PluginError: several distributions have it.
        """
        return self._first(name, self._latest)

    def plugin_names(self) -> set[str]:
        """Return the names of all files and entry points."""
        files = {file.name for folder in self._folders.values() for file in folder}
        return files | set(self.distributions.names())

    def origin(self, found: Found) -> Origin:
        """Return the place of something found."""
        if isinstance(found, EntryPoint):
            return Origin.INSTALLED
        return Origin.ROOT if self._folder(found) is self._root else Origin.BUNDLED

    def files(self, hidden: Container[str] = ()) -> list[PresentFile]:
        """Return all that is present, used or not, by name; the best of each name first.

        ``hidden`` are the names of plugins that come before all of these.
        """
        names = sorted(self.plugin_names())
        return [file for name in names for file in self.present(name, is_hidden=name in hidden)]

    def present(self, name: str, *, is_hidden: bool = False) -> list[PresentFile]:
        """Return all files and distributions of one name, the best first."""
        found: list[PresentFile] = []
        for origin in (Origin.ROOT, Origin.INSTALLED, Origin.BUNDLED):
            if origin is Origin.INSTALLED:
                here = self._installed(name)
            else:
                here = self._in_folder(name, self._folders.get(origin), origin)
            is_hidden = is_hidden or bool(found)
            found += [_hidden(file) if is_hidden else file for file in here]
        return found

    def problems(self) -> list[str]:
        """Return which folders can't be read, and why."""
        return [folder.problem for folder in self._folders.values() if folder.is_unreadable]

    def _installed(self, name: str) -> list[PresentFile]:
        points = self.distributions.all(name)
        state = FileState.ACTIVE if len(points) == 1 else FileState.CLASH
        return [
            PresentFile(name, version_of(point), origin_of(point), Origin.INSTALLED, state)
            for point in points
        ]

    def _in_folder(
        self, name: str, folder: PluginFolder | None, origin: Origin
    ) -> list[PresentFile]:
        files = folder.versions(name) if folder is not None else ()
        best = [file for file in files if file.version == files[0].version]
        top = FileState.ACTIVE if len(best) == 1 else FileState.CLASH
        return [
            PresentFile(
                name,
                file.version,
                str(file.path),
                origin,
                top if file in best else FileState.SUPERSEDED,
            )
            for file in files
        ]

    # -- looking up ----------------------------------------------------------------------------

    def _first(
        self, name: str, look: Callable[[PluginFolder, str], PluginFile | None]
    ) -> Found | None:
        found: Found | None = look(self._root, name) or self.distributions.find(name)
        if found is None and Origin.BUNDLED in self._folders:
            found = look(self._folders[Origin.BUNDLED], name)
        return found

    def _exporting(self, folder: PluginFolder, name: str) -> PluginFile | None:
        own = self._latest(folder, name)
        if not self._has_tables or (own is not None and name in self._names(own)):
            return own
        return next(iter(self._exporters[folder.path].of(name)), None)

    def _latest(self, folder: PluginFolder, name: str) -> PluginFile | None:
        return next(iter(folder.versions(name)), None)

    def _folder(self, file: PluginFile) -> PluginFolder:
        """Return the folder that a file lies in; for one from elsewhere, where it would go."""
        folders = self._folders.values()
        return next((one for one in folders if one.path == file.path.parent), self._root)


class _Exporters:
    """Which files of a folder export a function; they are read again when one has changed."""

    def __init__(self, folder: PluginFolder, names: NamesOf) -> None:
        self._folder = folder
        self._names = names
        self._active: tuple[PluginFile, ...] = ()
        self._sources: tuple[str, ...] = ()
        self._times: object = None
        self._files: dict[str, list[PluginFile]] = {}

    def of(self, name: str) -> Sequence[PluginFile]:
        """Return the files that take effect and export ``name``."""
        active = self._folder.active()
        if active is not self._active:
            self._active = active
            self._sources = tuple(str(file.source) for file in active)
            self._times = None
        times = modification_times(self._sources)
        if times is None or times != self._times:
            self._times = times
            self._files = {}
            for file in active:
                for exported in self._names(file):
                    self._files.setdefault(exported, []).append(file)
        return self._files.get(name, ())


def _hidden(file: PresentFile) -> PresentFile:
    if file.state is FileState.SUPERSEDED:
        return file
    return msgspec.structs.replace(file, state=FileState.HIDDEN)
