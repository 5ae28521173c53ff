"""The spans of the last traces, in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.trace import format_span_id, format_trace_id

from engine.tracing.rows import RULE

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

_SPANS = 4
"""Spans that are kept in all for each trace that may be kept."""
_LONGEST_TRACE = 256
"""Spans that are kept of one trace; rules that feed each other in a circle make endless ones."""


class SpanStore(SpanProcessor):
    """Keeps ended spans by trace; those traces go that have had no span for the longest time.

    Spans end, and are asked for, in the thread of the event loop.
    """

    def __init__(self, capacity: int) -> None:
        """``capacity`` is the number of traces, whose spans have room for one of the longest."""
        self._capacity = capacity
        self._most_spans = max(capacity * _SPANS, _LONGEST_TRACE)
        self._traces: dict[int, deque[ReadableSpan]] = {}
        self._by_use: dict[int, None] = {}
        """All traces, the one that has had no span for the longest time first."""
        self._spans = 0

    def on_end(self, span: ReadableSpan) -> None:
        """Take a span; OpenTelemetry calls this."""
        assert span.context is not None
        trace_id = span.context.trace_id
        spans = self._traces.setdefault(trace_id, deque())
        spans.append(span)
        self._by_use.pop(trace_id, None)
        self._by_use[trace_id] = None
        self._spans += 1
        if len(spans) > _LONGEST_TRACE:
            spans.popleft()
            self._spans -= 1
        while len(self._traces) > self._capacity or self._spans > self._most_spans:
            idle = next(iter(self._by_use))
            del self._by_use[idle]
            self._spans -= len(self._traces.pop(idle))

    def traces_of(self, rule_id: str, limit: int) -> list[str]:
        """Return the ids of the last traces with a span of a rule, the newest first."""
        found: list[str] = []
        for trace_id, spans in reversed(self._traces.items()):
            if len(found) == limit:
                break
            if any((span.attributes or {}).get(RULE) == rule_id for span in spans):
                found.append(format_trace_id(trace_id))
        return found

    def tree(self, trace_id: str) -> dict[str, Any] | None:
        """Return the spans of a trace as a tree in eKuiper's form, None if there is none.

        Several spans whose parent isn't known here are children of one without a name.
        """
        try:
            spans = self._traces.get(int(trace_id, 16))
        except ValueError:
            return None
        if spans is None:
            return None
        nodes = {str(node["SpanID"]): node for node in map(_node, spans)}
        roots = list(_roots(nodes))
        if len(roots) == 1:
            return roots[0]
        return {"Name": "", "TraceID": nodes[next(iter(nodes))]["TraceID"], "ChildSpan": roots}


def _roots(nodes: dict[str, dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Hang each node below its parent; yield those that have none."""
    for node in nodes.values():
        parent = nodes.get(node["ParentSpanID"])
        if parent is None or parent is node:
            yield node
        else:
            parent["ChildSpan"].append(node)


def _node(span: ReadableSpan) -> dict[str, Any]:
    context, parent = span.context, span.parent
    assert context is not None
    node: dict[str, Any] = {
        "Name": span.name,
        "TraceID": format_trace_id(context.trace_id),
        "SpanID": format_span_id(context.span_id),
        "ParentSpanID": format_span_id(0 if parent is None else parent.span_id),
        "RuleID": (span.attributes or {}).get(RULE, ""),
        "Attribute": dict(span.attributes or {}),
        "Links": [
            {
                "TraceID": format_trace_id(link.context.trace_id),
                "SpanID": format_span_id(link.context.span_id),
            }
            for link in span.links
        ],
        "StartTime": _time(span.start_time),
        "EndTime": _time(span.end_time),
        "ChildSpan": [],
    }
    if span.events:
        node["Events"] = [
            {"Name": each.name, "Time": _time(each.timestamp)} for each in span.events
        ]
    if not span.status.is_ok:
        node["Error"] = span.status.description or ""
    return node


def _time(nanoseconds: int | None) -> str:
    moment = datetime.fromtimestamp((nanoseconds or 0) // 1_000_000_000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{(nanoseconds or 0) % 1_000_000_000:09d}Z"
