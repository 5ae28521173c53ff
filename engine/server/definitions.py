"""What clients have defined, kept on the disk: each change is there completely or not at all."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType

import anyio
import anyio.to_thread

from engine.state.database import Database
from engine.state.lock import FolderLock

_SCHEMA = """
CREATE TABLE IF NOT EXISTS definition (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (kind, name)
) WITHOUT ROWID
"""
_VERSION = 1


class Kind(StrEnum):
    """What may be defined; the values are those in the file."""

    STREAM = "stream"
    TABLE = "table"
    RULE = "rule"
    TRIGGERED = "triggered"
    """Whether a rule is to run, ``true`` or ``false``: start and stop change it, not the rule."""
    SOURCE_CONFIG = "sourceConfig"
    """Named ``type.key``, as sink configurations."""
    SINK_CONFIG = "sinkConfig"
    CONNECTION = "connection"
    SCRIPT = "script"
    TOKEN = "token"
    """The hash of an API token."""
    COLLECTOR = "collector"
    """Where traces are sent to, ``null`` for nowhere; there is one at most, without a name."""


Condition = Callable[[str | None], None]
"""Looks at what is stored before a change; raises if it isn't what the client thinks it is."""


@dataclass(frozen=True, slots=True)
class Change:
    """A definition to be stored under a name, or removed where ``text`` is None."""

    kind: Kind
    name: str
    text: str | None


@dataclass(slots=True)
class _Asked:
    """Changes that somebody waits for."""

    changes: Sequence[Change]
    is_done: bool = False
    error: Exception | None = None


class Definitions:
    """The definitions of one server.

    They are read from memory; the file is only written. One process at a time has them.
    """

    def __init__(self, folder: Path) -> None:
        """Open or create ``definitions.db`` in a folder.

        Raises:
            StoreFailed: it can't be opened, or another server has the folder.
        """
        self._lock = FolderLock(folder)
        try:
            self._database = Database(folder / "definitions.db", _SCHEMA, _VERSION)
            self._known: dict[Kind, dict[str, str]] = self._database.read(_everything)
        except BaseException:
            self._lock.release()
            raise
        self._writing = anyio.Lock()
        self._waiting: list[_Asked] = []

    def close(self) -> None:
        """Let others have the folder."""
        self._database.close()
        self._lock.release()

    def all(self, kind: Kind) -> Mapping[str, str]:
        """Return the texts of a kind by name, always as they are now."""
        return MappingProxyType(self._known[kind])

    def get(self, kind: Kind, name: str) -> str | None:
        """Return a text, None if there is no such definition."""
        return self._known[kind].get(name)

    async def apply(self, *changes: Change) -> None:
        """Make changes together: after a crash at any point, all of them are there, or none.

        On return they survive a loss of power. What several ask for at the same time is written at
        once, for that is what takes the time.

        Raises:
            StoreFailed: nothing was changed.
        """
        asked = _Asked(changes)
        self._waiting.append(asked)
        with anyio.CancelScope(shield=True):  # file and memory must not differ
            async with self._writing:
                if not asked.is_done:
                    taken, self._waiting = self._waiting, []
                    await self._write_together(taken)
        if asked.error is not None:
            raise asked.error

    async def _write_together(self, asked: Sequence[_Asked]) -> None:
        changes = [change for each in asked for change in each.changes]
        try:
            await anyio.to_thread.run_sync(self._write, changes)
        except Exception as error:
            if len(asked) > 1:  # what is wrong with one of them is no reason to refuse the others
                for each in asked:
                    await self._write_together([each])
                return
            asked[0].error = error
        else:
            for change in changes:
                if change.text is None:
                    self._known[change.kind].pop(change.name, None)
                else:
                    self._known[change.kind][change.name] = change.text
        for each in asked:
            each.is_done = True

    def _write(self, changes: Iterable[Change]) -> None:
        def write(connection: sqlite3.Connection) -> None:
            for change in changes:
                if change.text is None:
                    connection.execute(
                        "DELETE FROM definition WHERE kind = ? AND name = ?",
                        (change.kind, change.name),
                    )
                else:
                    connection.execute(
                        "INSERT OR REPLACE INTO definition VALUES (?, ?, ?)",
                        (change.kind, change.name, change.text),
                    )

        self._database.write(write)


def anything(_: str | None) -> None:
    """The condition of a change that may be made whatever is stored."""


def etag_of(text: str) -> str:
    """Return the entity tag of a definition: two are equal if the texts are."""
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def _everything(connection: sqlite3.Connection) -> dict[Kind, dict[str, str]]:
    found: dict[Kind, dict[str, str]] = {kind: {} for kind in Kind}
    known = set(Kind)
    for kind, name, text in connection.execute("SELECT kind, name, text FROM definition"):
        if kind in known:
            found[Kind(kind)][name] = text
    return found
