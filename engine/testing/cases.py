"""Running a query over given messages in virtual time, to see what comes out.

A day of events takes milliseconds, and the same messages give the same emissions every time::

    outcome = await run_case(
        "SELECT temperature FROM demo WHERE temperature > 50",
        [Feed("CREATE STREAM demo () WITH ()", [Message(0, rows=[{"temperature": 60}])])],
    )
    assert outcome.emissions == [Emission(0, [{"temperature": 60}])]
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import anyio
import msgspec
from anyio.streams.memory import MemoryObjectSendStream

from engine.api import Batch, Config, Emit, Row, SameMetadata, Sink, Source
from engine.catalog import Stream
from engine.clock import VirtualClock, settled
from engine.engine import Engine
from engine.errors import EngineError
from engine.registry import PluginKind
from engine.run.rule import Rule

__all__ = ("START", "Emission", "Feed", "Message", "Outcome", "run_case", "settled")

START = 1_704_067_200_000
"""Where virtual time starts unless told otherwise: 2024-01-01T00:00:00Z, in epoch milliseconds."""

_RULE = "case"
_SINK = "emissions"


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a stream: ``payload`` in the stream's FORMAT, or ``rows`` already decoded."""

    at: int
    """Milliseconds after the start."""
    payload: bytes | None = None
    rows: list[Row] | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    """What ``meta()`` reads."""

    def batch(self) -> Batch:
        """Return the message as a source emits it."""
        size = 1 if self.rows is None else len(self.rows)
        meta = SameMetadata(size, self.meta)
        if self.rows is not None:
            return Batch(self.rows, meta=meta)
        return Batch(payloads=[self.payload or b""], meta=meta)


@dataclass(frozen=True, slots=True)
class Feed:
    """A stream or table, by its CREATE statement, with the messages that it gets.

    The statement's TYPE isn't used, for the messages come from here; only a lookup table in memory
    keeps it: its messages must be rows, and are published to the topic in DATASOURCE.
    """

    ddl: str
    messages: Sequence[Message] = ()

    @classmethod
    def of(cls, ddl: str, *rows: tuple[int, Row]) -> Feed:
        """Make a feed of JSON messages with one row each: ``(at, row), …``."""
        return cls(ddl, [Message(at, json.dumps(row).encode()) for at, row in rows])


@dataclass(frozen=True, slots=True)
class Emission:
    """Rows that the rule handed to its sink together; an empty window may emit none."""

    at: int
    """Milliseconds after the start."""
    rows: list[Row]


@dataclass(slots=True)
class Outcome:
    """What a rule did with its messages."""

    emissions: list[Emission] = field(default_factory=list)
    refused: EngineError | None = None
    """Why nothing ran: a statement, an option or the query is wrong."""
    failure: str = ""
    """Why the rule stopped by error, empty if it didn't; the emissions so far are kept."""
    errors: dict[str, int] = field(default_factory=dict)
    """Errors of single rows, by operator and kind of error, as the rule counts them."""

    @property
    def rows(self) -> list[Row]:
        """All rows, in order, whenever they were emitted."""
        return [row for emission in self.emissions for row in emission.rows]


async def run_case(
    sql: str,
    streams: Sequence[Feed],
    *,
    tables: Sequence[Feed] = (),
    options: Mapping[str, Any] | None = None,
    advance_to: int | None = None,
    start: int = START,
    root: Path | str | None = None,
    prepare: Callable[[Engine], object] | None = None,
) -> Outcome:
    """Run a query over the messages of its streams and tables in virtual time.

    All messages are merged by ``at``; at the same time those of tables come first, then those of
    streams, in the order given. Before each message the clock moves to its time and every timer
    due until then, at that very time included, fires; then the message is processed completely.
    Nothing is flushed at the end: a window that is still open stays so.

    Args:
        sql: the query.
        streams: the streams, with their messages.
        tables: the tables, likewise.
        options: options of the rule, named as in a rule file.
        advance_to: where time goes on to after the last message, in milliseconds from the start.
        start: the time at the start, in epoch milliseconds.
        root: the folder with the ``plugins/`` and ``etc/`` of the rule, as for ``Engine``.
        prepare: called with the engine before anything is defined, to register functions and such.

    Only what the user can get wrong is an outcome; a defect of the engine or a plugin is raised.
    """
    clock = VirtualClock(start)
    outcome = Outcome()
    async with Engine(root, clock=clock, drain=1) as engine:
        if prepare is not None:
            prepare(engine)
        engine.plugins.register(PluginKind.SINK, _SINK, _Recorder(clock, start, outcome.emissions))
        try:
            inlets = [_inlet(engine, feed) for feed in (*tables, *streams)]
            rule = await engine.start(
                {"id": _RULE, "sql": sql, "actions": [{_SINK: {}}], "options": dict(options or {})}
            )
        except EngineError as error:
            outcome.refused = error
            return outcome
        await settled()
        for at, inlet, batch in _merged(inlets):
            await clock.advance_to(start + at)
            if rule.finished.is_set():
                break
            await inlet.put(batch)
            await settled()
        if advance_to is not None and not rule.finished.is_set():
            await clock.advance_to(start + advance_to)
            await settled()
        return _concluded(rule, outcome)


def _concluded(rule: Rule, outcome: Outcome) -> Outcome:
    """Return the outcome as it is now: stopping the rule must not add to it."""
    failure = rule.status.message if rule.status.state.is_failure else ""
    errors = {f"{place}: {kind}": count for (place, kind), count in rule.metrics.errors.items()}
    return replace(outcome, emissions=list(outcome.emissions), failure=failure, errors=errors)


def _merged(inlets: Sequence[_Inlet]) -> Iterable[tuple[int, _Inlet, Batch]]:
    arrivals = [(message.at, inlet, message) for inlet in inlets for message in inlet.messages]
    arrivals.sort(key=lambda arrival: arrival[0])
    return ((at, inlet, message.batch()) for at, inlet, message in arrivals)


class _Inlet:
    """Where the messages of one stream go in."""

    def __init__(self, messages: Sequence[Message]) -> None:
        self.messages = messages

    async def put(self, batch: Batch) -> None:
        raise NotImplementedError


class _Topic(_Inlet):
    """The topic of a table in memory."""

    def __init__(self, messages: Sequence[Message], engine: Engine, name: str) -> None:
        super().__init__(messages)
        self._engine = engine
        self._name = name

    async def put(self, batch: Batch) -> None:
        rows = batch.rows
        if rows is None:
            values = [json.loads(payload) for payload in batch.payloads or ()]
            rows = [row for v in values for row in (v if isinstance(v, list) else [v])]
        await self._engine.push(self._name, rows, **batch.meta.row(0))


class _Source(_Inlet, Source[Config]):
    """One source for all readers of a stream, each of which gets every batch."""

    def __init__(self, messages: Sequence[Message]) -> None:
        super().__init__(messages)
        self._readers: list[MemoryObjectSendStream[Batch]] = []

    async def put(self, batch: Batch) -> None:
        for reader in self._readers:
            await reader.send(batch)

    async def run(self, emit: Emit) -> None:
        send, receive = anyio.create_memory_object_stream[Batch](1)
        self._readers.append(send)
        try:
            async with send, receive:
                async for batch in receive:
                    await emit(batch)
        finally:
            self._readers.remove(send)


class _Recorder(Sink[Config]):
    """Notes what arrives, and when."""

    def __init__(self, clock: VirtualClock, start: int, emissions: list[Emission]) -> None:
        self._clock = clock
        self._start = start
        self._emissions = emissions

    async def collect(self, batch: Batch) -> None:
        at = self._clock.now() - self._start
        rows = batch.rows or []
        begin = 0
        for size in [1] * len(rows) if batch.sizes is None else batch.sizes:
            self._emissions.append(Emission(at, rows[begin : begin + size]))
            begin += size


def _inlet(engine: Engine, feed: Feed) -> _Inlet:
    """Define the stream of a feed; return where its messages go in."""
    stream = engine.define(feed.ddl)
    if stream.source_type == "memory" and stream.options.kind == "lookup":
        return _Topic(feed.messages, engine, stream.name)
    source = _Source(feed.messages)
    plugin = f"feed_{stream.name}"
    engine.plugins.register(PluginKind.SOURCE, plugin, source)
    engine.catalog.add(_read_from(stream, plugin), replace=True)
    return source


def _read_from(stream: Stream, plugin: str) -> Stream:
    """Return a stream that reads from another source; what configured the first is left out."""
    options = msgspec.structs.replace(stream.options, type=plugin, conf_key="default", extra={})
    return replace(stream, options=options, properties={})
