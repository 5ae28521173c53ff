"""The file sink: what is in its files, whatever was there before and whatever fails."""

from __future__ import annotations

import gzip
import itertools
import json
import stat
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import ConfigError, Engine
from engine.run.rule import Rule
from plugins.sinks.file.packing import Packing
from plugins.sinks.file.shapes import Items
from plugins.sinks.file.survey import survey
from plugins.sources.file.packed import zstd
from tests.conftest import eventually

Write = Callable[..., Any]
RESTORED = {"": lambda data: data, "gzip": gzip.decompress, "zstd": zstd.decompress}


async def start(engine: Engine, *, rule_id: str = "r", **properties: Any) -> Rule:
    actions = [{"file": {"path": "out", **properties}}]
    rule = await engine.start({"id": rule_id, "sql": "SELECT * FROM demo", "actions": actions})
    await eventually(lambda: rule.status.state == "running")
    return rule


async def push(engine: Engine, batch: list[dict[str, Any]]) -> None:
    """Give rows to the rules, once they take some."""
    with anyio.fail_after(5):
        while not await engine.push("demo", batch):
            await anyio.sleep(0.002)


async def processed(rule: Rule, count: int) -> None:
    """Return when the sink is done with so many rows."""
    assert rule.parts is not None
    metrics = rule.parts.sinks[0].metrics
    await eventually(lambda: metrics.processed == count)


async def write(engine: Engine, *batches: list[dict[str, Any]], **properties: Any) -> Rule:
    """Run a rule over batches, each of which the sink gets by itself, until it has drained."""
    rule = await start(engine, **properties)
    sent = 0
    for batch in batches:
        await push(engine, batch)
        sent += len(batch)
        await processed(rule, sent)
    await engine.stop("r")
    assert rule.metrics.balance().holds
    return rule


def rows(*numbers: int) -> list[dict[str, Any]]:
    return [{"n": number} for number in numbers]


async def test_a_line_that_a_crash_has_torn_does_not_spoil_the_next_one(
    engine: Engine, tmp_path: Path
) -> None:
    (tmp_path / "torn").write_text('{"n":1}\n{"n":')
    (tmp_path / "whole").write_text('{"n":1}\n')
    for name in ("torn", "whole", "new"):
        await write(engine, rows(2), path=name, sendSingle=True)
    assert (tmp_path / "torn").read_text() == '{"n":1}\n{"n":\n{"n":2}\n'
    assert (tmp_path / "whole").read_text() == '{"n":1}\n{"n":2}\n'
    assert (tmp_path / "new").read_text() == '{"n":2}\n'


@pytest.mark.parametrize(
    ("properties", "text"),
    [
        ({}, '[{"a":1,"b":"x\\ny"}]\n'),
        ({"sendSingle": True, "dataTemplate": "{{toPrettyJson .}}"}, '{"a":1,"b":"x\\ny"}\n'),
        ({"sendSingle": True, "dataTemplate": "a\nis {{.a}}"}, "a\nis 1\n"),
        ({"sendSingle": True, "dataTemplate": "{{.a}}\n"}, "1\n"),
        ({"format": "delimited", "hasHeader": True}, 'a,b\n1,"x\ny"\n'),
        ({"format": "delimited", "dataTemplate": "1\n2"}, "1\n2\n"),
    ],
)
async def test_only_json_is_put_on_one_line(
    engine: Engine, tmp_path: Path, properties: dict[str, Any], text: str
) -> None:
    await write(engine, [{"a": 1, "b": "x\ny"}], **properties)
    assert (tmp_path / "out").read_text() == text


@pytest.mark.parametrize("compression", ["", "gzip", "zstd"])
async def test_a_json_file_is_an_array_after_every_batch_and_across_restarts(
    engine: Engine, tmp_path: Path, compression: str
) -> None:
    out = tmp_path / "out"
    expected = []
    for _ in range(3):
        rule = await start(engine, fileType="json", compression=compression)
        for batch in (rows(1, 2), rows(3), rows(4, 5, 6)):
            await push(engine, batch)
            expected += batch
            await processed(rule, expected[-1]["n"])
            assert json.loads(RESTORED[compression](out.read_bytes())) == expected
        await engine.stop("r")


@pytest.mark.parametrize("single", [True, False])
async def test_messages_that_are_no_json_are_not_put_into_an_array(
    engine: Engine, tmp_path: Path, single: bool
) -> None:
    rule = await write(
        engine,
        [{"n": 1, "text": '{"a":\n[1]}'}, {"n": 2, "text": "no"}, {"n": 3, "text": "[]"}],
        fileType="json",
        sendSingle=True,
        dataTemplate="{{.text}}",
    )
    assert json.loads((tmp_path / "out").read_text()) == [{"a": [1]}]
    assert dict(rule.metrics.dropped) == {("sink[file_0]", "rejected"): 1}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("[]", [{"n": 9}]),
        (" [ ]\n\n", [{"n": 9}]),
        ('[{"n":1}]', [{"n": 1}, {"n": 9}]),
        ('[\n  {\n    "n": 1\n  }\n]   \n', [{"n": 1}, {"n": 9}]),
        ("[", [{"n": 9}]),
        ('[\n{"n"', [{"n": 9}]),
        ('[\n{"n":1}', [{"n": 1}, {"n": 9}]),
        ('[\n{"n":1}\n]', [{"n": 1}, {"n": 9}]),
        ('[\n{"n":1},\n', [{"n": 1}, {"n": 9}]),
        ('[\n{"n":1},\n{"n":[2]', [{"n": 1}, {"n": 9}]),
        ('[\n{"n":1},\n12', [{"n": 1}, {"n": 9}]),
    ],
)
async def test_an_array_goes_on_behind_its_last_whole_item(
    engine: Engine, tmp_path: Path, before: str, after: list[dict[str, Any]]
) -> None:
    (tmp_path / "out").write_text(before)
    await write(engine, rows(9), fileType="json")
    assert json.loads((tmp_path / "out").read_text()) == after


ITEM = st.dictionaries(st.text(max_size=4), st.integers() | st.lists(st.text(max_size=4)))


@given(items=st.lists(ITEM.map(msgspec.json.encode), min_size=1, max_size=5), cut=st.integers(0))
def test_an_array_that_was_cut_anywhere_keeps_its_whole_items(
    tmp_path_factory: pytest.TempPathFactory, items: list[bytes], cut: int
) -> None:
    shape = Items(is_sure=True)
    ends = list(itertools.accumulate(len(item) + len(shape.separator) for item in items))
    text = shape.opening(b"") + shape.separator.join(items) + shape.tail
    text = text[: cut % (len(text) + 1)]
    path = tmp_path_factory.getbasetemp() / "array"
    path.write_bytes(text)
    with path.open("rb") as file:
        found = survey(file.fileno(), shape, None, counts=True)
    kept = json.loads(text[: found.end] + shape.tail) if found.end else []
    whole = sum(end + len(shape.opening(b"")) <= len(text) for end in ends)
    assert kept == [json.loads(item) for item in items[: len(kept)]]
    assert whole <= len(kept) <= whole + 1
    assert found.messages == len(kept)


@pytest.mark.parametrize(
    ("before", "properties", "message"),
    [
        (b'{"n":1}\n', {"fileType": "json"}, "it is no JSON array; move the file away"),
        (b"a,b\n1,2\n", {"compression": "gzip"}, "it is not gzip from byte 0 on"),
        (b"x", {"compression": "zstd"}, "it is not zstd from byte 0 on"),
        (
            gzip.compress(b"a\n", mtime=0) + b"tail",
            {"compression": "gzip"},
            "not gzip from byte 22 on",
        ),
        (
            gzip.compress(b'{"n":1}\n', mtime=0),
            {"compression": "gzip", "fileType": "json"},
            "it holds no JSON array",
        ),
    ],
)
async def test_a_foreign_file_is_left_alone_and_results_wait_until_it_is_gone(
    engine: Engine, tmp_path: Path, before: bytes, properties: dict[str, Any], message: str
) -> None:
    (tmp_path / "out").write_bytes(before)
    rule = await start(engine, resendInterval="10ms", sendSingle=True, **properties)
    await push(engine, rows(1))
    await eventually(lambda: message in str(rule.status.connections))
    assert (tmp_path / "out").read_bytes() == before
    (tmp_path / "out").rename(tmp_path / "away")
    await eventually(lambda: rule.metrics.delivered == 1)
    assert (tmp_path / "away").read_bytes() == before


async def test_a_table_has_one_header_for_each_file(engine: Engine, tmp_path: Path) -> None:
    table = {"fileType": "csv", "format": "delimited", "hasHeader": True}
    await write(engine, [{"b": 1, "a": "x\ny"}], [{"a": "2", "b": 3}], **table)
    await write(engine, [{"a": 4, "b": 5}, {"a": 6, "b": 7}], **table)
    assert (tmp_path / "out").read_text() == 'a,b\n"x\ny",1\n2,3\n4,5\n6,7\n'
    rule = await start(engine, sendSingle=True, **table)
    await push(engine, [{"a": 8, "b": 9}, {"a": 1}, {"a": 2, "b": 0}])
    await processed(rule, 3)
    assert rule.parts
    reason = rule.parts.sinks[0].metrics.last_exception
    assert reason == "the columns are a, and those of the file a,b"
    await engine.stop("r")
    assert (tmp_path / "out").read_text().endswith("\n8,9\n2,0\n")
    assert dict(rule.metrics.dropped) == {("sink[file_0]", "rejected"): 1}


async def test_a_table_with_other_columns_than_the_file_begins_a_new_one(
    engine: Engine, tmp_path: Path
) -> None:
    table = {"fileType": "csv", "format": "delimited", "hasHeader": True, "path": "out.csv"}
    await write(engine, [{"a": 1}], **table)
    await write(engine, [{"a": 2, "b": None}], fields=["b", "a"], **table)
    assert (tmp_path / "out.csv").read_text() == "b,a\n,2\n"
    (finished,) = tmp_path.glob("out-*.csv")
    assert finished.read_text() == "a\n1\n"


@pytest.mark.parametrize("method", ["gzip", "zstd"])
async def test_a_compressed_file_goes_on_behind_its_last_whole_piece(
    engine: Engine, tmp_path: Path, method: str
) -> None:
    out = tmp_path / "out"
    for number in range(3):
        await write(engine, rows(number), compression=method, sendSingle=True)
    whole = out.read_bytes()
    pieces = Packing(method, None).pack(b'{"n":2}\n')
    for cut in range(1, len(pieces)):
        out.write_bytes(whole[:-cut])
        await write(engine, rows(9), compression=method, sendSingle=True)
        assert RESTORED[method](out.read_bytes()) == b'{"n":0}\n{"n":1}\n{"n":9}\n'


@given(
    texts=st.lists(st.binary(max_size=200).map(lambda text: text * 40), max_size=6),
    method=st.sampled_from(["gzip", "zstd"]),
    cut=st.integers(0, 10_000),
)
def test_the_whole_pieces_of_a_compressed_file_are_found(
    tmp_path_factory: pytest.TempPathFactory, texts: list[bytes], method: str, cut: int
) -> None:
    packing = Packing(method, 1)
    pieces = [packing.pack(text) for text in texts]
    ends = [0, *itertools.accumulate(map(len, pieces))]
    path = tmp_path_factory.getbasetemp() / "pieces"
    path.write_bytes(b"".join(pieces)[:cut])
    whole = max(number for number, end in enumerate(ends) if end <= cut)
    with path.open("rb") as file:
        contents = packing.contents(file.fileno())
    assert contents.end == ends[whole]
    assert contents.breaks == b"".join(texts[:whole]).count(b"\n")
    assert contents.head == b"".join(texts[:whole])
    if whole:
        assert (contents.last_start, contents.last) == (ends[whole - 1], texts[whole - 1][-16:])


async def test_a_level_of_compression_is_heeded(engine: Engine, tmp_path: Path) -> None:
    batch = [{"n": zlib.crc32(b"%d" % n)} for n in range(5_000)]
    for level in (1, 9):
        await write(
            engine, batch, path=f"{level}", compression="gzip", compressionProps={"level": level}
        )
    assert (tmp_path / "9").stat().st_size < (tmp_path / "1").stat().st_size


@pytest.mark.parametrize("method", ["", "gzip"])
async def test_several_rules_may_write_to_one_file(
    engine: Engine, tmp_path: Path, method: str
) -> None:
    properties = {"fileType": "json", "compression": method, "rollingCount": 1_000}
    rules = [await start(engine, rule_id=f"r{number}", **properties) for number in range(3)]
    while await engine.push("demo", []) < len(rules):
        await anyio.sleep(0.002)
    for number in range(50):
        await push(engine, rows(number))
    await eventually(lambda: all(rule.metrics.delivered == 50 for rule in rules))
    found = json.loads(RESTORED[method]((tmp_path / "out").read_bytes()))
    assert sorted(row["n"] for row in found) == sorted([*range(50)] * 3)


@pytest.mark.parametrize("properties", [{}, {"fileType": "json"}, {"compression": "zstd"}])
async def test_a_file_that_was_moved_or_emptied_is_begun_again(
    engine: Engine, tmp_path: Path, properties: dict[str, Any]
) -> None:
    out = tmp_path / "out"
    rule = await start(engine, **properties)
    await push(engine, rows(1))
    await eventually(lambda: rule.metrics.delivered == 1)
    first = out.read_bytes()
    out.rename(tmp_path / "moved")
    await push(engine, rows(1))
    await eventually(lambda: rule.metrics.delivered == 2)
    assert out.read_bytes() == (tmp_path / "moved").read_bytes() == first
    out.write_bytes(b"")
    await push(engine, rows(1))
    await eventually(lambda: rule.metrics.delivered == 3)
    assert out.read_bytes() == first


async def test_what_can_never_be_written_does_not_hold_up_the_rest(
    engine: Engine, tmp_path: Path
) -> None:
    (tmp_path / "a" / "2").mkdir(parents=True)
    (tmp_path / "a" / "file").touch()
    path = "a/{{.n}}"
    wrong = [{"n": "2"}, {"n": "file/x"}, {"n": "x" * 300}]
    rule = await write(engine, [*rows(1), *wrong, *rows(4)], path=path, sendSingle=True)
    assert rule.metrics.delivered == 2
    assert dict(rule.metrics.dropped) == {("sink[file_0]", "rejected"): 3}


async def test_results_wait_for_a_folder(engine: Engine, tmp_path: Path) -> None:
    folder = tmp_path / "b"
    folder.touch()
    rule = await start(engine, path="b/out", resendInterval="10ms", fsync=True)
    await push(engine, rows(5))
    await eventually(lambda: "b: " in str(rule.status.connections))
    folder.unlink()
    await eventually(lambda: rule.metrics.delivered == 1)
    assert (folder / "out").read_text() == '[{"n":5}]\n'


@pytest.mark.parametrize("value", ["../x", "a/../../x", "..", "a\0b"])
async def test_fields_do_not_lead_out_of_the_folder(
    engine: Engine, tmp_path: Path, value: str
) -> None:
    rule = await write(engine, [{"n": value}, {"n": "ok"}], path="down/{{.n}}", sendSingle=True)
    assert dict(rule.metrics.dropped) == {("sink[file_0]", "rejected"): 1}
    assert [path.name for path in (tmp_path / "down").iterdir()] == ["ok"]
    rule = await write(engine, [{"n": str(tmp_path / "absolute")}], path="{{.n}}")
    assert rule.metrics.delivered == 0
    assert not (tmp_path / "absolute").exists()


@pytest.mark.parametrize("value", ["", ".", "folder"])
async def test_a_computed_path_that_is_a_folder_refuses_its_message(
    engine: Engine, tmp_path: Path, value: str
) -> None:
    (tmp_path / "folder").mkdir()
    rule = await write(engine, [{"n": value}], path="{{.n}}", sendSingle=True)
    assert dict(rule.metrics.dropped) == {("sink[file_0]", "rejected"): 1}
    assert "Is a directory" in rule.metrics.last_error


async def test_a_file_can_be_read_by_those_who_may(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "touched").touch()
    await write(engine, rows(1))
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("out", "touched")]
    assert modes[0] == modes[1]


async def test_bytes_that_would_be_several_lines_are_refused(
    engine: Engine, tmp_path: Path
) -> None:
    values = [b"one", b"two\nlines", b"", b"\x00\xff", b"ends\n"]
    batch = [{"b": value} for value in values]
    rule = await write(engine, batch, format="binary", sendSingle=True)
    assert (tmp_path / "out").read_bytes() == b"one\n\n\x00\xff\n"
    assert rule.metrics.dropped == {("sink[file_0]", "rejected"): 2}
    assert "hold a line break" in rule.metrics.last_error
    assert rule.metrics.balance().holds


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        ({"fileType": "csv"}, "fileType csv needs format delimited"),
        ({"fileType": "json", "format": "delimited"}, "fileType json needs format json"),
        (
            {
                "fileType": "csv",
                "format": "delimited",
                "hasHeader": True,
                "dataTemplate": "{{.a}}",
            },
            "a dataTemplate writes lines without names of columns",
        ),
        ({"fileType": "json", "encryption": "aes"}, "encryption is for messages"),
        ({"encryption": "aes"}, "encryption is for messages"),
        ({"format": "protobuf", "schemaId": "a.B"}, "format protobuf may hold line breaks"),
        ({"rollingKeep": 3}, "rollingKeep is for files that roll"),
        ({"compression": "gzip", "compressionProps": {"level": 12}}, "gzip has no level 12"),
        ({"compressionProps": {"level": 1}}, "no compression has no level 1"),
        ({"compression": "zlib"}, "expected one of '', 'gzip', 'zstd'"),
        ({"rollingHook": "upload"}, "unknown key 'rollingHook'"),
        ({"hasHeader": "maybe"}, "hasHeader"),
        ({"path": ""}, "path '' is a folder"),
        ({"path": "/"}, "path '/' is a folder"),
        ({"path": "."}, "path '.' is a folder"),
        ({"path": "a\0b"}, "'a\\x00b' can't be the path of a file"),
        ({"path": "x" * 256}, "can't be the path of a file"),
    ],
)
async def test_options_that_cannot_work_are_refused(
    engine: Engine, properties: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        await start(engine, **properties)
    assert message in str(caught.value)
