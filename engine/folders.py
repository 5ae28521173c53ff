"""Which files may be used on behalf of somebody else: those in the folders that are named."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from engine.errors import ConfigError
from engine.state.stored import CHECKPOINTS, DATA

_KEPT = (
    "plugins",
    "etc",
    "log",
    *(f"{DATA}/{name}" for name in ("server", "cache", "schemas", "services", "sessions")),
)
"""Folders of a root that are the engine's own: code, settings, definitions, undelivered rows."""


class FileFolders:
    """Finds the file of a path, if it may be used.

    Links are followed before it is decided, and the file that is found here must be the one that
    is opened. What the engine itself keeps is never given out, whatever the folders are.
    """

    def __init__(self, root: Path, folders: Sequence[str]) -> None:
        """``folders`` and all paths that aren't absolute start at ``root``."""
        self._root = root
        self._folders = [_real(root / folder) for folder in folders]
        self._kept = [_real(root / folder) for folder in _KEPT]
        self._checkpoints = str(_real(root / DATA) / CHECKPOINTS)

    def file(self, path: str | Path) -> Path:
        """Return the file or folder, which need not exist, with no links in its path.

        Raises:
            ConfigError: it may not be used.
        """
        try:
            found = _real(self._root / path)
        except ValueError:
            raise ConfigError(f"{str(path)[:100]!r} can't be the path of a file") from None
        if self._is_kept(found):
            raise ConfigError(
                f"{path}: rules don't get what the engine keeps for itself",
                hint="choose another folder below data",
            )
        if not any(found.is_relative_to(folder) for folder in self._folders):
            raise ConfigError(
                f"{path} is outside of the folders for files of rules",
                hint="an administrator can name its folder under fileFolders in etc/server.yaml",
            )
        return found

    def _is_kept(self, path: Path) -> bool:
        # the database of checkpoints has companions, such as checkpoints.db-wal
        return str(path).startswith(self._checkpoints) or any(
            path.is_relative_to(folder) for folder in self._kept
        )


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))
