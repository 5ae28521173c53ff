"""In event time the order in which rows arrive doesn't show, as long as none comes too late."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.batch import Row
from engine.sql.event_time import EventTimeOptions
from tests.laws.pipelines import Feed, Run, Setting, shown
from tests.laws.queries import join_queries, queries, rows

TOLERANCE = 50
STREAMS = ("demo", "other")
Dated = tuple[int, str, Row]


@st.composite
def dated(draw: st.DrawFn, streams: Sequence[str]) -> tuple[list[Dated], list[Dated]]:
    """Rows by time, each at one of its own, and the same as they may arrive.

    Of each stream, a row comes before any that is more than the tolerance younger.
    """
    found = draw(rows(most=20))
    times = sorted(
        draw(st.lists(st.integers(0, 600), unique=True, min_size=len(found), max_size=len(found)))
    )
    ordered = [
        (time, draw(st.sampled_from(streams)), {**row, "ts": time})
        for time, row in zip(times, found, strict=True)
    ]
    arrived: list[Dated] = []
    waiting = {name: [each for each in ordered if each[1] == name] for name in streams}
    while any(waiting.values()):
        queue = waiting[draw(st.sampled_from([name for name in streams if waiting[name]]))]
        near = [at for at, each in enumerate(queue) if each[0] - queue[0][0] <= TOLERANCE]
        arrived.append(queue.pop(draw(st.sampled_from(near))))
    return ordered, arrived


def emissions(setting: Setting, arrived: Sequence[Dated]) -> list[str]:
    """Return what is emitted, whenever it is, once a row far in the future has come."""
    run = Run(setting)
    last: list[Feed] = [(0, name, [{"ts": 10_000}]) for name in setting.streams]
    run.feed([*((0, name, [row]) for _, name, row in arrived), *last])
    assert run.counts["late"] == 0
    return [*shown(run.emissions), *sorted(run.errors)]


some = settings(max_examples=100, deadline=None)


@some
@given(sql=queries, found=dated(["demo"]))
def test_the_order_of_arrival_does_not_show(
    sql: str, found: tuple[list[Dated], list[Dated]]
) -> None:
    setting = Setting(sql, event_time=EventTimeOptions(TOLERANCE))
    ordered, arrived = found
    assert emissions(setting, arrived) == emissions(setting, ordered)


@some
@given(sql=join_queries(tables=False), found=dated(STREAMS))
def test_the_order_in_which_streams_arrive_does_not_show(
    sql: str, found: tuple[list[Dated], list[Dated]]
) -> None:
    setting = Setting(sql, STREAMS, event_time=EventTimeOptions(TOLERANCE))
    ordered, arrived = found
    assert emissions(setting, arrived) == emissions(setting, ordered)


@given(found=dated(STREAMS), late=st.sampled_from(["drop", "emit", "deadLetter"]))
def test_rows_that_are_late_are_counted_and_emitted_only_if_asked_to(
    found: tuple[list[Dated], list[Dated]], late: Any
) -> None:
    setting = Setting("SELECT i FROM demo", event_time=EventTimeOptions(0, late=late))
    run = Run(setting)
    _, arrived = found
    newest, expected_late = -1, 0
    for time, _, row in arrived:
        run.feed([(0, "demo", [row])])
        expected_late += time < newest
        newest = max(newest, time)
    assert run.counts["late"] == expected_late
    emitted = [rows[0]["i"] for _, rows in run.emissions]
    kept = len(arrived) if late == "emit" else len(arrived) - expected_late
    assert len(emitted) == kept
