"""Noticing that rule files have changed, by looking at them every so often."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from engine.clock import Clock
from engine.config.load import SUFFIXES

_EVERY = 500
"""Milliseconds between two looks. A change counts when it is as old as that, so that a file that is
just being written is read when it is complete."""

_Stamp = tuple[str, int, int, int]


class FileWatch:
    """Looks at files, and at the rule files of folders, which may come and go."""

    def __init__(self, paths: Sequence[Path], clock: Clock) -> None:
        self._paths = paths
        self._clock = clock

    async def run(self, changed: Callable[[], None]) -> None:
        """Call ``changed`` after each change, until cancelled."""
        known = seen = self._stamps()
        while True:
            await self._clock.sleep_until(self._clock.now() + _EVERY)
            now = self._stamps()
            if now == seen and seen != known:
                known = seen
                changed()
            seen = now

    def _stamps(self) -> list[_Stamp]:
        return sorted(stamp for path in self._paths for stamp in _stamps_of(path))


def _stamps_of(path: Path) -> Iterable[_Stamp]:
    """Yield what tells the state of a file, or of each rule file in a folder, from others."""
    try:
        if not path.is_dir():
            yield _stamp(str(path), path.stat())
            return
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.name.lower().endswith(SUFFIXES) and not entry.name.startswith("."):
                    with suppress(OSError):  # gone just now, or a link to nowhere
                        yield _stamp(entry.path, entry.stat())
    except OSError:  # not there now, which is a state as well
        return


def _stamp(path: str, stat: os.stat_result) -> _Stamp:
    return path, stat.st_mtime_ns, stat.st_size, stat.st_ino
