"""Messages that a schema describes, as formats protobuf and custom have them."""

from __future__ import annotations

from typing import Any

from engine.batch import Batch, Row
from engine.codec.contract import Encoder, Failure, Message
from engine.codec.each import frame_of
from engine.errors import RowError
from engine.layout import Frame, Layout
from engine.sql.kinds import kind_of
from engine.sql.schema import Schema


class MessageDecoder:
    """Reads the columns that rules need, converted where the stream declares them."""

    def __init__(self, layout: Layout, schema: Schema, message: Message) -> None:
        self._names = schema.names if layout.whole else layout.names
        self._schema = schema
        self._read = message.reader(None if layout.whole else frozenset(layout.names))

    def decode(self, batch: Batch) -> tuple[Frame, list[Failure]]:
        return frame_of(batch, self._rows)

    def _rows(self, payload: bytes) -> list[Row]:
        try:
            rows = self._read(payload)
        except ValueError as error:
            raise RowError(str(error)) from None
        if not self._schema:
            return rows
        return [self._schema.convert(row, self._names) for row in rows]


class MessageEncoder(Encoder):
    """One row to one message; there are no messages of several rows."""

    def __init__(self, format_: str, message: Message) -> None:
        super().__init__(f"a {format_} message", self._write)
        self._message = message

    def _write(self, item: Any) -> bytes:
        row = item[0] if isinstance(item, list) and len(item) == 1 else item
        if isinstance(row, list):
            raise ValueError(f"{len(row)} rows at once; give the sink sendSingle: true")
        if not isinstance(row, dict):
            raise ValueError(f"expected a row, found {kind_of(row)}")
        return self._message.encode(row)
