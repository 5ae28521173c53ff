"""Snapshots of all metrics in hourly files, for looking at what was when nobody scraped them."""

from __future__ import annotations

import gzip
import logging
import threading
import zipfile
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO

import anyio.to_thread
import msgspec

from engine.clock import Clock
from engine.config.fields import Duration

logger = logging.getLogger(__name__)

_HOUR = 3600
_NAME = "metrics-%Y%m%dT%H.prom.gz"
"""Of the file with the snapshots of an hour, in UTC."""
_PATTERN = "metrics-*.prom.gz"


class MetricsDumpOptions(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"
):
    """Whether metrics are written down, and for how long that is kept."""

    enable: bool = False
    retained_duration: Duration = Duration(6 * _HOUR)
    interval: Duration = Duration(15)
    """Time between two snapshots."""


class MetricsDump:
    """The folder with the snapshots, and what writes them while ``is_enabled``."""

    def __init__(
        self,
        folder: Path,
        options: MetricsDumpOptions,
        take: Callable[[], AsyncIterator[bytes]],
        clock: Clock,
    ) -> None:
        """``take`` gives all metrics as text, piece by piece."""
        self.is_enabled = options.enable
        self._folder = folder
        self._options = options
        self._take = take
        self._clock = clock
        self._problem = ""
        self._files = threading.Lock()
        """Held while files are written or read, so that nobody gets half a snapshot."""

    async def run(self) -> None:
        """Write snapshots; a disk that fails is logged, once for each kind of failure."""
        while True:
            if self.is_enabled:
                text = b"".join([piece async for piece in self._take()])
                try:
                    await anyio.to_thread.run_sync(self._write, text, self._clock.now() / 1000)
                    self._problem = ""
                except OSError as error:
                    if str(error) != self._problem:
                        logger.warning("metrics can't be written down: %s", error)
                    self._problem = str(error)
            pause = max(1, int(self._options.interval * 1000))
            await self._clock.sleep_until(self._clock.now() + pause)

    def collect(self, start: float, end: float, into: IO[bytes]) -> None:
        """Write a zip file of the hours that lie between two times (Unix seconds); blocks."""
        with self._files, zipfile.ZipFile(into, "w") as made:  # stored: they are compressed already
            for path in sorted(self._folder.glob(_PATTERN)):
                hour = _hour_of(path)
                if hour is not None and hour <= end and start < hour + _HOUR:
                    made.write(path, path.name)

    def _write(self, text: bytes, now: float) -> None:
        with self._files:
            self._add(text, datetime.fromtimestamp(now, UTC))

    def _add(self, text: bytes, moment: datetime) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        with gzip.open(self._folder / moment.strftime(_NAME), "ab") as file:
            file.write(f"# {moment:%Y-%m-%dT%H:%M:%SZ}\n".encode() + text)
        oldest = moment - timedelta(seconds=self._options.retained_duration)
        for path in self._folder.glob(_PATTERN):
            hour = _hour_of(path)
            if hour is not None and hour + _HOUR <= oldest.timestamp():
                path.unlink(missing_ok=True)


def _hour_of(path: Path) -> float | None:
    """Return the begin of the hour that a file is for, None if it is none of ours."""
    try:
        return datetime.strptime(path.name, _NAME).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None
