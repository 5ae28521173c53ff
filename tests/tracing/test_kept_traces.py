"""Which spans are kept in memory, and which go."""

from __future__ import annotations

import pytest
from opentelemetry.trace import Span, format_trace_id, set_span_in_context

from engine.tracing.rows import RULE
from engine.tracing.spans import Tracing
from tests.tracing.support import spans


def tracing_of(capacity: int) -> Tracing:
    made = Tracing()
    made.collector = None
    made.capacity = capacity
    return made


def step(tracing: Tracing, root: Span | None = None) -> Span:
    """Make a span of rule r, of the trace of ``root`` if there is one."""
    parent = None if root is None else set_span_in_context(root)
    span = tracing.begin("step", parent, 1, {RULE: "r"})
    span.end(2)
    return span


def trace_id(span: Span) -> str:
    return format_trace_id(span.get_span_context().trace_id)


def count(tracing: Tracing, span: Span) -> int:
    tree = tracing.tree(trace_id(span))
    return 0 if tree is None else len([each for each in spans(tree) if each["Name"]])


@pytest.mark.parametrize("capacity", [1, 2, 63, 64])
@pytest.mark.parametrize("others", [0, 1])
def test_a_long_trace_is_kept_while_it_is_collected(capacity: int, others: int) -> None:
    tracing = tracing_of(capacity)
    first = step(tracing)
    for _ in range(200):
        step(tracing, first)
        for _ in range(others):
            if capacity > 1:
                step(tracing)
    assert count(tracing, first) == 201


def test_of_an_endless_trace_the_last_spans_are_kept() -> None:
    tracing = tracing_of(1)
    first = step(tracing)
    for _ in range(999):
        step(tracing, first)
    assert count(tracing, first) == 256


@pytest.mark.parametrize("capacity", [1, 3, 100])
def test_no_more_traces_are_kept_than_there_is_room_for(capacity: int) -> None:
    tracing = tracing_of(capacity)
    made = [step(tracing) for _ in range(capacity + 5)]
    kept = tracing.traces_of("r", 1000)
    assert kept == [trace_id(each) for each in reversed(made[-capacity:])]


def test_long_traces_take_the_room_of_those_that_ended_before() -> None:
    tracing = tracing_of(100)
    made = []
    for _ in range(5):
        made.append(root := step(tracing))
        for _ in range(99):
            step(tracing, root)
    assert [count(tracing, root) for root in made] == [0, 100, 100, 100, 100]
