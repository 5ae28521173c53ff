"""The requests for the messages of a batch, and how far they have got."""

from __future__ import annotations

from typing import Any

from engine.api import Batch, NotConnected, Rejected, RowError
from engine.http import BODY_TYPES

from .options import METHODS, TYPE_OF_FORMAT, RestConfig

_WITHOUT_BODY = frozenset({"GET", "HEAD"})
_ENCODINGS = {"gzip": "gzip", "zlib": "deflate", "zstd": "zstd"}


class Requests:
    """The requests for the messages of a batch, in the words of ``Client.send``."""

    def __init__(self, config: RestConfig, batch: Batch) -> None:
        self._config = config
        self._payloads = batch.payloads or []
        self._urls = batch.meta.column("url")
        self._methods = batch.meta.column("method")
        self._headers = batch.meta.column("headers")
        self._form_data = batch.meta.column("formData")

    def request(self, index: int) -> dict[str, Any]:
        """Return a request.

        Raises:
            RowError: the message doesn't make one.
        """
        config = self._config
        method = str(self._methods[index] or config.method).upper()
        if method not in METHODS:
            raise RowError(f"method {method[:20]!r} is unknown")
        headers = dict(self._headers[index] or ({} if config.o_auth else config.headers))
        request = {
            "method": method,
            "url": str(self._urls[index] or config.url),
            "headers": headers,
        }
        body_type = config.body_type
        if not body_type and method in _WITHOUT_BODY:
            body_type = "none"
        if body_type == "formdata":
            return {**request, "parts": self._parts(index)}
        if body_type == "none":
            return request
        kind = body_type or TYPE_OF_FORMAT.get(config.format.lower(), "binary")
        given = {name.lower() for name in headers}
        if "content-type" not in given:
            headers["Content-Type"] = BODY_TYPES[kind]
        if config.compression in _ENCODINGS and "content-encoding" not in given:
            headers["Content-Encoding"] = _ENCODINGS[config.compression]
        return {**request, "content": self._payloads[index]}

    def _parts(self, index: int) -> list[tuple[str, tuple[str | None, bytes, str | None]]]:
        config = self._config
        fields = self._form_data[index] or config.form_data
        parts: list[tuple[str, tuple[str | None, bytes, str | None]]] = [
            (name, (None, str(value).encode(), None)) for name, value in fields.items()
        ]
        if name := config.file_field_name:
            kind = BODY_TYPES[TYPE_OF_FORMAT.get(config.format.lower(), "binary")]
            parts.append((name, (name, self._payloads[index], kind)))
        return parts


class Sending:
    """How far a batch has got."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._next = 0
        self._interrupted: list[int] = []
        self._trouble: NotConnected | None = None
        self._refused: dict[int, str] = {}

    def next(self) -> int | None:
        """Return the next message to be sent; None: no more, or not now."""
        if self._trouble is not None or self._next == self._size:
            return None
        self._next += 1
        return self._next - 1

    def interrupt(self, index: int, error: NotConnected) -> None:
        """A message is to be sent again, and so is what comes after it."""
        self._interrupted.append(index)
        self._trouble = self._trouble or error

    def refuse(self, index: int, reason: str) -> None:
        """A message will never be taken."""
        self._refused[index] = reason

    def check(self) -> None:
        """Tell the engine.

        A refused message is sent again with those that have to wait, to be refused then.

        Raises:
            NotConnected: something has to wait.
            Rejected: nothing has, but something was refused.
        """
        if self._trouble is not None:
            left = [*self._interrupted, *self._refused, *range(self._next, self._size)]
            raise NotConnected(self._trouble.message, hint=self._trouble.hint, indexes=sorted(left))
        if self._refused:
            raise Rejected.each(self._refused)
