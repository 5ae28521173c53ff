"""Messages of a sink as records of its cache, and back.

A record is one message: a mark, then the payload, or rows with the properties computed for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import msgspec

from engine.batch import Batch, ColumnMetadata, Row
from engine.run.messages import Messages, Singles
from engine.state.codec import CODEC
from engine.state.errors import UnreadableState, Unstorable

_PAYLOAD = b"P"
"""The payload as it is, without properties."""
_MESSAGE = b"M"
"""msgpack: the payload and its properties."""
_ROW = b"R"
"""State codec: a row and its properties."""
_LIST = b"L"
"""State codec: rows that form a list, and their properties."""

_pack = msgspec.msgpack.Encoder().encode
_message = msgspec.msgpack.Decoder(tuple[bytes, dict[str, Any]])


@dataclass(frozen=True, slots=True)
class Recorded:
    """Messages as records, with the places of their rows among the results."""

    records: list[bytes]
    places: Sequence[Sequence[int]]
    failures: Sequence[tuple[Sequence[int], Unstorable]] = ()
    """Places of the rows of messages that can't be stored, and why."""

    @property
    def rows(self) -> list[int] | None:
        """How many rows each record has; None: there is one for each row, in their order."""
        return None if isinstance(self.places, Singles) else list(map(len, self.places))

    @property
    def load(self) -> int:
        """What they count for in limits."""
        return max(len(self.records), sum(self.rows or ()))

    @property
    def size(self) -> int:
        """Bytes of all records."""
        return sum(map(len, self.records))


def recorded(messages: Messages, properties: Sequence[str]) -> Recorded:
    """Return messages as records; ``properties`` are those computed for each message."""
    batch = messages.batch
    columns = {name: batch.meta.column(name) for name in properties}
    if batch.payloads is not None:
        if not columns:
            records = [_PAYLOAD + payload for payload in batch.payloads]
        else:
            records = [
                _MESSAGE + _pack((payload, _properties(columns, index)))
                for index, payload in enumerate(batch.payloads)
            ]
        return Recorded(records, messages.places)
    return _recorded_rows(messages, columns)


def _recorded_rows(messages: Messages, columns: Mapping[str, Sequence[Any]]) -> Recorded:
    batch, rows = messages.batch, messages.batch.rows or []
    records: list[bytes] = []
    places: list[Sequence[int]] = []
    failures: list[tuple[Sequence[int], Unstorable]] = []
    for first, stop in _lists(batch.sizes, len(rows)):
        properties = _properties(columns, first) if first < stop else {}
        is_list = batch.sizes is not None
        at = _together(messages.places[first:stop])
        try:
            value = rows[first:stop] if is_list else rows[first]
            record = (_LIST if is_list else _ROW) + CODEC.encode([value, properties])
        except Unstorable as error:
            failures.append((at, error))
            continue
        records.append(record)
        places.append(at)
    is_whole = isinstance(messages.places, Singles) and batch.sizes is None and not failures
    return Recorded(records, messages.places if is_whole else places, failures)


def _together(places: Sequence[Sequence[int]]) -> Sequence[int]:
    """Return the places of rows that go into one message."""
    if len(places) == 1:
        return places[0]
    return list(dict.fromkeys(place for each in places for place in each))


def _lists(sizes: Sequence[int] | None, rows: int) -> Iterator[tuple[int, int]]:
    """Yield where each message begins and ends among rows."""
    start = 0
    for size in [1] * rows if sizes is None else sizes:
        yield start, start + size
        start += size


def _properties(columns: Mapping[str, Sequence[Any]], index: int) -> dict[str, Any]:
    return {name: column[index] for name, column in columns.items()}


@dataclass(frozen=True, slots=True)
class Read:
    """Records as messages; places are the numbers of the records, from 0."""

    messages: list[Messages]
    failures: list[tuple[int, UnreadableState]]
    """Records that can't be read, and why."""


def read(
    records: Sequence[bytes],
    *,
    takes_payloads: bool,
    amend: Callable[[dict[str, Any]], dict[str, Any]] = lambda properties: properties,
) -> Read:
    """Return records as messages, in their order, as many together as are of the same kind.

    ``amend`` may change the properties of a message.
    """
    items: list[tuple[int, bytes, Any, dict[str, Any]]] = []
    failures: list[tuple[int, UnreadableState]] = []
    for index, record in enumerate(records):
        try:
            kind, value, properties = _item(record, takes_payloads=takes_payloads)
        except UnreadableState as error:
            failures.append((index, error))
            continue
        items.append((index, kind, value, amend(properties)))
    # a sink looks at the first message to know whether a property is computed
    groups = groupby(items, key=lambda item: (item[1] == _LIST, sorted(item[3])))
    return Read([_messages(list(group)) for _, group in groups], failures)


def _item(record: bytes, *, takes_payloads: bool) -> tuple[bytes, Any, dict[str, Any]]:
    """Return kind, payload or rows, and properties of a record.

    Raises:
        UnreadableState: it isn't one that this sink can take.
    """
    kind, body = record[:1], record[1:]
    if (kind in (_PAYLOAD, _MESSAGE)) != takes_payloads:
        wanted = "bytes" if takes_payloads else "rows"
        raise UnreadableState(f"the sink takes {wanted}, the record was made for another one")
    if kind == _PAYLOAD:
        return kind, body, {}
    if kind == _MESSAGE:
        try:
            payload, properties = _message.decode(body)
        except msgspec.MsgspecError as error:
            raise UnreadableState(f"the record is damaged: {error}") from error
        return kind, payload, properties
    if kind not in (_ROW, _LIST):
        raise UnreadableState("the record is of another version")
    value, properties = CODEC.decode(body)
    return kind, value, properties


def _messages(items: Sequence[tuple[int, bytes, Any, dict[str, Any]]]) -> Messages:
    """Return records of the same kind, with the same properties, as one batch."""
    kind = items[0][1]
    if kind in (_PAYLOAD, _MESSAGE):
        batch = Batch(payloads=[item[2] for item in items])
        return _with_properties(batch, [(item[0], item[3]) for item in items])
    if kind == _ROW:
        return _with_properties(
            Batch([item[2] for item in items]), [(item[0], item[3]) for item in items]
        )
    rows: list[Row] = [row for item in items for row in item[2]]
    batch = Batch(rows, sizes=[len(item[2]) for item in items])
    return _with_properties(batch, [(item[0], item[3]) for item in items for _ in item[2]])


def _with_properties(batch: Batch, each: Sequence[tuple[int, dict[str, Any]]]) -> Messages:
    if each and each[0][1]:
        names = each[0][1]
        batch.meta = ColumnMetadata(
            len(each), {name: [properties[name] for _, properties in each] for name in names}
        )
    return Messages(batch, [(index,) for index, _ in each])
