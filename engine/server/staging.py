"""Files from clients, put together apart from all others until they are known to be good."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from engine.packages.archive import Limits, unpack
from engine.server.problems import IO, Problem

_LIMITS = Limits(files=500, total=32 << 20)
_ZIP = b"PK\x03\x04"


@contextmanager
def staging(folder: Path, what: str) -> Iterator[Path]:
    """Give a folder for the files of ``what``, from which they can be moved into ``folder``.

    Raises:
        Problem: the disk fails.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".staging-") as made:
            yield Path(made)
    except OSError as error:
        raise Problem(f"can't store {what}: {error.strerror}", status=507, code=IO) from None


def is_zip(data: bytes) -> bool:
    """Tell whether a file is a zip."""
    return data.startswith(_ZIP)


def unzipped(data: bytes, staged: Path) -> list[PurePosixPath]:
    """Unpack a zip into a folder and return the names of its files.

    Raises:
        PluginError: it is damaged, too large, or has names that lead elsewhere.
    """
    archive = staged / ".zip"
    archive.write_bytes(data)
    found = unpack(archive, staged, _LIMITS)
    archive.unlink()
    return found


def write_texts(folder: Path, texts: Mapping[str, str], suffix: str) -> None:
    """Write files below a folder by their relative paths.

    Raises:
        Problem: a path leads elsewhere or has another suffix.
    """
    for relative, text in texts.items():
        path = (folder / relative).resolve()
        if path.suffix != suffix or not path.is_relative_to(folder.resolve()):
            raise Problem(f"{relative[:60]!r} can't be the path of a {suffix} file")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode("utf-8", "surrogatepass"))


def texts_in(folder: Path, suffix: str) -> dict[str, str]:
    """Return all files with a suffix below a folder by their relative paths."""
    return {
        str(path.relative_to(folder)): text_of(path) for path in sorted(folder.rglob(f"*{suffix}"))
    }


def text_of(path: Path) -> str:
    """Return the text of a file, whatever is in it."""
    return path.read_text(encoding="utf-8", errors="replace")


def placeless(text: str, staged: Path) -> str:
    """Return a message without the name of the folder that files lay in for a moment."""
    return text.replace(f"{staged}{os.sep}", "")
