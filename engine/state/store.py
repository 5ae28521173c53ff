"""Checkpoints of rules in one SQLite file: written whole, the last few kept, damage passed over.

A checkpoint has named parts. A part that hasn't changed is not written again: the manifest of the
checkpoint tells in which one each part was written. Manifest and parts have checksums.
"""

from __future__ import annotations

import logging
import sqlite3
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from engine.state.codec import CODEC
from engine.state.database import Database
from engine.state.errors import MissingParts, StoreFailed, UnreadableState

logger = logging.getLogger(__name__)

_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS checkpoint (
    rule TEXT NOT NULL, number INTEGER NOT NULL, manifest BLOB NOT NULL, checksum INTEGER NOT NULL,
    PRIMARY KEY (rule, number)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS part (
    rule TEXT NOT NULL, name TEXT NOT NULL, number INTEGER NOT NULL, data BLOB NOT NULL,
    PRIMARY KEY (rule, name, number)
)
"""


class PartEntry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Where a part was written: the number of that checkpoint."""

    number: int
    size: int
    checksum: int


class _Manifest(msgspec.Struct, frozen=True, array_like=True):
    at: int
    meta: bytes
    parts: dict[str, PartEntry]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One checkpoint as it was saved."""

    number: int
    at: int
    """When it was taken, in epoch milliseconds."""
    parts: dict[str, bytes]
    meta: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Skipped:
    """A checkpoint that can't be used, and why; number 0 stands for a whole file."""

    number: int
    reason: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """The newest sound checkpoint, None if there is none, and the newer ones that are damaged."""

    checkpoint: Checkpoint | None
    skipped: tuple[Skipped, ...] = ()


@dataclass(frozen=True, slots=True)
class Summary:
    """What the store has of one rule, without reading the parts."""

    rule_id: str
    numbers: tuple[int, ...]
    """Its checkpoints, the newest first."""
    size: int
    """Bytes of all their parts."""


class CheckpointStore:
    """All methods may be called from any thread and take as long as the disk does."""

    def __init__(
        self,
        path: Path,
        *,
        keep: int = 3,
        busy_timeout: float = 5.0,
        max_bytes: int | None = None,
    ) -> None:
        """Open or create the file ``path``, which keeps the last ``keep`` checkpoints of a rule.

        ``busy_timeout`` is in seconds; ``max_bytes`` bounds the file, None leaves it to the disk.

        Raises:
            StoreFailed: the file can't be opened, or is of a newer version.
        """
        self._keep = keep
        self._database = Database(
            path, _SCHEMA, _VERSION, busy_timeout=busy_timeout, max_bytes=max_bytes
        )

    @property
    def moved_aside(self) -> tuple[Path, ...]:
        """Where damaged files have been moved since this one was opened."""
        return tuple(self._database.moved_aside)

    def close(self) -> None:
        self._database.close()

    # -- writing -------------------------------------------------------------------------------

    def save(
        self,
        rule_id: str,
        number: int,
        parts: Mapping[str, bytes | None],
        meta: Mapping[str, Any] | None = None,
        *,
        at: int = 0,
        base: int | None = None,
    ) -> None:
        """Write a checkpoint; on return it is on the disk, and those that are too old are gone.

        A part that is None is the same as in checkpoint ``base``. ``meta`` is anything that the
        state codec takes. ``at`` is the time in epoch milliseconds.

        Raises:
            MissingParts: the store doesn't have the parts of ``base``.
            StoreFailed: ``number`` isn't greater than those before, or the disk doesn't take it.
            Unstorable: ``meta`` can't be stored.
        """
        written = {
            name: (PartEntry(number, len(data), zlib.crc32(data)), data)
            for name, data in parts.items()
            if data is not None
        }
        unchanged = [name for name, data in parts.items() if data is None]
        encoded = CODEC.encode(dict(meta or {}))

        def work(connection: sqlite3.Connection) -> None:
            newest = _newest(connection, rule_id)
            if number <= newest:
                raise StoreFailed(
                    f"rule {rule_id}: checkpoint {number} must come after {newest}, the newest"
                )
            entries = _entries(connection, rule_id, base, unchanged) if unchanged else {}
            entries.update((name, entry) for name, (entry, _) in written.items())
            manifest = msgspec.msgpack.encode(_Manifest(at, encoded, entries))
            connection.executemany(
                "INSERT OR REPLACE INTO part VALUES (?, ?, ?, ?)",
                [(rule_id, name, number, data) for name, (_, data) in written.items()],
            )
            connection.execute(
                "INSERT INTO checkpoint VALUES (?, ?, ?, ?)",
                (rule_id, number, manifest, _checksum(rule_id, number, manifest)),
            )
            self._prune(connection, rule_id)

        self._database.write(work)

    def delete(self, rule_id: str) -> bool:
        """Forget all checkpoints of a rule; tell whether there were any.

        Raises:
            StoreFailed: the disk doesn't take it.
        """

        def work(connection: sqlite3.Connection) -> bool:
            connection.execute("DELETE FROM part WHERE rule = ?", (rule_id,))
            return bool(
                connection.execute("DELETE FROM checkpoint WHERE rule = ?", (rule_id,)).rowcount
            )

        return self._database.write(work)

    def _prune(self, connection: sqlite3.Connection, rule_id: str) -> None:
        rows = _checkpoints(connection, rule_id)
        connection.executemany(
            "DELETE FROM checkpoint WHERE rule = ? AND number = ?",
            [(rule_id, number) for number, _, _ in rows[self._keep :]],
        )
        used: set[tuple[str, int]] = set()
        for number, manifest, checksum in rows[: self._keep]:
            try:
                sound = _manifest(rule_id, number, manifest, checksum)
            except UnreadableState:
                continue  # nobody can use its parts, and `load` says so
            used.update((name, entry.number) for name, entry in sound.parts.items())
        stored = connection.execute("SELECT name, number FROM part WHERE rule = ?", (rule_id,))
        connection.executemany(
            "DELETE FROM part WHERE rule = ? AND name = ? AND number = ?",
            [(rule_id, *part) for part in set(stored.fetchall()) - used],
        )

    # -- reading -------------------------------------------------------------------------------

    def load(self, rule_id: str) -> Loaded:
        """Return the newest checkpoint of a rule that is whole; say loudly which ones aren't.

        Raises:
            StoreFailed: the disk fails to read.
        """

        def work(connection: sqlite3.Connection) -> Loaded:
            skipped: list[Skipped] = []
            for number, data, checksum in _checkpoints(connection, rule_id):
                try:
                    manifest = _manifest(rule_id, number, data, checksum)
                    found = _whole(connection, rule_id, number, manifest)
                except UnreadableState as error:
                    skipped.append(Skipped(number, error.message))
                else:
                    return Loaded(found, tuple(skipped))
            return Loaded(None, tuple(skipped))

        loaded = self._database.read(work)
        if loaded.checkpoint is None and self.moved_aside:
            lost = f"the file was damaged and is now {self.moved_aside[-1]}"
            loaded = Loaded(None, (Skipped(0, lost), *loaded.skipped))
        for each in loaded.skipped:
            logger.error(
                "rule=%s checkpoint %s is skipped: %s", rule_id, each.number or "file", each.reason
            )
        if loaded.skipped:
            found = loaded.checkpoint
            goes_on = f"from checkpoint {found.number}" if found else "without state"
            logger.error("rule=%s goes on %s", rule_id, goes_on)
        return loaded

    def newest(self, rule_id: str) -> int:
        """Return the greatest number of a rule's checkpoints, sound or not; 0 if it has none.

        Raises:
            StoreFailed: the disk fails to read.
        """
        return self._database.read(lambda connection: _newest(connection, rule_id))

    def list(self) -> list[Summary]:
        """Return what there is, by rule.

        Raises:
            StoreFailed: the disk fails to read.
        """

        def work(connection: sqlite3.Connection) -> list[Summary]:
            numbers: dict[str, list[int]] = {}
            for rule, number in connection.execute(
                "SELECT rule, number FROM checkpoint ORDER BY rule, number DESC"
            ):
                numbers.setdefault(rule, []).append(number)
            sizes = dict(
                connection.execute("SELECT rule, sum(length(data)) FROM part GROUP BY rule")
            )
            return [Summary(rule, tuple(n), sizes.get(rule, 0)) for rule, n in numbers.items()]

        return self._database.read(work)


def _checkpoints(connection: sqlite3.Connection, rule_id: str) -> list[tuple[int, bytes, int]]:
    """Return number, manifest and checksum of a rule's checkpoints, the newest first."""
    return connection.execute(
        "SELECT number, manifest, checksum FROM checkpoint"
        " WHERE rule = ? AND typeof(number) = 'integer' ORDER BY number DESC",
        (rule_id,),
    ).fetchall()


def _newest(connection: sqlite3.Connection, rule_id: str) -> int:
    (number,) = connection.execute(
        "SELECT max(number) FROM checkpoint WHERE rule = ? AND typeof(number) = 'integer'",
        (rule_id,),
    ).fetchone()
    return number or 0


def _entries(
    connection: sqlite3.Connection, rule_id: str, base: int | None, names: list[str]
) -> dict[str, PartEntry]:
    """Return where the parts of checkpoint ``base`` are."""
    row = connection.execute(
        "SELECT manifest, checksum FROM checkpoint WHERE rule = ? AND number = ?", (rule_id, base)
    ).fetchone()
    try:
        if row is None or base is None:
            raise UnreadableState("it isn't there any more")
        known = _manifest(rule_id, base, *row).parts
        return {name: known[name] for name in names}
    except (UnreadableState, KeyError) as error:
        what = error.message if isinstance(error, UnreadableState) else f"it has no part {error}"
        raise MissingParts(
            f"rule {rule_id}: checkpoint {base} can't be built on: {what}",
            hint="the next checkpoint is written in full",
        ) from None


def _manifest(rule_id: str, number: int, data: Any, checksum: Any) -> _Manifest:
    if not isinstance(data, bytes) or checksum != _checksum(rule_id, number, data):
        raise UnreadableState("its manifest is damaged")
    try:
        return _MANIFEST.decode(data)
    except msgspec.MsgspecError as error:
        raise UnreadableState(f"its manifest can't be read: {error}") from error


def _whole(
    connection: sqlite3.Connection, rule_id: str, number: int, manifest: _Manifest
) -> Checkpoint:
    parts: dict[str, bytes] = {}
    for name, entry in manifest.parts.items():
        row = connection.execute(
            "SELECT data FROM part WHERE rule = ? AND name = ? AND number = ?",
            (rule_id, name, entry.number),
        ).fetchone()
        if row is None:
            raise UnreadableState(f"its part {name} is missing")
        (data,) = row
        if not isinstance(data, bytes) or zlib.crc32(data) != entry.checksum:
            raise UnreadableState(f"its part {name} is damaged")
        parts[name] = data
    return Checkpoint(number, manifest.at, parts, CODEC.decode(manifest.meta))


def _checksum(rule_id: str, number: int, manifest: bytes) -> int:
    return zlib.crc32(manifest, zlib.crc32(f"{rule_id}\0{number}".encode()))


_MANIFEST = msgspec.msgpack.Decoder(_Manifest)
