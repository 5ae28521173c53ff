"""Store and forward: the queue of a sink, in memory first, then on the disk, bounded in both.

Records go out in the order in which they came in. One that was peeked stays until it is committed,
on the disk too if it is there. What the bounds, a full disk or damage cost is told record by
record, so that the account of the rule stays exact.
"""

from __future__ import annotations

import logging
import shutil
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from engine.state.errors import StoreFailed
from engine.state.lock import FolderLock
from engine.state.options import CacheOptions
from engine.state.pages import Loss, Page, PageQueue, Reason, Stored, is_full
from engine.state.segment import Scanner

__all__ = ("Loss", "Page", "Reason", "Ring", "remove_ring", "rows_left")

logger = logging.getLogger(__name__)

_LARGEST_PAGE = 1 << 20
"""Bytes after which a page is closed, however few rows it has; less where the disk has little."""


class Ring:
    """A queue of records, each some bytes that stand for a number of rows.

    Records are numbered, so a caller can tell what became of each: it is in a page that was
    committed, or `losses` tells of it, or it is still here. Those below ``durable_to`` are safe
    from the death of the process. Methods may be called from any thread. They take as long as the
    disk does, except `append` where `has_room` says so, and `peek` and `commit` while nothing is
    on the disk.
    """

    def __init__(
        self, folder: Path, options: CacheOptions, *, fsync: bool = True, owner: str = ""
    ) -> None:
        """Open the queue of ``folder``, with what an earlier run left there.

        ``fsync``: what is on the disk survives a loss of power, not just the death of the process.
        ``owner``: what the folder says about whose the records are, as soon as there are some.

        Raises:
            StoreFailed: the folder is in use or can't be written, or is of another version.
        """
        self._folder = folder
        self._options = options
        self._largest_page = min(_LARGEST_PAGE, options.max_disk_cache_size // 4)
        self._mutex = threading.RLock()
        self._losses: list[Loss] = []
        self._problem = ""
        self._hand: Page | None = None
        self._hand_pages: list[Stored] = []
        """Where the page in hand is on the disk; empty: in memory only."""
        self._hand_weight = (0, 0)
        """Rows and bytes of a page in hand that is in memory."""
        self._memory: deque[tuple[bytes, int]] = deque()
        self._memory_rows = self._memory_bytes = 0
        self._lock = FolderLock(folder)
        try:
            self._disk = PageQueue(
                folder,
                max_rows=options.max_disk_cache,
                max_bytes=options.max_disk_cache_size,
                fsync=fsync,
                owner=owner,
                lose=self._losses.append,
            )
        except OSError as error:
            self._lock.release()
            raise StoreFailed(f"{folder}: {error.strerror or error}") from error
        except BaseException:
            self._lock.release()
            raise
        self._first, self._first_row = self._disk.next  # numbers of the first record in memory

    # -- what there is -------------------------------------------------------------------------

    @property
    def records(self) -> int:
        """Records that are neither committed nor lost, wherever they are."""
        held = self._held
        return self._disk.records + len(self._memory) + (len(held.records) if held else 0)

    @property
    def rows(self) -> int:
        """The rows that they stand for."""
        held = self._held
        return self._disk.rows + self._memory_rows + (sum(held.rows) if held else 0)

    @property
    def disk_rows(self) -> int:
        """The rows that are on the disk."""
        return self._disk.rows

    @property
    def disk_bytes(self) -> int:
        """Bytes of all files."""
        return self._disk.bytes

    @property
    def durable_to(self) -> int:
        """Records with numbers below this are on the disk, committed or lost."""
        held = self._held
        return held.first if held else self._first

    @property
    def problem(self) -> str:
        """Why the disk doesn't take anything at the moment, "" if it does."""
        return self._problem

    def has_room(self, rows: int, size: int) -> bool:
        """Tell whether records of ``rows`` and ``size`` bytes stay in memory when appended."""
        load, used = self._memory_load()
        options = self._options
        return (
            load + rows <= options.memory_cache_threshold
            and used + size <= options.memory_cache_size
        )

    def losses(self) -> list[Loss]:
        """Return what was lost since the last call."""
        with self._mutex:
            losses = self._losses.copy()
            self._losses.clear()
            return losses

    # -- in and out ----------------------------------------------------------------------------

    def append(self, records: Sequence[bytes], rows: Sequence[int] | None = None) -> range:
        """Take records and return their numbers; each stands for one row unless ``rows`` is given.

        Where the queue is full the oldest go, see `losses`; so they do where the disk fails.
        """
        with self._mutex:
            counts = [1] * len(records) if rows is None else rows
            first = self._first + len(self._memory)
            self._memory.extend(zip(records, counts, strict=True))
            self._memory_rows += sum(counts)
            self._memory_bytes += sum(map(len, records))
            while self._memory and not self.has_room(0, 0):
                try:
                    self._spill()
                except OSError as error:
                    self._disk_fails(error)
                    self._lose_a_page(Reason.DISK_FULL if is_full(error) else Reason.DISK_ERROR)
            return range(first, first + len(records))

    def peek(self) -> Page | None:
        """Return the oldest records, up to a page of them; None if there are none.

        It is the same page again until it is committed.
        """
        with self._mutex:
            if self._hand is None:
                found = self._disk.read(self._options.buffer_page_size)
                if found is not None:
                    self._hand, self._hand_pages = found
                elif self._memory:
                    self._hand = page = self._take_page()
                    self._hand_weight = page.load, page.size
            return self._hand

    def commit(self, page: Page) -> None:
        """Forget the page that was peeked: it is delivered, or given up for good."""
        with self._mutex:
            if page is not self._hand:
                raise ValueError("this isn't the page that was peeked last")
            for stored in self._hand_pages:
                self._disk.forget(stored)
            self._hand, self._hand_pages = None, []

    def keep(self, places: Sequence[int]) -> Page:
        """Keep only some records of the page that was peeked, which the next one begins with.

        All others of it are forgotten. Returns the page as it was. Where the disk fails it stays
        whole, so that records come again.
        """
        with self._mutex:
            page = self._hand
            if page is None:
                raise ValueError("no page was peeked")
            kept = page.part(places)
            try:
                if self._hand_pages:
                    self._hand_pages = [self._disk.replace(self._hand_pages, kept)]
            except OSError as error:
                self._disk_fails(error)
                return page
            self._hand, self._hand_weight = kept, (kept.load, kept.size)
            return page

    def flush(self) -> None:
        """Write all that is in memory to the disk, so that it is durable.

        Raises:
            StoreFailed: the disk doesn't take it; what wasn't written is still in memory.
        """
        with self._mutex:
            try:
                while self._memory or self._held_for_disk:
                    self._spill()
            except OSError as error:
                self._disk_fails(error)
                raise StoreFailed(f"{self._folder}: {self._problem}") from error

    def close(self) -> None:
        """Write what is left to the disk, or delete all if ``cleanCacheAtStop`` says so.

        What can't be written is lost, see `losses`.
        """
        with self._mutex:
            if not self._options.clean_cache_at_stop:
                self._close_memory()
            self._disk.close()
            if self._options.clean_cache_at_stop:
                try:
                    if self._folder.exists():  # somebody may have been faster
                        shutil.rmtree(self._folder)
                except OSError as error:
                    logger.error("%s can't be deleted: %s", self._folder, error.strerror)
            self._lock.release()

    # -- inside --------------------------------------------------------------------------------

    @property
    def _held(self) -> Page | None:
        """The page in hand, if it is in memory only."""
        return None if self._hand_pages else self._hand

    @property
    def _held_for_disk(self) -> Page | None:
        """The page in hand, if it is in memory only and the disk could take it."""
        held = self._held
        return held if held is not None and self._disk.takes(held) else None

    def _memory_load(self) -> tuple[int, int]:
        """Return rows and bytes in memory; a record without rows counts as one."""
        load, used = max(len(self._memory), self._memory_rows), self._memory_bytes
        if self._held is not None:
            held_load, held_size = self._hand_weight
            return load + held_load, used + held_size
        return load, used

    def _take_page(self) -> Page:
        """Take the oldest records out of memory."""
        limit, load, size = self._options.buffer_page_size, 0, 0
        page = Page(self._first, self._first_row, [], [])
        while self._memory:
            record, rows = self._memory[0]
            load += rows or 1
            size += len(record)
            if page.records and (load > limit or size > self._largest_page):
                break
            self._memory.popleft()
            page.records.append(record)
            page.rows.append(rows)
        self._first += len(page.records)
        self._first_row += sum(page.rows)
        self._memory_rows -= sum(page.rows)
        self._memory_bytes -= page.size
        return page

    def _put_back(self, page: Page) -> None:
        self._memory.extendleft(zip(reversed(page.records), reversed(page.rows), strict=True))
        self._first, self._first_row = page.first, page.first_row
        self._memory_rows += sum(page.rows)
        self._memory_bytes += page.size

    def _spill(self) -> None:
        """Write a page to the disk; that in hand first, for pages lie there in their order.

        Raises:
            OSError: the disk doesn't take it; it is still in memory.
        """
        held = self._held_for_disk
        if held is not None:
            stored = self._disk.write(held, held=True)
            self._hand_pages = [stored] if stored is not None else []
        else:
            page = self._take_page()
            try:
                self._disk.write(page)
            except OSError:
                self._put_back(page)
                raise
        if self._problem:
            logger.warning("%s takes rows again", self._folder)
            self._problem = ""

    def _lose_a_page(self, reason: Reason) -> None:
        """Make room in memory for want of a disk."""
        self._lose(self._take_page(), reason)

    def _lose(self, page: Page, reason: Reason) -> None:
        self._losses.append(Loss(reason, page.first, len(page.records), sum(page.rows)))

    def _close_memory(self) -> None:
        """Write what is in memory; what the disk doesn't take is lost."""
        reason = Reason.TOO_LARGE
        try:
            self.flush()
        except StoreFailed:
            reason = Reason.DISK_ERROR
        if (held := self._held) is not None:
            self._lose(held, reason)
            self._hand = None
        while self._memory:
            self._lose_a_page(reason)

    def _disk_fails(self, error: OSError) -> None:
        problem = error.strerror or str(error)
        if problem != self._problem:
            logger.error("%s takes no rows: %s", self._folder, problem)
        self._problem = problem


def rows_left(folder: Path) -> int:
    """Count the rows in the queue of a folder.

    Raises:
        StoreFailed: it is in use, or of another version.
        OSError: it can't be read.
    """
    files = sorted(folder.glob("*.seg"))
    if not files:
        return 0
    lock = FolderLock(folder)
    try:
        scanner = Scanner()
        return sum(scanner.scan(path).rows for path in files)
    finally:
        lock.release()


def remove_ring(folder: Path) -> None:
    """Delete the queue of a folder, for a rule that is deleted.

    Raises:
        StoreFailed: it is in use, or can't be deleted.
    """
    if not folder.exists():
        return
    lock = FolderLock(folder)
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise StoreFailed(f"{folder}: {error.strerror or error}") from error
    finally:
        lock.release()
