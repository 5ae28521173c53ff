"""A folder that one process uses at a time; the lock goes with the process, however it ends."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from engine.state.errors import StoreFailed

if sys.platform == "win32":
    import msvcrt

    def _take(fd: int) -> None:
        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _take(fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


class FolderLock:
    """Held from its making until `release`."""

    NAME = "lock"

    def __init__(self, folder: Path) -> None:
        """Make the folder if need be, and lock it.

        Raises:
            StoreFailed: another process (or another object of this one) has it, or no rights.
        """
        self._fd: int | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            fd = os.open(folder / self.NAME, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StoreFailed(f"{folder}: {error.strerror or error}") from error
        try:
            _take(fd)
            # whoever had it may just have deleted the folder
            is_there = os.path.samestat(os.fstat(fd), os.stat(folder / self.NAME))
        except OSError:
            is_there = False
        if not is_there:
            os.close(fd)
            raise StoreFailed(
                f"{folder} is in use", hint="is another engine using the data folder?"
            )
        self._fd = fd

    def release(self) -> None:
        """Let others have the folder."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
