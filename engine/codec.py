"""Bytes to rows and rows to bytes, in the format that a stream or an action names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec

from engine.batch import Batch, PickedMetadata, Row
from engine.errors import ConfigError, RowError
from engine.layout import Frame, Layout

FORMATS = ("json", "binary")

Failure = tuple[int, RowError]
"""The place of a message in its batch, and why it gave no row."""


class Decoder(Protocol):
    """Turns the payloads of a batch into rows of the stream's layout."""

    def decode(self, batch: Batch, payloads: Sequence[bytes]) -> tuple[Frame, list[Failure]]:
        """Return the rows of all good payloads, and the failures of the others."""


def decoder(format_: str, layout: Layout) -> Decoder:
    """Return the decoder of a format.

    Raises:
        ConfigError: there is no such format.
    """
    if format_.lower() == "json":
        return JsonDecoder(layout)
    if format_.lower() == "binary":
        return BinaryDecoder(layout)
    raise ConfigError(f"unknown format {format_!r}", hint=f"it can be {', '.join(FORMATS)}")


def rows_frame(batch: Batch, rows: list[Row]) -> Frame:
    """Return rows that a source has decoded itself; they stay dicts."""
    return Frame(rows, batch.meta, batch.received_at)


class JsonDecoder:
    """JSON objects, or arrays of objects, which give several rows."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        if layout.whole:
            self._fast = msgspec.json.Decoder(dict[str, Any]).decode
            self._to_row: Callable[[dict[str, Any]], Any] = lambda values: values
        else:
            self._fast = msgspec.json.Decoder(layout.row_type(typed=True)).decode
            lenient = layout.row_type(typed=False)
            names, unset = layout.names, msgspec.UNSET
            self._to_row = lambda values: lenient(*[values.get(name, unset) for name in names])
        self._anything = msgspec.json.Decoder().decode
        self._encode = msgspec.json.Encoder().encode

    def decode(self, batch: Batch, payloads: Sequence[bytes]) -> tuple[Frame, list[Failure]]:
        try:
            rows = list(map(self._fast, payloads))
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return self._decode_one_by_one(batch, payloads)
        kept = list(payloads) if self._layout.keeps_payloads else None
        return Frame(rows, batch.meta, batch.received_at, typed=True, payloads=kept), []

    def _decode_one_by_one(
        self, batch: Batch, payloads: Sequence[bytes]
    ) -> tuple[Frame, list[Failure]]:
        rows: list[Any] = []
        kept: list[bytes] = []
        origin: list[int] = []
        failures: list[Failure] = []
        typed = True
        for index, payload in enumerate(payloads):
            try:
                rows.append(self._fast(payload))
                kept.append(payload)
                origin.append(index)
                continue
            except (msgspec.MsgspecError, UnicodeError, RecursionError):
                pass
            try:
                objects = self._objects(payload)
            except RowError as error:
                failures.append((index, error))
                continue
            typed = typed and not objects
            for values in objects:
                rows.append(self._to_row(values))
                kept.append(payload if len(objects) == 1 else self._encode(values))
                origin.append(index)
        frame = Frame(
            rows,
            PickedMetadata(batch.meta, origin),
            batch.received_at,
            typed=typed,
            payloads=kept if self._layout.keeps_payloads else None,
        )
        return frame, failures

    def _objects(self, payload: bytes) -> list[dict[str, Any]]:
        if not payload:
            raise RowError("empty payload")
        try:
            value = self._anything(payload)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise RowError(f"malformed JSON: {error}") from None
        except UnicodeError:
            raise RowError("the payload is not UTF-8 text") from None
        if isinstance(value, dict):
            return [value]
        if isinstance(value, list) and all(isinstance(item, dict) for item in value):
            return value
        raise RowError("the payload is neither a JSON object nor an array of objects")


class BinaryDecoder:
    """The whole payload as the one field ``self``."""

    def __init__(self, layout: Layout) -> None:
        layout.whole = True

    def decode(self, batch: Batch, payloads: Sequence[bytes]) -> tuple[Frame, list[Failure]]:
        return rows_frame(batch, [{"self": payload} for payload in payloads]), []


class JsonEncoder:
    """Rows to JSON objects, lists of rows to arrays."""

    def __init__(self) -> None:
        self._encode = msgspec.json.Encoder().encode

    def items(self, items: Sequence[Any]) -> tuple[list[bytes], list[Failure]]:
        """Return one payload for each item; what can't be written fails alone."""
        try:
            return list(map(self._encode, items)), []
        except (TypeError, ValueError, OverflowError, RecursionError):
            payloads: list[bytes] = []
            failures: list[Failure] = []
            for index, item in enumerate(items):
                try:
                    payloads.append(self._encode(item))
                except (TypeError, ValueError, OverflowError, RecursionError) as error:
                    failures.append((index, RowError(f"can't be written as JSON: {error}")))
            return payloads, failures
