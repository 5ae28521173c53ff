"""From results to a sink: pick fields, encode, deliver, retry; then confirm."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import anyio
import msgspec

from engine.api import CURRENT_USE, Config, Context, Sink, Template, Use
from engine.backoff import Backoff
from engine.batch import Batch, ColumnMetadata, Row
from engine.clock import Clock
from engine.codec import UNWRITABLE, JsonEncoder, encoder
from engine.errors import ConfigError, EngineError, NotConnected, Rejected, RowError
from engine.run.flow import Flow, FlowClosed, Overflow
from engine.run.metrics import OperatorMetrics
from engine.run.properties import SinkOptions
from engine.run.ticket import Ticket
from engine.template import Render, compile_template, is_template

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Outgoing:
    """Results on their way to one sink; see ``engine.sql.query.Result``."""

    rows: list[Row] | None
    payloads: list[bytes] | None
    ticket: Ticket
    sizes: list[int] | None = None

    def __len__(self) -> int:
        items: Sequence[object] = (self.payloads if self.rows is None else self.rows) or ()
        return len(items)


class SinkRunner:
    """Runs one sink of one rule; its tasks and queue are its own."""

    def __init__(
        self,
        name: str,
        sink: Sink[Any],
        config: Config,
        options: SinkOptions,
        ctx: Context,
        clock: Clock,
    ) -> None:
        self.name = name
        self.metrics = OperatorMetrics()
        self.flow: Flow[Outgoing] = Flow(options.buffer_length, Overflow.BLOCK, _never)
        self._sink = sink
        self._use = Use(config, ctx)
        self._options = options
        self._clock = clock
        self._shape = Shaper(options)
        encode = encoder(options.format)
        self._encoder: JsonEncoder | None = encode if sink.takes_payloads else None
        self._templates = templates_of(config)

    @property
    def writes_json(self) -> bool:
        """Whether results are encoded for the sink."""
        return self._encoder is not None

    @property
    def forwards_payloads(self) -> bool:
        """Whether messages can go out as they came in, without being rows in between."""
        return self._encoder is not None and not self._shape.changes_rows

    # -- life ----------------------------------------------------------------------------------

    async def run(self, opened: Callable[[], None]) -> None:
        """Open the sink, deliver all that comes until the queue is closed, close it."""
        CURRENT_USE.set(self._use)
        try:
            await self._persist(self._sink.open)
            opened()
            while True:
                await self._deliver(await self.flow.get())
        except FlowClosed:
            return
        finally:
            with anyio.CancelScope(shield=True):
                await close_quietly(self._sink, self.name)

    async def _persist(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do something again, with growing delays, for as long as it finds nobody at the end."""
        backoff = Backoff()
        is_lost = False
        while True:
            try:
                await work()
            except NotConnected as error:
                is_lost = True
                self._use.ctx.report_connection(False, error.message)
                await self._clock.sleep_until(self._clock.now() + int(backoff.next() * 1000))
                continue
            finally:
                self.metrics.last_invocation = self._clock.now()
            if is_lost:
                self._use.ctx.report_connection(True)
            return

    # -- delivery ------------------------------------------------------------------------------

    async def _deliver(self, outgoing: Outgoing) -> None:
        ticket = outgoing.ticket
        self.metrics.records_in += len(outgoing)
        messages = self._prepare(outgoing)
        if messages.places:
            await self._collect(messages, ticket)
        ticket.confirm()

    async def _collect(self, messages: _Messages, ticket: Ticket) -> None:
        size = len(messages.places)
        try:
            await self._persist(lambda: self._sink.collect(messages.batch))
        except Rejected as error:
            lost = range(size) if error.indexes is None else error.indexes
            self._lose(ticket, "rejected", error, messages.rows_of(lost))
            self.metrics.records_out += size - len(lost)
        except Exception as error:
            logger.warning("%s: %s: %s", self.name, type(error).__name__, error)
            self._lose(ticket, "sink error", error, messages.rows_of(range(size)))
        else:
            self.metrics.records_out += size

    def _lose(self, ticket: Ticket, reason: str, error: Exception, places: Sequence[int]) -> None:
        message = error.message if isinstance(error, EngineError) else str(error)
        self.metrics.failed(message, len(places))
        ticket.lose(self.name, reason, message, places)

    # -- shaping -------------------------------------------------------------------------------

    def _prepare(self, outgoing: Outgoing) -> _Messages:
        """Return the messages for the sink; what can't be made into one is lost, counted."""
        if self.forwards_payloads and outgoing.payloads is not None and not self._templates:
            payloads = outgoing.payloads
            if not self._options.send_single:
                payloads = [b"[" + payload + b"]" for payload in payloads]
            return _Messages(Batch(payloads=payloads), _Singles(len(payloads)))
        rows = self._shape.rows(_rows_of(outgoing))
        if self._encoder is None or self._options.send_single or outgoing.sizes is None:
            return self._single(rows, outgoing)
        return self._lists(self._encoder, rows, outgoing.sizes, outgoing.ticket)

    def _single(self, rows: list[Row], outgoing: Outgoing) -> _Messages:
        """Return a message for each row; a sink of rows is told which were emitted together."""
        places: Sequence[Sequence[int]] = _Singles(len(rows))
        sizes = outgoing.sizes
        if self._options.omit_if_empty and not all(rows):
            places = [(index,) for index, row in enumerate(rows) if row]
            rows, sizes = [row for row in rows if row], None
        is_list = not self._options.send_single and self._encoder is not None
        items: list[Any] = [[row] for row in rows] if is_list else rows
        kept, places, properties = self._render(items, places, outgoing.ticket)
        if self._encoder is not None:
            return self._encode(self._encoder, kept, places, properties, outgoing.ticket)
        meta = ColumnMetadata(len(kept), properties) if properties else None
        sizes = sizes if len(kept) == len(rows) else None
        return _Messages(Batch(kept, meta=meta, sizes=sizes), places)

    def _lists(
        self, encoder: JsonEncoder, rows: list[Row], sizes: list[int], ticket: Ticket
    ) -> _Messages:
        """Return a message for each list of rows that were emitted together."""
        ranges: list[range] = []
        start = 0
        for size in sizes:
            if size or not self._options.omit_if_empty:
                ranges.append(range(start, start + size))
            start += size
        items: list[Any] = [rows[place.start : place.stop] for place in ranges]
        kept, places, properties = self._render(items, ranges, ticket)
        return self._encode(encoder, kept, places, properties, ticket)

    def _encode(
        self,
        encoder: JsonEncoder,
        items: list[Any],
        places: Sequence[Sequence[int]],
        properties: dict[str, list[str]],
        ticket: Ticket,
    ) -> _Messages:
        try:
            payloads = encoder.encode(items)
        except UNWRITABLE:
            payloads, kept, failures = encoder.encode_one_by_one(items)
            for index, error in failures:
                self._lose(ticket, "encoding", error, places[index])
            places = [places[index] for index in kept]
            properties = {
                name: [column[index] for index in kept] for name, column in properties.items()
            }
        meta = ColumnMetadata(len(payloads), properties) if properties else None
        return _Messages(Batch(payloads=payloads, meta=meta), places)

    def _render(
        self, items: list[Any], places: Sequence[Sequence[int]], ticket: Ticket
    ) -> tuple[list[Any], Sequence[Sequence[int]], dict[str, list[str]]]:
        """Compute the properties of each message; one whose template fails is lost."""
        if not self._templates:
            return items, places, {}
        properties: dict[str, list[str]] = {name: [] for name in self._templates}
        kept: list[int] = []
        for index, item in enumerate(items):
            try:
                texts = [render(item) for render in self._templates.values()]
            except RowError as error:
                self._lose(ticket, "template", error, places[index])
                continue
            kept.append(index)
            for column, text in zip(properties.values(), texts, strict=True):
                column.append(text)
        if len(kept) == len(items):
            return items, places, properties
        return [items[i] for i in kept], [places[i] for i in kept], properties


class _Singles(Sequence[Sequence[int]]):
    """Places of messages that hold one row each, all rows in order."""

    def __init__(self, size: int) -> None:
        self._size = size

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: Any) -> Any:
        return (index,)


@dataclass(frozen=True, slots=True)
class _Messages:
    """A batch for the sink, and for each message the places of its rows among the results."""

    batch: Batch
    places: Sequence[Sequence[int]]

    def rows_of(self, indexes: Iterable[int]) -> list[int]:
        """Return the places of the rows of some messages."""
        return [place for index in indexes for place in self.places[index]]


class Shaper:
    """What ``fields``, ``excludeFields``, ``dataField`` and ``sendSingle`` make of rows."""

    def __init__(self, options: SinkOptions) -> None:
        self._options = options
        self._excluded = frozenset(options.exclude_fields)
        self.changes_rows = bool(
            options.fields or options.exclude_fields or options.data_field or options.omit_if_empty
        )

    def rows(self, rows: list[Row]) -> list[Row]:
        """Return rows with the wanted fields."""
        return [self._row(row) for row in rows] if self.changes_rows else rows

    def _row(self, row: Row) -> Row:
        options = self._options
        if options.data_field:
            inner = row.get(options.data_field)
            row = inner if isinstance(inner, dict) else {options.data_field: inner}
        if options.fields:
            return {name: row.get(name) for name in options.fields}
        if self._excluded:
            return {name: value for name, value in row.items() if name not in self._excluded}
        return row


def templates_of(config: Config) -> dict[str, Render]:
    """Return the properties that are computed for each message, by their name in the file.

    Raises:
        ConfigError: a template is malformed.
    """
    found: dict[str, Render] = {}
    fields = zip(config.__struct_fields__, config.__struct_encode_fields__, strict=True)
    for name, key in fields:
        value = getattr(config, name)
        if isinstance(value, Template) and is_template(value):
            try:
                found[key] = compile_template(value)
            except ConfigError as error:
                raise ConfigError(f"{key}: {error.message}", hint=error.hint) from None
    return found


def _rows_of(outgoing: Outgoing) -> list[Row]:
    if outgoing.rows is None:
        outgoing.rows = [msgspec.json.decode(payload) for payload in outgoing.payloads or ()]
    return outgoing.rows


async def close_quietly(plugin: Any, name: str) -> None:
    """Close a plugin; what goes wrong is logged, for nothing depends on it any more."""
    try:
        with anyio.fail_after(5):
            await plugin.close()
    except Exception as error:
        logger.warning("%s: close failed: %s: %s", name, type(error).__name__, error)


def _never(_: Outgoing) -> None:
    raise AssertionError("a blocking queue drops nothing")
