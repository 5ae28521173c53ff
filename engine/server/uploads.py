"""Files that clients have put on the server, in one flat folder."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

import anyio.to_thread

from engine.server.problems import IO, Problem, missing

_NAME = re.compile(r"[A-Za-z0-9_@+() -][A-Za-z0-9_@+().,= -]{0,199}")
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


class Uploads:
    """The folder ``data/uploads`` of a server."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def names(self) -> list[str]:
        """Return the paths of all files, sorted."""
        return await anyio.to_thread.run_sync(self._names)

    async def put(self, name: str, data: bytes) -> str:
        """Store a file, over one of that name; returns its path. It is there completely or not.

        Raises:
            Problem: the name is none, or the disk fails.
        """
        path = self._path(name)
        await anyio.to_thread.run_sync(self._write, path, data)
        return str(path)

    async def drop(self, name: str) -> None:
        """Delete a file.

        Raises:
            Problem: there is none.
        """
        path = self._path(name)
        try:
            await anyio.to_thread.run_sync(path.unlink)
        except OSError:
            raise missing(f"uploaded file {name}") from None

    async def find(self, name: str) -> bytes | None:
        """Return a file, None if there is none.

        Raises:
            Problem: the name is none, or the disk fails.
        """
        return await anyio.to_thread.run_sync(_read, self._path(name))

    def check_name(self, name: str) -> None:
        """Check that a file may have a name.

        Raises:
            Problem: it may not.
        """
        self._path(name)

    def _names(self) -> list[str]:
        if not self.folder.is_dir():
            return []
        return sorted(
            str(path) for path in self.folder.iterdir() if path.is_file() and path.name[0] != "."
        )

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name) or _RESERVED.fullmatch(name) or name.endswith((" ", ".")):
            raise Problem(
                f"{name[:60]!r} can't be the name of an uploaded file",
                hint="a name without folders, of letters, digits and . _ - + = @ , ( )",
            )
        path = self.folder / name
        if path.is_symlink():
            raise Problem(f"{name} isn't a file of its own")
        return path

    def _write(self, path: Path, data: bytes) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=self.folder, prefix=".upload-")
            try:
                with os.fdopen(handle, "wb") as stream:
                    stream.write(data)
                    stream.flush()
                    os.fsync(stream.fileno())
                os.replace(temporary, path)
            except BaseException:
                Path(temporary).unlink(missing_ok=True)
                raise
        except OSError as error:
            raise Problem(
                f"can't store {path.name}: {error.strerror}", status=507, code=IO
            ) from None


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Problem(f"can't read {path.name}: {error.strerror}", code=IO) from None
