"""The operators of a rule as its users see them: names, counts, and who feeds whom.

Names are eKuiper's: ``source_demo``, ``op_2_decoder``, ``op_3_project``, ``sink_mqtt_0``. What a
rule does between decoding and its sinks is one operator, for it is one function here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from engine.run.lag import PartitionLag, flat_lag
from engine.run.metrics import OperatorMetrics
from engine.run.parts import RuleParts
from engine.run.rule import Rule
from engine.run.status import Connection
from engine.run.tables import JoinedTable

OperatorKind = Literal["source", "op", "sink"]


class ConnectionReport(
    msgspec.Struct, frozen=True, kw_only=True, rename={"state": "connection_status"}
):
    """The connection of a source or sink; times are epoch milliseconds, 0: never."""

    state: Literal[-1, 0, 1]
    """1: connected, 0: connecting, -1: lost."""
    connection_last_connected_time: int = 0
    connection_last_disconnected_time: int = 0
    connection_last_disconnected_message: str = ""
    connection_last_try_time: int = 0


class OperatorReport(msgspec.Struct, frozen=True, kw_only=True):
    """What one operator has done in this run of its rule, or in the last one."""

    kind: OperatorKind
    name: str
    """Without the kind: ``demo``, ``2_decoder``, ``mqtt_0``."""
    records_in_total: int = 0
    records_out_total: int = 0
    messages_processed_total: int = 0
    process_latency_us: int = 0
    """Microseconds for the last batch."""
    buffer_length: int = 0
    """Rows that wait in front of it."""
    last_invocation: int = 0
    """Epoch milliseconds, 0: never; likewise the time of the last exception."""
    exceptions_total: int = 0
    last_exception: str = ""
    last_exception_time: int = 0
    connection: ConnectionReport | None = None
    """Of sources and sinks."""
    partitions: tuple[PartitionLag, ...] = ()
    """Of sources that can tell where they end, while they are open."""

    @property
    def id(self) -> str:
        """The name in a topology."""
        return f"{self.kind}_{self.name}"

    def flat(self) -> dict[str, int | str]:
        """Return the metrics under their full names, ``<kind>_<name>_0_<metric>``."""
        values = {key: getattr(self, key) for key in _METRICS}
        if self.connection is not None:
            values |= msgspec.to_builtins(self.connection)
        values |= flat_lag(self.partitions)
        return {f"{self.id}_0_{key}": value for key, value in values.items()}


_METRICS = tuple(
    name
    for name in OperatorReport.__struct_fields__
    if name not in ("kind", "name", "connection", "partitions")
)


class Topology(msgspec.Struct, frozen=True):
    """Who feeds whom."""

    sources: tuple[str, ...]
    edges: dict[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator of a run."""

    kind: OperatorKind
    name: str
    metrics: OperatorMetrics
    waiting: int = 0
    runner: str = ""
    """The name under which connections are reported."""
    partitions: Sequence[PartitionLag] = ()
    """How far a source is behind, if it can tell."""

    @property
    def id(self) -> str:
        return f"{self.kind}_{self.name}"


@dataclass(frozen=True, slots=True)
class Operators:
    """The operators of one run, numbered in the order of the data."""

    sources: list[tuple[Operator, Operator]]
    """With their decoders."""
    tables: list[Operator]
    """Lookup tables that are joined: how many keys came, and how many of them were looked up."""
    query: Operator
    sinks: list[Operator]

    def __iter__(self) -> Iterator[Operator]:
        for pair in self.sources:
            yield from pair
        yield from self.tables
        yield self.query
        yield from self.sinks

    def topology(self) -> Topology:
        """Return who feeds whom."""
        edges: dict[str, tuple[str, ...]] = {}
        for source, decoder in self.sources:
            edges[source.id] = (decoder.id,)
            edges[decoder.id] = (self.query.id,)
        for table in self.tables:
            edges[table.id] = (self.query.id,)
        edges[self.query.id] = tuple(sink.id for sink in self.sinks)
        sources = [*(source for source, _ in self.sources), *self.tables]
        return Topology(tuple(source.id for source in sources), edges)


def operators_of(parts: RuleParts, waiting: int = 0) -> Operators:
    """Return the operators of a run; ``waiting`` rows are in the queue of its query."""
    sources = []
    number = 0
    for source in parts.inputs:
        reader = source.reader
        stream = reader.stream.name
        number += 2
        # those of a shared stream carry its name, for they are the same in all rules
        decoder = f"{stream}_2_decoder" if reader.is_shared else f"{number}_decoder"
        sources.append(
            (
                Operator(
                    "source", stream, reader.metrics, runner=reader.name, partitions=reader.lag
                ),
                Operator("op", decoder, reader.decoding),
            )
        )
    tables = _tables(parts.tables)
    query = Operator("op", f"{number + 1}_project", parts.metrics, waiting)
    sinks = [
        Operator("sink", _inner(sink.name), sink.metrics, sink.waiting, sink.name)
        for sink in parts.all_sinks
    ]
    return Operators(sources, tables, query, sinks)


def _tables(joined_tables: Iterable[JoinedTable]) -> list[Operator]:
    """Return the lookup tables of a rule; one that is joined several times counts as one."""
    found: dict[str, Operator] = {}
    for joined in joined_tables:
        operator = Operator("source", joined.name, OperatorMetrics(), runner=joined.runner)
        metrics = found.setdefault(joined.name, operator).metrics
        counts = joined.table.statistics()
        metrics.records_in += counts.keys
        metrics.records_out += counts.keys - counts.failed
        metrics.processed += counts.keys
        metrics.exceptions += counts.failed
    return list(found.values())


def reports_of(rule: Rule) -> tuple[OperatorReport, ...]:
    """Return what each operator of a rule has done, none before its first start."""
    if rule.parts is None:
        return ()
    return tuple(_report(each, rule) for each in operators_of(rule.parts, rule.waiting))


def _report(operator: Operator, rule: Rule) -> OperatorReport:
    metrics = operator.metrics
    connection = None
    if operator.kind != "op":
        known = rule.status.connections.get(operator.runner)
        connection = _connection(known, is_up=rule.status.state.is_up)
    return OperatorReport(
        kind=operator.kind,
        name=operator.name,
        records_in_total=metrics.records_in,
        records_out_total=metrics.records_out,
        messages_processed_total=metrics.processed,
        process_latency_us=metrics.latency // 1000,
        buffer_length=operator.waiting,
        last_invocation=metrics.last_invocation,
        exceptions_total=metrics.exceptions,
        last_exception=metrics.last_exception,
        last_exception_time=metrics.last_exception_at,
        connection=connection,
        partitions=tuple(operator.partitions),
    )


def _connection(known: Connection | None, *, is_up: bool) -> ConnectionReport:
    """Return a connection; what never says anything of one is connected while its rule is up."""
    if known is None:
        return ConnectionReport(state=1 if is_up else 0)
    lost: Literal[-1, 0] = -1 if known.last_connected else 0
    return ConnectionReport(
        state=1 if known.connected else lost,
        connection_last_connected_time=known.last_connected,
        connection_last_disconnected_time=known.last_disconnected,
        connection_last_disconnected_message=known.last_disconnected_message,
        connection_last_try_time=known.last_try,
    )


def _inner(name: str) -> str:
    """Return ``mqtt_0`` for ``sink[mqtt_0]``."""
    return name.partition("[")[2].removesuffix("]") or name
