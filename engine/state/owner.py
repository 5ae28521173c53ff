"""Whose the rows in a folder are: a small file beside the segments says it."""

from __future__ import annotations

import os
from pathlib import Path

OWNER = "owner"
_HALF = "owner.new"


def owner_of(folder: Path) -> str | None:
    """Return whose the rows in a folder are, None if nothing says so.

    A file that can't be read gives "", for its rows are somebody's.
    """
    try:
        return (folder / OWNER).read_text("utf-8").strip()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError):
        return ""


def holds_rows(folder: Path) -> bool:
    """Tell whether there are segments, which are deleted once all of their rows are sent."""
    return any(folder.glob("*.seg"))


def mark(folder: Path, owner: str, *, fsync: bool) -> None:
    """Say whose a folder is; there is never half of the file, whenever the process dies.

    Raises:
        OSError: the disk doesn't take it.
    """
    if owner_of(folder) == owner:
        return
    half = folder / _HALF
    with half.open("w", encoding="utf-8") as file:
        file.write(f"{owner}\n")
        file.flush()
        if fsync:
            os.fsync(file.fileno())
    half.replace(folder / OWNER)
