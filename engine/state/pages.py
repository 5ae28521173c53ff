"""The part of a store-and-forward queue that is on the disk: bounded, in order, in a few files."""

from __future__ import annotations

import errno
import logging
import os
import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from engine.state.errors import UnreadableState
from engine.state.owner import mark
from engine.state.segment import PageRef, Scan, Scanner, Segment, page_bytes

logger = logging.getLogger(__name__)

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_SEGMENTS = 16
"""Files that the allowed bytes are divided into: what a full disk frees at once."""
_OVERHEAD = 16
"""Bytes of a file for each record beside its own, at most."""
_SMALLEST, _LARGEST = 64 << 10, 8 << 20


class Reason(StrEnum):
    """Why records were lost."""

    OVERFLOW = "overflow"
    DISK_FULL = "disk full"
    DISK_ERROR = "disk error"
    DAMAGED = "damaged"
    REMOVED = "removed"
    TOO_LARGE = "too large"


@dataclass(frozen=True, slots=True)
class Loss:
    """Records that the queue will never deliver."""

    reason: Reason
    first: int
    """Number of the first of them; the others follow."""
    records: int
    """0 where damage doesn't let tell how many there were."""
    rows: int


@dataclass(frozen=True, slots=True)
class Page:
    """Records that are delivered together."""

    first: int
    """Number of the first record."""
    first_row: int
    records: list[bytes]
    rows: list[int]
    """The rows that each record stands for."""

    @property
    def size(self) -> int:
        """Bytes of the records."""
        return sum(map(len, self.records))

    @property
    def load(self) -> int:
        """What it counts for in limits: its rows or its records, whichever are more."""
        return max(len(self.records), sum(self.rows))

    def part(self, places: Sequence[int]) -> Page:
        """Return some of its records, as a page that ends with the same numbers."""
        records = [self.records[place] for place in places]
        rows = [self.rows[place] for place in places]
        gone = len(self.records) - len(records)
        gone_rows = sum(self.rows) - sum(rows)
        return Page(self.first + gone, self.first_row + gone_rows, records, rows)


@dataclass(frozen=True, slots=True)
class Stored:
    """A page on the disk."""

    segment: Segment
    ref: PageRef


class PageQueue:
    """Pages in files: written at one end, read at the other, forgotten in any order.

    ``lose`` is told of everything that goes: pages beyond the bounds, the oldest first, and damage.
    Pages that were read and not yet forgotten come on top of the bounds. Not for two threads.
    """

    def __init__(
        self,
        folder: Path,
        *,
        max_rows: int,
        max_bytes: int,
        fsync: bool,
        owner: str = "",
        lose: Callable[[Loss], None],
    ) -> None:
        """Take over what is in the folder, which says from now on that it is of ``owner``.

        Raises:
            OSError: the disk fails.
            StoreFailed: the files are of another version.
        """
        self._folder = folder
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        self._fsync = fsync
        self._owner = owner
        self._lose = lose
        self._segment_size = min(_LARGEST, max(_SMALLEST, max_bytes // _SEGMENTS))
        self.records = self.rows = 0
        """What is on the disk, with what was read and not yet forgotten."""
        self.bytes = 0
        """Bytes of all files."""
        self.next = (0, 0)
        """Numbers of the record and the row after the last one that was found on the disk."""
        self._held: dict[int, Stored] = {}
        self._held_load = 0
        self._segments: deque[Segment] = deque()
        self._head: deque[PageRef] | None = None
        """Pages of the first segment that weren't read, None until they are looked up."""
        self._current: Segment | None = None
        self._file_number = 0
        self._recover()
        if self._segments:
            try:
                self._mark()
            except OSError as error:  # it is said with the next file, at the latest
                logger.warning("%s can't say whose it is: %s", folder, error.strerror)

    # -- writing -------------------------------------------------------------------------------

    def takes(self, page: Page) -> bool:
        """Tell whether a page would fit if nothing else were there."""
        return page.size + _OVERHEAD * (len(page.records) + 8) <= self._max_bytes

    def write(self, page: Page, *, held: bool = False) -> Stored | None:
        """Write a page; None means that it is larger than all that is allowed: it is lost.

        ``held``: it counts as read already.

        Raises:
            OSError: the disk doesn't take it, even after old pages made room where it is full.
        """
        if not self.takes(page):
            self._lose(Loss(Reason.TOO_LARGE, page.first, len(page.records), sum(page.rows)))
            return None
        data = page_bytes(page.first, page.first_row, page.records, page.rows)
        load = 0 if held else page.load
        while not self._fits(load, len(data)):
            if not self._drop_oldest(Reason.OVERFLOW):
                break  # only held pages are left
        while True:
            try:
                return self._append(page, data, held=held)
            except OSError as error:
                if not is_full(error) or not self._free_a_segment():
                    raise

    def _fits(self, load: int, size: int) -> bool:
        waiting = max(self.records, self.rows) - self._held_load
        return waiting + load <= self._max_rows and self.bytes + size <= self._max_bytes

    def _append(self, page: Page, data: bytes, *, held: bool) -> Stored:
        segment = self._writable(page, len(data))
        offset, records, rows = segment.size, len(page.records), sum(page.rows)
        segment.append(data, records=records, rows=rows, sync=self._fsync)
        self.bytes += len(data)
        self.records += records
        self.rows += rows
        ref = PageRef.of(data, offset)
        stored = Stored(segment, ref)
        if held:
            self._hold(stored)
        elif self._segments[0] is segment and self._head is not None:
            self._head.append(ref)
        return stored

    def _writable(self, page: Page, size: int) -> Segment:
        current = self._current
        if current is not None and current.is_removed:
            self._lose_removed()
            current = None
        if current is not None and current.size + size <= self._segment_size:
            return current
        if current is not None:
            current.close()
        self._file_number += 1
        segment = self._new_segment(self._folder / f"{self._file_number:010}.seg", page)
        self.bytes += segment.size
        self._segments.append(segment)
        self._current = segment
        if self._fsync:
            _sync_folder(self._folder)
        return segment

    def _new_segment(self, path: Path, page: Page) -> Segment:
        self._folder.mkdir(parents=True, exist_ok=True)  # it may have been deleted
        self._mark()
        return Segment.create(path, page.first, page.first_row)

    def _mark(self) -> None:
        if self._owner:
            mark(self._folder, self._owner, fsync=self._fsync)

    # -- reading -------------------------------------------------------------------------------

    def read(self, limit: int) -> tuple[Page, list[Stored]] | None:
        """Return the oldest pages as one of up to ``limit`` rows, None if there are none left.

        They are held: nothing drops them, until they are forgotten.
        """
        found: Page | None = None
        stored: list[Stored] = []
        while (following := self._oldest()) is not None:
            ref = following.ref
            if found is not None and (
                found.load + ref.load > limit or found.first + len(found.records) != ref.first
            ):
                break
            self._pop_oldest()
            page = self._page(following)
            if page is not None:
                self._hold(following)
                stored.append(following)
                if found is None:
                    found = page
                else:
                    found.records.extend(page.records)
                    found.rows.extend(page.rows)
        return None if found is None else (found, stored)

    def forget(self, stored: Stored) -> None:
        """Mark a page as gone; files without other pages are deleted."""
        if self._held.pop(stored.ref.first, None) is not None:
            self._held_load -= stored.ref.load
        try:
            stored.segment.mark_gone(stored.ref)
        except FileNotFoundError:
            logger.debug("%s was deleted before its pages were", stored.segment.path)
        except OSError as error:
            logger.error("%s: %s; rows may be sent again", stored.segment.path, error.strerror)
        self.records -= stored.ref.records
        self.rows -= stored.ref.rows
        if not stored.segment.live:
            self._discard(stored.segment)

    def replace(self, stored: Sequence[Stored], page: Page) -> Stored:
        """Write a page in the place of some that were read; it counts as read, too.

        It gets a file of its own, which stands before theirs.

        Raises:
            OSError: the disk doesn't take it; all is as before.
        """
        data = page_bytes(page.first, page.first_row, page.records, page.rows)
        path = _before(min(each.segment.path for each in stored))
        segment = self._new_segment(path, page)
        try:
            segment.append(data, records=len(page.records), rows=sum(page.rows), sync=self._fsync)
        except OSError:
            segment.remove()
            raise
        self.bytes += segment.size
        self.records += len(page.records)
        self.rows += sum(page.rows)
        made = Stored(segment, PageRef.of(data, segment.size - len(data)))
        for each in stored:
            self.forget(each)
        self._hold(made)
        return made

    def close(self) -> None:
        """Close all files."""
        self._lose_removed()
        for segment in {*self._segments, *(stored.segment for stored in self._held.values())}:
            segment.close()

    def _page(self, stored: Stored) -> Page | None:
        ref = stored.ref
        try:
            records, rows = stored.segment.read(ref)
        except UnreadableState as error:
            logger.error(
                "%s: a page of %s rows is lost: %s", stored.segment.path, ref.rows, error.message
            )
            self._lose(Loss(Reason.DAMAGED, ref.first, ref.records, ref.rows))
            self.forget(stored)
            return None
        return Page(ref.first, ref.first_row, records, rows)

    def _hold(self, stored: Stored) -> None:
        self._held[stored.ref.first] = stored
        self._held_load += stored.ref.load

    def _oldest(self) -> Stored | None:
        """Return the oldest page that nobody has read."""
        while self._segments:
            segment = self._segments[0]
            if self._head is None:
                head = self._look_up(segment)
                if not segment.live:
                    self._discard(segment)
                    continue
                self._head = head
            if self._head:
                return Stored(segment, self._head[0])
            if segment is self._current:
                return None
            self._segments.popleft()
            self._head = None
        return None

    def _pop_oldest(self) -> None:
        if self._head:
            self._head.popleft()

    def _look_up(self, segment: Segment) -> deque[PageRef]:
        reason = Reason.DAMAGED
        try:
            found = Scanner().scan(segment.path)
        except OSError as error:
            if isinstance(error, FileNotFoundError):
                reason = Reason.REMOVED
            logger.error("%s: %s", segment.path, error.strerror)
            found = Scan([held.ref for held in self._held.values() if held.segment is segment])
        lost = Loss(
            reason,
            found.damages[0].first if found.damages else _end_of(found, segment),
            segment.records - found.records,
            segment.rows - found.rows,
        )
        if lost.records:
            logger.error("%s is %s: %s rows are lost", segment.path, reason, lost.rows)
            self._lose(lost)
            self.records -= lost.records
            self.rows -= lost.rows
            segment.recount(found)
        return deque(ref for ref in found.live if ref.first not in self._held)

    def _lose_removed(self) -> None:
        """Give up what is in files that somebody has deleted; what comes goes into a new one."""
        while self._segments and not (segment := self._segments[0]).path.exists():
            refs = self._look_up(segment) if self._head is None else self._head
            for ref in tuple(refs):
                self._lose(Loss(Reason.REMOVED, ref.first, ref.records, ref.rows))
                self.forget(Stored(segment, ref))
            logger.error("%s was deleted while it was in use", segment.path)
            if self._segments and self._segments[0] is segment:  # a page of it is being sent
                self._segments.popleft()
                self._head = None
            if segment is self._current:
                self._current = None

    # -- making room ---------------------------------------------------------------------------

    def _drop_oldest(self, reason: Reason) -> bool:
        oldest = self._oldest()
        if oldest is None:
            return False
        self._pop_oldest()
        ref = oldest.ref
        self._lose(Loss(reason, ref.first, ref.records, ref.rows))
        self.forget(oldest)
        return True

    def _free_a_segment(self) -> bool:
        """Drop the oldest pages until a file is gone; tell whether one is."""
        before = self.bytes
        while self.bytes >= before:
            if not self._drop_oldest(Reason.DISK_FULL):
                return False
        return True

    def _discard(self, segment: Segment) -> None:
        if segment is self._current:
            self._current = None
        if segment in self._segments:
            if segment is self._segments[0]:
                self._head = None
            self._segments.remove(segment)
        self.bytes -= segment.size
        try:
            segment.remove()
        except OSError as error:
            logger.error("%s can't be deleted: %s", segment.path, error.strerror)

    # -- recovery ------------------------------------------------------------------------------

    def _recover(self) -> None:
        scanner = Scanner()
        torn = 0
        for path in sorted(self._folder.glob("*.seg")):
            self._file_number = max(self._file_number, _number_of(path))
            found = scanner.scan(path)
            for damage in found.damages:
                lost = f"{damage.rows} rows are lost" if damage.records else "rows may be lost"
                logger.error("%s is damaged: %s", path, lost)
                self._lose(Loss(Reason.DAMAGED, damage.first, damage.records, damage.rows))
            torn = found.torn
            if found.live:
                first = found.live[0].first
                segment = Segment(path, first, path.stat().st_size, found)
                self._segments.append(segment)
                self.bytes += segment.size
                self.records += found.records
                self.rows += found.rows
            else:
                path.unlink()
        if torn:
            logger.warning("%s: %s bytes of an unfinished write are left out", self._folder, torn)
        self.next = scanner.next or (0, 0)


def _end_of(found: Scan, segment: Segment) -> int:
    """Return the number after the last page that is there."""
    last = found.live[-1] if found.live else None
    return last.first + last.records if last else segment.first


def is_full(error: OSError) -> bool:
    """Tell whether an error of the disk means that it has no room."""
    return error.errno in _NO_ROOM


def _number_of(path: Path) -> int:
    return int(path.stem) if path.stem.isdecimal() else 0


def _before(path: Path) -> Path:
    """Return the name of a file that is read before another one and after those before that."""
    number, _, turn = path.stem.partition("~")
    if turn:
        return path.with_name(f"{number}~{int(turn) - 1:06}.seg")
    return path.with_name(f"{int(number) - 1:010}~999999.seg")


def _sync_folder(folder: Path) -> None:
    """Make a new file's name survive a loss of power, where folders can be synced."""
    if sys.platform != "win32":
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
