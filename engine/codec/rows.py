"""Rows that a source has decoded itself."""

from __future__ import annotations

from engine.batch import Batch, PickedMetadata, Row
from engine.codec.contract import Failure
from engine.errors import RowError
from engine.layout import Frame
from engine.sql.schema import Schema


class RowsDecoder:
    """They stay dicts, converted where a schema says so."""

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
