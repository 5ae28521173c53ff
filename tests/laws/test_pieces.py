"""How rows are cut into batches, written down or kept over a restart doesn't show in results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby, pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.batch import Row
from engine.sql.event_time import EventTimeOptions
from tests.laws.pipelines import Feed, Run, Setting, shown
from tests.laws.queries import arrivals, queries

LONGEST = 1_500
"""Milliseconds after the last row in which all windows fire that time alone makes fire."""
cuts = st.lists(st.integers(0, 30), max_size=8)
times = st.sampled_from([None, EventTimeOptions(tolerance=0), EventTimeOptions(tolerance=50)])
some = settings(max_examples=100, deadline=None)


def batches(rows: Sequence[tuple[int, Row]], at: Sequence[int]) -> list[Feed]:
    """Return rows as batches: those with the same time together, but cut at some places."""
    edges = [0, *sorted({min(edge, len(rows)) for edge in at}), len(rows)]
    return [
        (time, "demo", [{**row, "ts": time} for _, row in group])
        for start, stop in pairwise(edges)
        for time, group in groupby(rows[start:stop], key=lambda arrival: arrival[0])
    ]


def finished(run: Run, feeds: Sequence[Feed], end: int) -> Run:
    run.feed(feeds)
    run.wait_until(end)
    return run


def end_of(rows: Sequence[tuple[int, Row]]) -> int:
    return (rows[-1][0] if rows else 0) + LONGEST


@some
@given(sql=queries, rows=arrivals(), at=cuts, times=times)
def test_how_rows_are_cut_into_batches_does_not_show(
    sql: str, rows: list[tuple[int, Row]], at: list[int], times: EventTimeOptions | None
) -> None:
    setting = Setting(sql, event_time=times)
    whole = finished(Run(setting), batches(rows, []), end_of(rows))
    parts = finished(Run(setting), batches(rows, at), end_of(rows))
    assert shown(parts.emissions) == shown(whole.emissions)
    assert sorted(parts.errors) == sorted(whole.errors)
    assert parts.counts == whole.counts


@some
@given(sql=queries, rows=arrivals(), at=cuts, times=times, as_json=st.booleans())
def test_a_restart_at_any_point_does_not_show(
    sql: str,
    rows: list[tuple[int, Row]],
    at: list[int],
    times: EventTimeOptions | None,
    as_json: bool,
) -> None:
    setting = Setting(sql, event_time=times, as_json=as_json)
    steady, restarted = Run(setting), Run(setting)
    for feed in batches(rows, at):
        restarted = restarted.restarted()
        steady.emissions.clear()
        restarted.feed([feed])
        steady.feed([feed])
        assert shown(restarted.emissions) == shown(steady.emissions)
    steady.emissions.clear()
    restarted = finished(restarted.restarted(), [], end_of(rows))
    assert shown(restarted.emissions) == shown(finished(steady, [], end_of(rows)).emissions)
    assert restarted.counts == steady.counts


@some
@given(sql=queries, rows=arrivals(), at=cuts, times=times)
def test_json_and_rows_give_the_same(
    sql: str, rows: list[tuple[int, Row]], at: list[int], times: EventTimeOptions | None
) -> None:
    setting = Setting(sql, event_time=times)
    feeds = batches(rows, at)
    dicts = finished(Run(setting), feeds, end_of(rows))
    decoded = finished(Run(replace(setting, as_json=True)), feeds, end_of(rows))
    assert shown(decoded.emissions) == shown(dicts.emissions)
    assert sorted(decoded.errors) == sorted(dicts.errors)
