"""Event time: order, lateness, several streams, idle ones, clocks that are ahead (4.7)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.ops.watermark import Released, Watermark
from engine.state.codec import CODEC

Marks = Watermark[int]


def give(marks: Marks, *times: int, stream: str = "a", now: int = 0) -> Released[int]:
    """Give rows that are their own timestamps."""
    return marks.add(stream, times, times, now)


def test_rows_are_released_in_order_once_the_watermark_is_there() -> None:
    marks = Marks(["a"], 500)
    assert give(marks, 1_500).rows == []
    assert give(marks, 1_300).rows == []
    assert give(marks, 2_000).rows == [1_300, 1_500]
    assert give(marks, 1_400).late == [1_400]
    released = give(marks, 5_000)
    assert (released.rows, released.times, released.watermark) == ([2_000], [2_000], 4_500)
    assert (marks.late, marks.held) == (1, 1)


def test_a_row_at_the_watermark_is_taken_and_one_before_it_is_late() -> None:
    marks = Marks(["a"], 1_000)
    give(marks, 10_000, 10_500)
    released = give(marks, 11_200)
    assert (released.rows, released.watermark) == ([10_000], 10_200)
    assert give(marks, 10_100).late == [10_100]
    released = give(marks, 10_200)
    assert (released.rows, released.late) == ([10_200], [])


def test_rows_with_the_same_timestamp_keep_the_order_of_arrival() -> None:
    marks = Watermark[str](["a", "b"], 0)
    marks.add("a", ["a1", "a2", "a3"], [5, 9, 5], 0)
    released = marks.add("b", ["b1", "b2"], [5, 9], 0)
    assert released.rows == ["a1", "a3", "b1", "a2", "b2"]


def test_a_row_may_be_late_because_of_one_in_the_same_batch() -> None:
    released = give(Marks(["a"], 0), 5, 9, 4, 9)
    assert (released.rows, released.late, released.late_times) == ([5, 9, 9], [4], [4])


def test_the_slowest_stream_holds_the_watermark() -> None:
    marks = Marks(["a", "b"], 0)
    assert give(marks, 5, 6, 7).watermark is None
    released = give(marks, 6, stream="b")
    assert (released.rows, released.watermark) == ([5, 6, 6], 6)
    assert give(marks, 3).late == [3]
    assert give(marks, 9, stream="b").rows == [7]


def test_an_idle_stream_no_longer_holds_the_watermark() -> None:
    marks = Marks(["a", "b"], 0, idle_timeout=1_000)
    give(marks, 100, stream="b", now=0)
    give(marks, 100, 500, now=900)
    assert marks.next_deadline() == 1_000
    assert marks.tick(999).rows == []
    released = marks.tick(1_000)
    assert (released.rows, released.watermark, marks.idle) == ([500], 500, 1)
    assert marks.next_deadline() == 1_900
    released = give(marks, 450, 700, stream="b", now=1_800)
    assert (released.rows, released.late) == ([], [450])
    assert give(marks, 800, now=1_850).rows == [700]


def test_a_stream_that_never_had_a_row_becomes_idle_too() -> None:
    marks = Marks(["a", "b"], 0, idle_timeout=1_000)
    give(marks, 100, now=5_000)
    assert give(marks, 200, now=5_999).rows == []
    assert give(marks, 300, now=6_000).rows == [100, 200, 300]


def test_when_all_streams_are_idle_the_tolerance_is_not_waited_for() -> None:
    marks = Marks(["a", "b"], 500, idle_timeout=1_000)
    give(marks, 1_000, now=0)
    give(marks, 1_400, stream="b", now=10)
    released = marks.tick(1_010)
    assert (released.rows, released.watermark) == ([1_000, 1_400], 1_400)
    assert marks.next_deadline() is None
    assert give(marks, 1_399, now=2_000).late == [1_399]


def test_without_a_timeout_no_stream_is_idle() -> None:
    marks = Marks(["a", "b"], 0)
    give(marks, 1)
    assert marks.tick(10**15).rows == []
    assert marks.next_deadline() is None


def test_a_row_from_a_fast_clock_does_not_move_the_watermark() -> None:
    marks = Marks(["a"], 0, max_ahead=60_000)
    assert give(marks, 1_000, 4_000_000, 2_000, now=1_000).rows == [1_000, 2_000]
    assert (marks.ahead, marks.held, marks.late) == (1, 1, 0)
    assert give(marks, 3_900_000, now=3_900_000).rows == [3_900_000]
    assert give(marks, 4_000_001, now=4_000_000).rows == [4_000_000, 4_000_001]


def test_a_stream_with_nothing_but_a_fast_clock_becomes_idle() -> None:
    marks = Marks(["a", "b"], 0, idle_timeout=1_000, max_ahead=100)
    for now in (0, 500, 900):
        give(marks, 10**12, stream="b", now=now)
        give(marks, 10, now=now)
    assert give(marks, 20, now=1_000).rows == [10, 10, 10, 20]


def test_what_is_held_can_be_drained() -> None:
    marks = Marks(["a", "b"], 500)
    give(marks, 7, 5)
    released = marks.drain()
    assert (released.rows, released.watermark) == ([5, 7], 7)
    assert marks.drain().rows == []


def test_silence_is_counted_anew_after_a_restart() -> None:
    marks = Marks(["a"], 500, idle_timeout=1_000)
    give(marks, 1_000, now=0)
    other = Marks(["a"], 500, idle_timeout=1_000)
    other.restore(marks.snapshot())
    assert other.tick(50_000).rows == []
    assert other.tick(51_000).rows == [1_000]


def test_rows_of_any_kind_survive_a_restart() -> None:
    def make() -> Watermark[complex]:
        return Watermark(
            ["a"], 5, dump=lambda row: [row.real, row.imag], load=lambda saved: complex(*saved)
        )

    marks, other = make(), make()
    marks.add("a", [1 + 2j], [7], 0)
    other.restore(CODEC.decode(CODEC.encode(marks.snapshot())))
    assert other.drain().rows == [1 + 2j]


# ---- laws

Batch = tuple[str, list[int]]
batches = st.lists(
    st.tuples(st.sampled_from("ab"), st.lists(st.integers(0, 60), min_size=1, max_size=6)),
    max_size=12,
)


def by_the_row(
    streams: Sequence[str], tolerance: int, given_batches: Sequence[Batch], newest: int
) -> tuple[list[tuple[int, int]], list[int]]:
    """Return (timestamp, number) of released rows, and numbers of late ones, as defined."""
    latest: dict[str, int] = {}
    watermark: int | None = None
    taken: list[tuple[int, int]] = []
    late = []
    rows = [(stream, time) for stream, times in given_batches for time in times]
    for number, (stream, time) in enumerate(rows):
        if watermark is not None and time < watermark:
            late.append(number)
            continue
        taken.append((time, number))
        if time <= newest:
            latest[stream] = max(time, latest.get(stream, time))
        if len(latest) == len(streams):
            watermark = max(
                min(latest.values()) - tolerance, -100 if watermark is None else watermark
            )
    done = -100 if watermark is None else watermark
    return sorted(row for row in taken if row[0] <= done), late


@pytest.mark.parametrize("streams", ["a", "ab"])
@given(
    rows=batches,
    tolerance=st.sampled_from([0, 5, 20]),
    max_ahead=st.sampled_from([None, 30]),
    restarts=st.booleans(),
)
def test_batches_are_treated_as_if_rows_came_one_by_one(
    streams: str, rows: list[Batch], tolerance: int, max_ahead: int | None, restarts: bool
) -> None:
    def make() -> Watermark[int]:
        return Watermark(list(streams), tolerance, max_ahead=max_ahead)

    rows = [batch for batch in rows if batch[0] in streams]
    marks, number = make(), 0
    released: list[tuple[int, int]] = []
    late: list[int] = []
    for stream, times in rows:
        found = marks.add(stream, range(number, number + len(times)), times, 0)
        number += len(times)
        released += zip(found.times, found.rows, strict=True)
        late += found.late
        if restarts:
            value: Any = CODEC.decode(CODEC.encode(marks.snapshot()))
            marks = make()
            marks.restore(value)
    newest = 10**9 if max_ahead is None else max_ahead
    assert (released, late) == by_the_row(streams, tolerance, rows, newest)
    assert marks.held + marks.late + len(released) == number
