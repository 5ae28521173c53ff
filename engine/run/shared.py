"""Shared streams: one source and one decoding for all rules that read the stream."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import anyio
from anyio.abc import TaskGroup

from engine.api import Config
from engine.catalog import Stream
from engine.layout import Layout
from engine.run.lag import PartitionLag
from engine.run.logs import CURRENT_RULE
from engine.run.metrics import OperatorMetrics
from engine.run.receipt import Receipt
from engine.run.reports import Report, Reports
from engine.run.source import SourceRunner, Subscriber
from engine.run.waiting import Flag, Happening

logger = logging.getLogger(__name__)

_GRACE = 1.0
"""Seconds after which somebody who still reads a stream is taken for one who goes on."""


class SharedSource:
    """A source that lives from its first rule to its last; see ``StreamReader``."""

    is_shared = True

    def __init__(
        self,
        make: Callable[[Report], SourceRunner],
        tasks: TaskGroup,
        on_idle: Callable[[SharedSource], None],
    ) -> None:
        """``make`` gets what hears of the source's connection."""
        self._reports = Reports()
        self.runner = make(self._reports)
        self.name = self.runner.name
        self._tasks = tasks
        self._on_idle = on_idle
        self._subscribers: list[Subscriber] = []
        self._opened = Flag()
        self._holders = 0
        """Rules that read it, or still have to confirm what they have read."""
        self._left = anyio.Event()
        self._scope: anyio.CancelScope | None = None

    def gives(self, stream: Stream, config: Config) -> bool:
        """Tell whether it is the source of a stream as it is defined now."""
        return self.stream.is_like(stream) and self.config == config

    @property
    def layout(self) -> Layout:
        return self.runner.layout

    @property
    def metrics(self) -> OperatorMetrics:
        return self.runner.metrics

    @property
    def decoding(self) -> OperatorMetrics:
        return self.runner.decoding

    @property
    def stream(self) -> Stream:
        return self.runner.stream

    @property
    def config(self) -> Config:
        return self.runner.config

    def attach(self, subscriber: Subscriber) -> None:
        self.runner.attach(subscriber)
        self._subscribers.append(subscriber)
        self._holders += 1
        self._reports.attach(subscriber.connection)
        if self._scope is None:
            self._scope = anyio.CancelScope()
            self._tasks.start_soon(self._run, self._scope, name=f"shared.{self.name}")

    def detach(self, subscriber: Subscriber) -> None:
        self.runner.detach(subscriber)
        self._reports.detach(subscriber.connection)
        self._subscribers.remove(subscriber)
        if not self._subscribers and self._scope is not None:
            self._on_idle(self)
            self._scope.cancel()

    def abandon(self, receipts: Sequence[Receipt], given_up: Callable[[], None]) -> None:
        name = f"{self.name}.abandoned"
        self._tasks.start_soon(self._settle, receipts, given_up, name=name)

    async def _settle(self, receipts: Sequence[Receipt], given_up: Callable[[], None]) -> None:
        """Be done with batches if others read on, for the broker gives those no second time.

        Where all are being stopped it does, to the next run.
        """
        await anyio.sleep(_GRACE)
        if self._subscribers:
            given_up()
            for receipt in receipts:
                receipt.done()

    def begin_at(self, position: Mapping[str, Any]) -> None:
        """A source of several rules goes on where it is, whatever one of them remembers."""

    @property
    def window(self) -> int | None:
        return self.runner.window

    @property
    def is_held_up(self) -> bool:
        return self.runner.is_held_up

    @property
    def topics(self) -> Sequence[str]:
        return self.runner.topics

    @property
    def repeats(self) -> int:
        return 0

    def recognise(self, identities: Sequence[int]) -> None:
        """What one of several rules has taken, others may not have."""

    @property
    def is_rewindable(self) -> bool:
        return False

    @property
    def hears_offsets(self) -> bool:
        return self.runner.hears_offsets

    @property
    def lag(self) -> Sequence[PartitionLag]:
        return self.runner.lag

    async def close(self) -> None:
        """Let a rule go that has confirmed all; the source is closed when none is left."""
        self._holders = max(0, self._holders - 1)  # one may end before it has begun to read
        self._left.set()

    async def run(self, opened: Callable[[], None], closed: Happening) -> None:
        await self._opened.wait()
        opened()
        await closed.wait()

    async def _run(self, scope: anyio.CancelScope) -> None:
        CURRENT_RULE.set("")  # not that of the rule which happens to be its first
        with scope:
            try:
                await self.runner.run(self._opened.set)
                self._on_idle(self)  # it has ended: a rule that starts now needs another one
            except Exception as error:
                logger.error("%s failed: %s", self.name, error)
                self._on_idle(self)
                self._opened.set()
                for subscriber in list(self._subscribers):
                    subscriber.ended(error)
            finally:
                with anyio.CancelScope(shield=True):
                    await self._all_left()
                    await self.runner.close()

    async def _all_left(self) -> None:
        while self._holders:
            self._left = anyio.Event()
            await self._left.wait()


class SharedSources:
    """The sources of the shared streams of an engine, by the name of the stream."""

    def __init__(self, tasks: TaskGroup) -> None:
        """Sources run in ``tasks``."""
        self._tasks = tasks
        self._sources: dict[str, SharedSource] = {}

    def shared_source(
        self, stream: Stream, config: Config, make: Callable[[Report], SourceRunner]
    ) -> SharedSource:
        """Return the source of a stream, made by ``make`` if none has its definition and config.

        One that others still read by an earlier definition is theirs until the last has left.
        """
        known = self._sources.get(stream.name)
        if known is None or not known.gives(stream, config):
            known = self._sources[stream.name] = SharedSource(make, self._tasks, self._forget)
        return known

    def _forget(self, source: SharedSource) -> None:
        name = source.runner.stream.name
        if self._sources.get(name) is source:
            del self._sources[name]
