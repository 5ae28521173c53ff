"""Read files: once, again and again, as they grow, or all that come into a folder."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from functools import partial
from pathlib import Path

import anyio.to_thread

from engine.api import Batch, ConfigError, Emit, NotConnected, Offset, SameMetadata, Source

from .options import KEEP, FileConfig
from .progress import Afterwards, Look, Place, Progress, look_at
from .reading import Piece, Reader, Steps

_PAUSE = 1_000
"""Milliseconds between two looks at what may be unfinished, or at a folder without interval."""


class File(Source[FileConfig]):
    """``meta(file)`` is the path of the file; blank lines are passed over.

    A rule with QoS 1 or 2 goes on where its last checkpoint is. Of a folder, all files but hidden
    ones are read in the order of their last change; a file that has grown is read on, one that
    became another one is read anew.
    """

    _afterwards: Afterwards | None = None

    def validate(self) -> None:
        self.config.check(self.ctx)

    @property
    def gives_texts(self) -> bool:
        """CSV has no other kind."""
        return self.config.file_type == "csv"

    async def open(self) -> None:
        config, ctx = self.config, self.ctx
        self._target = ctx.file(config.target)
        self._files: dict[str, Progress] = {}
        self._places: dict[str, Offset] = {}
        self._due = 0
        if config.action_after_read != KEEP and self._afterwards is None:
            self._afterwards = Afterwards(config.action_after_read, config.move_to, ctx.file)

    def position(self) -> Mapping[str, Offset]:
        return self._places.copy()

    async def seek(self, offsets: Mapping[str, Offset]) -> None:
        for name, text in offsets.items():
            try:
                place = Place.parse(str(text))
            except ValueError:
                hint = "it reads turn/offset/checksum; 0/0/0 is the beginning"
                raise ConfigError(f"{text!r} is no place in a file", hint=hint) from None
            self._files[name] = Progress(place)
            self._places[name] = str(place)

    async def run(self, emit: Emit) -> None:
        try:
            if self._target.is_dir() or self.config.follow:
                await self._watch(emit)
            else:
                await self._repeat(emit)
        except OSError as error:
            raise NotConnected(f"{error.filename or self._target}: {error.strerror}") from error

    async def close(self) -> None:
        await self._act()

    # -- one file ------------------------------------------------------------------------------

    async def _repeat(self, emit: Emit) -> None:
        """Read a file from its beginning to its end, as often as wanted."""
        clock, config, path = self.ctx.clock, self.config, self._target
        interval = int(config.interval * 1000)
        repeats = bool(interval or config.loop)
        progress = self._files.setdefault(path.name, Progress())
        due = clock.now()
        while True:
            before = progress.place
            look = await anyio.to_thread.run_sync(look_at, path)
            if look is not None or not repeats:
                await self._read(emit, path, progress, is_final=True)
                self._finish(path, look)
            await self._act()
            if not repeats:
                return
            was_empty = progress.place == before
            self._move(path.name, progress, Place(progress.place.turn + 1))
            due = max(clock.now(), due + (interval or (_PAUSE if was_empty else 0)))
            await clock.sleep_until(due)

    # -- files that come and grow --------------------------------------------------------------

    async def _watch(self, emit: Emit) -> None:
        """Read what is new, again and again."""
        clock = self.ctx.clock
        interval = int(self.config.interval * 1000) or _PAUSE
        while True:
            await self._act()
            found = await anyio.to_thread.run_sync(self._look)
            self._forget(found)
            is_settled = True
            for path, look in found.items():
                is_settled &= await self._catch_up(emit, path, look)
            pause = interval if is_settled else min(interval, _PAUSE)
            await clock.sleep_until(clock.now() + pause)

    def _look(self) -> dict[Path, Look]:
        """Return what there is to read, the file that changed first at first."""
        folder, found = self._target, {}
        paths = [folder] if self.config.follow else folder.iterdir()
        for path in paths:
            is_wanted = path.is_file() and not path.name.startswith(".")
            if is_wanted and self._is_given(path) and (look := look_at(path)) is not None:
                found[path] = look
        return dict(sorted(found.items(), key=lambda item: (item[1][1], item[0])))

    def _is_given(self, path: Path) -> bool:
        """Tell whether a file is the rule's to read; a link may lead anywhere."""
        try:
            self.ctx.file(path)
        except ConfigError:
            return False
        return True

    def _forget(self, found: Mapping[Path, Look]) -> None:
        there = {path.name for path in found}
        for name in self._files.keys() - there:
            del self._files[name]
            self._places.pop(name, None)

    async def _catch_up(self, emit: Emit, path: Path, look: Look) -> bool:
        """Read what is new in a file; return whether that was all, for now."""
        progress = self._files.setdefault(path.name, Progress())
        if progress.is_done:
            if progress.seen == look:
                return True
            progress.is_done = False
            if self.config.is_whole:
                self._move(path.name, progress, Place(progress.place.turn + 1))
        is_final = progress.seen == look  # nobody writes to it any more
        progress.seen = look
        await self._read(emit, path, progress, is_final=is_final)
        if is_final:
            progress.is_done = True
            self._finish(path, look)
        return is_final

    # -- reading -------------------------------------------------------------------------------

    async def _read(self, emit: Emit, path: Path, progress: Progress, *, is_final: bool) -> None:
        reader = Reader(path, self.config)
        with closing(Steps(reader.pieces(progress.place, is_final=is_final))) as steps:
            # in a thread: a disk may take its time
            while (piece := await anyio.to_thread.run_sync(steps.next)) is not None:
                await self._wait_turn()
                self._move(path.name, progress, piece.place)
                batch = self._batch(path, piece)
                if batch is not None:
                    await emit(batch)

    def _batch(self, path: Path, piece: Piece) -> Batch | None:
        items = piece.payloads if piece.rows is None else piece.rows
        if not items and not piece.failures:
            return None
        meta = SameMetadata(len(items or ()), {"file": str(path)})
        batch = Batch(piece.rows, payloads=piece.payloads, meta=meta, failures=piece.failures)
        if self._afterwards is not None:
            self._afterwards.emitted(path)
            batch.acknowledge = partial(self._afterwards.acknowledged, path)
        return batch

    def _move(self, name: str, progress: Progress, place: Place) -> None:
        progress.place = place
        self._places[name] = str(place)

    async def _wait_turn(self) -> None:
        pause = int(self.config.send_interval * 1000)
        if pause:
            clock = self.ctx.clock
            await clock.sleep_until(self._due)
            self._due = max(clock.now(), self._due) + pause

    # -- after reading -------------------------------------------------------------------------

    def _finish(self, path: Path, look: Look | None) -> None:
        if self._afterwards is not None and look is not None:
            self._afterwards.read(path, look)

    async def _act(self) -> None:
        """Delete or move what the rule is done with."""
        if self._afterwards is not None and self._afterwards.is_due:
            for path in await anyio.to_thread.run_sync(self._afterwards.act):
                self.ctx.logger.info("%s is done with", path)
