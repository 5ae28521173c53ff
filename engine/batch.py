"""The unit of work: what one read of a source yields, rows or payloads with their metadata."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol

from engine.errors import RowError

Row = dict[str, Any]
_NO_TRACES: Mapping[int, str] = MappingProxyType({})


class Metadata(Protocol):
    """Metadata of a batch by column, so that what no query asks for is never built."""

    def column(self, key: str) -> Sequence[Any]:
        """Return the value of ``key`` for each item of the batch, None where it is absent."""

    def row(self, index: int) -> dict[str, Any]:
        """Return all metadata of one item."""


class SameMetadata:
    """The same metadata for every item of a batch, or none at all."""

    __slots__ = ("_size", "_values")

    def __init__(self, size: int, values: Mapping[str, Any] | None = None) -> None:
        self._size = size
        self._values = dict(values or {})

    def column(self, key: str) -> Sequence[Any]:
        return [self._values.get(key)] * self._size

    def row(self, index: int) -> dict[str, Any]:
        return dict(self._values)


class RowMetadata:
    """Metadata given item by item."""

    __slots__ = ("_rows",)

    def __init__(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self._rows = rows

    def column(self, key: str) -> Sequence[Any]:
        return [row.get(key) for row in self._rows]

    def row(self, index: int) -> dict[str, Any]:
        return dict(self._rows[index])


class ColumnMetadata:
    """Metadata given column by column."""

    __slots__ = ("_columns", "_size")

    def __init__(self, size: int, columns: Mapping[str, Sequence[Any]]) -> None:
        self._size = size
        self._columns = columns

    def column(self, key: str) -> Sequence[Any]:
        found = self._columns.get(key)
        return [None] * self._size if found is None else found

    def row(self, index: int) -> dict[str, Any]:
        return {
            key: column[index] for key, column in self._columns.items() if column[index] is not None
        }


class PickedMetadata:
    """Some items of another metadata, each as often as wanted, in a given order."""

    __slots__ = ("_indexes", "_source")

    def __init__(self, source: Metadata, indexes: Sequence[int]) -> None:
        self._source = source
        self._indexes = indexes

    def column(self, key: str) -> Sequence[Any]:
        column = self._source.column(key)
        return [column[index] for index in self._indexes]

    def row(self, index: int) -> dict[str, Any]:
        return self._source.row(self._indexes[index])


class JoinedMetadata:
    """Metadata of joined rows: that of each of the streams, and of them all the first that has it.

    Where a stream has no row its metadata is absent.
    """

    __slots__ = ("_rows", "_streams")

    def __init__(
        self, streams: Sequence[str], rows: Sequence[Sequence[Mapping[str, Any] | None]]
    ) -> None:
        """``rows`` holds for each row the metadata of its part of each stream."""
        self._streams = streams
        self._rows = rows

    def of(self, stream: str) -> Metadata:
        """Return the metadata of one stream, of all with ""."""
        if not stream:
            return self
        index = self._streams.index(stream)
        return RowMetadata([row[index] or {} for row in self._rows])

    def column(self, key: str) -> Sequence[Any]:
        return [self.row(index).get(key) for index in range(len(self._rows))]

    def row(self, index: int) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        for part in reversed(self._rows[index]):
            merged.update(part or {})
        return merged


class Batch:
    """Messages that travel together, in order: what a source emits and what a sink is given.

    Either ``rows`` (decoded) or ``payloads`` (bytes in the stream's or sink's format) is given,
    never both. ``received_at`` is the time of arrival in epoch milliseconds (0: the engine stamps
    it). ``acknowledge``, when given by a source, is called exactly once, after every rule that saw
    the batch is done with it; a source that gets no call must expect to deliver the batch again.
    ``identities``, when given, are the numbers by which the source will know these messages when
    they are delivered again; see ``engine.api.RecognisingSource``. ``failures`` are the messages
    that the source itself found malformed; they are counted as errors beside the others.

    For a sink ``meta`` holds the properties that the action computes for each message (an MQTT
    topic, say), and ``sizes``, where rows form lists that were emitted together, the length of each
    list; None means that each row stands alone. ``traces`` holds the W3C trace context
    (``traceparent``) of those messages that are traced, by their place: for a sink whose messages
    can carry it on.
    """

    __slots__ = (
        "acknowledge",
        "failures",
        "identities",
        "meta",
        "payloads",
        "received_at",
        "rows",
        "sizes",
        "traces",
    )

    def __init__(
        self,
        rows: list[Row] | None = None,
        *,
        payloads: list[bytes] | None = None,
        meta: Metadata | None = None,
        received_at: int = 0,
        acknowledge: Callable[[], None] | None = None,
        identities: Sequence[int] | None = None,
        sizes: Sequence[int] | None = None,
        failures: Sequence[RowError] = (),
        traces: Mapping[int, str] = _NO_TRACES,
    ) -> None:
        if (rows is None) == (payloads is None):
            raise TypeError("a batch holds either rows or payloads")
        for name, items in (("rows", rows), ("payloads", payloads)):
            if items is not None and not isinstance(items, list):
                raise TypeError(f"the {name} of a batch are a list, not {type(items).__name__}")
        self.rows = rows
        self.payloads = payloads
        self.meta: Metadata = meta if meta is not None else SameMetadata(len(self))
        self.received_at = received_at
        self.acknowledge = acknowledge
        self.identities = identities
        self.sizes = sizes
        self.failures = failures
        self.traces = traces

    def __len__(self) -> int:
        items: Sequence[object] | None = self.payloads if self.rows is None else self.rows
        return len(items) if items is not None else 0

    def __bool__(self) -> bool:
        """Whether there is anything in it: failures alone are worth emitting, too."""
        return len(self) > 0 or len(self.failures) > 0

    @classmethod
    def of(cls, rows: Iterable[Row], *, received_at: int = 0) -> Batch:
        """Make a batch of rows without metadata."""
        return cls(list(rows), received_at=received_at)
