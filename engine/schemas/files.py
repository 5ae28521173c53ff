"""Where schemas stand: ``etc/schemas/<type>`` and ``data/schemas/<type>`` below the root.

A schema is a file ``<name>.proto`` or ``<name>.py``, with a version as ``<name>@<version>.proto``,
and perhaps a folder ``<name>`` with the files that it imports. Of several versions the newest
counts; of the same version that in ``data``, where clients of the server put theirs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.errors import ConfigError
from engine.plugin.version import shown_version, version_key
from engine.state.stored import DATA
from engine.suggest import did_you_mean

SUFFIXES: Mapping[str, str] = {"protobuf": ".proto", "custom": ".py"}
"""The types of schemas, which are also the formats that need one, and how their files end."""


@dataclass(frozen=True, slots=True)
class SchemaFile:
    """The file of a schema and what its name says."""

    type: str
    name: str
    version: str
    """Empty where the file has none."""
    path: Path
    is_own: bool
    """Whether it lies in ``data``, so that it can be changed."""

    @property
    def imports(self) -> Path:
        """The folder with files that it may import; it need not be there."""
        return self.path.parent / self.name


class SchemaFiles:
    """The schemas below one root."""

    def __init__(self, root: Path) -> None:
        self._given = root / "etc" / "schemas"
        self._own = root / DATA / "schemas"

    def own_folder(self, type_: str) -> Path:
        """Return the folder for schemas that come while the engine runs; it need not be there."""
        return self._own / type_

    def folders(self, type_: str) -> tuple[Path, Path]:
        """Return the folders with the schemas of a type."""
        return self._own / type_, self._given / type_

    def all(self, type_: str) -> dict[str, SchemaFile]:
        """Return the newest file of each schema of a type, by name."""
        found: dict[str, SchemaFile] = {}
        for file in sorted(self._files(type_), key=_rank):
            found[file.name] = file
        return dict(sorted(found.items()))

    def versions(self, type_: str, name: str) -> list[SchemaFile]:
        """Return all files of a schema, the oldest first."""
        files = (file for file in self._files(type_) if file.name == name)
        return sorted(files, key=_rank)

    def get(self, type_: str, name: str) -> SchemaFile:
        """Return the newest file of a schema.

        Raises:
            ConfigError: there is none.
        """
        known = self.all(type_)
        if name not in known:
            example = self._given / type_ / f"{name}{SUFFIXES[type_]}"
            hint = did_you_mean(name, known) or f"put it into {example}"
            raise ConfigError(f"unknown {type_} schema {name!r}", hint=hint)
        return known[name]

    def state(self, type_: str) -> tuple[tuple[str, int, int], ...]:
        """Return what changes whenever a file of a type, imported ones included, changes."""
        found = []
        for folder in self.folders(type_):
            for path in sorted(folder.rglob(f"*{SUFFIXES[type_]}")):
                about = path.stat()
                found.append((str(path), about.st_mtime_ns, about.st_size))
        return tuple(found)

    def _files(self, type_: str) -> Iterator[SchemaFile]:
        suffix = SUFFIXES[type_]
        for folder in self.folders(type_):
            if not folder.is_dir():
                continue
            for path in folder.iterdir():
                if path.suffix == suffix and not path.name.startswith((".", "_")):
                    name, _, version = path.name.removesuffix(suffix).partition("@")
                    is_own = folder == self._own / type_
                    yield SchemaFile(type_, name, shown_version(version), path, is_own)


def _rank(file: SchemaFile) -> tuple[object, ...]:
    return (*version_key(file.version), file.is_own)
