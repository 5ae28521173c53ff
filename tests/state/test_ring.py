"""Store and forward: in order, bounded, nothing lost without being told, whatever the disk does."""

from __future__ import annotations

import itertools
import resource
import shutil
import tempfile
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from engine.state.errors import StoreFailed
from engine.state.options import CacheOptions
from engine.state.ring import Loss, Reason, Ring, remove_ring


def options(**changes: Any) -> CacheOptions:
    given = {
        "memory_cache_threshold": 8,
        "buffer_page_size": 4,
        "max_disk_cache": 1024,
        **changes,
    }
    return CacheOptions(enable_cache=True, **given)


def records(first: int, count: int, size: int = 0) -> list[bytes]:
    return [(b"%d" % n).ljust(size) for n in range(first, first + count)]


def drain(ring: Ring) -> list[int]:
    found: list[int] = []
    while (page := ring.peek()) is not None:
        found += map(int, page.records)
        ring.commit(page)
    return found


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.seg"))


@contextmanager
def full_disk(size: int = 4) -> Iterator[None]:
    """Let no file of this process grow beyond some bytes, as a disk does that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# -- the law -----------------------------------------------------------------------------------


class RingMachine(RuleBasedStateMachine):
    """Every record is committed, told as lost or still there, in the order in which it came."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.options = options(max_disk_cache=16, memory_cache_size=400)
        self.ring = Ring(self.folder / "ring", self.options, fsync=False)
        self.left: deque[tuple[int, bytes, int]] = deque()
        self.written = 0
        self.page: Any = None

    def teardown(self) -> None:
        self.ring.close()
        shutil.rmtree(self.folder)

    def account(self) -> None:
        for loss in self.ring.losses():
            numbers = set(range(loss.first, loss.first + loss.records))
            lost = [entry for entry in self.left if entry[0] in numbers]
            assert len(lost) == loss.records
            assert sum(rows for _, _, rows in lost) == loss.rows
            self.left = deque(entry for entry in self.left if entry[0] not in numbers)

    @rule(rows=st.lists(st.integers(0, 6), max_size=6), size=st.integers(1, 150))
    def append(self, rows: list[int], size: int) -> None:
        new = records(self.written, len(rows), size)
        self.written += len(rows)
        numbers = self.ring.append(new, rows)
        self.left.extend(zip(numbers, new, rows, strict=True))
        self.account()

    @rule()
    def peek(self) -> None:
        page = self.ring.peek()
        self.account()
        assert (page is None) == (not self.left)
        if page is not None:
            count = len(page.records)
            expected = [self.left[n] for n in range(count)]
            numbers = range(page.first, page.first + count)
            assert list(zip(numbers, page.records, page.rows, strict=True)) == expected
            assert self.page is None or self.page is page
        self.page = page

    @precondition(lambda self: self.page is not None)
    @rule()
    def commit(self) -> None:
        self.ring.commit(self.page)
        for _ in self.page.records:
            self.left.popleft()
        self.page = None

    @rule()
    def flush(self) -> None:
        self.ring.flush()
        self.account()
        assert not self.left or self.ring.durable_to > self.left[-1][0]

    @rule()
    def reopen(self) -> None:
        self.ring.close()
        self.account()
        self.page = None
        self.ring = Ring(self.folder / "ring", self.options, fsync=False)
        assert not self.ring.losses()

    @rule()
    def die(self) -> None:
        """Look at the files as a process would that comes after a sudden death."""
        copy = self.folder / "copy"
        shutil.copytree(self.folder / "ring", copy)
        other = Ring(copy, self.options, fsync=False)
        durable = [entry[1] for entry in self.left if entry[0] < self.ring.durable_to]
        found: list[bytes] = []
        while (page := other.peek()) is not None:
            found += page.records
            other.commit(page)
        assert not other.losses()
        assert found == durable
        other.close()
        shutil.rmtree(copy)

    @invariant()
    def counts_are_exact(self) -> None:
        assert self.ring.records == len(self.left)
        assert self.ring.rows == sum(rows for _, _, rows in self.left)
        held = sum(self.page.rows) if self.page is not None else 0
        assert self.ring.disk_rows <= 16 + max(held, 6)


TestRing = RingMachine.TestCase
TestRing.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


# -- memory first, then disk -------------------------------------------------------------------


def test_nothing_is_written_while_memory_is_enough(tmp_path: Path) -> None:
    ring = Ring(tmp_path, options())
    for first in range(0, 80, 8):
        assert ring.has_room(8, 100)
        ring.append(records(first, 8))
        assert not ring.has_room(1, 1)
        assert drain(ring) == list(range(first, first + 8))
    assert not files(tmp_path)


def test_what_is_beyond_memory_goes_to_the_disk_and_out_in_order(tmp_path: Path) -> None:
    ring = Ring(tmp_path, options())
    assert ring.append(records(0, 100)) == range(100)
    assert ring.disk_rows == 92
    assert ring.durable_to == 92
    page = ring.peek()
    assert page is not None
    assert ring.peek() is page  # until it is acknowledged
    ring.append(records(100, 10))
    assert drain(ring) == list(range(110))
    assert not files(tmp_path)
    assert (ring.rows, ring.disk_bytes) == (0, 0)


def test_large_records_leave_memory_by_their_bytes(tmp_path: Path) -> None:
    ring = Ring(tmp_path, options(memory_cache_size=1000))
    ring.append(records(0, 4, size=600))
    assert ring.disk_rows >= 3


def test_a_page_holds_no_more_rows_than_its_size_unless_one_record_does(tmp_path: Path) -> None:
    ring = Ring(tmp_path, options())
    ring.append(records(0, 4), [3, 2, 9, 1])
    sizes = []
    while (page := ring.peek()) is not None:
        sizes.append(page.rows)
        ring.commit(page)
    assert sizes == [[3], [2], [9], [1]]


def test_small_pages_are_sent_together(tmp_path: Path) -> None:
    ring = Ring(tmp_path, options())
    for number in range(6):
        ring.append(records(number, 1))
        ring.flush()
    page = ring.peek()
    assert page is not None
    assert page.records == records(0, 4)
    assert drain(ring) == list(range(6))


def test_only_the_peeked_page_can_be_committed(tmp_path: Path) -> None:
    ring = Ring(tmp_path, options())
    ring.append(records(0, 8))
    page = ring.peek()
    assert page is not None
    ring.commit(page)
    with pytest.raises(ValueError, match="peeked last"):
        ring.commit(page)


def test_threads_may_fill_and_empty_it_together(tmp_path: Path) -> None:
    ring = Ring(tmp_path, options(max_disk_cache=1 << 20), fsync=False)
    count = 20_000

    def fill() -> None:
        for first in range(0, count, 10):
            ring.append(records(first, 10))

    thread = threading.Thread(target=fill)
    thread.start()
    found: list[int] = []
    while len(found) < count:
        found += drain(ring)
    thread.join()
    assert found == list(range(count))


# -- bounds ------------------------------------------------------------------------------------


def test_the_oldest_rows_beyond_the_bound_go_and_are_told(tmp_path: Path) -> None:
    ring = Ring(tmp_path, options(max_disk_cache=16))
    ring.append(records(0, 40))
    losses = ring.losses()
    assert {loss.reason for loss in losses} == {Reason.OVERFLOW}
    assert sum(loss.rows for loss in losses) == 16
    assert ring.losses() == []
    assert drain(ring) == list(range(16, 40))


def test_a_page_in_hand_is_never_dropped(tmp_path: Path) -> None:
    ring = Ring(tmp_path, options(max_disk_cache=16))
    ring.append(records(0, 20))
    page = ring.peek()
    assert page is not None
    ring.append(records(20, 100))
    lost = sum(loss.rows for loss in ring.losses())
    assert ring.peek() is page
    assert page.records == records(0, 4)
    left = drain(ring)
    assert left == [0, 1, 2, 3, *range(4 + lost, 120)]


def test_files_stay_within_their_bytes(tmp_path: Path) -> None:
    ring = Ring(tmp_path, options(max_disk_cache=1_000_000, max_disk_cache_size=500_000))
    lost = 0
    for first in range(0, 10_000, 100):
        ring.append(records(first, 100, size=200))
        lost += sum(loss.rows for loss in ring.losses())
        on_disk = sum(path.stat().st_size for path in files(tmp_path))
        assert on_disk == ring.disk_bytes <= 500_000
    assert lost
    assert drain(ring) == list(range(lost, 10_000))


def test_a_record_larger_than_everything_is_lost_and_told(tmp_path: Path) -> None:
    ring = Ring(tmp_path, options(max_disk_cache_size=10_000))
    ring.append(records(0, 2))
    ring.append([b"x" * 20_000], [3])
    ring.append(records(3, 2))
    ring.flush()
    assert ring.losses() == [Loss(Reason.TOO_LARGE, 2, 1, 3)]
    assert drain(ring) == [0, 1, 3, 4]


def test_a_large_record_in_hand_is_delivered_from_memory(tmp_path: Path) -> None:
    ring = Ring(tmp_path, options(max_disk_cache_size=10_000))
    ring.append([b"x" * 20_000])
    page = ring.peek()
    ring.append(records(1, 20))
    ring.flush()
    assert ring.peek() is page
    assert page is not None
    ring.commit(page)
    assert ring.losses() == []
    assert drain(ring) == list(range(1, 21))


# -- restart -----------------------------------------------------------------------------------


def test_what_is_left_at_the_end_is_there_at_the_start(tmp_path: Path) -> None:
    ring = Ring(tmp_path, options())
    ring.append(records(0, 30), [2] * 30)
    page = ring.peek()
    assert page is not None
    ring.commit(page)
    ring.peek()
    ring.close()
    again = Ring(tmp_path, options())
    assert (again.records, again.rows) == (28, 56)
    assert again.append(records(30, 1)) == range(30, 31)
    assert drain(again) == list(range(2, 31))


def test_what_is_left_is_deleted_if_asked(tmp_path: Path) -> None:
    folder = tmp_path / "ring"
    ring = Ring(folder, options(clean_cache_at_stop=True))
    ring.append(records(0, 100))
    assert files(folder)
    ring.close()
    assert not folder.exists()


def test_a_deleted_rule_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "ring"
    ring = Ring(folder, options())
    with pytest.raises(StoreFailed, match="in use"):
        remove_ring(folder)
    ring.append(records(0, 100))
    ring.close()
    remove_ring(folder)
    remove_ring(folder)
    assert not folder.exists()


def test_a_queue_has_one_user(tmp_path: Path) -> None:
    ring = Ring(tmp_path, options())
    with pytest.raises(StoreFailed, match="in use") as error:
        Ring(tmp_path, options())
    assert "another engine" in error.value.hint
    ring.close()
    Ring(tmp_path, options()).close()


def test_a_file_of_another_version_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "0000000001.seg").write_bytes(b"HRRING9\nwhatever")
    for _ in range(2):
        with pytest.raises(StoreFailed, match="another version"):
            Ring(tmp_path, options())
    assert files(tmp_path)


def test_a_place_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreFailed, match="file"):
        Ring(tmp_path / "file" / "ring", options())


# -- damage ------------------------------------------------------------------------------------


def stored(folder: Path, count: int = 100) -> bytes:
    ring = Ring(folder, options())
    ring.append(records(0, count))
    ring.close()
    (path,) = files(folder)
    return path.read_bytes()


@pytest.mark.parametrize("number", [0, 2])
@pytest.mark.parametrize("place", ["header", "body", "mark"])
def test_a_damaged_page_is_passed_over_and_counted(
    tmp_path: Path, place: str, number: int, caplog: pytest.LogCaptureFixture
) -> None:
    data = bytearray(stored(tmp_path))
    page = -1
    for _ in range(number + 1):
        page = data.index(b"\xf1HRP", page + 1)
    data[page + {"mark": 1, "header": 10, "body": 50}[place]] ^= 0xFF
    files(tmp_path)[0].write_bytes(data)
    ring = Ring(tmp_path, options())
    first = 4 * number
    assert drain(ring) == [*range(first), *range(first + 4, 100)]
    assert ring.losses() == [Loss(Reason.DAMAGED, first, 4, 4)]
    assert "4 rows" in caplog.text
    assert ring.rows == 0


@pytest.mark.parametrize("cut", [1, 20, 47])
def test_an_unfinished_write_is_left_out(tmp_path: Path, cut: int) -> None:
    data = stored(tmp_path)
    files(tmp_path)[0].write_bytes(data[:-cut])
    for rows in (96, 97, 98):  # nor does it seem to be damage later on
        ring = Ring(tmp_path, options())
        assert ring.rows == rows
        ring.append(records(rows, 1))
        ring.close()
        assert ring.losses() == []
    assert drain(Ring(tmp_path, options())) == list(range(99))


def test_damage_anywhere_is_survived(tmp_path: Path) -> None:
    data = stored(tmp_path / "good")
    for place in range(len(data)):
        if place in (6, 7):
            continue  # the version: another test
        folder = tmp_path / "bad"
        folder.mkdir()
        bad = bytearray(data)
        bad[place] ^= 0x5A
        (folder / "0000000001.seg").write_bytes(bad)
        ring = Ring(folder, options(), fsync=False)
        found = drain(ring)
        lost = [n for loss in ring.losses() for n in range(loss.first, loss.first + loss.records)]
        assert found == sorted(found)
        assert not {*found} & {*lost}
        end = len(found) + len(lost)
        # the last page has nothing behind it that would tell how much was there
        assert {*found, *lost} == {*range(end)}
        assert end in (96, 100)
        assert ring.rows == 0
        ring.close()
        shutil.rmtree(folder)


def test_a_file_that_is_lost_is_counted_by_the_next(tmp_path: Path) -> None:
    ring = Ring(tmp_path, options(max_disk_cache_size=700_000))
    ring.append(records(0, 1000, size=200))
    ring.close()
    first, second, *_ = files(tmp_path)
    kept = drain_copy(tmp_path)
    second.write_bytes(b"\0" * second.stat().st_size)
    again = Ring(tmp_path, options())
    (loss,) = again.losses()
    assert loss.reason is Reason.DAMAGED
    left = drain(again)
    assert sorted([*left, *range(loss.first, loss.first + loss.records)]) == kept
    assert first != second


def drain_copy(folder: Path) -> list[int]:
    copy = folder / "copy"
    shutil.copytree(folder, copy)
    ring = Ring(copy, options())
    found = drain(ring)
    ring.close()
    shutil.rmtree(copy)
    return found


def test_a_file_that_vanishes_under_way_is_counted(tmp_path: Path) -> None:
    ring = Ring(tmp_path, options(max_disk_cache=4096))
    ring.append(records(0, 1000, size=200))
    before = ring.rows
    first = files(tmp_path)[0]
    assert len(files(tmp_path)) == 1
    first.write_bytes(b"")
    left = drain(ring)
    lost = sum(loss.rows for loss in ring.losses())
    assert lost + len(left) == before
    assert (ring.rows, ring.records) == (0, 0)


def test_files_that_somebody_deletes_are_told_exactly_and_a_new_one_is_begun(
    tmp_path: Path,
) -> None:
    ring = Ring(tmp_path / "ring", options(max_disk_cache_size=700_000))
    ring.append(records(0, 1000, size=200))
    assert len(files(tmp_path / "ring")) > 2
    page = ring.peek()
    assert page is not None
    ring.commit(page)
    page = ring.peek()  # it is sent right now
    assert page is not None
    shutil.rmtree(tmp_path / "ring")
    ring.append(records(1000, 20))
    (*_, last) = losses = ring.losses()
    assert {loss.reason for loss in losses} == {Reason.REMOVED}
    assert losses[0].first == page.first + len(page.records)
    assert all(one.first + one.records == two.first for one, two in itertools.pairwise(losses))
    ring.commit(page)
    assert (ring.rows, ring.records) == (1020 - last.first - last.records,) * 2
    ring.close()
    again = Ring(tmp_path / "ring", options())
    assert drain(again) == list(range(last.first + last.records, 1020))


def test_deleted_files_are_told_at_the_end_if_nothing_came_before(tmp_path: Path) -> None:
    ring = Ring(tmp_path / "ring", options())
    ring.append(records(0, 100))
    ring.flush()
    shutil.rmtree(tmp_path / "ring")
    ring.close()
    assert sum(loss.rows for loss in ring.losses()) == 100


# -- a full disk -------------------------------------------------------------------------------


def test_without_a_disk_the_memory_is_the_bound(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ring = Ring(tmp_path, options())
    with full_disk():
        ring.append(records(0, 100))
        assert ring.problem
        with pytest.raises(StoreFailed, match="large"):
            ring.flush()
    losses = ring.losses()
    assert {loss.reason for loss in losses} == {Reason.DISK_FULL}
    assert sum(loss.rows for loss in losses) == 92
    assert caplog.text.count("takes no rows") == 1
    ring.append(records(100, 10))
    assert ring.problem == ""
    assert drain(ring) == list(range(92, 110))


def test_a_full_disk_drops_the_oldest_to_take_the_newest(tmp_path: Path) -> None:
    ring = Ring(tmp_path, options())
    ring.append(records(0, 58))  # one file
    size = files(tmp_path)[0].stat().st_size
    with full_disk(size):
        ring.append(records(58, 30))
    lost = sum(loss.rows for loss in ring.losses())
    assert 0 < lost < 80
    assert drain(ring) == list(range(lost, 88))


def test_what_cannot_be_written_at_the_end_is_told(tmp_path: Path) -> None:
    ring = Ring(tmp_path, options())
    ring.append(records(0, 6))
    ring.peek()
    with full_disk():
        ring.close()
    assert sum(loss.rows for loss in ring.losses()) == 6
    assert ring.rows == 0


def test_a_large_record_in_hand_at_the_end_is_told(tmp_path: Path) -> None:
    ring = Ring(tmp_path, options(max_disk_cache_size=10_000))
    ring.append([b"x" * 20_000], [5])
    ring.peek()
    ring.append(records(1, 20))
    ring.close()
    assert ring.losses() == [Loss(Reason.TOO_LARGE, 0, 1, 5)]
    assert drain(Ring(tmp_path, options())) == list(range(1, 21))
