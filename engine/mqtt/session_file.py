"""What outlives the process of a persistent session: by what its messages are known.

A broker doesn't tell one session from the next. A checkpoint holds messages of the session in which
they came, so a restarted process must know whether that is the one it finds: a file says so, which
is changed before a new session can have any message.
"""

from __future__ import annotations

import os
import sys
from hashlib import blake2b
from pathlib import Path

import msgspec


class SessionNote(msgspec.Struct, frozen=True):
    """What is kept of a session."""

    server: str
    client_id: str
    session: int
    """The name of the session that there was last; see ``Session``."""
    reuses_ids: bool = False


class SessionFile:
    """The file for one client of one broker; blocks on the disk."""

    def __init__(self, folder: Path, server: str, client_id: str) -> None:
        name = blake2b(f"{client_id}\0{server}".encode(), digest_size=12).hexdigest()
        self._path = folder / f"{name}.json"
        self._server = server
        self._client_id = client_id

    def read(self) -> SessionNote | None:
        """Return what was written last; None if there is nothing that can be read."""
        try:
            note = msgspec.json.decode(self._path.read_bytes(), type=SessionNote)
        except (OSError, msgspec.MsgspecError):
            return None
        is_own = (note.server, note.client_id) == (self._server, self._client_id)
        return note if is_own else None

    def write(self, session: int, *, reuses_ids: bool) -> None:
        """Replace what is there, at once for whoever reads it next; ``sync`` does the rest.

        Raises:
            OSError: it can't be written; then there is nothing at all, if that can be helped.
        """
        note = SessionNote(self._server, self._client_id, session, reuses_ids)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.unlink(missing_ok=True)  # a disk may be full: better nothing than another one's
        fresh = self._path.with_suffix(".new")
        fresh.write_bytes(msgspec.json.encode(note))
        fresh.replace(self._path)

    def sync(self) -> None:
        """Let what is written survive a loss of power, where that can be asked for.

        Raises:
            OSError: the disk has failed.
        """
        for path in (self._path, self._path.parent) if sys.platform != "win32" else ():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
