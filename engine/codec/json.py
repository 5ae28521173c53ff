"""JSON: the format in which most messages come and go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from engine.batch import Batch, PickedMetadata
from engine.codec.contract import Encoder, Failure
from engine.errors import RowError
from engine.layout import Frame, Layout
from engine.sql.schema import Schema

_UNREADABLE = (msgspec.MsgspecError, UnicodeError, RecursionError)


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


class JsonEncoder(Encoder):
    """Rows to JSON objects, lists of rows to arrays."""

    def __init__(self) -> None:
        super().__init__("JSON", msgspec.json.Encoder().encode)
