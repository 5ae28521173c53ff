"""The file with the checkpoints of all rules of a root folder, opened when it is first needed."""

from __future__ import annotations

import logging
from pathlib import Path

from engine.state.errors import StoreFailed
from engine.state.lock import FolderLock
from engine.state.store import CheckpointStore
from engine.state.stored import CHECKPOINTS

logger = logging.getLogger(__name__)


class CheckpointHome:
    """Opens the file, once, and tells other engines that somebody is at home."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / CHECKPOINTS
        self._store: CheckpointStore | None = None
        self._lock: FolderLock | None = None

    def store(self) -> CheckpointStore:
        """Return the file, open.

        Raises:
            StoreFailed: it can't be opened.
        """
        if self._store is None:
            self._store = CheckpointStore(self.path)
            try:
                self._lock = FolderLock(self.path.parent)
            except StoreFailed as error:  # its rules may be others
                logger.warning("%s: another engine has this root, too", error.message)
        return self._store

    def close(self) -> None:
        """Close the file; it is opened again when it is needed again."""
        if self._store is not None:
            self._store.close()
            self._store = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None
