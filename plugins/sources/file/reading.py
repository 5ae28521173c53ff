"""Reading one file in pieces of some records, from any place in it, with bounded memory."""

from __future__ import annotations

import csv
import threading
import zlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from io import BufferedIOBase
from pathlib import Path
from typing import cast

import msgspec

from engine.api import Row, RowError

from .lines import MARK, Group, Table, line_groups, size_of, without_last
from .objects import objects
from .options import FileConfig
from .packed import DAMAGED, grouped, opened, read_some
from .progress import Place

_HEAD = 1024
"""Bytes at the beginning by which a file is known again."""


@dataclass(slots=True)
class Piece:
    """Records in their order: either ``payloads`` or ``rows``, and what could become neither."""

    place: Place
    """Behind them."""
    payloads: list[bytes] | None = None
    rows: list[Row] | None = None
    failures: list[RowError] = field(default_factory=list)


class Reader:
    """Reads a file with the options of a stream; used by one thread at a time."""

    def __init__(self, path: Path, config: FileConfig) -> None:
        self._path = path
        self._config = config
        self._most = 1 if config.send_interval else 1024
        self._turn = 0
        self._head = b""

    def pieces(self, place: Place, *, is_final: bool) -> Generator[Piece]:
        """Yield what comes after ``place``; all of the file if that is none of its places.

        What is incomplete at the end is taken as it is if ``is_final``, else left for later.

        Raises:
            OSError: the disk fails, or there is no such file.
        """
        reached = 0
        self._turn = place.turn
        try:
            with self._opened() as file:
                self._head = read_some(file, _HEAD)
                reached = place.offset
                if reached and not self._is_known(file, place):
                    reached, self._turn = 0, place.turn + 1
                file.seek(0)
                for piece in self._read(file, reached, is_final=is_final):
                    reached = piece.place.offset
                    yield piece
        except DAMAGED as error:
            if is_final:
                yield self._failed(f"damaged {self._config.decompression} data: {error}", reached)

    def _opened(self) -> BufferedIOBase:
        return opened(self._path, self._config.decompression)

    def _is_known(self, file: BufferedIOBase, place: Place) -> bool:
        """Tell whether a place lies in this file, and not in one that had its name before."""
        if zlib.crc32(self._head[: place.offset]) != place.check:
            return False
        if self._config.decompression:
            return file.seek(place.offset) == place.offset
        return self._path.stat().st_size >= place.offset

    def _read(self, file: BufferedIOBase, start: int, *, is_final: bool) -> Iterator[Piece]:
        match self._config.file_type:
            case "json":
                file.seek(start)
                return self._json(file, start, is_final=is_final)
            case "raw":
                return self._raw(file, start) if is_final else iter(())
            case "csv":
                return self._csv(file, start, is_final=is_final)
        return self._lines(file, start, is_final=is_final)

    # -- kinds of files ------------------------------------------------------------------------

    def _raw(self, file: BufferedIOBase, start: int) -> Iterator[Piece]:
        longest = self._config.max_record
        data = file.read(longest + 1)
        if len(data) > longest:
            end = self._path.stat().st_size
            yield self._failed(f"a file longer than {longest} bytes", end)
        elif len(data) != start:
            yield Piece(self._place(len(data)), payloads=[data])

    def _lines(self, file: BufferedIOBase, start: int, *, is_final: bool) -> Iterator[Piece]:
        if self._skip_head(file, start, is_final=is_final) is None:
            return
        for lines, end, is_ended, flaw in self._groups(file, is_final=is_final):
            if flaw:
                yield self._failed(flaw, end)
            at = end - size_of(lines) + (not is_ended)
            for first in range(0, len(lines), self._most):
                some = lines[first : first + self._most]
                begin, at = at, min(end, at + size_of(some))
                if not begin:
                    some[0] = some[0].removeprefix(MARK)
                payloads = [line.removesuffix(b"\r") for line in some if line.strip()]
                yield Piece(self._place(at), payloads=payloads)

    def _json(self, file: BufferedIOBase, start: int, *, is_final: bool) -> Iterator[Piece]:
        found = objects(file, start, longest=self._config.max_record, is_final=is_final)
        for some in grouped(found, self._most):
            piece = Piece(self._place(some[-1].end), rows=[])
            for data, end, flaw in some:
                try:
                    if flaw:
                        raise ValueError(flaw)
                    cast("list[Row]", piece.rows).append(msgspec.json.decode(data, type=Row))
                except (ValueError, RecursionError) as error:
                    where = f"malformed JSON: {error}"
                    piece.failures.append(self._failure(where, end - len(data)))
            yield piece

    def _csv(self, file: BufferedIOBase, start: int, *, is_final: bool) -> Iterator[Piece]:
        names = self._skip_head(file, start, is_final=is_final)
        if names is None:
            return
        groups = self._groups(file, is_final=is_final)
        table = Table(groups, self._config.separator, file.tell(), is_final=is_final)
        for records in grouped(table, self._most):
            yield Piece(
                self._place(table.end),
                rows=[_row(names, cells) for cells, flaw, _ in records if cells and not flaw],
                failures=[self._failure(flaw, begin) for _, flaw, begin in records if flaw],
            )

    # -- lines ---------------------------------------------------------------------------------

    def _skip_head(self, file: BufferedIOBase, start: int, *, is_final: bool) -> list[str] | None:
        """Go to ``start``, at least behind the lines that are no records.

        Returns the names of the columns, None if the file doesn't have all of these lines yet.
        """
        config = self._config
        names = list(config.columns)
        for _ in range(config.ignore_start_lines):
            line = file.readline(config.max_record)
            if not line.endswith(b"\n") and not is_final:
                return None
        if config.file_type == "csv" and config.has_header:
            line = file.readline(config.max_record)
            if not line.endswith(b"\n") and not is_final:
                return None
            text = line.decode("utf-8-sig", "replace")
            names = next(csv.reader([text], delimiter=config.separator), names)
        file.seek(max(start, file.tell()))
        return names

    def _groups(self, file: BufferedIOBase, *, is_final: bool) -> Iterator[Group]:
        """Yield the lines of a file, without those at its end that are to be ignored."""
        config = self._config
        groups = line_groups(file, longest=config.max_record, is_final=is_final)
        ignored = config.ignore_end_lines
        return without_last(groups, ignored) if ignored else groups

    # -- places --------------------------------------------------------------------------------

    def _place(self, offset: int) -> Place:
        if len(self._head) < min(offset, _HEAD):  # the file has grown
            with self._opened() as file:
                self._head = read_some(file, _HEAD)
        return Place(self._turn, offset, zlib.crc32(self._head[:offset]))

    def _failed(self, what: str, end: int) -> Piece:
        return Piece(self._place(end), rows=[], failures=[self._failure(what, end)])

    def _failure(self, what: str, offset: int) -> RowError:
        return RowError(f"{what}: {self._path} near byte {offset}")


class Steps:
    """Takes pieces one by one in other threads; may be closed while one is being read."""

    def __init__(self, pieces: Generator[Piece]) -> None:
        self._pieces = pieces
        self._reading = threading.Lock()
        self._is_closed = False

    def next(self) -> Piece | None:
        """Return the next piece, None if there is none.

        Raises:
            OSError: the disk fails.
        """
        with self._reading:
            piece = None if self._is_closed else next(self._pieces, None)
        if self._is_closed:
            self.close()  # whoever asked for it could not wait
        return piece

    def close(self) -> None:
        """Let go of the file, at once or after the piece that is being read."""
        self._is_closed = True
        if self._reading.acquire(blocking=False):
            try:
                self._pieces.close()
            finally:
                self._reading.release()


def _row(names: list[str], cells: list[str]) -> Row:
    if len(cells) <= len(names):
        return dict(zip(names, cells, strict=False))
    unnamed = [f"cols{number}" for number in range(len(names), len(cells))]
    return dict(zip([*names, *unnamed], cells, strict=True))
