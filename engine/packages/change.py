"""Changing several files at once: all of them or none, even if the process is killed.

What is to be done is written down before it begins. One of the changes is the *decisive* one, made
in a single step; whoever finds an unfinished list undoes it if that one wasn't made, and does the
rest if it was.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

_JOURNAL = "journal"
_BACKUPS = "before"


class Change(msgspec.Struct, frozen=True):
    """A file or folder to be put at ``target``, or to be removed from there."""

    target: str
    """From the root on."""
    new: str = ""
    """From the staging folder on; empty: remove what is there."""
    existed: bool = False


class _Journal(msgspec.Struct, frozen=True):
    changes: tuple[Change, ...]
    decisive: int
    folders: tuple[str, ...]
    """Folders that were made for it, the outermost first, from the root on."""


class ChangeSet:
    """The changes of one operation, gathered and then made."""

    def __init__(self, root: Path, staging: Path) -> None:
        self._root = root
        self._staging = staging
        self._changes: list[Change] = []
        self._decisive = 0

    def put(self, new: Path, target: Path) -> None:
        """Move ``new``, which lies in the staging folder, to ``target``."""
        self._add(target, str(new.relative_to(self._staging)))

    def put_text(self, text: bytes, target: Path) -> None:
        """Write a file."""
        new = self._staging / f"new{len(self._changes)}"
        new.write_bytes(text)
        self.put(new, target)

    def remove(self, target: Path) -> None:
        """Remove a file or folder, if it is there."""
        if os.path.lexists(target):
            self._add(target, "")

    def decide(self) -> None:
        """Make the change that was added last the decisive one."""
        self._decisive = len(self._changes) - 1

    def make(self) -> None:
        """Make all changes.

        Raises:
            OSError: one couldn't be made; those before it are undone.
        """
        folders: dict[str, None] = {}
        for change in self._changes:
            missing = [
                str(parent)
                for parent in Path(change.target).parents
                if not (self._root / parent).is_dir()
            ]
            folders.update(dict.fromkeys(reversed(missing)))
        journal = _Journal(tuple(self._changes), self._decisive, tuple(folders))
        _write_down(self._staging / _JOURNAL, msgspec.json.encode(journal))
        try:
            for folder in folders:
                (self._root / folder).mkdir(exist_ok=True)
            for number, change in enumerate(self._changes):
                _make(self._root, self._staging, number, change)
        except OSError:
            settle(self._root, self._staging)
            raise
        (self._staging / _JOURNAL).unlink()

    def _add(self, target: Path, new: str) -> None:
        name = str(target.relative_to(self._root))
        self._changes.append(Change(name, new, os.path.lexists(target)))


def settle(root: Path, staging: Path) -> None:
    """Bring changes to an end that were interrupted, one way or the other.

    Raises:
        OSError: the disk doesn't let it.
    """
    try:
        data = (staging / _JOURNAL).read_bytes()
        journal = msgspec.json.decode(data, type=_Journal)
    except (FileNotFoundError, msgspec.MsgspecError):  # half written: nothing had begun
        return
    if _is_made(root, staging, journal.changes[journal.decisive]):
        for number, change in enumerate(journal.changes):
            if not _is_made(root, staging, change):
                _make(root, staging, number, change)
    else:
        _undo(root, staging, journal)
    (staging / _JOURNAL).unlink()


def _undo(root: Path, staging: Path, journal: _Journal) -> None:
    for number, change in reversed([*enumerate(journal.changes)]):
        target, backup = root / change.target, _backup(staging, number)
        if os.path.lexists(backup):
            _delete(target)
            os.replace(backup, target)
        elif not change.existed and _is_made(root, staging, change):
            _delete(target)
    for folder in reversed(journal.folders):
        with suppress(OSError):  # somebody else may use it by now
            (root / folder).rmdir()


def _make(root: Path, staging: Path, number: int, change: Change) -> None:
    target, backup = root / change.target, _backup(staging, number)
    if os.path.lexists(target):
        backup.parent.mkdir(exist_ok=True)
        if change.new and target.is_file() and (staging / change.new).is_file():
            _keep(target, backup)  # there is no moment at which the target is missing
        else:
            os.replace(target, backup)
    if change.new:
        os.replace(staging / change.new, target)


def _is_made(root: Path, staging: Path, change: Change) -> bool:
    moved = staging / change.new if change.new else root / change.target
    return not os.path.lexists(moved)


def _keep(target: Path, backup: Path) -> None:
    """Let a file have a second name, or where that can't be a copy."""
    with suppress(FileNotFoundError):
        backup.unlink()
    try:
        os.link(target, backup)
    except OSError:
        half = backup.with_suffix(".half")
        shutil.copy2(target, half)
        os.replace(half, backup)


def _backup(staging: Path, number: int) -> Path:
    return staging / _BACKUPS / str(number)


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _write_down(path: Path, data: bytes) -> None:
    """Write a file that is there as a whole or not at all."""
    half = path.with_suffix(".half")
    with half.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(half, path)


def remove_empty(folders: Sequence[Path]) -> None:
    """Remove folders that have nothing in them (any more), in this order."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()
