"""A SQLite file of durable state: its errors in plain words, an empty one where it is damaged."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from engine.state.errors import StoreFailed

logger = logging.getLogger(__name__)

T = TypeVar("T")

_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_REASONS = {
    sqlite3.SQLITE_FULL: ("the disk is full", "make room or move the data folder"),
    sqlite3.SQLITE_BUSY: ("another process has locked it", "is another engine using the folder?"),
    sqlite3.SQLITE_LOCKED: ("it is locked", "is another engine using the folder?"),
    sqlite3.SQLITE_READONLY: ("it can't be written", "check the rights of the file and its folder"),
    sqlite3.SQLITE_CANTOPEN: ("it can't be opened", "check the rights of the file and its folder"),
    sqlite3.SQLITE_PERM: ("access is denied", "check the rights of the file and its folder"),
    sqlite3.SQLITE_IOERR: ("the disk fails to read or write", "check the disk"),
}


class Database:
    """One connection; methods may be called from any thread, one at a time goes ahead.

    The file is in WAL mode, so readers in other processes don't disturb, and with
    ``synchronous=FULL``: once a transaction has returned it survives a loss of power, because
    messages are acknowledged on the strength of it. A file that turns out to be damaged is renamed,
    said loudly, and an empty one takes its place; likewise if somebody removes the open file.
    """

    def __init__(
        self,
        path: Path,
        schema: str,
        version: int,
        *,
        busy_timeout: float = 5.0,
        max_bytes: int | None = None,
    ) -> None:
        """Open or create the file.

        ``schema`` holds CREATE … IF NOT EXISTS statements, ``version`` is its own.
        ``busy_timeout`` (seconds) is how long to wait for locks of other processes; ``max_bytes``
        bounds the file, None leaves that to the disk.

        Raises:
            StoreFailed: it can't be opened, or is of a newer version.
        """
        self.path = path
        self.moved_aside: list[Path] = []
        """Where damaged files of this path have gone."""
        self._schema = schema
        self._version = version
        self._busy_timeout = busy_timeout
        self._max_bytes = max_bytes
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        """Device and inode of the file that is open."""
        self._run(_look)

    def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Return what ``work`` reads; run once more, on an empty file, if this one is damaged.

        Raises:
            StoreFailed: the disk fails, or the file is locked for too long.
        """
        return self._run(work)

    def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``work`` in a transaction: all of it is on the disk on return, or nothing is.

        ``work`` is run once more, on an empty file, if this one is damaged.

        Raises:
            StoreFailed: the disk fails or is full, or the file is locked for too long.
        """
        return self._run(lambda connection: _in_transaction(connection, work))

    def close(self) -> None:
        """Close the file; nothing that was written is lost without it."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with self._lock:
            try:
                try:
                    return work(self._opened())
                except (sqlite3.Error, UnicodeDecodeError) as error:
                    if not _is_damage(error):
                        raise
                    self._move_aside(error)
                    return work(self._opened())
            except sqlite3.Error as error:
                raise self._failure(error) from error

    def _opened(self) -> sqlite3.Connection:
        if self._connection is not None and self._identity != _identity_of(self.path):
            self.close()
            logger.error(
                "%s was removed or replaced while it was open; what it held is lost unless it is "
                "in the file that is there now",
                self.path,
            )
        if self._connection is None:
            self._make_folder()
            connection = sqlite3.connect(
                self.path,
                timeout=self._busy_timeout,
                isolation_level=None,
                check_same_thread=False,
            )
            try:
                self._prepare(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
            self._identity = _identity_of(self.path)
        return self._connection

    def _make_folder(self) -> None:
        folder = self.path.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            raise StoreFailed(f"{folder} is a file; it should be a folder") from None
        except OSError as error:
            raise StoreFailed(f"{folder}: {error.strerror or error}") from error

    def _prepare(self, connection: sqlite3.Connection) -> None:
        # a text that was damaged must not hide the rest of its table
        connection.text_factory = lambda data: data.decode("utf-8", "replace")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA journal_size_limit=8388608")  # a large WAL shrinks afterwards
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > self._version:
            raise StoreFailed(
                f"{self.path} was written by a newer version ({version}; this is {self._version})",
                hint="use that version, or another data folder",
            )
        if version < self._version:
            _in_transaction(connection, self._create)
        if self._max_bytes is not None:
            (page,) = connection.execute("PRAGMA page_size").fetchone()
            connection.execute(f"PRAGMA max_page_count={max(1, self._max_bytes // page)}")

    def _create(self, connection: sqlite3.Connection) -> None:
        for statement in self._schema.split(";"):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version={self._version}")

    def _move_aside(self, error: Exception) -> None:
        self.close()
        target = _free_name(self.path)
        try:
            self.path.rename(target)
            for suffix in ("-wal", "-shm"):
                journal = self.path.with_name(self.path.name + suffix)
                if journal.exists():
                    journal.rename(target.with_name(target.name + suffix))
        except OSError as problem:
            raise StoreFailed(
                f"{self.path} is damaged and can't be moved aside: {problem.strerror or problem}"
            ) from problem
        self.moved_aside.append(target)
        logger.error(
            "%s is damaged (%s); it was moved to %s and an empty one takes its place",
            self.path,
            error,
            target,
        )

    def _failure(self, error: sqlite3.Error) -> StoreFailed:
        what, hint = _REASONS.get(_primary(error), (str(error), ""))
        return StoreFailed(f"{self.path}: {what}", hint=hint)


def _look(connection: sqlite3.Connection) -> None:
    """Read something, so that a file that is no database shows at once."""
    connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()


def _identity_of(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _in_transaction(connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], T]) -> T:
    connection.execute("BEGIN IMMEDIATE")
    try:
        result = work(connection)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return result


def _is_damage(error: Exception) -> bool:
    """Tell whether an error means that the file isn't what was written."""
    if not isinstance(error, sqlite3.Error):
        return True  # a message of SQLite that quotes damaged text
    # statements are always the same, so it is the file that lacks a table
    return _primary(error) in _DAMAGED or str(error).startswith("no such ")


def _primary(error: sqlite3.Error) -> int:
    """Return SQLite's primary result code, 0 if the error isn't SQLite's own."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _free_name(path: Path) -> Path:
    number = 1
    while (target := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    return target
