"""Metrics in Prometheus' text format, written piece by piece so that data goes on in between."""

from __future__ import annotations

import gc
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import anyio

from engine.clock import Clock
from engine.engine import Engine
from engine.run.metrics import LATENCY_BUCKETS
from engine.run.operators import Operator, OperatorKind, operators_of
from engine.run.rule import Rule
from engine.run.status import RuleState
from engine.server.process import cpu_seconds, open_files, resident_bytes

CONTENT_TYPE = "text/plain; version=0.0.4"
_AT_ONCE = _PAUSE = 0.002
"""Seconds of work, and then of leisure: what others do takes some turns of the loop, not one."""
_BOUNDS = [*(str(10 << n) for n in range(LATENCY_BUCKETS - 1)), "+Inf"]
"""The upper ends of the buckets of latencies, in microseconds."""
_RULE_STATUS = {RuleState.FAILED: -1, RuleState.STOPPED: 0, RuleState.WAITING: 0}


class _Observed(NamedTuple):
    """A rule with its labels, and its operators with theirs."""

    rule: Rule
    labels: str
    operators: list[tuple[str, Operator]]


@dataclass(frozen=True, slots=True)
class _Family:
    """One metric: ``samples`` gives labels and values for one rule, or its whole lines."""

    name: str
    kind: str
    text: str
    samples: Callable[[_Observed], Iterable[tuple[str, float] | str]]

    @property
    def head(self) -> str:
        return _head(self.name, self.kind, self.text)

    def lines(self, observed: _Observed) -> Iterator[str]:
        for sample in self.samples(observed):
            yield sample if isinstance(sample, str) else f"{self.name}{{{sample[0]}}} {sample[1]}"


async def exposition(
    engine: Engine, started: float, connections: Iterable[tuple[str, str, int]] = ()
) -> AsyncIterator[bytes]:
    """Yield the metrics of all rules and of the process; ``started`` is Unix time in seconds.

    ``connections`` are the named ones: id, type and state as for ``connection_status``.
    The loop gets its turn every few milliseconds, however many rules there are: each metric is
    therefore of a slightly later instant than the one before it.
    """
    due = time.perf_counter() + _AT_ONCE
    observed = []
    for rule in list(engine.rules.values()):
        observed.append(_observe(rule))
        if time.perf_counter() > due:
            await anyio.sleep(_PAUSE)
            due = time.perf_counter() + _AT_ONCE
    lines = [
        _head("kuiper_rule_count", "gauge", "rules that are defined"),
        f"kuiper_rule_count {len(observed)}",
    ]
    for family in _families(engine.clock):
        has_head = False
        for each in observed:
            for line in family.lines(each):
                if not has_head:
                    has_head = True
                    lines.append(family.head)
                lines.append(line)
            if time.perf_counter() > due:
                if lines:
                    yield _encoded(lines)
                    lines = []
                await anyio.sleep(_PAUSE)
                due = time.perf_counter() + _AT_ONCE
    lines += _named_connections(connections)
    lines += _process(started)
    yield _encoded(lines)


def _observe(rule: Rule) -> _Observed:
    label = f'rule="{rule.id}"'
    operators = []
    if rule.parts is not None:
        for each in operators_of(rule.parts, rule.waiting):
            labels = f'{label},type="{each.kind}",op="{each.name}",op_instance="0"'
            operators.append((labels, each))
    return _Observed(rule, label, operators)


def _encoded(lines: list[str]) -> bytes:
    return ("\n".join(lines) + "\n").encode()


def _head(name: str, kind: str, text: str) -> str:
    return f"# HELP {name} {text}\n# TYPE {name} {kind}"


# -- rules -----------------------------------------------------------------------------------------


def _families(clock: Clock) -> Iterator[_Family]:
    yield _Family("kuiper_rule_status", "gauge", "1 running, 0 stopped, -1 failed", _statuses)
    kinds: tuple[OperatorKind, ...] = ("source", "op", "sink")
    for kind in kinds:
        yield from _operator_families(kind)
    yield _Family(
        "headrace_rule_rows_total", "counter", "rows of a rule by what became of them", _outcomes
    )
    yield _Family("headrace_rule_dropped_total", "counter", "rows that were given up", _dropped)
    yield _Family("headrace_rule_errors_total", "counter", "rows that failed", _errors)
    yield _Family("headrace_rule_pending", "gauge", "rows inside of a rule", _pending)

    def ages(observed: _Observed) -> Iterator[tuple[str, float]]:
        last = observed.rule.metrics.last_message
        if last:
            yield observed.labels, (clock.now() - last) / 1000

    yield _Family(
        "headrace_rule_last_message_age_seconds", "gauge", "time since the last row", ages
    )
    yield _Family(
        "headrace_source_lag", "gauge", "offsets between what was read and what there is", _lags
    )


def _statuses(observed: _Observed) -> Iterator[tuple[str, float]]:
    yield observed.labels, _RULE_STATUS.get(observed.rule.status.state, 1)


def _outcomes(observed: _Observed) -> Iterator[tuple[str, float]]:
    balance = observed.rule.metrics.balance()
    for outcome in ("received", "delivered", "filtered", "dropped", "errors"):
        yield f'{observed.labels},outcome="{outcome}"', getattr(balance, outcome)


def _dropped(observed: _Observed) -> Iterator[tuple[str, float]]:
    return _by_reason(observed, observed.rule.metrics.dropped.items())


def _errors(observed: _Observed) -> Iterator[tuple[str, float]]:
    return _by_reason(observed, observed.rule.metrics.errors.items())


def _by_reason(
    observed: _Observed, counts: Iterable[tuple[tuple[str, str], int]]
) -> Iterator[tuple[str, float]]:
    for (place, reason), count in counts:
        labels = f'{observed.labels},place="{_escaped(place)}",reason="{_escaped(reason)}"'
        yield labels, count


def _pending(observed: _Observed) -> Iterator[tuple[str, float]]:
    yield observed.labels, observed.rule.metrics.pending


# -- operators -------------------------------------------------------------------------------------

_OPERATOR: dict[str, tuple[str, str, Callable[[Operator], float]]] = {
    "records_in_total": ("counter", "records that came in", lambda op: op.metrics.records_in),
    "records_out_total": ("counter", "records that went on", lambda op: op.metrics.records_out),
    "messages_processed_total": (
        "counter",
        "records that are done with",
        lambda op: op.metrics.processed,
    ),
    "exceptions_total": ("counter", "records that failed", lambda op: op.metrics.exceptions),
    "process_latency_us": (
        "gauge",
        "microseconds that the last batch took",
        lambda op: op.metrics.latency // 1000,
    ),
    "buffer_length": ("gauge", "rows that wait", lambda op: op.waiting),
}


def _operator_families(kind: OperatorKind) -> Iterator[_Family]:
    for metric, (form, text, value) in _OPERATOR.items():
        yield _Family(f"kuiper_{kind}_{metric}", form, text, _each(kind, value))
    name = f"kuiper_{kind}_process_latency_us_hist"
    yield _Family(name, "histogram", "microseconds for a batch", _histograms(kind, name))
    if kind != "op":
        yield _Family(
            f"kuiper_{kind}_connection_status",
            "gauge",
            "1 connected, 0 connecting, -1 lost",
            _connections(kind),
        )


def _each(
    kind: OperatorKind, value: Callable[[Operator], float]
) -> Callable[[_Observed], Iterable[tuple[str, float]]]:
    return lambda observed: [
        (labels, value(operator))
        for labels, operator in observed.operators
        if operator.kind == kind
    ]


def _histograms(kind: OperatorKind, name: str) -> Callable[[_Observed], Iterable[str]]:
    def lines(observed: _Observed) -> Iterator[str]:
        for labels, operator in observed.operators:
            metrics = operator.metrics
            if operator.kind != kind or not metrics.total_latency:
                continue  # what never worked needs no 22 lines
            count = 0
            for bound, batches in zip(_BOUNDS, metrics.latencies, strict=True):
                count += batches
                yield f'{name}_bucket{{{labels},le="{bound}"}} {count}'
            yield f"{name}_sum{{{labels}}} {metrics.total_latency // 1000}"
            yield f"{name}_count{{{labels}}} {count}"

    return lines


def _connections(kind: OperatorKind) -> Callable[[_Observed], Iterable[tuple[str, float]]]:
    def samples(observed: _Observed) -> Iterator[tuple[str, float]]:
        for labels, operator in observed.operators:
            known = observed.rule.status.connections.get(operator.runner)
            if operator.kind == kind and known is not None:
                lost = -1 if known.last_connected else 0
                yield labels, 1 if known.connected else lost

    return samples


def _lags(observed: _Observed) -> Iterator[tuple[str, float]]:
    for _, operator in observed.operators:
        for each in operator.partitions:
            if each.lag is not None:
                partition = _escaped(each.partition)
                yield f'{observed.labels},op="{operator.name}",partition="{partition}"', each.lag


def _named_connections(connections: Iterable[tuple[str, str, int]]) -> Iterator[str]:
    name = "kuiper_conn_status_gauge"
    states = [
        f'{name}{{connection="{_escaped(id_)}",type="{_escaped(kind)}"}} {state}'
        for id_, kind, state in connections
    ]
    if states:
        yield _head(name, "gauge", "named connections: 1 connected, 0 connecting, -1 lost")
        yield from states


# -- the process -----------------------------------------------------------------------------------


def _process(started: float) -> Iterator[str]:
    yield _head("process_cpu_seconds_total", "counter", "user and system time")
    yield f"process_cpu_seconds_total {cpu_seconds()}"
    yield _head("process_resident_memory_bytes", "gauge", "memory in use")
    yield f"process_resident_memory_bytes {resident_bytes()}"
    yield _head("process_open_fds", "gauge", "open files and sockets")
    yield f"process_open_fds {open_files()}"
    yield _head("process_start_time_seconds", "gauge", "start of the server, Unix time")
    yield f"process_start_time_seconds {started}"
    yield _head("python_gc_collections_total", "counter", "runs of the garbage collector")
    for generation, found in enumerate(gc.get_stats()):
        yield f'python_gc_collections_total{{generation="{generation}"}} {found["collections"]}'


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
