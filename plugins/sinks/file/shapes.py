"""What messages look like in a file: as lines, as the items of an array, or below a header."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from .options import FileConfig

_NO_JSON = (msgspec.MsgspecError, UnicodeError, RecursionError)


class Shape(Protocol):
    """How the text of a file is made of messages.

    A file is an opening and texts with a separator in between, then the tail.
    """

    separator: bytes
    tail: bytes

    def header_of(self, payload: bytes) -> bytes:
        """Return the names of columns that a message brings along; nothing where none do."""

    def opening(self, header: bytes) -> bytes:
        """Return how a file with such a header begins."""

    def texts(self, payloads: Sequence[bytes], header: bytes) -> tuple[list[bytes], dict[int, str]]:
        """Return the text of each message, and why some can't be in a file with this header.

        A text that is empty stands for nothing, and leaves no trace in the file.
        """


class Lines:
    """A line for each message; only what a message has itself makes it several."""

    separator = b""
    tail = b""

    def __init__(self, *, is_json: bool, is_text: bool = True) -> None:
        """JSON of several lines is put on one; what isn't text has to be one line itself."""
        self._is_json = is_json
        self._is_text = is_text

    def header_of(self, payload: bytes) -> bytes:
        return b""

    def opening(self, header: bytes) -> bytes:
        return b""

    def texts(self, payloads: Sequence[bytes], header: bytes) -> tuple[list[bytes], dict[int, str]]:
        if b"\n" not in b"".join(payloads):
            return [payload + b"\n" for payload in payloads], {}
        if not self._is_text:
            split = [index for index, payload in enumerate(payloads) if b"\n" in payload]
            reason = "its bytes hold a line break, so that nobody could tell where it ends"
            return [payload + b"\n" for payload in payloads], dict.fromkeys(split, reason)
        return [self._text(payload) for payload in payloads], {}

    def _text(self, payload: bytes) -> bytes:
        if self._is_json and b"\n" in payload:
            payload = _compact(payload) or payload  # a template may have written something else
        return payload if payload.endswith(b"\n") else payload + b"\n"


class Table:
    """Delimited messages, each with a header of its own, below the one header of the file."""

    separator = b""
    tail = b""

    def header_of(self, payload: bytes) -> bytes:
        return payload[: _end_of_header(payload)]

    def opening(self, header: bytes) -> bytes:
        return header + b"\n"

    def texts(self, payloads: Sequence[bytes], header: bytes) -> tuple[list[bytes], dict[int, str]]:
        texts: list[bytes] = []
        refused: dict[int, str] = {}
        for index, payload in enumerate(payloads):
            end = _end_of_header(payload)
            if payload[:end] != header:
                names = payload[:end].decode(errors="replace"), header.decode(errors="replace")
                refused[index] = f"the columns are {names[0]}, and those of the file {names[1]}"
            text = payload[end + 1 :]
            texts.append(text + b"\n" if text and not text.endswith(b"\n") else text)
        return texts, refused


class Items:
    """The rows of all messages as one JSON array, each message on a line of its own."""

    separator = b",\n"
    tail = b"\n]\n"

    def __init__(self, *, is_sure: bool) -> None:
        """``is_sure``: all messages are JSON, and needn't be looked at."""
        self._is_sure = is_sure

    def header_of(self, payload: bytes) -> bytes:
        return b""

    def opening(self, header: bytes) -> bytes:
        return b"[\n"

    def texts(self, payloads: Sequence[bytes], header: bytes) -> tuple[list[bytes], dict[int, str]]:
        texts: list[bytes] = []
        refused: dict[int, str] = {}
        for index, payload in enumerate(payloads):
            text = _compact(payload) if b"\n" in payload else payload.strip()
            if text is None or not (self._is_sure or is_json(text)):
                refused[index] = "it isn't JSON, of which the file consists"
                text = b""
            texts.append(text[1:-1].strip() if text.startswith(b"[") else text)
        return texts, refused


def shape_for(config: FileConfig) -> Shape:
    """Return the shape of a file."""
    if config.file_type == "json":
        return Items(is_sure=not config.data_template)
    if config.file_type == "csv" and config.has_header:
        return Table()
    format_ = config.format.lower()
    is_text = bool(config.data_template) or format_ not in ("binary", "custom")
    return Lines(is_json=format_ == "json", is_text=is_text)


def is_json(text: bytes) -> bool:
    """Tell whether a text is one JSON value."""
    try:
        _RAW.decode(text)
    except _NO_JSON:
        return False
    return True


_RAW = msgspec.json.Decoder(msgspec.Raw)


def _compact(payload: bytes) -> bytes | None:
    """Return JSON on one line, None if it isn't JSON."""
    try:
        return msgspec.json.format(payload, indent=-1)
    except _NO_JSON:
        return None


def _end_of_header(payload: bytes) -> int:
    """Return where the first line ends; a line break within quotes is part of a name."""
    end = payload.find(b"\n")
    while end >= 0 and payload.count(b'"', 0, end) % 2:
        end = payload.find(b"\n", end + 1)
    return len(payload) if end < 0 else end
