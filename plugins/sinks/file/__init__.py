"""Write results to files, as lines, as one JSON array or as a table, which may roll."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, TypeVar

import anyio.to_thread

from engine.api import Batch, ConfigError, Rejected, Sink

from .options import FileConfig, check_name
from .outcome import Outcome, Writing
from .packing import Damaged, Packing
from .rolling import Rolling
from .segment import Segment
from .shapes import Items, shape_for

A = TypeVar("A")
R = TypeVar("R")
_MOST_OPEN = 256
_SHORT = 1 << 15
"""Bytes that are compressed faster than a thread could be asked to do it."""
_OF_THE_NAME = frozenset(
    {errno.ENAMETOOLONG, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.EINVAL, errno.EILSEQ}
)
"""Failures that a computed path has for good."""


class File(Sink[FileConfig]):
    """Messages are written before their batch counts as delivered; files are appended to.

    A write is all or nothing: when it fails, what it has left is cut off and it is tried again
    later. What is written survives the end of the process; a power failure only with ``fsync``.
    """

    takes_payloads: ClassVar[bool] = True
    shared_options: ClassVar[frozenset[str]] = frozenset(
        {"format", "hasHeader", "fields", "dataTemplate", "encryption"}
    )

    def validate(self) -> None:
        self.config.check()
        path = self.config.path
        if not self.config.is_template:
            check_name(path)
            if not path or os.path.isdir(self.ctx.file(path)):
                raise ConfigError(f"path {str(path)!r} is a folder", hint="name a file in it")

    def __init__(self) -> None:
        self._segments: dict[Path, Segment] = {}
        self._resting: dict[Path, Segment] = {}
        """Closed because too many were open, but still to be finished in time."""
        self._timers: dict[Path, asyncio.Task[None]] = {}

    async def open(self) -> None:
        config = self.config
        self._shape = shape_for(config)
        self._packing: Packing | None = None
        if config.compression:
            self._packing = Packing(config.compression, config.compression_props.level)
        self._rolling = Rolling(config)
        self._turn = asyncio.Lock()
        if not self.config.is_template:
            self._fixed = self.ctx.file(self.config.path)

    async def collect(self, batch: Batch) -> None:
        payloads = batch.payloads or []
        outcome = Outcome()
        async with self._turn:  # a file may be due meanwhile
            for path, places in self._targets(batch, outcome).items():
                chosen = payloads
                if len(places) < len(payloads):
                    chosen = [payloads[place] for place in places]
                await self._deliver(path, places, chosen, outcome)
        outcome.check()

    def _targets(self, batch: Batch, outcome: Outcome) -> dict[Path, Sequence[int]]:
        """Return the places of the messages for each file."""
        paths = batch.meta.column("path")
        if all(path is None for path in paths):
            return {self._fixed: range(len(batch))} if len(batch) else {}
        by_text: dict[str | None, list[int]] = {}
        for place, text in enumerate(paths):
            by_text.setdefault(text, []).append(place)
        found: dict[Path, Sequence[int]] = {}
        for text, places in by_text.items():
            try:
                found[self._target(text)] = places
            except (Rejected, ConfigError) as error:
                outcome.refuse(error.message, places)
        return found

    def _target(self, path: str | None) -> Path:
        return self._fixed if path is None else self.ctx.file(self.config.checked(path))

    async def _deliver(
        self, path: Path, places: Sequence[int], payloads: list[bytes], outcome: Outcome
    ) -> None:
        """Write the messages for one file, and say what has become of them."""
        writing = Writing(places, payloads)
        try:
            await self._write(path, writing, outcome)
        except Damaged as error:
            outcome.wait(f"{path}: {error}; move the file away", writing.left)
        except OSError as error:
            what = f"{error.filename or path}: {error.strerror or error}"
            if self.config.is_template and error.errno in _OF_THE_NAME:
                outcome.refuse(what, writing.left)
            else:
                outcome.wait(what, writing.left)

    async def _write(self, path: Path, writing: Writing, outcome: Outcome) -> None:
        while writing.payloads:
            segment = await self._segment(path, writing.payloads[0])
            payloads = writing.payloads[: self._rolling.room(segment)]
            texts, refused = self._shape.texts(payloads, segment.header)
            if refused:
                for index, reason in refused.items():
                    outcome.refuse(reason, [writing.left[index]])
                writing.drop(refused)
                continue
            share = self._rolling.share(segment, texts)
            wanted = [text for text in texts[:share] if text]
            if wanted and not await self._append(segment, wanted):
                continue
            writing.done(share)
            if self._rolling.is_due(segment, self.ctx.clock.now()):
                with suppress(OSError):  # the next write will tell
                    await self._finish(path)

    async def _append(self, segment: Segment, texts: Sequence[bytes]) -> bool:
        """Write texts; False: somebody else has written or moved the file meanwhile."""
        data = segment.text(texts)
        if self._packing is not None:
            data = await _in_thread(self._packing.pack, data, when=len(data) > _SHORT)
            if not segment.is_current():
                return False
        segment.append(data, len(texts))
        if self.config.fsync:
            try:
                await anyio.to_thread.run_sync(segment.sync)
            except OSError:
                segment.take_back()
                raise
        return True

    # -- files ---------------------------------------------------------------------------------

    async def _segment(self, path: Path, payload: bytes) -> Segment:
        """Return the file at a path for a message that comes next."""
        segment = await self._current(path)
        if self._rolling.is_due(segment, self.ctx.clock.now()):
            await self._finish(path)
            segment = await self._current(path)
        header = self._shape.header_of(payload)
        if segment.is_inherited and segment.header != header:
            self.ctx.logger.info("%s: the columns are others now; a new file is begun", path)
            await self._finish(path)
            segment = await self._current(path)
        segment.is_inherited = False
        if segment.is_empty:
            segment.header = header
        return segment

    async def _current(self, path: Path) -> Segment:
        """Return the file at a path as it is now, ready to be written to."""
        segment = self._segments.get(path)
        while segment is None or not segment.is_current():
            if segment is not None:
                self._close(path)
            segment = await self._opened(path)
        segment.repair()
        return segment

    async def _opened(self, path: Path) -> Segment:
        if len(self._segments) >= _MOST_OPEN:
            self._rest(next(iter(self._segments)))
        clock, rolling = self.ctx.clock, self._rolling
        reads = self._packing is not None or rolling.counts or isinstance(self._shape, Items)
        segment = await _in_thread(
            lambda now: Segment.open(path, self._shape, self._packing, now, counts=rolling.counts),
            clock.now(),
            when=reads,
        )
        rested = self._resting.pop(path, None)
        if rested is not None and rested.is_same(segment):
            segment.born = rested.born
        else:
            self._end_timer(path)
        self._segments[path] = segment
        if rolling.interval and path not in self._timers:
            due = segment.born + rolling.interval
            self._timers[path] = asyncio.create_task(
                self._finish_at(due, path), name=f"{self.ctx.op_id}.roll"
            )
        return segment

    async def _finish_at(self, due: int, path: Path) -> None:
        """Finish a file once it is old enough, whether something is written or not."""
        await self.ctx.clock.sleep_until(due)
        async with self._turn:
            if self._timers.get(path) is not asyncio.current_task():
                return
            try:
                await self._finish(path)
            except OSError as error:  # it will be tried again before the next write
                self.ctx.logger.warning("%s can't be finished: %s", path, error.strerror)

    async def _finish(self, path: Path) -> None:
        segment = self._segments.get(path) or self._resting[path]
        is_there = not segment.is_empty and segment.is_current()
        self._close(path)
        if is_there:
            await anyio.to_thread.run_sync(self._rolling.finish, path, self.ctx.clock.now())

    def _rest(self, path: Path) -> None:
        """Close a file that will go on later, and is finished in time if it doesn't."""
        segment = self._segments.pop(path)
        segment.close()
        if path in self._timers:
            self._resting[path] = segment

    def _close(self, path: Path) -> None:
        """Be done with a file."""
        self._end_timer(path)
        self._resting.pop(path, None)
        segment = self._segments.pop(path, None)
        if segment is not None:
            segment.close()

    def _end_timer(self, path: Path) -> None:
        timer = self._timers.pop(path, None)
        if timer is not None and timer is not asyncio.current_task():
            timer.cancel()

    async def close(self) -> None:
        timers = list(self._timers.values())
        for path in [*self._segments, *self._resting]:
            self._close(path)
        await asyncio.gather(*timers, return_exceptions=True)


async def _in_thread(work: Callable[[A], R], argument: A, *, when: bool) -> R:
    """Return what some work gives, done in a thread if it may take long."""
    return await anyio.to_thread.run_sync(work, argument) if when else work(argument)
