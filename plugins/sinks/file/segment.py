"""One file that is appended to, all or nothing."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from .packing import Packing
from .shapes import Shape
from .survey import Survey, survey

Look = tuple[int, int, int]
"""By which it is seen whether a file is still the same: device, number, size."""


class Segment:
    """A file from when it is opened until it is full; others may write to it, too, or move it."""

    def __init__(
        self,
        path: Path,
        file: int,
        look: Look,
        found: Survey,
        shape: Shape,
        packing: Packing | None,
    ) -> None:
        self.path = path
        self.header = found.header
        self.messages = found.messages
        self.is_inherited = found.end > 0
        """Whether an earlier run, or somebody else, has begun it."""
        self.born = 0
        """Epoch milliseconds from which on its age counts."""
        self._file = file
        self._shape = shape
        self._end = found.end
        self._joint = found.joint
        self._tail = packing.pack(shape.tail) if packing and shape.tail else shape.tail
        self._look = look
        self._before = self._end, self._joint, self.messages
        self._is_new = not self.size

    @classmethod
    def open(
        cls, path: Path, shape: Shape, packing: Packing | None, now: int, *, counts: bool
    ) -> Segment:
        """Open a file and look at it; it is made if need be, with its folders.

        Raises:
            Damaged: nothing can be appended to it.
            OSError: it can't be had.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        appends = 0 if shape.tail else os.O_APPEND
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | appends, 0o666)
        try:
            status = os.fstat(file)
            found = survey(file, shape, packing, counts=counts)
            segment = cls(path, file, _look(status), found, shape, packing)
        except BaseException:
            os.close(file)
            raise
        written = status.st_mtime_ns // 1_000_000
        segment.born = min(now, written) if segment.is_inherited else now
        return segment

    def repair(self) -> None:
        """Cut off what a crash has left behind the last whole text.

        Raises:
            OSError: it can't be cut off.
        """
        if self.size != (self._end and self._end + len(self._tail)):
            self._restore()

    @property
    def size(self) -> int:
        """Bytes that it has."""
        return self._look[2]

    @property
    def is_empty(self) -> bool:
        """Whether nothing is in it."""
        return not self._end

    def is_current(self) -> bool:
        """Tell whether it still is the file at its path, as we have left it."""
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            return False
        return _look(found) == self._look

    def is_same(self, other: Segment) -> bool:
        """Tell whether another one is of the same file, in which nobody has written since."""
        return other._look == self._look

    def text(self, texts: Sequence[bytes]) -> bytes:
        """Return what is to be appended for some texts, with the opening if it is empty."""
        start = self._shape.opening(self.header) if self.is_empty else self._joint
        return start + self._shape.separator.join(texts)

    def append(self, data: bytes, messages: int) -> None:
        """Write to the end; if that fails, the file is as it was.

        Raises:
            OSError: it failed.
        """
        try:
            self._write(data + self._tail)
        except OSError:
            self._undo()
            raise
        self._before = self._end, self._joint, self.messages
        self._end += len(data)
        self._joint = self._shape.separator
        self.messages += messages
        self._look = _look(os.fstat(self._file))

    def sync(self) -> None:
        """Have the disk confirm all of it.

        Raises:
            OSError: it can't.
        """
        os.fsync(self._file)
        if self._is_new:
            folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)  # the name of the file is there
            finally:
                os.close(folder)
            self._is_new = False

    def take_back(self) -> None:
        """Undo the last ``append``, unless somebody else has written since."""
        if self.is_current():
            self._end, self._joint, self.messages = self._before
            self._undo()

    def close(self) -> None:
        os.close(self._file)

    def _write(self, data: bytes) -> None:
        os.lseek(self._file, self._end, os.SEEK_SET)
        view = memoryview(data)
        while view:
            view = view[os.write(self._file, view) :]

    def _undo(self) -> None:
        """Make the file what it was.

        Should the disk not even allow that, it isn't current any more, so that it will be looked at
        and repaired when it is opened again.
        """
        try:
            self._restore()
        except OSError:
            self._look = (0, 0, 0)

    def _restore(self) -> None:
        """Cut off all behind the end, and put the tail there."""
        os.ftruncate(self._file, self._end)
        if self._end:
            self._write(self._tail)
        self._look = _look(os.fstat(self._file))


def _look(status: os.stat_result) -> Look:
    return status.st_dev, status.st_ino, status.st_size
