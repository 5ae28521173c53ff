"""Bytes to rows and rows to bytes, in the format that a stream or an action names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec

from engine.batch import Batch, PickedMetadata, Row
from engine.errors import ConfigError, RowError
from engine.layout import Frame, Layout
from engine.sql.schema import Schema

FORMATS = ("json", "binary")

Failure = tuple[int, RowError]
"""The place of an item in its batch, and what is wrong with it."""

_UNREADABLE = (msgspec.MsgspecError, UnicodeError, RecursionError)
UNWRITABLE = (TypeError, ValueError, OverflowError, RecursionError)
"""What encoding raises for a value that has no place in the format."""


class Decoder(Protocol):
    """Turns the batches of a source into rows of the stream's layout."""

    def decode(self, batch: Batch) -> tuple[Frame, list[Failure]]:
        """Return the rows of all good messages, and the failures of the others."""


def decoder(format_: str, layout: Layout, schema: Schema) -> Decoder:
    """Return the decoder of a format.

    Raises:
        ConfigError: there is no such format.
    """
    if format_.lower() == "json":
        return JsonDecoder(layout, schema)
    if format_.lower() == "binary":
        return BinaryDecoder(schema)
    raise ConfigError(f"unknown format {format_!r}", hint=f"it can be {', '.join(FORMATS)}")


class RowsDecoder:
    """Rows that a source has decoded itself: they stay dicts, converted where a schema says so."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema

    def decode(self, batch: Batch) -> tuple[Frame, list[Failure]]:
        rows = batch.rows or []
        if not self._schema:
            return Frame(rows, batch.meta, batch.received_at, whole=True), []
        names = self._schema.names
        good: list[Row] = []
        origin: list[int] = []
        failures: list[Failure] = []
        for index, row in enumerate(rows):
            try:
                good.append(self._schema.convert(row, names))
                origin.append(index)
            except RowError as error:
                failures.append((index, error))
        meta = PickedMetadata(batch.meta, origin)
        return Frame(good, meta, batch.received_at, whole=True), failures


class JsonDecoder:
    """JSON objects, or arrays of objects, which give several rows."""

    def __init__(self, layout: Layout, schema: Schema) -> None:
        self._whole = layout.whole
        self._keeps_payloads = layout.keeps_payloads
        self._schema = schema
        self._names = layout.names
        self._anything = msgspec.json.Decoder().decode
        self._encode = msgspec.json.Encoder().encode
        self._fast: Callable[[bytes], Any] | None
        if layout.whole:
            self._fast = msgspec.json.Decoder(dict[str, Any]).decode
        else:
            self._fast = msgspec.json.Decoder(layout.row_type(typed=True)).decode
            self._lenient = layout.row_type(typed=False)
        if schema and not schema.is_decoded_directly(layout.names):
            self._fast = None

    def decode(self, batch: Batch) -> tuple[Frame, list[Failure]]:
        payloads = batch.payloads or []
        if self._fast is None:
            return self._decode_one_by_one(batch, payloads)
        try:
            rows = list(map(self._fast, payloads))
        except _UNREADABLE:
            return self._decode_one_by_one(batch, payloads)
        frame = Frame(
            rows,
            batch.meta,
            batch.received_at,
            whole=self._whole,
            typed=not self._whole,
            payloads=payloads if self._keeps_payloads else None,
        )
        return frame, []

    def _decode_one_by_one(
        self, batch: Batch, payloads: Sequence[bytes]
    ) -> tuple[Frame, list[Failure]]:
        rows: list[Any] = []
        kept: list[bytes] = []
        origin: list[int] = []
        failures: list[Failure] = []
        typed = not self._whole
        for index, payload in enumerate(payloads):
            try:
                for row, message, verified in self._rows(payload):
                    rows.append(row)
                    kept.append(message)
                    origin.append(index)
                    typed = typed and verified
            except RowError as error:
                failures.append((index, error))
        frame = Frame(
            rows,
            PickedMetadata(batch.meta, origin),
            batch.received_at,
            whole=self._whole,
            typed=typed,
            payloads=kept if self._keeps_payloads else None,
        )
        return frame, failures

    def _rows(self, payload: bytes) -> list[tuple[Any, bytes, bool]]:
        """Return the rows of one message, each with its part of it and whether it is typed."""
        if self._fast is not None:
            try:
                return [(self._fast(payload), payload, True)]
            except _UNREADABLE:
                pass
        objects = self._objects(payload)
        return [
            (self._row(values), payload if len(objects) == 1 else self._encode(values), False)
            for values in objects
        ]

    def _row(self, values: dict[str, Any]) -> Any:
        if self._schema:
            values = self._schema.convert(values, self._names)
        if self._whole:
            return values
        return self._lenient(*[values.get(name, msgspec.UNSET) for name in self._names])

    def _objects(self, payload: bytes) -> list[dict[str, Any]]:
        if not payload:
            raise RowError("empty payload")
        try:
            value = self._anything(payload)
        except UnicodeError:
            raise RowError("the payload is not UTF-8 text") from None
        except RecursionError:
            raise RowError("malformed JSON: nested too deep") from None
        except msgspec.MsgspecError as error:
            raise RowError(f"malformed JSON: {error}") from None
        if isinstance(value, dict):
            return [value]
        if isinstance(value, list) and all(isinstance(item, dict) for item in value):
            return value
        raise RowError("the payload is neither a JSON object nor an array of objects")


class BinaryDecoder:
    """The whole payload as one field: the declared bytea column, else ``self``."""

    def __init__(self, schema: Schema) -> None:
        self._name = schema.names[0] if schema else "self"

    def decode(self, batch: Batch) -> tuple[Frame, list[Failure]]:
        rows = [{self._name: payload} for payload in batch.payloads or []]
        return Frame(rows, batch.meta, batch.received_at, whole=True), []


class JsonEncoder:
    """Rows to JSON objects, lists of rows to arrays."""

    def __init__(self) -> None:
        self._encode = msgspec.json.Encoder().encode

    def encode(self, items: Sequence[Any]) -> list[bytes]:
        """Return one payload for each item.

        Raises:
            TypeError, ValueError, OverflowError, RecursionError: some item can't be written; see
                ``encode_one_by_one``.
        """
        return list(map(self._encode, items))

    def encode_one_by_one(
        self, items: Sequence[Any]
    ) -> tuple[list[bytes], list[int], list[Failure]]:
        """Return the payloads of all items that can be written, their places, and the failures."""
        payloads: list[bytes] = []
        places: list[int] = []
        failures: list[Failure] = []
        for index, item in enumerate(items):
            try:
                payloads.append(self._encode(item))
                places.append(index)
            except UNWRITABLE as error:
                failures.append((index, RowError(f"can't be written as JSON: {error}")))
        return payloads, places, failures


def encoder(format_: str) -> JsonEncoder:
    """Return the encoder of a format.

    Raises:
        ConfigError: there is no such format for results.
    """
    if format_.lower() != "json":
        raise ConfigError(f"unknown format {format_!r} for a sink", hint="it can be json")
    return JsonEncoder()
