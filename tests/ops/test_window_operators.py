"""Windows by example: bounds, firing, empty ones and gaps (sql-language.md 4.2 to 4.5)."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

from engine.ops.fold import BufferFold
from engine.ops.pane import Pane
from engine.ops.windows.build import build
from engine.ops.windows.count import CountWindow
from engine.ops.windows.hopping import HoppingWindow
from engine.ops.windows.operator import Arrivals, Timing, WindowOperator
from engine.ops.windows.session import SessionWindow
from engine.ops.windows.sliding import SlidingWindow
from engine.ops.windows.state import StateWindow
from engine.ops.windows.tumbling import TumblingWindow
from engine.sql import ast
from tests.ops.folds import Totals

EVENT = Timing()
YEAR = 365 * 86_400_000
Operator = WindowOperator[list[Any], Any]
Shown = tuple[int, int, list[Any]]


def opened(at: int = 0, max_empty: int = 1) -> Timing:
    """Return processing time of a rule that began then."""
    return Timing(opened_at=at, max_empty=max_empty)


def at(*times: int, **columns: Any) -> Arrivals[int]:
    """Return rows that are their own timestamps."""
    return Arrivals(times, times, **columns)


def shown(panes: list[Pane[list[Any]]]) -> list[Shown]:
    return [(pane.start, pane.end, pane.state) for pane in panes]


def run(operator: Operator, *steps: Arrivals[int] | int) -> list[Shown]:
    """Give an operator batches and ticks, return all panes."""
    panes: list[Pane[list[Any]]] = []
    for step in steps:
        panes += operator.tick(step) if isinstance(step, int) else operator.add(step)
    return shown(panes)


def tumbling(timing: Timing, length: int = 1_000, unit: str = "SS") -> Operator:
    return TumblingWindow(BufferFold[int](), length, unit, timing)


def hopping(timing: Timing, length: int, hop: int) -> Operator:
    return HoppingWindow(BufferFold[int](), length, hop, "SS", timing)


def sliding(timing: Timing, length: int, delay: int = 0) -> Operator:
    return SlidingWindow(BufferFold[int](), length, delay, timing)


def session(timing: Timing, longest: int, timeout: int) -> Operator:
    return SessionWindow(BufferFold[int](), longest, timeout, "SS", timing)


def test_a_row_at_an_end_is_in_the_next_tumbling_window() -> None:
    assert run(tumbling(opened()), at(0, 999, 1_000), 1_000, at(1_999), 2_000) == [
        (0, 1_000, [0, 999]),
        (1_000, 2_000, [1_000, 1_999]),
    ]


@pytest.mark.parametrize("timing", [opened(5_200), EVENT])
def test_the_first_window_starts_a_length_before_its_aligned_end(timing: Timing) -> None:
    assert run(tumbling(timing, 10_000), at(5_300), 10_000) == [(0, 10_000, [5_300])]


def test_a_rule_that_begins_just_at_an_end_waits_for_the_next_one() -> None:
    operator = tumbling(opened(10_000), 10_000)
    assert operator.next_deadline() == 20_000
    assert run(operator, 10_500, at(10_600), 20_000) == [(10_000, 20_000, [10_600])]


def test_a_late_tick_fires_late_with_the_nominal_end() -> None:
    assert run(tumbling(opened()), at(10), 1_470) == [(0, 1_000, [10])]
    assert run(hopping(opened(), 2_000, 1_000), at(10), 2_900) == [
        (-1_000, 1_000, [10]),
        (0, 2_000, [10]),
    ]


def test_a_row_that_comes_after_its_window_joins_the_open_one() -> None:
    assert run(tumbling(opened()), at(10), 1_000, at(990), 2_000)[1:] == [(1_000, 2_000, [990])]
    assert run(hopping(opened(), 2_000, 1_000), at(10), 1_000, at(990), 2_000, 3_000)[1:] == [
        (0, 2_000, [10, 990]),
        (1_000, 3_000, [990]),
    ]


def test_timely_ticks_show_every_empty_window() -> None:
    for operator in (tumbling(opened()), hopping(opened(), 1_000, 1_000)):
        assert run(operator, 1_000, at(1_500), 2_000, 3_000, 4_000) == [
            (0, 1_000, []),
            (1_000, 2_000, [1_500]),
            (2_000, 3_000, []),
            (3_000, 4_000, []),
        ]


def test_empty_windows_are_marked() -> None:
    panes = tumbling(opened()).tick(1_000)
    assert [(pane.is_empty, pane.state, pane.trigger) for pane in panes] == [(True, [], 1_000)]


@pytest.mark.parametrize("most", [0, 1, 3])
@pytest.mark.parametrize("make", [tumbling, lambda timing: hopping(timing, 1_000, 1_000)])
def test_a_gap_of_years_gives_few_empty_windows(make: Any, most: int) -> None:
    for timing in (Timing(max_empty=most), opened(0, most)):
        panes = run(make(timing), at(100), at(YEAR + 100), YEAR + 1_000)
        assert panes == [
            (0, 1_000, [100]),
            *[(n * 1_000, (n + 1) * 1_000, []) for n in range(1, most + 1)],
            (YEAR, YEAR + 1_000, [YEAR + 100]),
        ]


def test_in_event_time_a_gap_is_the_same_however_the_watermark_crosses_it() -> None:
    small_steps = [*range(200, 9_000, 300), 9_000]
    expected = [(0, 1_000, [100]), (1_000, 2_000, [])]
    assert run(tumbling(EVENT), at(100), *small_steps) == expected
    assert run(tumbling(EVENT), at(100), 9_000) == expected


def test_windows_in_event_time_wait_for_a_row() -> None:
    operator = tumbling(EVENT)
    assert operator.next_deadline() is None
    assert run(operator, 50_000) == []


@pytest.mark.parametrize(
    ("length", "hop", "rows", "until", "expected"),
    [
        (10_000, 5_000, [5_200], 15_000, [(0, 10_000, [5_200]), (5_000, 15_000, [5_200])]),
        (
            10_000,
            5_000,
            [1_000, 3_000, 31_000, 33_000, 60_000],
            65_000,
            [
                (-5_000, 5_000, [1_000, 3_000]),
                (0, 10_000, [1_000, 3_000]),
                (5_000, 15_000, []),
                (25_000, 35_000, [31_000, 33_000]),
                (30_000, 40_000, [31_000, 33_000]),
                (35_000, 45_000, []),
                (55_000, 65_000, [60_000]),
            ],
        ),
        (
            3_000,
            1_000,
            [500, 1_500, 2_500, 6_500, 8_000],
            9_000,
            [
                (-2_000, 1_000, [500]),
                (-1_000, 2_000, [500, 1_500]),
                (0, 3_000, [500, 1_500, 2_500]),
                (1_000, 4_000, [1_500, 2_500]),
                (2_000, 5_000, [2_500]),
                (3_000, 6_000, []),
                (4_000, 7_000, [6_500]),
                (5_000, 8_000, [6_500]),
                (6_000, 9_000, [6_500, 8_000]),
            ],
        ),
        (
            1_000,
            2_000,
            [500, 1_000, 1_001, 2_500, 3_999],
            4_000,
            [
                (1_000, 2_000, [1_000, 1_001]),
                (3_000, 4_000, [3_999]),
            ],
        ),
    ],
)
def test_hopping_windows_lose_no_row(
    length: int, hop: int, rows: list[int], until: int, expected: list[Shown]
) -> None:
    assert run(hopping(EVENT, length, hop), at(*rows), until) == expected
    split = [at(row) for row in rows]
    assert run(hopping(EVENT, length, hop), *split, until) == expected


@pytest.mark.parametrize("timing", [opened(), EVENT])
def test_a_sliding_window_holds_both_of_its_bounds(timing: Timing) -> None:
    assert run(sliding(timing, 1_000), at(0, 999, 1_000, 1_001)) == [
        (-1_000, 0, [0]),
        (-1, 999, [0, 999]),
        (0, 1_000, [0, 999, 1_000]),
        (1, 1_001, [999, 1_000, 1_001]),
    ]


@pytest.mark.parametrize("timing", [opened(), EVENT])
def test_rows_with_the_same_timestamp_each_trigger_and_see_those_before(timing: Timing) -> None:
    assert run(sliding(timing, 1_000), Arrivals([1, 2], [100, 100]), Arrivals([3], [1_100])) == [
        (-900, 100, [1]),
        (-900, 100, [1, 2]),
        (100, 1_100, [1, 2, 3]),
    ]


@pytest.mark.parametrize("timing", [opened(), EVENT])
def test_a_delayed_window_is_open_at_its_end(timing: Timing) -> None:
    triggers = [False, True, False, True, False, True, False, True]
    rows = at(0, 300, 1_000, 1_300, 1_301, 2_300, 4_000, 4_500, triggers=triggers)
    operator = sliding(timing, 1_000, 1_000)
    assert run(operator, rows) == [
        (-700, 1_300, [0, 300, 1_000]),
        (300, 2_300, [300, 1_000, 1_300, 1_301]),
        (1_300, 3_300, [1_300, 1_301, 2_300]),
    ]
    assert operator.next_deadline() == 5_500
    assert run(operator, 5_499, 5_500) == [(3_500, 5_500, [4_000, 4_500])]
    assert operator.next_deadline() is None


def test_sliding_windows_without_a_trigger_keep_only_their_length() -> None:
    operator = sliding(opened(), 1_000)
    run(operator, *(at(time, triggers=[False]) for time in range(0, 100_000, 100)))
    assert len(operator.snapshot()[2]) == 11


def test_rows_of_the_same_millisecond_share_a_slice() -> None:
    operator = SlidingWindow(Totals(), 1_000, 0, opened())
    for time in (5, 6):
        operator.add(Arrivals([{"v": 1}] * 50, [time] * 50))
    _, slices, _ = operator.snapshot()[2]
    assert [position for position, _ in slices] == [5, 6]


def test_a_gap_as_long_as_the_timeout_ends_a_session_only_in_processing_time() -> None:
    rows = at(100, 1_099, 2_099, 3_100, 4_101)
    assert run(session(opened(), 10_000, 1_000), rows, 5_101) == [
        (100, 2_099, [100, 1_099]),
        (2_099, 3_099, [2_099]),
        (3_100, 4_100, [3_100]),
        (4_101, 5_101, [4_101]),
    ]
    assert run(session(EVENT, 10_000, 1_000), rows, 5_101, 5_102) == [
        (100, 3_099, [100, 1_099, 2_099]),
        (3_100, 4_100, [3_100]),
        (4_101, 5_101, [4_101]),
    ]


def test_a_session_is_cut_off_at_an_aligned_tick_and_the_next_one_starts_there() -> None:
    rows = at(0, 500, 999, 1_000, 1_001, 2_500, 2_999, 3_000, 6_100)
    assert run(session(opened(), 2_000, 1_000), rows, 9_000) == [
        (0, 2_000, [0, 500, 999, 1_000, 1_001]),
        (2_000, 4_000, [2_500, 2_999, 3_000]),
        (6_100, 7_100, [6_100]),
    ]


@pytest.mark.parametrize("timing", [opened(), EVENT])
def test_a_session_may_last_almost_twice_as_long(timing: Timing) -> None:
    rows = at(*range(1_000, 26_000, 1_000))
    assert [
        (start, end, state[-1])
        for start, end, state in run(session(timing, 10_000, 2_000), rows, 30_000)
    ] == [(1_000, 20_000, 19_000), (20_000, 27_000, 25_000)]


def test_a_tick_just_a_length_after_the_first_row_cuts_off_only_in_processing_time() -> None:
    rows = at(*range(0, 5_000, 500))
    starts = {
        timing.is_event_time: [
            start for start, *_ in run(session(timing, 2_000, 1_000), rows, 9_000)
        ]
        for timing in (opened(), EVENT)
    }
    assert starts == {False: [0, 2_000, 4_000], True: [0, 4_000]}


def test_a_session_that_ends_just_at_a_tick_is_not_cut_off() -> None:
    assert run(session(opened(), 2_000, 1_000), at(0, 500, 1_000), 2_000, at(2_200), 9_000) == [
        (0, 2_000, [0, 500, 1_000]),
        (2_200, 3_200, [2_200]),
    ]


def test_sessions_are_never_empty() -> None:
    operator = session(opened(), 1_000, 1_000)
    assert run(operator, 1_000, 2_000, 3_000) == []
    assert operator.next_deadline() is None


@pytest.mark.parametrize(
    ("size", "step", "expected"),
    [
        (2, 2, [[1, 2], [3, 4], [5, 6]]),
        (3, 1, [[1, 2, 3], [2, 3, 4], [3, 4, 5], [4, 5, 6], [5, 6, 7]]),
        (3, 2, [[2, 3, 4], [4, 5, 6]]),
        (5, 2, [[2, 3, 4, 5, 6]]),
        (1, 1, [[1], [2], [3], [4], [5], [6], [7]]),
        (8, 3, []),
    ],
)
def test_count_windows(size: int, step: int, expected: list[list[int]]) -> None:
    operator: Operator = CountWindow(BufferFold[int](), size, step)
    assert run(operator, at(1, 2, 3), at(4), at(5, 6, 7)) == [
        (rows[0], rows[-1], rows) for rows in expected
    ]


def states(**conditions: Any) -> list[tuple[int, int, Any, list[int]]]:
    operator = StateWindow(BufferFold[int]())
    values = [0, 2, 1, 3, 6, 7, 1, 2, 9, 0, 6]
    keys = list("xyxyxyxyxyx") if conditions.pop("partition", False) else None
    columns = {name: [meets(v) for v in values] for name, meets in conditions.items()}
    times = range(len(values))
    panes = operator.add(Arrivals(times, times, keys=keys, **columns))
    return [(pane.start, pane.end, pane.key, pane.state) for pane in panes]


def test_a_state_window_has_the_row_that_begins_and_the_one_that_emits() -> None:
    assert states(begins=lambda v: v > 1, emits=lambda v: v > 5) == [
        (1, 4, None, [1, 2, 3, 4]),
        (5, 8, None, [5, 6, 7, 8]),
    ]


def test_the_row_that_begins_a_state_window_does_not_end_it() -> None:
    assert states(begins=lambda v: v > 1, emits=lambda v: v > 1) == [
        (1, 3, None, [1, 2, 3]),
        (4, 5, None, [4, 5]),
        (7, 8, None, [7, 8]),
    ]


def test_with_one_condition_a_row_ends_one_state_window_and_begins_the_next() -> None:
    assert [state for *_, state in states(begins=lambda v: v > 1)] == [
        [1, 2],
        [3],
        [4],
        [5, 6],
        [7],
        [8, 9],
    ]


def test_state_windows_are_apart_by_partition() -> None:
    assert states(begins=lambda v: v > 1, emits=lambda v: v > 5, partition=True) == [
        (1, 5, "y", [1, 3, 5]),
        (4, 8, "x", [4, 6, 8]),
    ]


def test_the_state_window_without_rows_for_longest_gives_way() -> None:
    operator = StateWindow(BufferFold[int](), most_open=2)
    rows = at(0, 1, 2, 3, begins=[True, True, False, True], emits=[False] * 4, keys=list("abac"))
    assert operator.add(rows) == []
    assert operator.evicted == 1
    ends = at(4, 5, begins=[False] * 2, emits=[True] * 2, keys=list("ba"))
    assert [pane.state for pane in operator.add(ends)] == [[0, 2, 5]]


@pytest.mark.parametrize(
    ("window", "kind"),
    [
        (ast.Window("TUMBLING", "SS", (1_000,)), TumblingWindow),
        (ast.Window("HOPPING", "SS", (2_000, 1_000)), HoppingWindow),
        (ast.Window("SLIDING", "SS", (2_000, 0)), SlidingWindow),
        (ast.Window("SESSION", "SS", (2_000, 1_000)), SessionWindow),
        (ast.Window("COUNT", "", (2, 1)), CountWindow),
        (ast.Window("STATE"), StateWindow),
    ],
)
def test_the_window_of_a_query_has_an_operator(window: ast.Window, kind: type) -> None:
    assert isinstance(build(window, BufferFold[int](), Timing()), kind)
    assert build(window, BufferFold[int](), opened()).add(Arrivals([], [])) == []


def test_an_unknown_window_is_refused() -> None:
    with pytest.raises(ValueError, match="there is no window"):
        build(ast.Window("SPIRAL"), BufferFold[int](), opened())


def test_memory_of_a_tumbling_window_does_not_grow_with_its_rows() -> None:
    def grown(count: int) -> int:
        operator = TumblingWindow(Totals(), 10**9, "SS", opened())
        batch = Arrivals([{"v": 1}] * 100, [5] * 100)
        operator.add(batch)
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(count // 100):
            operator.add(batch)
        return tracemalloc.get_traced_memory()[0] - before

    tracemalloc.start()
    try:
        # the least of some attempts: threads that other tests have left allocate as well
        many, few = (min(grown(count) for _ in range(5)) for count in (100_000, 1_000))
        assert abs(many - few) < 2_000  # bytes
    finally:
        tracemalloc.stop()
