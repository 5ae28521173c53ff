"""How rows are cut into batches, written down or kept over a restart doesn't show in results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby, pairwise
from operator import itemgetter

from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.batch import Row
from engine.sql.event_time import EventTimeOptions
from tests.laws.pipelines import Feed, Run, Setting, shown
from tests.laws.queries import arrivals, join_queries, queries

LONGEST = 1_500
"""Milliseconds after the last row in which all windows fire that time alone makes fire."""
Arrival = tuple[int, str, Row]
Case = tuple[Setting, list[Arrival]]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A query over one stream, or over several and a table, in either time, with rows for it."""
    times = draw(st.sampled_from([None, EventTimeOptions(0), EventTimeOptions(50)]))
    if draw(st.sampled_from([False, False, True])):
        setting = Setting(draw(join_queries()), ("demo", "other"), {"t": 3}, times)
    else:
        setting = Setting(draw(queries), event_time=times)
    read = [name for name in ("other", "t") if f"JOIN {name} " in setting.sql]
    labels = st.sampled_from(["demo", *read])
    rows = [(at, draw(labels), {**row, "ts": at}) for at, row in draw(arrivals())]
    return replace(setting, max_partitions=draw(st.sampled_from([2, 1_000]))), rows


cuts = st.lists(st.integers(0, 30), max_size=8)
some = settings(max_examples=120, deadline=None)


def batches(rows: Sequence[Arrival], at: Sequence[int]) -> list[Feed]:
    """Return rows as batches: those that come together, but cut at some places."""
    edges = [0, *sorted({min(edge, len(rows)) for edge in at}), len(rows)]
    return [
        (time, label, [row for *_, row in group])
        for start, stop in pairwise(edges)
        for (time, label), group in groupby(rows[start:stop], key=itemgetter(0, 1))
    ]


def finished(run: Run, rows: Sequence[Arrival], at: Sequence[int]) -> Run:
    run.feed(batches(rows, at))
    run.wait_until(end_of(rows))
    return run


def end_of(rows: Sequence[Arrival]) -> int:
    return (rows[-1][0] if rows else 0) + LONGEST


@some
@given(case=cases(), at=cuts)
def test_how_rows_are_cut_into_batches_does_not_show(case: Case, at: list[int]) -> None:
    setting, rows = case
    whole = finished(Run(setting), rows, [])
    parts = finished(Run(setting), rows, at)
    assert shown(parts.emissions) == shown(whole.emissions)
    assert sorted(parts.errors) == sorted(whole.errors)
    assert parts.counts == whole.counts


UNTYPED = Setting("SELECT v + 1 AS x FROM demo GROUP BY COUNTWINDOW(2)")
"""Compiled code that relies on ``v`` being a number would count true as 1."""


@some
@given(case=cases(), at=cuts, as_json=st.booleans())
@example(case=(UNTYPED, [(1, "demo", {"v": True}), (2, "demo", {"v": 2})]), at=[], as_json=True)
def test_a_restart_at_any_point_does_not_show(case: Case, at: list[int], as_json: bool) -> None:
    setting, rows = case
    setting = replace(setting, as_json=as_json)
    steady, restarted = Run(setting), Run(setting)
    for feed in batches(rows, at):
        restarted = restarted.restarted()
        steady.emissions.clear()
        restarted.feed([feed])
        steady.feed([feed])
        assert shown(restarted.emissions) == shown(steady.emissions)
    restarted = restarted.restarted()
    steady.emissions.clear()
    for run in (steady, restarted):
        run.wait_until(end_of(rows))
    assert shown(restarted.emissions) == shown(steady.emissions)
    assert restarted.counts == steady.counts


@some
@given(case=cases(), at=cuts)
def test_json_and_rows_give_the_same(case: Case, at: list[int]) -> None:
    setting, rows = case
    dicts = finished(Run(setting), rows, at)
    decoded = finished(Run(replace(setting, as_json=True)), rows, at)
    assert shown(decoded.emissions) == shown(dicts.emissions)
    assert sorted(decoded.errors) == sorted(dicts.errors)
