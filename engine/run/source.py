"""From a source to the rules that read its stream: decode once, hand to each rule's queue."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any, Protocol

import anyio

from engine.api import CURRENT_USE, Config, Context, Source, Use
from engine.backoff import Backoff
from engine.batch import Batch
from engine.catalog import Stream
from engine.clock import Clock
from engine.codec import Decoder, Failure, Message, RowsDecoder, decoder
from engine.contact import Contact
from engine.errors import EndOfStream, NotConnected, PluginError
from engine.guard import close_quietly, guarded
from engine.layout import Frame, Layout
from engine.offspring import begin_use, children_of
from engine.run.acknowledging import Acknowledgements
from engine.run.courtesy import COURTESY
from engine.run.lag import LagMonitor, PartitionLag
from engine.run.metrics import OperatorMetrics
from engine.run.offsets import checked_offsets
from engine.run.receipt import Receipt
from engine.run.waiting import Flag, Happening

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Arrival:
    """A decoded batch for one rule, with the messages that gave no row."""

    frame: Frame
    failures: list[Failure]
    receipt: Receipt
    stream: str = ""
    """The label of its stream in the query."""
    position: Mapping[str, Any] | None = None
    """Where the source goes on after this batch, if it can; see ``RewindableSource``."""
    identities: Sequence[int] | None = None
    """By what the source knows the messages when they come again; see ``RecognisingSource``."""
    batch: Batch | None = None
    """The batch as it came, if some of its messages gave no row."""

    def __len__(self) -> int:
        return len(self.frame) + len(self.failures)


class Subscriber(Protocol):
    """A rule that reads a stream."""

    async def receive(self, arrival: Arrival) -> None:
        """Queue a batch, waiting where the rule's policy says so."""

    def ended(self, error: Exception | None = None) -> None:
        """Nothing more will come, because of ``error`` if one is given."""

    def connection(self, operator: str, connected: bool, message: str = "") -> None:
        """Note a connection that came or went, where it isn't the rule's own."""


class StreamReader(Protocol):
    """What a rule sees of the source of its stream: its own, or one that it shares."""

    @property
    def name(self) -> str: ...

    @property
    def metrics(self) -> OperatorMetrics: ...

    @property
    def decoding(self) -> OperatorMetrics:
        """The counts of what decodes its messages."""

    @property
    def stream(self) -> Stream: ...

    @property
    def config(self) -> Config:
        """The configuration that the source runs with."""

    @property
    def is_shared(self) -> bool:
        """Whether other rules read it, too."""

    @property
    def layout(self) -> Layout: ...

    def attach(self, subscriber: Subscriber) -> None:
        """Let a rule read, after it has put its needs into the layout."""

    def detach(self, subscriber: Subscriber) -> None:
        """Forget a rule."""

    @property
    def window(self) -> int | None:
        """How many messages may be unacknowledged before no more come; None: any number."""

    @property
    def is_held_up(self) -> bool:
        """Whether nothing more may come before messages are acknowledged."""

    @property
    def topics(self) -> Sequence[str]:
        """The filters of topics inside the engine that it reads."""

    def begin_at(self, position: Mapping[str, Any]) -> None:
        """Begin where a batch that this source gave before has ended, if it can."""

    @property
    def repeats(self) -> int:
        """How many of the last messages may be delivered again to a source that recognises them."""

    def recognise(self, identities: Sequence[int]) -> None:
        """Pass over messages that have been taken before, if the source can tell."""

    @property
    def is_rewindable(self) -> bool:
        """Whether `begin_at` makes it give again what it has given."""

    @property
    def hears_offsets(self) -> bool:
        """Whether the source is told up to where all is done with, and forgets it then."""

    @property
    def lag(self) -> Sequence[PartitionLag]:
        """How far it is behind, by partition; none of a source that doesn't say."""

    async def run(self, opened: Callable[[], None], closed: Happening) -> None:
        """Read for a rule until the source ends or the rule's queue is ``closed``."""

    def abandon(self, receipts: Sequence[Receipt], given_up: Callable[[], None]) -> None:
        """Leave batches that the rule will never be done with, now that it has ended.

        ``given_up`` is called if nobody will ever give them again.
        """

    async def close(self) -> None:
        """Let go of the source, once the rule is done with all that it gave."""


def decoder_for(stream: Stream, layout: Layout, message: Message | None) -> Decoder:
    """Return what decodes the messages of a stream.

    ``message`` is what its schema says, for a format that has schemas.

    Raises:
        ConfigError: the options of the stream name no format.
    """
    options = stream.options
    return decoder(
        options.format,
        layout,
        stream.schema,
        delimiter=options.delimiter or ",",
        message=message,
    )


class SourceRunner:
    """Runs one source for all subscribers attached to it."""

    is_shared = False

    def __init__(
        self,
        stream: Stream,
        source: Source[Any],
        config: Config,
        ctx: Context,
        clock: Clock,
        message: Message | None = None,
    ) -> None:
        """``message`` is what its schema says, for a format that has schemas."""
        self.name = f"source[{stream.name}]"
        self.stream = stream
        self.layout = Layout()
        self.metrics = OperatorMetrics()
        self.decoding = OperatorMetrics()
        self.config = config
        self._source = source
        self._message = message
        self._use = Use(config, ctx)
        self._clock = clock
        self._subscribers: list[Subscriber] = []
        with self._used():
            of_texts = bool(getattr(source, "gives_texts", False))
        self._rows_decoder = RowsDecoder(stream.schema, of_texts=of_texts)
        self._decoder: Decoder | None = None
        """Made when first needed, and again after readers have come that read something else."""
        self._decoded: tuple[Any, ...] = ()
        """The form of the layout that it was made for."""
        what = "not connected, and opened again until it is"
        self._contact = Contact(self.name, ctx, logger, what)
        self._position: Mapping[str, Any] | None = None
        self._ask_position: Callable[[], Mapping[str, Any]] | None = getattr(
            source, "position", None
        )
        self._acknowledgements: Acknowledgements | None = None
        if callable(getattr(source, "ack", None)):
            self._acknowledgements = Acknowledgements(source, self.name, self._use)  # type: ignore[arg-type]
        self._lag_monitor: LagMonitor | None = None
        if callable(getattr(source, "head", None)):
            self._lag_monitor = LagMonitor(source, self.name, clock, lambda: self._position)
        self._is_open = False
        self._over = Flag(is_set=True)
        """Nothing more is read."""
        self._has_emitted = False
        self._unacknowledged = 0
        """Messages that the other side still waits to hear of."""
        with self._used():
            self._smallest_window: int | None = getattr(source, "smallest_window", None)

    def abandon(self, receipts: Sequence[Receipt], given_up: Callable[[], None]) -> None:
        """What is not acknowledged comes again when the source is opened again, if it can."""

    def begin_at(self, position: Mapping[str, Any]) -> None:
        """Begin where a batch that this source gave before has ended, if it can."""
        if self._ask_position is not None:
            self._position = position

    @property
    def window(self) -> int | None:
        """How many messages may be unacknowledged before no more come; None: any number."""
        with self._used():
            found: int | None = getattr(self._source, "window", None)
        return found

    @property
    def is_held_up(self) -> bool:
        """Whether nothing more may come before messages are acknowledged."""
        window = self._smallest_window
        return window is not None and self._unacknowledged >= window

    @property
    def topics(self) -> Sequence[str]:
        """The filters of topics inside the engine that it reads."""
        with self._used():
            return tuple(getattr(self._source, "topics", ()))

    @property
    def repeats(self) -> int:
        """How many of the last messages may be delivered again to a source that recognises them."""
        with self._used():
            found: int = getattr(self._source, "repeats", 0)
        return found

    def recognise(self, identities: Sequence[int]) -> None:
        """Pass over messages that have been taken before, if the source can tell."""
        recognise = getattr(self._source, "recognise", None)
        if recognise is not None:
            with self._used():
                recognise(identities)

    @property
    def is_rewindable(self) -> bool:
        """Whether it can begin where a batch has ended."""
        return self._ask_position is not None

    @property
    def hears_offsets(self) -> bool:
        """Whether it is told up to where all is done with."""
        return self._acknowledgements is not None

    @property
    def lag(self) -> Sequence[PartitionLag]:
        """How far it is behind, by partition; none of a source that doesn't say."""
        return () if self._lag_monitor is None else self._lag_monitor.partitions

    @contextmanager
    def _used(self) -> Iterator[None]:
        """Let an instance that all rules share see the configuration of this use."""
        token = CURRENT_USE.set(self._use)
        try:
            yield
        finally:
            CURRENT_USE.reset(token)

    def attach(self, subscriber: Subscriber) -> None:
        """Let a rule read, after it has put its needs into the layout."""
        if self.layout.form != self._decoded:
            self._decoder = None
        self._subscribers.append(subscriber)

    def detach(self, subscriber: Subscriber) -> None:
        """Forget a rule."""
        self._subscribers.remove(subscriber)

    async def run(self, opened: Callable[[], None], closed: Happening | None = None) -> None:
        """Read until the source ends; a lost connection is opened again with back-off.

        The source stays open, so that batches can still be acknowledged, until ``close``.
        """
        self._over.clear()
        try:
            with self._used():
                await self._read(opened)
        finally:
            self._over.set()
        for subscriber in list(self._subscribers):
            subscriber.ended()

    async def _read(self, opened: Callable[[], None]) -> None:
        announced = False

        def announce() -> None:
            nonlocal announced
            if not announced:
                announced = True
                opened()

        backoff = Backoff()
        while True:
            try:
                begin_use(self._source)
                self._is_open = True
                with children_of(self._source):
                    await self._open()
                    await guarded(self._source.run(self._emit), self.name, started=announce)
                break
            except EndOfStream:
                break
            except NotConnected as error:
                self._contact.lose(error.message)
            await self.close()
            await self._clock.sleep_until(self._clock.now() + int(backoff.next() * 1000))

    async def _open(self) -> None:
        source = self._source
        await guarded(source.open(), f"{self.name}: open()", seconds=source.open_timeout)
        if self._position is not None:
            seeking = source.seek(self._position)  # type: ignore[attr-defined]
            await guarded(seeking, f"{self.name}: seek()", seconds=source.open_timeout)
        if self._acknowledgements is not None:
            self._acknowledgements.open()
        if self._lag_monitor is not None:
            self._lag_monitor.open()

    async def close(self) -> None:
        """Close the source, if it was opened; what goes wrong is logged."""
        if self._is_open:
            self._is_open = False
            CURRENT_USE.set(self._use)
            with anyio.CancelScope(shield=True):
                if self._acknowledgements is not None:
                    await self._acknowledgements.close()
                if self._lag_monitor is not None:
                    await self._lag_monitor.close()
                await close_quietly(self._source, self.name)

    async def _emit(self, batch: Batch) -> None:
        subscribers = list(self._subscribers)
        if not subscribers:  # all have left just now: what nobody takes isn't acknowledged
            await self._over.wait()  # not for ever: a publisher in this process may be the caller
            return
        self._check(batch)
        self._contact.regain()  # a batch is the proof that it is there again
        now = self._clock.now()
        if not batch.received_at:
            batch.received_at = now
        decode = self._rows_decoder if batch.rows is not None else self._decoder or self._renewed()
        started = perf_counter_ns()
        frame, failures = decode.decode(batch)
        if batch.failures:
            failures = [*failures, *enumerate(batch.failures, len(batch))]
        ended = perf_counter_ns()
        frame.decoding = ended - started
        COURTESY.give_way(ended)
        self._count(batch, frame, failures, now, frame.decoding)
        position = None
        if self._ask_position is not None:
            position = checked_offsets(self._ask_position(), self.name, "position")
            self._position = position
        receipt = Receipt(self._acknowledge(batch, position), len(subscribers))
        for subscriber in subscribers:
            await subscriber.receive(
                Arrival(
                    frame,
                    failures,
                    receipt,
                    position=position,
                    identities=batch.identities,
                    batch=batch if failures else None,
                )
            )

    def _renewed(self) -> Decoder:
        """Make the decoder for what is read by now."""
        self._decoded = self.layout.form
        self._decoder = decoder_for(self.stream, self.layout, self._message)
        return self._decoder

    def _check(self, batch: Batch) -> None:
        """Check what the source emits: its rows, and once its payloads, which are many.

        Raises:
            PluginError: it has broken the contract.
        """
        if not isinstance(batch, Batch):
            raise PluginError(
                f"{self.name} emits a {type(batch).__name__}, not a Batch",
                hint="write await emit(Batch([row, …])) or await emit(Batch(payloads=[…]))",
            )
        if batch.rows is not None:
            for kind in set(map(type, batch.rows)):
                if not issubclass(kind, dict):
                    raise PluginError(
                        f"{self.name} emits a row that is {kind.__name__}, not dict",
                        hint="a row is a dict of column names and values",
                    )
        elif not self._has_emitted:
            self._has_emitted = True
            for kind in set(map(type, batch.payloads or ())):
                if not issubclass(kind, (bytes, bytearray, memoryview)):
                    raise PluginError(
                        f"{self.name} emits a payload that is {kind.__name__}, not bytes",
                        hint="encode text; give what is decoded already as rows: Batch([row, …])",
                    )

    def _acknowledge(
        self, batch: Batch, position: Mapping[str, Any] | None
    ) -> Callable[[], None] | None:
        """Return what is to be called when everybody is done with a batch."""
        also = batch.acknowledge
        if also is not None and self._smallest_window is not None:
            also = self._noted(also, len(batch) + len(batch.failures))
        if self._acknowledgements is None or position is None:
            return also
        done = self._acknowledgements.expect(position)
        if also is None:
            return done

        def both() -> None:
            also()
            done()

        return both

    def _noted(self, acknowledge: Callable[[], None], messages: int) -> Callable[[], None]:
        """Count messages as unacknowledged until they are acknowledged."""
        self._unacknowledged += messages

        def done() -> None:
            self._unacknowledged -= messages
            acknowledge()

        return done

    def _count(
        self, batch: Batch, frame: Frame, failures: list[Failure], now: int, latency: int
    ) -> None:
        messages = len(batch) + len(batch.failures)
        metrics, decoding = self.metrics, self.decoding
        metrics.records_in += messages
        metrics.processed += messages
        metrics.records_out += messages
        decoding.records_in += messages
        decoding.processed += messages
        decoding.records_out += len(frame)
        decoding.took(latency)
        metrics.last_invocation = decoding.last_invocation = now
        if failures:
            decoding.failed(failures[-1][1].message, len(failures), now)
