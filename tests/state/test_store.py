"""Checkpoints: written whole or not at all, found again after anything that happens to the disk."""

from __future__ import annotations

import logging
import os
import random
import shutil
import sqlite3
from contextlib import suppress
from pathlib import Path

import pytest

from engine.state.errors import MissingParts, StoreFailed
from engine.state.store import CheckpointStore, Loaded


def open_store(folder: Path, **options: int | float) -> CheckpointStore:
    return CheckpointStore(folder / "c.db", **options)  # type: ignore[arg-type]


def number_of(loaded: Loaded) -> int:
    assert loaded.checkpoint is not None
    return loaded.checkpoint.number


def change(folder: Path, statement: str, *values: object) -> None:
    connection = sqlite3.connect(folder / "c.db")
    with connection:
        connection.execute(statement, values)
    connection.close()


def test_the_newest_checkpoint_is_loaded_as_it_was_saved(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.save("r", 1, {"a": b"1"})
    store.save("r", 2, {"a": b"2", "b": b""}, {"offsets": {"s": (1, 2)}}, at=1234)
    store.close()
    found = open_store(tmp_path).load("r").checkpoint
    assert found is not None
    assert (found.number, found.at) == (2, 1234)
    assert found.parts == {"a": b"2", "b": b""}
    assert found.meta == {"offsets": {"s": (1, 2)}}


@pytest.mark.parametrize("rule", ["0001", "rule-1", "select", "x'; DROP TABLE part; --", "é"])
def test_any_rule_name_will_do(tmp_path: Path, rule: str) -> None:
    store = open_store(tmp_path)
    store.save(rule, 1, {"a": b"1"})
    store.save("other", 1, {"a": b"2"})
    loaded = store.load(rule)
    assert loaded.checkpoint is not None
    assert loaded.checkpoint.parts == {"a": b"1"}
    assert store.delete(rule)
    assert not store.delete(rule)
    assert store.load(rule) == Loaded(None)
    assert number_of(store.load("other")) == 1


def test_the_last_few_are_kept(tmp_path: Path) -> None:
    store = open_store(tmp_path, keep=2)
    store.save("r", 1, {"big": b"x" * 10_000, "small": b"1"})
    for number in range(2, 6):
        store.save("r", number, {"big": None, "small": b"%d" % number}, base=number - 1)
    (summary,) = store.list()
    assert (summary.rule_id, summary.numbers) == ("r", (5, 4))
    assert summary.size == 10_002  # the unchanged part is there once
    found = store.load("r").checkpoint
    assert found is not None
    assert found.parts == {"big": b"x" * 10_000, "small": b"5"}


def test_numbers_only_grow(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    assert store.newest("r") == 0
    store.save("r", 7, {})
    for number in (7, 6):
        with pytest.raises(StoreFailed, match="must come after 7"):
            store.save("r", number, {"a": b"1"})
    assert store.newest("r") == 7


@pytest.mark.parametrize("base", [None, 1, 9])
def test_parts_that_are_not_there_cannot_be_built_on(tmp_path: Path, base: int | None) -> None:
    store = open_store(tmp_path)
    store.save("r", 1, {"a": b"1"})
    with pytest.raises(MissingParts):
        store.save("r", 2, {"a": b"2", "b": None}, base=base)
    assert number_of(store.load("r")) == 1


# -- damage ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("UPDATE part SET data = x'00' WHERE number = 3", "part a is damaged"),
        ("UPDATE part SET data = 'text' WHERE number = 3", "part a is damaged"),
        ("DELETE FROM part WHERE number = 3", "part a is missing"),
        ("UPDATE checkpoint SET checksum = 1 WHERE number = 3", "manifest is damaged"),
        ("UPDATE checkpoint SET manifest = x'93' WHERE number = 3", "manifest is damaged"),
    ],
)
def test_a_damaged_checkpoint_is_skipped_loudly(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, statement: str, reason: str
) -> None:
    store = open_store(tmp_path)
    for number in (1, 2, 3):
        store.save("r", number, {"a": b"%d" % number})
    change(tmp_path, statement)
    loaded = store.load("r")
    assert number_of(loaded) == 2
    assert [skipped.number for skipped in loaded.skipped] == [3]
    assert reason in loaded.skipped[0].reason
    errors = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert any("checkpoint 3 is skipped" in line for line in errors)
    assert any("goes on from checkpoint 2" in line for line in errors)
    store.save("r", 4, {"a": None}, base=2)  # goes on from what is sound
    found = store.load("r").checkpoint
    assert found is not None
    assert (found.number, found.parts) == (4, {"a": b"2"})


def test_a_file_that_is_no_database_is_moved_aside(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "c.db").write_bytes(b"rubbish " * 1000)
    store = open_store(tmp_path)
    assert store.moved_aside == (tmp_path / "c.db.damaged-1",)
    assert store.moved_aside[0].read_bytes().startswith(b"rubbish")
    loaded = store.load("r")
    assert loaded.checkpoint is None
    assert "c.db.damaged-1" in loaded.skipped[0].reason
    assert any("moved to" in record.getMessage() for record in caplog.records)
    store.save("r", 1, {"a": b"1"})
    assert store.load("r").skipped == ()


def test_a_file_that_is_removed_while_it_is_open_is_told_and_written_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "data"
    store = open_store(folder)
    store.save("r", 1, {"a": b"1"})
    shutil.rmtree(folder)
    with pytest.raises(MissingParts):  # what hasn't changed isn't anywhere any more
        store.save("r", 2, {"a": None}, base=1)
    store.save("r", 2, {"a": b"2"})
    (told,) = [record.getMessage() for record in caplog.records]
    assert "c.db was removed or replaced while it was open" in told
    assert number_of(open_store(folder).load("r")) == 2


def test_damage_anywhere_is_survived(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    for number in (1, 2, 3):
        for rule in "abcdefgh":
            store.save(rule, number, {f"p{n}": os.urandom(3000) for n in range(3)})
    store.close()
    good = (tmp_path / "c.db").read_bytes()
    chance = random.Random(4)
    moved = skipped = usable = 0
    for round_ in range(120):
        folder = tmp_path / str(round_)
        folder.mkdir()
        bad = bytearray(good)
        for _ in range(chance.choice([1, 10, 200])):
            bad[chance.randrange(len(bad))] = chance.randrange(256)
        if chance.random() < 0.3:
            del bad[chance.randrange(len(bad)) :]
        (folder / "c.db").write_bytes(bad)
        with suppress(StoreFailed):  # such as a version of the schema from the future
            damaged = open_store(folder)
            for rule in "abcdefgh":
                loaded = damaged.load(rule)
                skipped += len(loaded.skipped)
                if loaded.checkpoint is not None:
                    assert all(len(data) == 3000 for data in loaded.checkpoint.parts.values())
            damaged.list()
            damaged.save("a", damaged.newest("a") + 1, {"p": b"new"})
            found = damaged.load("a").checkpoint
            assert found is not None
            assert found.parts == {"p": b"new"}
            moved += len(damaged.moved_aside)
            damaged.close()
            usable += 1
    assert usable > 100
    assert moved
    assert skipped


def test_a_file_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    open_store(tmp_path).close()
    change(tmp_path, "PRAGMA user_version = 9")
    before = (tmp_path / "c.db").read_bytes()
    with pytest.raises(StoreFailed, match="newer version"):
        open_store(tmp_path)
    assert (tmp_path / "c.db").read_bytes() == before


# -- the disk ----------------------------------------------------------------------------------


def test_a_full_disk_leaves_the_checkpoints_before(tmp_path: Path) -> None:
    store = open_store(tmp_path, max_bytes=100_000)
    store.save("r", 1, {"a": b"x" * 20_000})
    with pytest.raises(StoreFailed, match="disk is full") as error:
        store.save("r", 2, {"a": b"y" * 200_000})
    assert error.value.hint
    assert number_of(store.load("r")) == 1
    store.save("r", 3, {"a": b"z" * 20_000})
    assert number_of(store.load("r")) == 3


def test_a_locked_file_is_an_error_in_plain_words(tmp_path: Path) -> None:
    store = open_store(tmp_path, busy_timeout=0.05)
    store.save("r", 1, {"a": b"1"})
    other = sqlite3.connect(tmp_path / "c.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreFailed, match="another process has locked it"):
        store.save("r", 2, {"a": b"2"})
    assert number_of(store.load("r")) == 1  # reading goes on
    other.execute("ROLLBACK")
    other.close()
    store.save("r", 2, {"a": b"2"})
    assert number_of(store.load("r")) == 2


@pytest.mark.parametrize(
    ("obstacle", "told"),
    [("file", "data is a file; it should be a folder"), ("folder", r"c\.db: it can't be opened")],
)
def test_a_place_that_cannot_be_used_is_told(tmp_path: Path, obstacle: str, told: str) -> None:
    path = tmp_path / "c.db"
    if obstacle == "file":
        (tmp_path / "data").write_text("")
        path = tmp_path / "data" / "c.db"
    else:
        path.mkdir()
    with pytest.raises(StoreFailed, match=told):
        CheckpointStore(path)
