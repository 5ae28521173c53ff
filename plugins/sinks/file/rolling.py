"""When a file is finished, what it is called then, and which finished ones are deleted."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from .options import FileConfig
from .segment import Segment


class Rolling:
    """The rolling options of an action."""

    def __init__(self, config: FileConfig) -> None:
        self.interval = int(config.rolling_interval * 1000)
        """Milliseconds that a file may be old; 0: any age."""
        self.counts = config.rolling_count > 0
        self._count = config.rolling_count
        self._size = int(config.rolling_size)
        self._limits_text = bool(self._size) and not config.compression
        self._keep = config.rolling_keep
        self._is_prefix = config.rolling_name_pattern == "prefix"

    def room(self, segment: Segment) -> int | None:
        """Return how many messages a file takes at most, before it is finished; None: any number.

        It takes one at least, whatever is in it.
        """
        return max(self._count - segment.messages, 1) if self._count else None

    def share(self, segment: Segment, texts: Sequence[bytes]) -> int:
        """Return how many of the next texts a file takes before it has bytes enough."""
        if self._limits_text:
            size = segment.size
            for number, text in enumerate(texts, start=1):
                size += len(text)
                if size >= self._size:
                    return number
        return len(texts)

    def is_due(self, segment: Segment, now: int) -> bool:
        """Tell whether a file is finished."""
        return not segment.is_empty and (
            bool(self._count and segment.messages >= self._count)
            or bool(self._size and segment.size >= self._size)
            or bool(self.interval and now - segment.born >= self.interval)
        )

    def finish(self, path: Path, now: int) -> Path:
        """Rename a finished file and delete the oldest ones; return its name.

        Raises:
            OSError: it can't be renamed.
        """
        target = self._finished(path, now)
        while target.exists():
            now += 1
            target = self._finished(path, now)
        path.rename(target)
        if self._keep:
            for _, old in sorted(self._finished_files(path))[: -self._keep]:
                old.unlink(missing_ok=True)
        return target

    def _finished(self, path: Path, now: int) -> Path:
        name = f"{now}-{path.name}" if self._is_prefix else f"{path.stem}-{now}{path.suffix}"
        return path.with_name(name)

    def _finished_files(self, path: Path) -> list[tuple[int, Path]]:
        """Return the finished files of one path, each with its time."""
        time = r"(\d{13,})"
        if self._is_prefix:
            pattern = rf"{time}-{re.escape(path.name)}"
        else:
            pattern = rf"{re.escape(path.stem)}-{time}{re.escape(path.suffix)}"
        return [
            (int(match[1]), path.with_name(name))
            for name in os.listdir(path.parent)
            if (match := re.fullmatch(pattern, name))
        ]
