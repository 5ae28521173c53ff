"""What a stream or table says about the files that it reads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from engine.api import Config, ConfigError, Context, Duration, Size

KEEP: Literal[0] = 0
DELETE: Literal[1] = 1
MOVE: Literal[2] = 2
Lines = Annotated[int, msgspec.Meta(ge=0)]


class FileConfig(Config):
    """``datasource`` is a file or a folder below ``path``; both may be absolute."""

    path: str = "data"
    """Relative to the root folder."""
    datasource: str = ""
    file_type: Literal["json", "csv", "lines", "raw"] = "json"
    """``json``: objects, alone, in an array or one after the other; ``csv``: texts by column;
    ``lines``: messages in the FORMAT of the stream; ``raw``: the file is one message.
    """
    interval: Duration = Duration(0)
    """A file is read again after this time (0: once), a folder looked at (0: each second)."""
    loop: bool = False
    """Begin a file anew at its end, also without interval."""
    follow: bool = False
    """Wait at the end of a file for what is appended to it."""
    send_interval: Duration = Duration(0)
    """Pause between two records."""
    action_after_read: Literal[0, 1, 2] = KEEP
    """What happens to a file once the rule is done with it: 0 nothing, 1 deleted, 2 moved."""
    move_to: str = ""
    """The folder for ``actionAfterRead: 2``."""
    has_header: bool = False
    """The first line of a CSV file names its columns."""
    columns: tuple[str, ...] = ()
    """Names of columns where no header has them; others are called ``cols0``, ``cols1`` …"""
    delimiter: str = ","
    ignore_start_lines: Lines = 0
    ignore_end_lines: Lines = 0
    decompression: Literal["", "gzip", "zstd"] = ""
    max_record: Size = Size(16 * 1024 * 1024)
    """Bytes that a line, an object or a raw file may have; a longer one counts as an error."""
    parallel: bool = False
    """Accepted as in eKuiper; the files of a folder are read one after the other."""

    @property
    def is_whole(self) -> bool:
        """Whether a changed file is another one, not a longer one."""
        return self.file_type in ("json", "raw")

    @property
    def separator(self) -> str:
        """The delimiter that is meant."""
        return self.delimiter.replace("\\t", "\t")

    @property
    def target(self) -> Path:
        """The file or folder to read, from the root on."""
        return Path(self.path, self.datasource)

    def check(self, ctx: Context) -> None:
        """Raise ``ConfigError`` for what can't be read or doesn't go together."""
        if not self.datasource:
            raise ConfigError("datasource is missing", hint="name a file or folder below path")
        target = ctx.file(self.target)
        if not target.exists():
            hint = "path and datasource together name it; relative paths start at the root folder"
            raise ConfigError(f"{target} doesn't exist", hint=hint)
        if target.is_dir() and (self.loop or self.follow):
            what = "loop" if self.loop else "follow"
            hint = "leave it out: new files and what is appended to files are read anyway"
            raise ConfigError(f"{what} is for a file, but {target} is a folder", hint=hint)
        if self.loop and self.follow:
            raise ConfigError("give loop or follow, not both")
        if self.action_after_read == MOVE and not self.move_to:
            raise ConfigError("actionAfterRead 2 needs moveTo", hint="name the folder to move to")
        if self.action_after_read == MOVE:
            ctx.file(self.move_to)
        if self.file_type == "csv" and len(self.separator) != 1:
            hint = "write one character such as ',', ';' or '\\t'"
            raise ConfigError(f"{self.delimiter!r} can't be the delimiter of a CSV file", hint=hint)
        if self.file_type not in ("csv", "lines") and (
            self.ignore_start_lines or self.ignore_end_lines
        ):
            raise ConfigError("ignoreStartLines and ignoreEndLines are for csv and lines")
