"""Formats whose messages are read one by one, each as some rows."""

from __future__ import annotations

from collections.abc import Callable

from engine.batch import Batch, PickedMetadata, Row
from engine.codec.contract import Failure
from engine.errors import RowError
from engine.layout import Frame


def frame_of(batch: Batch, read: Callable[[bytes], list[Row]]) -> tuple[Frame, list[Failure]]:
    """Return the rows of all messages, and those that ``read`` raises ``RowError`` for."""
    rows: list[Row] = []
    origin: list[int] = []
    failures: list[Failure] = []
    for index, payload in enumerate(batch.payloads or []):
        try:
            found = read(payload)
        except RowError as error:
            failures.append((index, error))
            continue
        rows += found
        origin += [index] * len(found)
    meta = PickedMetadata(batch.meta, origin)
    return Frame(rows, meta, batch.received_at, whole=True), failures
