"""Files of a store-and-forward queue: pages of records, written once, one after the other.

A file starts with name and version of its format and the numbers at which it begins. Each page has
a header and a body (msgpack), both with checksums. The only bytes that ever change are the state
bytes of the pages, which no checksum covers. Pages can be found again behind damaged bytes, and the
numbers in their headers tell how much was lost there.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from engine.state.errors import StoreFailed, UnreadableState

_MAGIC = b"HRRING"
_VERSION = b"1\n"
_NAME = _MAGIC + _VERSION
# name and version, number of the first record, number of the first row
_START = struct.Struct(f"<{len(_NAME)}sQQ")
_MARK = b"\xf1HRP"
_LIVE, _GONE = b"L", b"G"
# mark, state, number of the first record, number of the first row, records, rows,
# length and checksum of the body
_HEADER = struct.Struct("<4scQQIIII")
_CHECKSUM = struct.Struct("<I")
_START_SIZE = _START.size + _CHECKSUM.size
HEADER_SIZE = _HEADER.size + _CHECKSUM.size
_STATE_AT = len(_MARK)
_BODY = msgspec.msgpack.Decoder(tuple[list[bytes], list[int] | None])
_encode = msgspec.msgpack.Encoder().encode


@dataclass(frozen=True, slots=True)
class PageRef:
    """Where a page is, and what its header says."""

    offset: int
    first: int
    """Number of its first record since the queue began."""
    first_row: int
    records: int
    rows: int
    length: int
    """Bytes of its body."""
    checksum: int

    @classmethod
    def of(cls, page: bytes, offset: int) -> PageRef:
        """Return what the header of a page says."""
        _, _, first, first_row, records, rows, length, checksum = _HEADER.unpack_from(page)
        return cls(offset, first, first_row, records, rows, length, checksum)

    @property
    def end(self) -> int:
        """Where the next page starts."""
        return self.offset + HEADER_SIZE + self.length

    @property
    def load(self) -> int:
        """What it counts for in limits: its rows or its records, whichever are more."""
        return max(self.records, self.rows)


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes that are no page, and how many records and rows were there; 0 if that isn't known."""

    first: int
    """Number of the first record that is lost."""
    records: int
    rows: int


@dataclass(slots=True)
class Scan:
    """What is in a file: pages that aren't gone, and damage before and between them."""

    live: list[PageRef] = field(default_factory=list)
    damages: list[Damage] = field(default_factory=list)
    torn: int = 0
    """Bytes at the end that are no page: a write that was cut off, or damage."""

    @property
    def records(self) -> int:
        return sum(page.records for page in self.live)

    @property
    def rows(self) -> int:
        return sum(page.rows for page in self.live)


class Segment:
    """One file; pages are appended while it is new, read and marked as gone in order."""

    def __init__(self, path: Path, first: int, size: int = 0, found: Scan | None = None) -> None:
        """Take a file of ``size`` bytes in which ``found`` is, from record number ``first`` on."""
        self.path = path
        self.first = first
        self.size = size
        self.live = self.records = self.rows = 0
        """Pages that aren't gone, and what they hold."""
        if found is not None:
            self.recount(found)
        self._fd: int | None = None

    @classmethod
    def create(cls, path: Path, first: int, first_row: int) -> Segment:
        """Make a new file for pages from that record and row on.

        Raises:
            OSError: the disk doesn't take it.
        """
        segment = cls(path, first)
        segment._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            start = _START.pack(_NAME, first, first_row)
            segment._write(start + _CHECKSUM.pack(zlib.crc32(start)))
        except OSError:
            segment.remove()
            raise
        return segment

    @property
    def is_removed(self) -> bool:
        """Whether somebody has deleted the file, though pages are written to it."""
        return self._fd is not None and os.fstat(self._fd).st_nlink == 0

    def recount(self, found: Scan) -> None:
        """Believe a scan."""
        self.live, self.records, self.rows = len(found.live), found.records, found.rows

    def append(self, page: bytes, *, records: int, rows: int, sync: bool) -> None:
        """Write a page at the end; after an error the file is as before.

        ``sync``: return when it would survive a loss of power.

        Raises:
            OSError: the disk doesn't take it.
        """
        self._write(page, sync=sync)
        self.live += 1
        self.records += records
        self.rows += rows

    def _write(self, data: bytes, *, sync: bool = False) -> None:
        size, fd = self.size, self._open()
        view = memoryview(data)
        try:
            while view:
                view = view[os.pwrite(fd, view, size + len(data) - len(view)) :]
            if sync:
                os.fsync(fd)
        except OSError:
            os.ftruncate(fd, size)
            raise
        self.size = size + len(data)

    def read(self, page: PageRef) -> tuple[list[bytes], list[int]]:
        """Return the records of a page and the rows of each.

        Raises:
            UnreadableState: the page is damaged, or the disk can't read it.
        """
        try:
            body = os.pread(self._open(), page.length, page.offset + HEADER_SIZE)
        except OSError as error:
            raise UnreadableState(str(error.strerror or error)) from error
        if len(body) != page.length or zlib.crc32(body) != page.checksum:
            raise UnreadableState("its checksum is wrong")
        try:
            records, rows = _BODY.decode(body)
        except msgspec.MsgspecError as error:
            raise UnreadableState(str(error)) from error
        return records, [1] * len(records) if rows is None else rows

    def mark_gone(self, page: PageRef) -> None:
        """Note that a page was delivered or given up.

        Raises:
            OSError: the disk fails; the page will be there again after a restart.
        """
        self.live -= 1
        self.records -= page.records
        self.rows -= page.rows
        os.pwrite(self._open(), _GONE, page.offset + _STATE_AT)

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def remove(self) -> None:
        """Delete the file."""
        self.close()
        self.path.unlink(missing_ok=True)

    def _open(self) -> int:
        if self._fd is None:
            self._fd = os.open(self.path, os.O_RDWR)
        return self._fd


def page_bytes(first: int, first_row: int, records: Sequence[bytes], rows: Sequence[int]) -> bytes:
    """Return a page as it stands in a file."""
    total = sum(rows)
    is_plain = total == len(records) and max(rows) == 1
    body = _encode([records, None if is_plain else rows])
    header = _HEADER.pack(
        _MARK, _LIVE, first, first_row, len(records), total, len(body), zlib.crc32(body)
    )
    return header + _CHECKSUM.pack(_header_checksum(header)) + body


class Scanner:
    """Reads the files of a queue, the oldest first, and tells what is missing between pages."""

    def __init__(self) -> None:
        self.next: tuple[int, int] | None = None
        """Numbers of the record and the row after the last page, None before any was seen."""
        self._is_damaged = False

    def scan(self, path: Path) -> Scan:
        """Return what is in a file; damaged bytes are passed over.

        Raises:
            OSError: the disk fails.
            StoreFailed: the file is of another version.
        """
        data = path.read_bytes()
        name = data[: len(_NAME)]
        if name != _NAME and name.startswith(_MAGIC) and len(name) == len(_NAME):
            raise StoreFailed(
                f"{path} was written by another version of the engine",
                hint="use that version, or delete the file if its rows aren't wanted",
            )
        if not self._is_damaged:  # else the numbers before tell what was lost
            self.next = _start_of(data) or self.next
        found, end = Scan(), _START_SIZE
        for page, is_live in _pages(data):
            self._is_damaged = self._is_damaged or page.offset > end
            if is_live:
                # what was damaged before a page that is gone, was gone too: pages go in order
                if self._is_damaged and (damage := self._damage_before(page)) is not None:
                    found.damages.append(damage)
                found.live.append(page)
            self._is_damaged = False
            self.next = page.first + page.records, page.first_row + page.rows
            end = page.end
        found.torn = max(0, len(data) - end)
        self._is_damaged = self._is_damaged or found.torn > 0
        return found

    def _damage_before(self, page: PageRef) -> Damage | None:
        if self.next is None:
            return Damage(page.first, 0, 0)
        first, row = self.next
        if page.first <= first:
            return None  # an unfinished write: its numbers were given to the next one
        return Damage(first, page.first - first, max(0, page.first_row - row))


def _start_of(data: bytes) -> tuple[int, int] | None:
    """Return the numbers at which a file begins, None if that is damaged."""
    if len(data) < _START_SIZE:
        return None
    _, first, first_row = _START.unpack_from(data)
    (checksum,) = _CHECKSUM.unpack_from(data, _START.size)
    return (first, first_row) if checksum == zlib.crc32(data[: _START.size]) else None


def _pages(data: bytes) -> Iterator[tuple[PageRef, bool]]:
    """Yield the pages of a file and whether each is live, finding them behind damage, too."""
    offset = data.find(_MARK)
    while offset >= 0:
        page = _page_at(data, offset)
        if page is None:
            offset = data.find(_MARK, offset + 1)
            continue
        yield page, data[offset + _STATE_AT : offset + _STATE_AT + 1] != _GONE
        is_next = data.startswith(_MARK, page.end)
        offset = page.end if is_next else data.find(_MARK, page.end)


def _page_at(data: bytes, offset: int) -> PageRef | None:
    header = data[offset : offset + HEADER_SIZE]
    if len(header) < HEADER_SIZE:
        return None
    (checksum,) = _CHECKSUM.unpack_from(header, _HEADER.size)
    if checksum != _header_checksum(header):
        return None
    page = PageRef.of(header, offset)
    return page if page.end <= len(data) else None


def _header_checksum(header: bytes) -> int:
    return zlib.crc32(header[_STATE_AT + 1 : _HEADER.size], zlib.crc32(_MARK))
