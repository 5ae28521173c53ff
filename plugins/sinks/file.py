"""Append results to a file, one line each."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO, ClassVar, Literal

import msgspec

from engine.api import Batch, Config, NotConnected, Sink, Template


class FileConfig(Config):
    """``path`` may hold fields of the result, which gives a file for each value."""

    path: Template
    """Relative paths start at the root folder; missing folders are made."""
    file_type: Literal["lines"] = "lines"


class File(Sink[FileConfig]):
    """Lines are written before the batch counts as delivered; files are appended to."""

    takes_payloads: ClassVar[bool] = True
    _MOST_OPEN: ClassVar[int] = 64

    async def open(self) -> None:
        self._files: dict[str, BinaryIO] = {}

    async def collect(self, batch: Batch) -> None:
        payloads = batch.payloads or []
        paths = batch.meta.column("path")
        if paths[0] is None:
            self._append(str(self.config.path), payloads)
            return
        by_path: dict[str, list[bytes]] = {}
        for path, payload in zip(paths, payloads, strict=True):
            by_path.setdefault(path, []).append(payload)
        for path, lines in by_path.items():
            self._append(path, lines)

    def _append(self, path: str, payloads: list[bytes]) -> None:
        data = b"\n".join([*payloads, b""])
        if data.count(b"\n") != len(payloads):  # formatted JSON has lines of its own
            lines = [msgspec.json.format(payload, indent=-1) for payload in payloads]
            data = b"\n".join([*lines, b""])
        try:
            file = self._files.get(path) or self._open(path)
            file.write(data)
        except OSError as error:
            raise NotConnected(f"{path}: {error.strerror or error}") from error

    def _open(self, path: str) -> BinaryIO:
        if len(self._files) >= self._MOST_OPEN:
            self._files.pop(next(iter(self._files))).close()
        target = self.ctx.root_path / Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        is_torn = _is_torn(target)
        file = self._files[path] = target.open("ab", buffering=0)
        if is_torn:
            file.write(b"\n")  # or it would spoil the next line
        return file

    async def close(self) -> None:
        for file in getattr(self, "_files", {}).values():
            file.close()


def _is_torn(path: Path) -> bool:
    """Tell whether a crash has left a line without its end."""
    if not path.is_file() or not path.stat().st_size:
        return False
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"
