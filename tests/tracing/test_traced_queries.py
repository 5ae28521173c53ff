"""Laws: traces change no result, show no secret and never take more than their room."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.clock import VirtualClock
from engine.config.rule import TraceOptions
from engine.run.tracing import TracedPipeline
from engine.sql.event_time import EventTimeOptions
from engine.tracing.excerpt import LONGEST, excerpt
from engine.tracing.rows import RuleTraces
from engine.tracing.spans import CAPACITY, Tracing
from tests.laws.pipelines import Feed, Run, Setting, shown
from tests.laws.queries import arrivals, queries

texts = st.text(max_size=400)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(texts, inner, max_size=5),
    max_leaves=30,
)


def traces(tracing: Tracing, rate: int = 1000) -> RuleTraces:
    return RuleTraces("r", TraceOptions(rate=rate), tracing, VirtualClock())


class TracedRun(Run):
    """A pipeline of which some rows are traced."""

    def __init__(self, setting: Setting, rate: int) -> None:
        super().__init__(setting)
        inner, names = self._pipeline, {"demo": ("demo", "2_decoder")}
        self._pipeline = TracedPipeline(
            inner, names, "3_project", traces(Tracing(), rate), holds_rows=True
        )


def finished(run: Run, feeds: Sequence[Feed]) -> Run:
    run.feed(feeds)
    run.wait_until((feeds[-1][0] if feeds else 0) + 1_500)
    return run


@settings(max_examples=60)
@given(
    queries,
    arrivals(),
    st.sampled_from([None, EventTimeOptions(50)]),
    st.booleans(),
    st.integers(1, 40),
)
def test_tracing_changes_no_result(
    sql: str,
    rows: list[tuple[int, dict[str, Any]]],
    times: EventTimeOptions | None,
    as_json: bool,
    rate: int,
) -> None:
    setting = Setting(sql, event_time=times, as_json=as_json)
    by_time: dict[int, list[dict[str, Any]]] = {}
    for at, row in rows:
        by_time.setdefault(at, []).append({**row, "ts": at})
    feeds: list[Feed] = [(at, "demo", found) for at, found in by_time.items()]
    plain, traced = finished(Run(setting), feeds), finished(TracedRun(setting, rate), feeds)
    assert shown(traced.emissions) == shown(plain.emissions)
    assert sorted(traced.errors) == sorted(plain.errors)
    assert traced.counts == plain.counts


@given(values, st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=9))
def test_an_excerpt_is_short_and_has_no_secret(value: Any, secret: str) -> None:
    row = {"value": value, "deep": [{"password": secret}], "url": f"tcp://me:{secret}@host:1"}
    found = excerpt(row)
    assert len(found) < LONGEST + 40
    assert f'"password":"{secret}' not in found
    assert f":{secret}@" not in found


def test_an_excerpt_of_a_message_is_that_of_its_row() -> None:
    assert excerpt(b'{"token":"x","n":1}') == '{"token":"***","n":1}'
    assert excerpt(b"\xff\xfe") == '"(2 bytes)"'


def test_the_oldest_traces_go() -> None:
    tracing = Tracing()
    found = traces(tracing)
    for number in range(CAPACITY + 5):
        found.begin(str(number)).end()
    ids = tracing.traces_of("r", CAPACITY * 2)
    assert len(ids) == CAPACITY
    newest = tracing.tree(ids[0])
    assert newest is not None
    assert newest["Name"] == str(CAPACITY + 4)
    assert tracing.traces_of("r", 1) == ids[:1]
    assert tracing.traces_of("other") == []


def test_a_trace_without_end_keeps_its_last_spans() -> None:
    tracing = Tracing()
    step = traces(tracing).begin("0")
    for number in range(1, 2000):
        step.end()
        step = step.next(str(number))
    (trace_id,) = tracing.traces_of("r")
    tree = tracing.tree(trace_id)
    assert tree is not None
    assert tree["Name"] == str(1999 - 256)


def test_spans_whose_parent_is_elsewhere_stand_side_by_side() -> None:
    tracing = Tracing()
    step = traces(tracing).begin("elsewhere")
    for name in ("a", "b"):
        step.next(name).end()
    (trace_id,) = tracing.traces_of("r")
    tree = tracing.tree(trace_id)
    assert tree is not None
    assert (tree["Name"], [child["Name"] for child in tree["ChildSpan"]]) == ("", ["a", "b"])
    assert tracing.tree("no number") is None
    assert tracing.tree("abc") is None
