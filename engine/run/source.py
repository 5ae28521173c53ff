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
from engine.codec import Decoder, Failure, RowsDecoder, decoder
from engine.errors import EndOfStream, NotConnected, PluginError
from engine.layout import Frame, Layout
from engine.run.guard import guarded
from engine.run.metrics import OperatorMetrics
from engine.run.receipt import Receipt
from engine.run.sink import close_quietly

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
    def topics(self) -> Sequence[str]:
        """The filters of topics inside the engine that it reads."""

    def begin_at(self, position: Mapping[str, Any]) -> None:
        """Begin where a batch that this source gave before has ended, if it can."""

    @property
    def repeats(self) -> int:
        """How many of the last messages may be delivered again to a source that recognises them."""

    def recognise(self, identities: Sequence[int]) -> None:
        """Pass over messages that have been taken before, if the source can tell."""

    async def run(self, opened: Callable[[], None], closed: anyio.Event) -> None:
        """Read for a rule until the source ends or the rule's queue is ``closed``."""

    async def close(self) -> None:
        """Let go of the source, once the rule is done with all that it gave."""


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
    ) -> None:
        self.name = f"source[{stream.name}]"
        self.stream = stream
        self.layout = Layout()
        self.metrics = OperatorMetrics()
        self.decoding = OperatorMetrics()
        self.config = config
        self._source = source
        self._use = Use(config, ctx)
        self._clock = clock
        self._subscribers: list[Subscriber] = []
        with self._used():
            of_texts = bool(getattr(source, "gives_texts", False))
        self._rows_decoder = RowsDecoder(stream.schema, of_texts=of_texts)
        self._decoder: Decoder = self._rows_decoder
        self._is_lost = False
        self._position: Mapping[str, Any] | None = None
        self._ask_position: Callable[[], Mapping[str, Any]] | None = getattr(
            source, "position", None
        )
        self._is_open = False

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
        options = self.stream.options
        self._decoder = decoder(
            options.format, self.layout, self.stream.schema, delimiter=options.delimiter or ","
        )
        self._subscribers.append(subscriber)

    def detach(self, subscriber: Subscriber) -> None:
        """Forget a rule."""
        self._subscribers.remove(subscriber)

    async def run(self, opened: Callable[[], None], closed: anyio.Event | None = None) -> None:
        """Read until the source ends; a lost connection is opened again with back-off.

        The source stays open, so that batches can still be acknowledged, until ``close``.
        """
        announced = False
        CURRENT_USE.set(self._use)
        backoff = Backoff()
        while True:
            try:
                self._is_open = True
                await guarded(
                    self._source.open(), f"{self.name}: open()", seconds=self._source.open_timeout
                )
                if self._position is not None:
                    await self._source.seek(self._position)  # type: ignore[attr-defined]
                if not announced:
                    opened()
                announced = True
                await guarded(self._source.run(self._emit), self.name)
                break
            except EndOfStream:
                break
            except NotConnected as error:
                self._is_lost = True
                self._use.ctx.report_connection(False, error.message)
            await self.close()
            await self._clock.sleep_until(self._clock.now() + int(backoff.next() * 1000))
        for subscriber in list(self._subscribers):
            subscriber.ended()

    async def close(self) -> None:
        """Close the source, if it was opened; what goes wrong is logged."""
        if self._is_open:
            self._is_open = False
            CURRENT_USE.set(self._use)
            with anyio.CancelScope(shield=True):
                await close_quietly(self._source, self.name)

    async def _emit(self, batch: Batch) -> None:
        if not isinstance(batch, Batch):
            raise PluginError(
                f"{self.name} emits a {type(batch).__name__}, not a Batch",
                hint="write await emit(Batch([row, …])) or await emit(Batch(payloads=[…]))",
            )
        if self._is_lost:  # a batch is the proof that it is there again
            self._is_lost = False
            self._use.ctx.report_connection(True)
        now = self._clock.now()
        if not batch.received_at:
            batch.received_at = now
        decode = self._decoder if batch.rows is None else self._rows_decoder
        started = perf_counter_ns()
        frame, failures = decode.decode(batch)
        if batch.failures:
            failures = [*failures, *enumerate(batch.failures, len(batch))]
        frame.decoding = perf_counter_ns() - started
        self._count(batch, frame, failures, now, frame.decoding)
        position = None
        if self._ask_position is not None:
            position = self._position = self._ask_position()
        subscribers = list(self._subscribers)
        receipt = Receipt(batch.acknowledge, len(subscribers))
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
