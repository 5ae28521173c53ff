"""The file source in rules: what is read when, and what becomes of the files."""

from __future__ import annotations

import gzip
import os
import random
from pathlib import Path
from typing import Any

import anyio
import pytest

from engine import ConfigError, Engine
from engine.api import Batch, Config, Sink
from engine.registry import PluginKind
from engine.run.rule import Rule
from engine.testing import check_source
from plugins.sources.file.packed import zstd
from tests.conftest import Rows, eventually


def lines_of(*numbers: int) -> str:
    return "".join(f'{{"n": {number}}}\n' for number in numbers)


def numbers(rows: Rows) -> list[int]:
    return [row["n"] for row in rows]


async def start(engine: Engine, sql: str = "SELECT n FROM f", **options: Any) -> Rule:
    definition = {"id": "r", "sql": sql, "actions": [{"collect": {}}], "options": options}
    return await engine.start(definition)


def define(engine: Engine, **properties: Any) -> None:
    properties = {"path": "", "fileType": "lines", **properties}
    engine.define_stream("f", type="file", replace=True, **properties)


def test_the_source_keeps_its_contract(tmp_path: Path) -> None:
    (tmp_path / "f").write_text(lines_of(*range(3000)))
    here = {"path": ".", "datasource": "f", "fileType": "lines"}
    seen = check_source(
        "file",
        tmp_path,
        here,
        rows=2000,
        wrong=[
            {"path": "."},
            {**here, "datasource": "g"},
            {**here, "actionAfterRead": 2},
            {**here, "actionAfterRead": 3},
            {**here, "loop": True, "follow": True},
            {**here, "datasource": ".", "follow": True},
            {**here, "fileType": "csv", "delimiter": ";;"},
            {**here, "fileType": "json", "ignoreStartLines": 1},
            {**here, "decompression": "rar"},
        ],
    )
    assert seen.payloads[1999] == b'{"n": 1999}'
    assert seen.meta[0] == {"file": str(tmp_path / "f")}


async def test_a_file_is_read_once_and_then_the_rule_is_done(
    engine: Engine, collected: Rows, tmp_path: Path
) -> None:
    (tmp_path / "f").write_text(lines_of(1, 2) + "\n" + "no JSON\n" + lines_of(3))
    define(engine, datasource="f")
    rule = await start(engine)
    await eventually(lambda: rule.status.state == "stopped")
    assert rule.status.message == "done"
    assert numbers(collected) == [1, 2, 3]
    assert str(rule.metrics.balance()).startswith(
        "in 4 = out 3 + filtered 0 + dropped 0 + errors 1"
    )


async def test_csv_has_the_types_that_the_stream_declares(
    engine: Engine, collected: Rows, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "f.csv").write_text('n;t;on;more\n1;2.5;true;"a;b"\nx;1;no;c\n3;;;d\n')
    engine.define(
        "CREATE STREAM f (n BIGINT, t FLOAT, more STRING) WITH (TYPE='file', DATASOURCE='f.csv',"
        ' DELIMITER=\';\', EXTRA=\'{"fileType": "csv", "hasHeader": true}\')'
    )
    rule = await start(engine, "SELECT n, t, more FROM f")
    await eventually(lambda: rule.status.state == "stopped")
    assert collected == [{"n": 1, "t": 2.5, "more": "a;b"}, {"n": 3, "t": None, "more": "d"}]
    assert rule.metrics.errors.total() == 1
    assert "column n: a bigint can't be made of" in rule.metrics.last_error


async def test_what_the_source_finds_malformed_is_counted_as_an_error(
    engine: Engine, collected: Rows, tmp_path: Path
) -> None:
    (tmp_path / "f").write_bytes(b"1\n\xff\n2\n")
    define(engine, datasource="f", fileType="csv", columns=["n"])
    rule = await start(engine)
    await eventually(lambda: rule.status.state == "stopped")
    assert numbers(collected) == ["1", "2"]  # type: ignore[comparison-overlap]
    assert rule.metrics.errors == {("decode", "not UTF-8 text"): 1}
    assert f"not UTF-8 text: {tmp_path / 'f'} near byte 2" in rule.metrics.last_error
    assert rule.metrics.balance().holds


@pytest.mark.parametrize(
    ("content", "errors", "options"),
    [
        (b"no JSON", {"malformed JSON": 2}, {"fileType": "json"}),
        (b'{"a": broken', {"malformed JSON": 1}, {"fileType": "json"}),
        (
            b"no gzip",
            {"damaged gzip data": 1},
            {"fileType": "lines", "decompression": "gzip"},
        ),
        (
            b"no zstd",
            {"damaged zstd data": 1},
            {"fileType": "csv", "columns": ["n"], "decompression": "zstd"},
        ),
        (b"x" * 200, {"a file longer than 50 bytes": 1}, {"fileType": "raw", "maxRecord": 50}),
        (b"x" * 200, {"a line longer than 50 bytes": 1}, {"fileType": "lines", "maxRecord": 50}),
        (
            b'{"a": "' + b"x" * 300_000 + b'"}',
            {"malformed JSON": 1},
            {"fileType": "json", "maxRecord": 50},
        ),
    ],
)
async def test_a_file_of_which_nothing_can_be_read_is_counted_as_errors(
    engine: Engine,
    collected: Rows,
    tmp_path: Path,
    content: bytes,
    errors: dict[str, int],
    options: dict[str, Any],
) -> None:
    (tmp_path / "f").write_bytes(content)
    define(engine, datasource="f", **options)
    rule = await start(engine)
    await eventually(lambda: rule.status.state == "stopped")
    assert collected == []
    assert rule.metrics.errors == {("decode", reason): n for reason, n in errors.items()}
    assert rule.metrics.balance().holds


@pytest.mark.parametrize(
    ("file_type", "content"),
    [
        ("lines", lines_of(*range(1000))),
        ("json", "[" + lines_of(*range(1000)).replace("\n", ",\n") + '{"n": 1000}]'),
        ("csv", "".join(f"{n}\n" for n in range(1000))),
    ],
)
@pytest.mark.parametrize("method", ["gzip", "zstd"])
async def test_what_comes_before_damage_is_read(
    engine: Engine, collected: Rows, tmp_path: Path, file_type: str, content: str, method: str
) -> None:
    compress = gzip.compress if method == "gzip" else zstd.compress
    noise = random.Random(0).randbytes(200_000).hex() + "\n"  # no row, but it fills some blocks
    packed = compress((content + noise).encode())
    (tmp_path / "f").write_bytes(packed[: len(packed) // 2])
    define(engine, datasource="f", fileType=file_type, columns=["n"], decompression=method)
    rule = await start(engine)
    await eventually(lambda: rule.status.state == "stopped")
    assert len(collected) >= 1000
    assert [int(row["n"]) for row in collected[:1000]] == list(range(1000))
    assert rule.metrics.errors[("decode", f"damaged {method} data")] == 1
    assert rule.metrics.balance().holds


async def test_a_file_is_read_again_after_each_interval_also_when_it_was_replaced(
    engine: Engine, collected: Rows, tmp_path: Path
) -> None:
    (tmp_path / "f").write_text("[]")
    define(engine, datasource="f", fileType="json", interval="10ms")
    await start(engine)
    (tmp_path / "f").write_text('{"n": 1}')
    await eventually(lambda: numbers(collected)[:2] == [1, 1])
    (tmp_path / "new").write_text('[{"n": 2}]')
    (tmp_path / "new").replace(tmp_path / "f")
    await eventually(lambda: numbers(collected)[-2:] == [2, 2])
    (tmp_path / "f").unlink()
    await anyio.sleep(0.03)
    (tmp_path / "f").write_text('{"n": 3}')
    await eventually(lambda: numbers(collected)[-1] == 3)
    await engine.stop("r")


async def test_records_are_sent_at_a_pace_and_from_the_beginning_again(
    engine: Engine, collected: Rows, tmp_path: Path
) -> None:
    (tmp_path / "f").write_text(lines_of(1, 2))
    define(engine, datasource="f", sendInterval="10ms", loop=True)
    began = anyio.current_time()
    await start(engine)
    await eventually(lambda: numbers(collected)[:5] == [1, 2, 1, 2, 1])
    assert anyio.current_time() - began >= 0.04
    await engine.stop("r")


async def test_what_is_appended_is_followed_through_rotation(
    engine: Engine, collected: Rows, tmp_path: Path
) -> None:
    log = tmp_path / "f"
    log.write_text(lines_of(1) + '{"n": ')
    define(engine, datasource="f", follow=True, interval="5ms")
    await start(engine)
    await eventually(lambda: numbers(collected) == [1])
    with log.open("a") as file:
        file.write("2}\n" + lines_of(3))
    await eventually(lambda: numbers(collected) == [1, 2, 3])
    log.rename(tmp_path / "old")
    log.write_text(lines_of(4, 5, 6, 7))
    await eventually(lambda: numbers(collected) == [1, 2, 3, 4, 5, 6, 7])
    await engine.stop("r")


async def test_a_folder_is_read_in_the_order_of_change_and_watched(
    engine: Engine, collected: Rows, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name, number, age in (("a", 3, 1), ("b", 1, 3), ("c", 2, 2), (".hidden", 0, 9)):
        (folder / name).write_text(lines_of(number))
        os.utime(folder / name, (1e9 - age, 1e9 - age))
    define(engine, datasource="in", interval="5ms", parallel=True)
    await start(engine, "SELECT n, meta(file) AS file FROM f")
    await eventually(lambda: numbers(collected) == [1, 2, 3])
    assert collected[0]["file"] == str(folder / "b")
    (folder / "d").write_text(lines_of(4))
    await eventually(lambda: numbers(collected) == [1, 2, 3, 4])
    with (folder / "b").open("a") as file:
        file.write(lines_of(5).rstrip())
    await eventually(lambda: numbers(collected) == [1, 2, 3, 4, 5])
    await engine.stop("r")


async def test_a_changed_json_file_of_a_folder_is_another_one(
    engine: Engine, collected: Rows, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    define(engine, datasource="in", interval="5ms", fileType="json")
    await start(engine)
    for number in (1, 2):
        (folder / "state.json").write_text(f'{{"n": {number}}}')
        await eventually(lambda: len(collected) == number)  # noqa: B023
        await anyio.sleep(0.03)  # until it counts as finished
    assert numbers(collected) == [1, 2]
    await engine.stop("r")


@pytest.mark.parametrize("action", [1, 2])
async def test_a_file_is_deleted_or_moved_once_the_sinks_have_its_rows(
    engine: Engine, tmp_path: Path, action: int
) -> None:
    goes_on = anyio.Event()
    rows: Rows = []

    class Slow(Sink[Config]):
        async def collect(self, batch: Batch) -> None:
            await goes_on.wait()
            rows.extend(batch.rows or ())

    engine.plugins.register(PluginKind.SINK, "collect", Slow)
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.txt").write_text(lines_of(1))
    (folder / "empty.txt").write_text("")
    (tmp_path / "done").mkdir()
    (tmp_path / "done" / "a.txt").write_text("was there before")
    define(engine, datasource="in", interval="5ms", actionAfterRead=action, moveTo="done")
    await start(engine)
    await eventually(lambda: not (folder / "empty.txt").exists())
    assert (folder / "a.txt").exists()
    goes_on.set()
    await eventually(lambda: not (folder / "a.txt").exists())
    (folder / "a.txt").write_text(lines_of(2))  # the name is free again
    await eventually(lambda: numbers(rows) == [1, 2] and not list(folder.iterdir()))
    await engine.stop("r")
    moved = {path.name: path.read_text() for path in (tmp_path / "done").iterdir()}
    assert moved.pop("a.txt") == "was there before"
    kept = {"a-1.txt": lines_of(1), "a-2.txt": lines_of(2), "empty.txt": ""}
    assert moved == (kept if action == 2 else {})


async def test_a_single_file_is_moved_when_the_rule_is_done(
    engine: Engine, collected: Rows, tmp_path: Path
) -> None:
    (tmp_path / "f").write_text(lines_of(1))
    define(engine, datasource="f", actionAfterRead=1)
    rule = await start(engine)
    await eventually(lambda: rule.status.state == "stopped")
    assert numbers(collected) == [1]
    assert not (tmp_path / "f").exists()


async def test_a_missing_file_is_refused_with_what_to_do(engine: Engine, tmp_path: Path) -> None:
    define(engine, datasource="nowhere.json")
    with pytest.raises(ConfigError, match=r"source file of stream f: .*nowhere.json doesn't exist"):
        await start(engine)
