"""The lines of a file, read in groups, and the CSV records that they form."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from io import BufferedIOBase
from typing import NamedTuple

from .packed import read_some

_CHUNK = 256 * 1024
MARK = b"\xef\xbb\xbf"
"""What some programs write before UTF-8."""


class Group(NamedTuple):
    """Lines without their line breaks; ``end`` is the offset behind the last one."""

    lines: list[bytes]
    end: int
    is_ended: bool = True
    """False: the last line has no line break."""
    flaw: str = ""
    """What is wrong with what stood here instead of lines."""


def line_groups(file: BufferedIOBase, *, longest: int, is_final: bool) -> Iterator[Group]:
    """Yield the lines from where the file stands.

    A last line without line break is left for later unless ``is_final``. A line of more than
    ``longest`` bytes is passed over.
    """
    end = file.tell()
    rest = b""
    while more := read_some(file, _CHUNK):
        *lines, rest = (rest + more).split(b"\n")
        if lines:
            end += size_of(lines)
            yield Group(lines, end)
        if len(rest) > longest:
            end += len(rest) + _skip_line(file)
            rest = b""
            yield Group([], end, flaw=f"a line longer than {longest} bytes")
    if rest and is_final:
        yield Group([rest], end + len(rest), is_ended=False)


def without_last(groups: Iterator[Group], count: int) -> Iterator[Group]:
    """Yield all lines but the last ``count``, which is at least 1."""
    held: list[bytes] = []
    before = 0
    for group in groups:
        if group.flaw:
            yield Group(held, before)
            yield group
            held = []
            continue
        lines = [*held, *group.lines]
        held, before = lines[-count:], group.end
        end = group.end - size_of(held) + (not group.is_ended)
        yield Group(lines[:-count], end)


def size_of(lines: list[bytes]) -> int:
    """Return the bytes of lines with their line breaks."""
    return sum(map(len, lines)) + len(lines)


def _skip_line(file: BufferedIOBase) -> int:
    """Read to the end of a line; return how many bytes that were."""
    size = 0
    while part := file.readline(_CHUNK):
        size += len(part)
        if part.endswith(b"\n"):
            break
    return size


class Record(NamedTuple):
    """A CSV record: its cells, or what is wrong with it; ``begin`` is its offset."""

    cells: list[str]
    flaw: str
    begin: int


class Table:
    """The records that lines form; quoted cells may go over several lines.

    A record whose quotes aren't closed at the end is a flaw if ``is_final``, else left for later.
    """

    def __init__(
        self, groups: Iterator[Group], separator: str, start: int, *, is_final: bool
    ) -> None:
        self.end = start
        """The offset behind the last record."""
        self._groups = groups
        self._is_final = is_final
        self._read = start
        self._is_exhausted = False
        self._flaw = ""
        self._reader = csv.reader(self._texts(), delimiter=separator)

    def __iter__(self) -> Iterator[Record]:
        return self

    def __next__(self) -> Record:
        self._flaw = ""
        begin = self.end
        try:
            cells, flaw = next(self._reader), self._flaw
        except csv.Error as error:
            cells, flaw = [], f"malformed CSV ({error})"
        if self._is_exhausted:  # it looked for more lines, so the record isn't complete
            if not self._is_final:
                raise StopIteration
            flaw = "malformed CSV (a quote is missing)"
        self.end = self._read
        return Record(cells, flaw, begin)

    def _texts(self) -> Iterator[str]:
        for lines, end, _, flaw in self._groups:
            self._read = end - size_of(lines)
            if flaw:
                self._flaw = flaw
                yield "\n"
            for line in lines:
                is_first = not self._read
                self._read = min(end, self._read + len(line) + 1)
                yield self._text(line.removeprefix(MARK) if is_first else line)
        self._is_exhausted = True

    def _text(self, line: bytes) -> str:
        try:
            return line.decode() + "\n"
        except UnicodeDecodeError:
            self._flaw = "not UTF-8 text"
            return line.decode(errors="replace") + "\n"
