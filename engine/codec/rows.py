"""Rows that a source has decoded itself."""

from __future__ import annotations

from engine.batch import Batch, PickedMetadata, Row
from engine.codec.contract import Failure
from engine.codec.textual import declared_types, from_texts
from engine.errors import RowError
from engine.layout import Frame
from engine.sql.schema import Schema


class RowsDecoder:
    """They stay dicts, converted where a schema says so."""

    def __init__(self, schema: Schema, *, of_texts: bool = False) -> None:
        """``of_texts``: the values are texts, which are read as the schema declares them."""
        self._schema = schema
        self._text_types = declared_types(schema) if of_texts else None

    def decode(self, batch: Batch) -> tuple[Frame, list[Failure]]:
        rows = batch.rows or []
        if not self._schema:
            return Frame(rows, batch.meta, batch.received_at, whole=True), []
        schema, types = self._schema, self._text_types
        good: list[Row] = []
        origin: list[int] = []
        failures: list[Failure] = []
        for index, row in enumerate(rows):
            try:
                values = row if types is None else from_texts(types, row)
                good.append(schema.convert(values, schema.names))
                origin.append(index)
            except RowError as error:
                failures.append((index, error))
        meta = PickedMetadata(batch.meta, origin)
        return Frame(good, meta, batch.received_at, whole=True), failures
