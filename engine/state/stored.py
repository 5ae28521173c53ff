"""The checkpoint file of a root for those who look at it from outside of the engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engine.errors import EngineError
from engine.state.errors import StoreFailed
from engine.state.lock import FolderLock
from engine.state.store import CheckpointStore

DATA = "data"
"""The folder of a root with what must outlive the process; a running engine has its lock."""
CHECKPOINTS = "checkpoints.db"


def has_any(root: Path) -> bool:
    """Return whether a root has a file of checkpoints at all."""
    return (root / DATA / CHECKPOINTS).is_file()


@contextmanager
def opened(root: Path) -> Iterator[CheckpointStore]:
    """Yield the checkpoints of a root; a file that isn't there is not made.

    Raises:
        EngineError: there is none, or it can't be read.
    """
    path = root / DATA / CHECKPOINTS
    if not path.is_file():
        raise EngineError(
            f"{root}: no rule has stored state ({path.relative_to(root)} isn't there)",
            hint="is this the root of the rules? Only those with qos 1 or 2 store their state",
        )
    store = CheckpointStore(path)
    try:
        yield store
    finally:
        store.close()


@contextmanager
def stopped(root: Path) -> Iterator[None]:
    """Keep engines from using the checkpoints of a root.

    Raises:
        EngineError: one does now.
    """
    folder = root / DATA
    if not folder.is_dir():
        yield  # nothing is there that could be used
        return
    try:
        lock = FolderLock(folder)
    except StoreFailed as error:
        raise EngineError(
            f"{error.message}: an engine is running with this root",
            hint="stop it first; what it remembers would be written again",
        ) from error
    try:
        yield
    finally:
        lock.release()


def listed(store: CheckpointStore) -> list[dict[str, Any]]:
    """Return the rules that have state, with their checkpoints and sizes in bytes."""
    return [
        {"rule": each.rule_id, "checkpoints": list(each.numbers), "size": each.size}
        for each in store.list()
    ]
