"""Binary: a message is the bytes of one column, an image for example."""

from __future__ import annotations

from typing import Any

from engine.batch import Batch
from engine.codec.contract import Encoder, Failure
from engine.layout import Frame
from engine.sql.kinds import kind_of
from engine.sql.schema import Schema


class BinaryDecoder:
    """The whole payload as one field: the declared bytea column, else ``self``."""

    def __init__(self, schema: Schema) -> None:
        self._name = schema.names[0] if schema else "self"

    def decode(self, batch: Batch) -> tuple[Frame, list[Failure]]:
        rows = [{self._name: payload} for payload in batch.payloads or []]
        return Frame(rows, batch.meta, batch.received_at, whole=True), []


class BinaryEncoder(Encoder):
    """The bytes of a row's only field."""

    def __init__(self) -> None:
        super().__init__("binary", _bytes_of)


def _bytes_of(item: Any) -> bytes:
    row = item[0] if isinstance(item, list) and len(item) == 1 else item
    if isinstance(row, list):
        raise ValueError(f"{len(row)} rows at once; give the sink sendSingle: true")
    if not isinstance(row, dict) or len(row) != 1:
        raise ValueError("a row must have exactly one field, of type bytea; select just that")
    ((name, value),) = row.items()
    if not isinstance(value, bytes):
        raise ValueError(f"the field {name} is {kind_of(value)}, not bytea")
    return value
