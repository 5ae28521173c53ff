"""How far files have been read: places that a checkpoint can hold, and what is done with files."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

from .options import DELETE

Look = tuple[int, int]
"""Size and time of change of a file when it was looked at."""


class Place(NamedTuple):
    """A place in a file, and by what the file is known again."""

    turn: int = 0
    """How often the file had been read to its end before."""
    offset: int = 0
    """Bytes, of the decompressed content."""
    check: int = 0
    """A checksum of the beginning, as far as it lies before the place."""

    def __str__(self) -> str:
        # with leading zeros, so that a later place compares as greater
        return f"{self.turn:09}/{self.offset:015}/{self.check:08x}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the place that a text stands for.

        Raises:
            ValueError: it stands for none.
        """
        turn, offset, check = text.split("/")
        return cls(int(turn), int(offset), int(check, 16))


START = Place()


@dataclass(slots=True)
class Progress:
    """One file, as far as it is read."""

    place: Place = START
    seen: Look | None = None
    """What it was when it was last looked at."""
    is_done: bool = False
    """It was read to its end, and hadn't changed for a while."""


class Afterwards:
    """Deletes or moves files when all that was read of them is done with."""

    def __init__(self, action: int, folder: str, locate: Callable[[Path], Path]) -> None:
        """``locate`` tells where a path from the root on is, as ``Context.file`` does."""
        self._action = action
        self._folder = folder
        self._locate = locate
        self._owed: Counter[Path] = Counter()
        self._read: dict[Path, Look] = {}

    def emitted(self, path: Path) -> None:
        """Note a batch of a file."""
        self._owed[path] += 1

    def acknowledged(self, path: Path) -> None:
        """Note that a batch of a file is done with."""
        self._owed[path] -= 1

    def read(self, path: Path, look: Look) -> None:
        """Note that a file was read to its end, and what it was then."""
        self._read[path] = look

    @property
    def is_due(self) -> bool:
        """Whether something can be done."""
        return any(not self._owed[path] for path in self._read)

    def act(self) -> list[Path]:
        """Do what is due; return the files that are gone. One that has changed is left alone.

        Raises:
            OSError: a file can't be deleted or moved.
            ConfigError: it may not be where it is to be moved to.
        """
        gone = []
        for path in [path for path in self._read if not self._owed[path]]:
            if look_at(path) == self._read[path]:
                if self._action == DELETE:
                    path.unlink()
                else:
                    target = self._locate(Path(self._folder, path.name))
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.move(path, _free(target))
                gone.append(path)
            self._read.pop(path, None)
            self._owed.pop(path, None)
        return gone


def look_at(path: Path) -> Look | None:
    """Return what a file is now, None if it isn't there."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_size, status.st_mtime_ns


def _free(path: Path) -> Path:
    """Return a path at which nothing is yet."""
    found, number = path, 0
    while found.exists():
        number += 1
        found = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return found
