"""Files that roll: when, under which names, and how many are kept."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import Engine
from engine.clock import VirtualClock
from engine.run.rule import Rule
from tests.conftest import eventually

START = 1_704_067_200_000
MINUTE = 60_000


class Setting:
    """An engine in virtual time with a rule that writes to a file."""

    def __init__(self, engine: Engine, clock: VirtualClock, root: Path) -> None:
        self.engine = engine
        self.clock = clock
        self.root = root
        self.rule: Rule | None = None

    async def start(self, path: str = "out.log", **properties: Any) -> None:
        actions = [{"file": {"path": path, "sendSingle": True, **properties}}]
        self.rule = await self.engine.start(
            {"id": "r", "sql": "SELECT * FROM demo", "actions": actions}
        )
        self.sent = 0

    async def write(self, *numbers: int) -> None:
        """Give the sink a batch, and return when it is done with it."""
        assert self.rule is not None
        batch = [{"n": number} for number in numbers]
        with anyio.fail_after(5):
            while not await self.engine.push("demo", batch):
                await anyio.sleep(0.002)
        self.sent += len(numbers)
        rule = self.rule
        await eventually(lambda: rule.parts and rule.parts.sinks[0].metrics.processed == self.sent)

    async def wait(self, milliseconds: int) -> None:
        await self.clock.advance_to(self.clock.now() + milliseconds)

    @property
    def files(self) -> dict[str, list[int]]:
        """The numbers in each file, by its name."""
        while True:
            paths = sorted(self.root.glob("*.log"))
            try:
                texts = [path.read_text() for path in paths]
            except FileNotFoundError:  # it has just rolled
                continue
            return {
                path.name: [json.loads(line)["n"] for line in text.splitlines()]
                for path, text in zip(paths, texts, strict=True)
            }

    @property
    def numbers(self) -> list[int]:
        """All numbers, file by file."""
        return [number for numbers in self.files.values() for number in numbers]


@asynccontextmanager
async def setting(root: Path) -> AsyncIterator[Setting]:
    clock = VirtualClock(START)
    async with Engine(root, clock=clock, drain=0.5) as engine:
        engine.define_stream("demo", type="memory", datasource="demo")
        yield Setting(engine, clock, root)


async def test_by_default_nothing_rolls(tmp_path: Path) -> None:
    async with setting(tmp_path) as here:
        await here.start()
        for number in range(3):
            await here.write(number)
            await here.wait(10_000 * MINUTE)
        assert here.files == {"out.log": [0, 1, 2]}


@pytest.mark.parametrize(
    ("pattern", "name"),
    [("prefix", "{}-out.log"), ("suffix", "out-{}.log"), ("none", "out-{}.log")],
)
async def test_a_file_that_is_old_enough_is_finished_even_if_nothing_comes(
    tmp_path: Path, pattern: str, name: str
) -> None:
    async with setting(tmp_path) as here:
        await here.start(rollingInterval="10m", rollingNamePattern=pattern)
        await here.write(1)
        await here.wait(9 * MINUTE)
        await here.write(2)
        assert here.files == {"out.log": [1, 2]}
        await here.wait(MINUTE)
        first = name.format(START + 10 * MINUTE)
        await eventually(lambda: here.files == {first: [1, 2]})
        await here.wait(60 * MINUTE)
        await here.write(3)
        await here.wait(10 * MINUTE)
        second = name.format(START + 80 * MINUTE)
        await eventually(lambda: here.files == {first: [1, 2], second: [3]})


async def test_a_batch_is_divided_where_files_have_enough(tmp_path: Path) -> None:
    async with setting(tmp_path) as here:
        await here.start(rollingCount=4)
        await here.write(0)
        await here.write(*range(1, 10))
        await here.engine.stop("r")
        assert here.files == {
            f"out-{START}.log": [0, 1, 2, 3],
            f"out-{START + 1}.log": [4, 5, 6, 7],
            "out.log": [8, 9],
        }
        await here.start(rollingCount=4)
        await here.write(10, 11, 12)
        assert here.files[f"out-{START + 2}.log"] == [8, 9, 10, 11]
        assert here.files["out.log"] == [12]


async def test_a_file_ends_with_the_message_that_makes_it_large_enough(tmp_path: Path) -> None:
    async with setting(tmp_path) as here:
        await here.start(rollingSize="20B")
        await here.write(*range(1, 8))  # 8 bytes each
        assert list(here.files.values()) == [[1, 2, 3], [4, 5, 6], [7]]


@pytest.mark.parametrize("pattern", ["prefix", "suffix"])
async def test_the_newest_finished_files_are_kept(tmp_path: Path, pattern: str) -> None:
    others = ["2024-out.log", "out-2024.log", "out-1704067200000.log.gz", "other-1704067200000.log"]
    for name in others:
        (tmp_path / name).touch()
    async with setting(tmp_path) as here:
        await here.start(rollingCount=1, rollingKeep=3, rollingNamePattern=pattern)
        for number in range(6):
            await here.write(number)
            await here.wait(1_000)
        assert here.numbers == [3, 4, 5]
        assert {path.name for path in tmp_path.iterdir()}.issuperset(others)


async def test_a_file_of_an_earlier_run_is_finished_by_its_last_change(tmp_path: Path) -> None:
    (tmp_path / "out.log").write_text('{"n":1}\n')
    async with setting(tmp_path) as here:
        await here.wait(int((tmp_path / "out.log").stat().st_mtime * 1000) - here.clock.now())
        await here.wait(11 * MINUTE)
        await here.start(rollingInterval="10m")
        await here.write(2)
        assert list(here.files.values()) == [[1], [2]]


@pytest.mark.parametrize("properties", [{"fileType": "json"}, {"compression": "gzip"}, {}])
@pytest.mark.parametrize("method", ["", "zstd"])
async def test_messages_of_an_earlier_run_are_counted(
    tmp_path: Path, properties: dict[str, Any], method: str
) -> None:
    properties = {"compression": method, **properties}
    async with setting(tmp_path) as here:
        for number in range(4):
            await here.start("out", rollingCount=3, **properties)
            await here.write(number)
            await here.engine.stop("r")
            assert len(list(tmp_path.glob("out*"))) == 1 + (number == 3)


@pytest.mark.parametrize(
    "properties", [{"fileType": "json"}, {"compression": "gzip"}, {"fsync": True}]
)
async def test_every_kind_of_file_rolls(tmp_path: Path, properties: dict[str, Any]) -> None:
    async with setting(tmp_path) as here:
        await here.start("out", rollingCount=2, **properties)
        await here.write(1, 2, 3, 4, 5)
        texts = []
        for path in sorted(tmp_path.glob("out*"), key=lambda path: (path.name == "out", path)):
            data = path.read_bytes()
            texts.append(gzip.decompress(data) if "compression" in properties else data)
        if "fileType" in properties:
            assert list(map(json.loads, texts)) == [
                [{"n": 1}, {"n": 2}],
                [{"n": 3}, {"n": 4}],
                [{"n": 5}],
            ]
        else:
            assert texts == [b'{"n":1}\n{"n":2}\n', b'{"n":3}\n{"n":4}\n', b'{"n":5}\n']


async def test_each_computed_path_rolls_by_itself(tmp_path: Path) -> None:
    async with setting(tmp_path) as here:
        await here.start("{{.n}}.log", rollingCount=2)
        await here.write(1, 2, 1, 1, 2)
        assert here.files == {f"1-{START}.log": [1, 1], f"2-{START}.log": [2, 2], "1.log": [1]}


async def test_files_roll_in_time_however_many_there_are(tmp_path: Path) -> None:
    numbers = range(300)  # more than are open at once
    async with setting(tmp_path) as here:
        await here.start("{{.n}}.log", rollingInterval="10m")
        await here.write(*numbers)
        await here.wait(9 * MINUTE)
        await here.write(0, 1)  # which were closed meanwhile
        await here.wait(MINUTE)
        names = {f"{number}-{START + 10 * MINUTE}.log": [number] for number in numbers}
        names |= {f"{number}-{START + 10 * MINUTE}.log": [number, number] for number in (0, 1)}
        await eventually(lambda: here.files == names)
        await here.write(*numbers)
        await here.engine.stop("r")
        assert here.files == names | {f"{number}.log": [number] for number in numbers}


async def test_a_file_that_was_replaced_while_it_was_closed_begins_anew(tmp_path: Path) -> None:
    numbers = range(300)
    async with setting(tmp_path) as here:
        await here.start("{{.n}}.log", rollingInterval="10m")
        await here.write(*numbers)
        await here.wait(5 * MINUTE)
        (tmp_path / "0.log").rename(tmp_path / "moved.log")
        await here.write(0)
        await here.wait(5 * MINUTE)
        finished = {f"{number}-{START + 10 * MINUTE}.log": [number] for number in numbers[1:]}
        await eventually(lambda: here.files == finished | {"moved.log": [0], "0.log": [0]})
        await here.wait(5 * MINUTE)
        finished |= {f"0-{START + 15 * MINUTE}.log": [0], "moved.log": [0]}
        await eventually(lambda: here.files == finished)


EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(1, 9)),
        st.tuples(st.just("wait"), st.integers(1, 15)),
        st.tuples(st.just("restart"), st.just(0)),
        st.tuples(st.just("move"), st.just(0)),
    ),
    max_size=10,
)


@settings(max_examples=40)
@given(events=EVENTS, count=st.integers(0, 5), size=st.integers(0, 60))
async def test_whatever_happens_each_message_is_in_one_file_in_order(
    tmp_path_factory: pytest.TempPathFactory,
    events: list[tuple[str, int]],
    count: int,
    size: int,
) -> None:
    root = tmp_path_factory.mktemp("story")
    properties = {"rollingCount": count, "rollingSize": size, "rollingInterval": "10m"}
    async with setting(root) as here:
        await here.start(**properties)
        written = moved = 0
        for what, number in events:
            if what == "write":
                await here.write(*range(written, written + number))
                written += number
            elif what == "wait":
                await here.wait(number * MINUTE)
            elif what == "move" and (root / "out.log").exists():
                (root / "out.log").rename(root / f"out-moved-{moved}.log")
                moved += 1
            elif what == "restart":
                await here.engine.stop("r")
                await here.start(**properties)
        await here.engine.stop("r")
        files = here.files
        assert sorted(here.numbers) == list(range(written))
        assert all(numbers == sorted(numbers) for numbers in files.values())
        if count:
            assert all(len(numbers) <= count for numbers in files.values())
