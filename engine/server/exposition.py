"""Metrics in Prometheus' text format, written rule by rule so that data goes on in between."""

from __future__ import annotations

import os
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import anyio.lowlevel

from engine.clock import Clock
from engine.engine import Engine
from engine.run.metrics import LATENCY_BUCKETS, OperatorMetrics
from engine.run.operators import Operator, operators_of
from engine.run.rule import Rule
from engine.run.status import RuleState

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BOUNDS = [10 << n for n in range(LATENCY_BUCKETS - 1)]  # microseconds
_RULES_AT_ONCE = 20
_PAGE = os.sysconf("SC_PAGESIZE") if hasattr(os, "sysconf") else 4096

_OPERATOR = {
    "records_in_total": ("counter", "records that came in"),
    "records_out_total": ("counter", "records that went on"),
    "messages_processed_total": ("counter", "records that are done with"),
    "exceptions_total": ("counter", "records that failed"),
    "process_latency_us": ("gauge", "microseconds that the last batch took"),
    "buffer_length": ("gauge", "rows that wait"),
}
_RULE_STATUS = {RuleState.FAILED: -1, RuleState.STOPPED: 0, RuleState.WAITING: 0}


class Families:
    """Lines of samples by metric, since a metric's lines must stand together."""

    def __init__(self) -> None:
        self._heads: dict[str, str] = {}
        self._lines: dict[str, list[str]] = defaultdict(list)

    def head(self, name: str, kind: str, text: str) -> None:
        """Declare a metric."""
        self._heads[name] = f"# HELP {name} {text}\n# TYPE {name} {kind}"

    def add(self, name: str, labels: str, value: float, suffix: str = "") -> None:
        """Add a sample; ``suffix`` is for the parts of a histogram."""
        self._lines[name].append(f"{name}{suffix}{{{labels}}} {value}")

    def text(self) -> str:
        """Return everything."""
        parts = []
        for name, head in self._heads.items():
            if name in self._lines:
                parts += [head, *self._lines[name]]
        return "\n".join(parts) + "\n"


async def exposition(
    engine: Engine, started: float, connections: Iterable[tuple[str, str, int]] = ()
) -> str:
    """Return the metrics of all rules and of the process; ``started`` is Unix time in seconds.

    ``connections`` are the named ones: id, type and state as for ``connection_status``.
    """
    families = Families()
    _declare(families)
    families.add("kuiper_rule_count", "", len(engine.rules))
    for number, rule in enumerate(list(engine.rules.values())):
        _rule(families, rule, engine.clock)
        if number % _RULES_AT_ONCE == 0:
            await anyio.lowlevel.checkpoint()
    for name, kind, state in connections:
        labels = f'connection="{_escaped(name)}",type="{_escaped(kind)}"'
        families.add("kuiper_conn_status_gauge", labels, state)
    _process(families, started)
    return families.text().replace("{} ", " ")


def _declare(families: Families) -> None:
    families.head("kuiper_rule_count", "gauge", "rules that are defined")
    families.head("kuiper_rule_status", "gauge", "1 running, 0 stopped, -1 failed")
    for kind in ("source", "op", "sink"):
        for metric, (form, text) in _OPERATOR.items():
            families.head(f"kuiper_{kind}_{metric}", form, text)
        families.head(
            f"kuiper_{kind}_process_latency_us_hist", "histogram", "microseconds for a batch"
        )
        if kind != "op":
            families.head(
                f"kuiper_{kind}_connection_status", "gauge", "1 connected, 0 connecting, -1 lost"
            )
    families.head("kuiper_conn_status_gauge", "gauge", "1 connected, 0 connecting, -1 lost")
    families.head("headrace_rule_rows_total", "counter", "rows of a rule by what became of them")
    families.head("headrace_rule_dropped_total", "counter", "rows that were given up")
    families.head("headrace_rule_errors_total", "counter", "rows that failed")
    families.head("headrace_rule_pending", "gauge", "rows inside of a rule")
    families.head("headrace_rule_last_message_age_seconds", "gauge", "time since the last row")
    families.head("process_cpu_seconds_total", "counter", "user and system time")
    families.head("process_resident_memory_bytes", "gauge", "memory in use")
    families.head("process_open_fds", "gauge", "open files and sockets")
    families.head("process_start_time_seconds", "gauge", "start of the server, Unix time")
    families.head("python_gc_collections_total", "counter", "runs of the garbage collector")


def _rule(families: Families, rule: Rule, clock: Clock) -> None:
    label = f'rule="{rule.id}"'
    families.add("kuiper_rule_status", label, _RULE_STATUS.get(rule.status.state, 1))
    metrics = rule.metrics
    balance = metrics.balance()
    for outcome in ("received", "delivered", "filtered", "dropped", "errors"):
        value = getattr(balance, outcome)
        families.add("headrace_rule_rows_total", f'{label},outcome="{outcome}"', value)
    for name, found in (("dropped", metrics.dropped), ("errors", metrics.errors)):
        for (place, reason), count in found.items():
            labels = f'{label},place="{_escaped(place)}",reason="{_escaped(reason)}"'
            families.add(f"headrace_rule_{name}_total", labels, count)
    families.add("headrace_rule_pending", label, balance.pending)
    if metrics.last_message:
        age = (clock.now() - metrics.last_message) / 1000
        families.add("headrace_rule_last_message_age_seconds", label, age)
    if rule.parts is not None:
        for operator in operators_of(rule.parts, rule.waiting):
            _operator(families, rule, operator)


def _operator(families: Families, rule: Rule, operator: Operator) -> None:
    kind, metrics = operator.kind, operator.metrics
    labels = f'rule="{rule.id}",type="{kind}",op="{operator.name}",op_instance="0"'
    families.add(f"kuiper_{kind}_records_in_total", labels, metrics.records_in)
    families.add(f"kuiper_{kind}_records_out_total", labels, metrics.records_out)
    families.add(f"kuiper_{kind}_messages_processed_total", labels, metrics.processed)
    families.add(f"kuiper_{kind}_exceptions_total", labels, metrics.exceptions)
    families.add(f"kuiper_{kind}_process_latency_us", labels, metrics.latency // 1000)
    families.add(f"kuiper_{kind}_buffer_length", labels, operator.waiting)
    _histogram(families, f"kuiper_{kind}_process_latency_us_hist", labels, metrics)
    known = rule.status.connections.get(operator.runner)
    if known is not None and kind != "op":
        lost = -1 if known.last_connected else 0
        value = 1 if known.connected else lost
        families.add(f"kuiper_{kind}_connection_status", labels, value)


def _histogram(families: Families, name: str, labels: str, metrics: OperatorMetrics) -> None:
    if not metrics.total_latency:
        return  # what never worked needs no 22 lines
    count = 0
    for bound, batches in zip([*_BOUNDS, "+Inf"], metrics.latencies, strict=True):
        count += batches
        families.add(name, f'{labels},le="{bound}"', count, "_bucket")
    families.add(name, labels, metrics.total_latency // 1000, "_sum")
    families.add(name, labels, count, "_count")


def _process(families: Families, started: float) -> None:
    families.add("process_cpu_seconds_total", "", cpu_seconds())
    families.add("process_resident_memory_bytes", "", resident_bytes())
    families.add("process_start_time_seconds", "", started)
    files = _open_files()
    if files is not None:
        families.add("process_open_fds", "", files)
    for generation, runs in _collections():
        families.add("python_gc_collections_total", f'generation="{generation}"', runs)


def cpu_seconds() -> float:
    """Return the processor time that the process has used."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def resident_bytes() -> int:
    """Return the memory that the process has now; where the system doesn't say, its largest."""
    try:
        pages = Path("/proc/self/statm").read_text().split()[1]
    except (OSError, IndexError):
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024
    return int(pages) * _PAGE


def total_bytes() -> int:
    """Return the memory of the machine, 0 if the system doesn't say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * _PAGE
    except (ValueError, OSError):
        return 0


def _open_files() -> int | None:
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return None


def _collections() -> Iterator[tuple[int, int]]:
    import gc

    stats: Iterable[dict[str, int]] = gc.get_stats()
    for generation, found in enumerate(stats):
        yield generation, found["collections"]


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def now() -> float:
    """Return Unix time in seconds."""
    return time.time()
