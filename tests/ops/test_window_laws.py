"""What holds for windows whatever the rows: batches, snapshots, slices, order of arrival."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.ops.fold import Fold
from engine.ops.pane import Pane
from engine.ops.watermark import Watermark
from engine.ops.windows.count import CountWindow
from engine.ops.windows.hopping import HoppingWindow
from engine.ops.windows.operator import Arrivals, Timing
from engine.ops.windows.session import SessionWindow
from engine.ops.windows.sliding import SlidingWindow
from engine.ops.windows.state import StateWindow
from engine.ops.windows.tumbling import TumblingWindow
from engine.state.codec import CODEC
from tests.ops.folds import FOLDS, Operator, Row, cut, folded, saved, seen

Times = Sequence[tuple[int, Row]]
MakeWindow = Callable[[Fold[Any, Row], Timing], Operator]

WINDOWS: dict[str, MakeWindow] = {
    "tumbling": lambda fold, timing: TumblingWindow(fold, 70, "MS", timing),
    "hopping": lambda fold, timing: HoppingWindow(fold, 100, 30, "MS", timing),
    "hopping in tenths": lambda fold, timing: HoppingWindow(fold, 200, 20, "MS", timing),
    "hopping with gaps": lambda fold, timing: HoppingWindow(fold, 30, 70, "MS", timing),
    "sliding": lambda fold, timing: SlidingWindow(fold, 60, 0, timing),
    "sliding with delay": lambda fold, timing: SlidingWindow(fold, 60, 25, timing),
    "session": lambda fold, timing: SessionWindow(fold, 100, 20, "MS", timing),
    "count": lambda fold, timing: CountWindow(fold, 4, 4),
    "count by one": lambda fold, timing: CountWindow(fold, 5, 1),
    "count by two": lambda fold, timing: CountWindow(fold, 5, 2),
    "state": lambda fold, timing: StateWindow(fold),
}
windows = pytest.mark.parametrize("make_window", WINDOWS.values(), ids=WINDOWS)
folds = pytest.mark.parametrize("fold", FOLDS.values(), ids=FOLDS)
timings = st.sampled_from([Timing(), Timing(opened_at=0), Timing(opened_at=0, max_empty=0)])


@st.composite
def arrivals(draw: st.DrawFn) -> Arrivals[Row]:
    """Rows in time order, close together or far apart, with all columns."""
    steps = draw(st.lists(st.sampled_from([0, 0, 1, 5, 10, 20, 21, 70, 300, 100_000]), max_size=40))
    size = len(steps)
    flags = st.lists(st.booleans(), min_size=size, max_size=size)
    return Arrivals(
        [{"v": number} for number in draw(st.permutations(range(size)))],
        list(accumulate(steps)),
        triggers=draw(flags),
        begins=draw(flags),
        emits=draw(st.none() | flags),
        keys=draw(st.lists(st.sampled_from([("a", 1), "b", None]), min_size=size, max_size=size)),
    )


some = settings(max_examples=20)
cuts = st.lists(st.integers(0, 40), max_size=6)


def end_of(rows: Arrivals[Row]) -> int:
    return (rows.times[-1] if rows.times else 0) + 1_000


@windows
@folds
@some
@given(rows=arrivals(), at=cuts, timing=timings)
def test_panes_do_not_depend_on_how_rows_are_cut_into_batches(
    make_window: MakeWindow,
    fold: Fold[Any, Row],
    rows: Arrivals[Row],
    at: list[int],
    timing: Timing,
) -> None:
    whole, parts = make_window(fold, timing), make_window(fold, timing)
    expected = seen(whole.add(rows)) + seen(whole.tick(end_of(rows)))
    panes = [pane for part in cut(rows, at) for pane in seen(parts.add(part))]
    assert panes + seen(parts.tick(end_of(rows))) == expected


@windows
@folds
@some
@given(rows=arrivals(), at=cuts, timing=timings)
def test_panes_are_the_same_after_a_restart_at_any_point(
    make_window: MakeWindow,
    fold: Fold[Any, Row],
    rows: Arrivals[Row],
    at: list[int],
    timing: Timing,
) -> None:
    def make() -> Operator:
        return make_window(fold, timing)

    steady, restarted = make(), saved(make(), make)
    for part in cut(rows, at):
        assert seen(restarted.add(part)) == seen(steady.add(part))
        restarted = saved(restarted, make)
        assert restarted.next_deadline() == steady.next_deadline()
    assert seen(restarted.tick(end_of(rows))) == seen(steady.tick(end_of(rows)))


@windows
@given(rows=arrivals())
def test_in_event_time_ticks_between_rows_change_nothing(
    make_window: MakeWindow, rows: Arrivals[Row]
) -> None:
    fold = FOLDS["rows"]
    once, often = make_window(fold, Timing()), make_window(fold, Timing())
    expected = seen(once.add(rows)) + seen(once.tick(end_of(rows)))
    panes = []
    for part in cut(rows, range(len(rows))):
        for time in part.times:  # the watermark may pass what lies before a row, and stand at it
            panes += seen(often.tick(time - 1))
        panes += seen(often.add(part))
        for time in part.times:
            panes += seen(often.tick(time))
    assert panes + seen(often.tick(end_of(rows))) == expected


@windows
@given(rows=arrivals())
def test_nothing_fires_before_the_deadline_and_something_at_it(
    make_window: MakeWindow, rows: Arrivals[Row]
) -> None:
    operator = make_window(FOLDS["rows"], Timing(opened_at=0))
    operator.add(rows)
    deadline = operator.next_deadline()
    if deadline is None:
        assert operator.tick(end_of(rows)) == []
    else:
        assert operator.tick(deadline - 1) == []
        assert operator.tick(deadline)


# ---- the windows as the specification words them, over all rows at once


def between(rows: Times, start: int, end: int) -> list[Row]:
    return [row for time, row in rows if start <= time < end]


def plain_hopping(rows: Times, length: int, hop: int, until: int) -> list[tuple[int, list[Row]]]:
    ends = {
        end
        for time, _ in rows
        for end in range((time // hop + 1) * hop, time + length + hop, hop)
        if end <= until
    }
    panes = [(end, between(rows, end - length, end)) for end in sorted(ends)]
    return [(end, content) for end, content in panes if content]


@folds
@some
@pytest.mark.parametrize(("length", "hop"), [(70, 70), (100, 30), (200, 20), (30, 70), (125, 25)])
@given(rows=arrivals())
def test_hopping_by_slices_equals_all_rows_folded_anew(
    fold: Fold[Any, Row], length: int, hop: int, rows: Arrivals[Row]
) -> None:
    timing = Timing(opened_at=0)
    made: list[Operator] = [HoppingWindow(fold, length, hop, "DD", timing)]
    if length == hop:
        made.append(TumblingWindow(fold, length, "DD", timing))
    plain = list(zip(rows.times, rows.rows, strict=True))
    expected = [
        (end - length, end, end, folded(fold, content), False, None)
        for end, content in plain_hopping(plain, length, hop, end_of(rows))
    ]
    for operator in made:
        panes = operator.add(rows) + operator.tick(end_of(rows))
        assert seen([pane for pane in panes if not pane.is_empty]) == expected


@folds
@some
@pytest.mark.parametrize("delay", [0, 25, 200])
@given(rows=arrivals(), timing=timings)
def test_sliding_by_slices_equals_all_rows_folded_anew(
    fold: Fold[Any, Row], delay: int, rows: Arrivals[Row], timing: Timing
) -> None:
    operator = SlidingWindow(fold, 60, delay, timing)
    panes = seen(operator.add(rows) + operator.tick(end_of(rows)))
    plain = list(zip(rows.times, rows.rows, strict=True))
    expected = []
    for number, (time, _) in enumerate(plain):
        if rows.triggers is not None and rows.triggers[number]:
            known = plain if delay else plain[: number + 1]
            content = between(known, time - 60, time + (delay or 1))
            end = time + delay
            expected.append((time - 60, end, end, folded(fold, content), False, None))
    assert panes == expected


@folds
@some
@pytest.mark.parametrize(("size", "step"), [(1, 1), (4, 4), (5, 1), (5, 2), (150, 1), (7, 5)])
@given(count=st.integers(0, 200))
def test_counting_by_slices_equals_all_rows_folded_anew(
    fold: Fold[Any, Row], size: int, step: int, count: int
) -> None:
    rows = [{"v": number * 7 % 11} for number in range(count)]
    times = [number * 3 for number in range(count)]
    panes = seen(CountWindow(fold, size, step).add(Arrivals(rows, times)))
    assert panes == [
        (
            times[end - size],
            times[end - 1],
            times[end - 1],
            folded(fold, rows[end - size : end]),
            False,
            None,
        )
        for end in range(step, count + 1, step)
        if end >= size
    ]


@folds
@given(rows=arrivals(), timing=timings)
def test_sessions_hold_every_row_once_and_end_at_gaps(
    fold: Fold[Any, Row], rows: Arrivals[Row], timing: Timing
) -> None:
    def sessions(which: Fold[Any, Row]) -> list[Pane[Any]]:
        operator = SessionWindow(which, 10**9, 20, "DD", timing)
        return operator.add(rows) + operator.tick(end_of(rows))

    plain = list(zip(rows.times, rows.rows, strict=True))
    groups: list[list[tuple[int, Row]]] = []
    for number, (time, row) in enumerate(plain):
        gap = time - plain[number - 1][0]
        is_new = gap > 20 if timing.is_event_time else gap >= 20
        if not groups or is_new:
            groups.append([])
        groups[-1].append((time, row))
    assert seen(sessions(fold)) == [
        (
            group[0][0],
            group[-1][0] + 20,
            group[-1][0] + 20,
            folded(fold, [row for _, row in group]),
            False,
            None,
        )
        for group in groups
    ]


# ---- event time


@st.composite
def shuffled(draw: st.DrawFn) -> tuple[list[tuple[int, Row]], list[tuple[int, Row]]]:
    """Rows in the order of their distinct timestamps, and as they may arrive within 50 ms."""
    times = draw(st.lists(st.integers(0, 1_500), unique=True, max_size=30))
    rows = [(time, {"v": number}) for number, time in enumerate(sorted(times))]
    delays = draw(st.lists(st.integers(0, 50), min_size=len(rows), max_size=len(rows)))
    order = sorted(range(len(rows)), key=lambda n: (rows[n][0] + delays[n], delays[n]))
    return rows, [rows[number] for number in order]


def in_event_time(
    make_window: MakeWindow, batches: Sequence[Times], *, restarts: bool = False
) -> list[Any]:
    """Return the panes of rows that go through a watermark into a window."""
    fold = FOLDS["rows"]
    marks = Watermark[Row](["demo"], 50)
    window = make_window(fold, Timing())
    panes = []
    for batch in [*batches, None]:
        if batch is None:
            released = marks.drain()
        else:
            released = marks.add("demo", [row for _, row in batch], [time for time, _ in batch], 0)
        values = [row["v"] for row in released.rows]
        panes += seen(
            window.add(
                Arrivals(
                    released.rows,
                    released.times,
                    triggers=[value % 2 == 0 for value in values],
                    begins=[value % 3 == 0 for value in values],
                    emits=[value % 4 == 0 for value in values],
                )
            )
        )
        if released.watermark is not None:
            panes += seen(window.tick(released.watermark))
        if restarts:
            value = CODEC.decode(CODEC.encode(marks.snapshot()))
            marks = Watermark(["demo"], 50)
            marks.restore(value)
            window = saved(window, lambda: make_window(fold, Timing()))
    assert marks.late == marks.held == 0
    return panes


@windows
@given(rows=shuffled(), size=st.integers(1, 10), restarts=st.booleans())
def test_the_order_of_arrival_within_the_tolerance_does_not_show(
    make_window: MakeWindow,
    rows: tuple[list[tuple[int, Row]], list[tuple[int, Row]]],
    size: int,
    restarts: bool,
) -> None:
    ordered, arrived = rows
    batches = [arrived[start : start + size] for start in range(0, len(arrived), size)]
    panes = in_event_time(make_window, batches, restarts=restarts)
    assert panes == in_event_time(make_window, [ordered])
