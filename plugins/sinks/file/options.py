"""What an action says about the files that it writes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from engine.api import Config, ConfigError, Duration, Rejected, Size, Template

Count = Annotated[int, msgspec.Meta(ge=0)]
Method = Literal["", "gzip", "zstd"]
_LONGEST_NAME = 255
HIGHEST_LEVEL = {"gzip": 9, "zstd": 22}


class CompressionProps(Config):
    """No level is the method's own default."""

    level: Annotated[int, msgspec.Meta(ge=1)] | None = None


class FileConfig(Config):
    """``path`` may hold fields of the result, which gives a file for each value."""

    path: Template
    """Relative paths start at the root folder; missing folders are made."""
    file_type: Literal["lines", "json", "csv"] = "lines"
    """``lines``: a line for each message; ``json``: the file is one array of all rows; ``csv``:
    delimited messages below one header.
    """
    compression: Method = ""
    """Of the whole file, in pieces that can each be read alone."""
    compression_props: CompressionProps = msgspec.field(default_factory=CompressionProps)
    rolling_interval: Duration = Duration(0)
    """Begin a new file when it is as old as that; 0: never."""
    rolling_count: Count = 0
    """Begin a new file after so many messages; 0: any number."""
    rolling_size: Size = Size(0)
    """Begin a new file once it has so many bytes; 0: any number."""
    rolling_name_pattern: Literal["", "none", "prefix", "suffix"] = ""
    """Where a finished file has the time (epoch milliseconds) in its name: in front of it, or
    before the extension, which is the default as well.
    """
    rolling_keep: Count = 0
    """How many finished files there may be; older ones are deleted. 0: any number."""
    check_interval: Duration = Duration(0)
    """Accepted as in eKuiper; files are rolled when they are due."""
    fsync: bool = False
    """Have the disk confirm each batch, so that a power failure can't take it."""
    format: str = "json"
    has_header: bool = False
    """Of ``csv``: each file begins with the names of the columns."""
    fields: tuple[str, ...] = ()
    data_template: str = ""
    encryption: str = ""

    @property
    def rolls(self) -> bool:
        """Whether files are ever finished."""
        return bool(self.rolling_interval or self.rolling_count or self.rolling_size)

    def check(self) -> None:
        """Raise ``ConfigError`` for what doesn't go together."""
        format_ = self.format.lower()
        if self.file_type == "csv" and format_ != "delimited":
            raise ConfigError("fileType csv needs format delimited", hint="add format: delimited")
        if self.file_type == "json" and format_ != "json":
            raise ConfigError("fileType json needs format json", hint="or choose fileType: lines")
        if self.file_type == "csv" and self.has_header and self.data_template and not self.fields:
            raise ConfigError(
                "hasHeader: a dataTemplate writes lines without names of columns",
                hint="leave hasHeader out, or name the columns with fields",
            )
        if self.encryption:
            raise ConfigError(
                f"encryption is for messages, and fileType {self.file_type} puts them together, "
                "so that nobody could tell where one ends",
                hint="leave encryption out, or send them with another sink",
            )
        if format_ == "protobuf":
            raise ConfigError(
                "messages of format protobuf may hold line breaks, so that nobody could tell "
                "where one ends",
                hint="choose json or delimited, or send them with another sink",
            )
        if self.rolling_keep and not self.rolls:
            raise ConfigError(
                "rollingKeep is for files that roll",
                hint="add rollingInterval, rollingCount or rollingSize",
            )
        highest = HIGHEST_LEVEL.get(self.compression, 0)
        if self.compression_props.level is not None and self.compression_props.level > highest:
            raise ConfigError(
                f"compressionProps: {self.compression or 'no compression'} has no level "
                f"{self.compression_props.level}",
                hint=f"it can be 1 to {highest}" if highest else "add compression: gzip or zstd",
            )

    @property
    def is_template(self) -> bool:
        """Whether messages have paths of their own."""
        return "{{" in self.path

    def checked(self, path: str) -> str:
        """Return the path that was computed for a message.

        Raises:
            Rejected: fields of the message lead out of the folder that the action names.
        """
        fixed, is_template, _ = self.path.partition("{{")
        rest = path.removeprefix(fixed)
        leaves = ".." in rest.replace(os.sep, "/").split("/") or "\0" in rest
        if leaves or (is_template and not fixed and os.path.isabs(path)):
            raise Rejected(f"the path {path[:100]!r} leads out of the folder of {str(self.path)!r}")
        return path


def check_name(path: str) -> None:
    """Raise ``ConfigError`` for a fixed path that no file can have."""
    if "\0" in path or any(len(os.fsencode(part)) > _LONGEST_NAME for part in Path(path).parts):
        raise ConfigError(
            f"{path[:100]!r} can't be the path of a file",
            hint=f"names have up to {_LONGEST_NAME} bytes, and no NUL",
        )
