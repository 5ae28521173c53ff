"""What was installed from packages; kept below ``plugins/.packages/`` for updates and removals."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from engine.errors import PluginError
from engine.registry import PluginKind

RECORDS = Path("plugins", ".packages")


class Record(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One installed package."""

    kind: str
    """``source``, ``sink`` or ``function``."""
    name: str
    version: str
    source: str
    """The path or URL that it came from."""
    sha256: str
    """Of the zip file."""
    installed_at: int
    """Epoch milliseconds."""
    requirements: tuple[str, ...] = ()
    files: dict[str, str] = {}
    """The SHA-256 of each file below ``etc/`` as it was installed, by its path from the root on."""


def record_path(root: Path, kind: PluginKind, name: str) -> Path:
    """Return where the record of a plugin is."""
    return root / RECORDS / kind / f"{name}.json"


def read_record(root: Path, kind: PluginKind, name: str) -> Record | None:
    """Return the record of a plugin, None if it wasn't installed from a package.

    Raises:
        PluginError: there is one that can't be read.
    """
    path = record_path(root, kind, name)
    try:
        return msgspec.json.decode(path.read_bytes(), type=Record)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise PluginError(
            f"{path}: can't be read: {error.strerror or error}",
            hint="look at the rights of the file and its folder",
        ) from error
    except msgspec.MsgspecError as error:
        raise PluginError(
            f"{path}: can't be read: {error}", hint="remove it and install the plugin again"
        ) from error


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file, empty if there is none."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return ""
