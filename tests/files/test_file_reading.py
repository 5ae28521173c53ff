"""Reading one file in pieces: the same records wherever the pieces begin and end."""

from __future__ import annotations

import csv
import gzip
import io
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.api import Duration
from plugins.sources.file import lines as lines_module
from plugins.sources.file import objects as objects_module
from plugins.sources.file.options import FileConfig
from plugins.sources.file.progress import START, Place
from plugins.sources.file.reading import Piece, Reader

TEXT = st.text("ab,;\"'\n\r é{}[]:\\", max_size=8)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every boundary of what is read at once fall into some record."""
    monkeypatch.setattr(lines_module, "_CHUNK", 7)
    monkeypatch.setattr(objects_module, "_CHUNK", 7)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def items_of(pieces: list[Piece]) -> list[Any]:
    return [item for p in pieces for item in (p.payloads if p.rows is None else p.rows) or ()]


def failures_of(pieces: list[Piece]) -> list[str]:
    return [failure.message for piece in pieces for failure in piece.failures]


def read(
    path: Path, content: bytes, place: Place = START, *, is_final: bool = True, **options: Any
) -> list[Piece]:
    path.write_bytes(content)
    config = FileConfig(
        datasource=path.name, send_interval=Duration(1), **options
    )  # single records
    return list(Reader(path, config).pieces(place, is_final=is_final))


def check_every_place(path: Path, content: bytes, expected: list[Any], **options: Any) -> None:
    """From each place that was reached the rest is read, and nothing else."""
    whole = read(path, content, **options)
    assert items_of(whole) == expected
    assert not failures_of(whole)
    for number, piece in enumerate(whole, 1):
        rest = read(path, content, Place.parse(str(piece.place)), **options)
        assert items_of(rest) == items_of(whole[number:])


def check_growing(path: Path, content: bytes, cuts: list[int], **options: Any) -> None:
    """A file that is read while it grows gives what it gives at the end."""
    place, found = START, []
    for cut in [*sorted(cuts), len(content)]:
        pieces = read(path, content[:cut], place, is_final=False, **options)
        found += items_of(pieces)
        assert not failures_of(pieces)
        place = pieces[-1].place if pieces else place
    found += items_of(read(path, content, place, **options))
    assert found == items_of(read(path, content, **options))


CUTS = st.lists(st.integers(0, 200), max_size=4)


@given(st.lists(st.binary(max_size=12).map(lambda b: b.replace(b"\n", b"")), max_size=8), CUTS)
@settings(max_examples=60, deadline=None)
def test_lines(folder: Path, lines: list[bytes], cuts: list[int]) -> None:
    content = b"\n".join(lines)
    first = [line.removeprefix(b"\xef\xbb\xbf") for line in lines[:1]]
    expected = [line.removesuffix(b"\r") for line in [*first, *lines[1:]] if line.strip()]
    check_every_place(folder / "f", content, expected, file_type="lines")
    check_growing(folder / "f", content, cuts, file_type="lines")


@given(st.lists(st.lists(TEXT, min_size=2, max_size=3), max_size=6), CUTS, st.booleans())
@settings(max_examples=60, deadline=None)
def test_csv(folder: Path, table: list[list[str]], cuts: list[int], has_header: bool) -> None:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerows([["a", "b"], *table])
    options: dict[str, Any] = {"file_type": "csv", "has_header": True}
    content = buffer.getvalue()
    if not has_header:
        content = content.partition("\n")[2]
        options = {"file_type": "csv", "columns": ("a", "b")}
    expected = [dict(zip(("a", "b", "cols2"), cells, strict=False)) for cells in table]
    check_every_place(folder / "f", content.encode(), expected, **options)
    check_growing(folder / "f", content.encode(), cuts, **options)


VALUES = st.recursive(
    st.none() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=5,
)


@given(
    st.lists(st.dictionaries(TEXT, VALUES, max_size=3), max_size=5),
    st.sampled_from(["array", "indented", "lines"]),
    CUTS,
)
@settings(max_examples=60, deadline=None)
def test_json(folder: Path, rows: list[dict[str, Any]], shape: str, cuts: list[int]) -> None:
    if shape == "lines":
        text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    else:
        text = json.dumps(rows, ensure_ascii=False, indent=2 if shape == "indented" else None)
    check_every_place(folder / "f", text.encode(), rows)
    check_growing(folder / "f", text.encode(), cuts)


def test_an_unfinished_record_is_left_for_later_or_taken_as_it_is(tmp_path: Path) -> None:
    cases: list[tuple[dict[str, Any], bytes, list[Any]]] = [
        ({"file_type": "lines"}, b"one\ntwo", [b"one"]),
        ({"file_type": "csv"}, b'a,b\n"c\nd', [{"cols0": "a", "cols1": "b"}]),
        ({}, b'[{"a": 1}, {"b"', [{"a": 1}]),
        ({"file_type": "raw"}, b"whatever", []),
    ]
    for options, content, finished in cases:
        assert items_of(read(tmp_path / "f", content, is_final=False, **options)) == finished
    final = [read(tmp_path / "f", content, **options) for options, content, _ in cases]
    assert items_of(final[0]) == [b"one", b"two"]
    assert "malformed CSV (a quote is missing): " in failures_of(final[1])[0]
    assert "malformed JSON: an object without end: " in failures_of(final[2])[0]
    assert items_of(final[3]) == [b"whatever"]


def test_lines_at_the_beginning_and_the_end_are_ignored(tmp_path: Path) -> None:
    some: dict[str, Any] = {"ignore_start_lines": 2, "ignore_end_lines": 2}
    content = b"#\n#\na,b\n1,2\n3,4\nsum\nend\n"
    lines = read(tmp_path / "f", content, file_type="lines", **some)
    assert items_of(lines) == [b"a,b", b"1,2", b"3,4"]
    table = read(tmp_path / "f", content.rstrip(), file_type="csv", has_header=True, **some)
    assert items_of(table) == [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]
    rest = read(tmp_path / "f", content, lines[1].place, file_type="lines", **some)
    assert items_of(rest) == [b"3,4"]
    assert items_of(read(tmp_path / "f", b"#\n#\n1\n", file_type="lines", **some)) == []


def test_what_is_too_long_or_malformed_is_a_failure_and_the_rest_is_read(tmp_path: Path) -> None:
    path = tmp_path / "f"
    long = b"x" * 50
    lines = read(path, b"one\n" + long + b"\ntwo", file_type="lines", max_record=20)
    assert items_of(lines) == [b"one", b"two"]
    assert failures_of(lines) == [f"a line longer than 20 bytes: {path} near byte 55"]
    kept = read(
        path, b"one\n" + long + b"\n2\n3", file_type="lines", max_record=20, ignore_end_lines=1
    )
    assert items_of(kept) == [b"one", b"2"]

    table = read(path, b"1\n\xff\n2\n" + b"y" * 200_000 + b"\n3\n", file_type="csv")
    assert items_of(table) == [{"cols0": "1"}, {"cols0": "2"}, {"cols0": "3"}]
    assert [message.partition(":")[0] for message in failures_of(table)] == [
        "not UTF-8 text",
        "malformed CSV (field larger than field limit (131072))",
    ]

    rows = read(path, b'\xef\xbb\xbf[{"a": 1}, 7, {"b": }, "{", {"c": [{}]}]')
    assert items_of(rows) == [{"a": 1}, {"c": [{}]}]
    assert len(failures_of(rows)) == 3
    rows = read(path, b'{"a": 1} {"b": "' + long + b'"} {"c": 1}', max_record=20)
    assert items_of(rows) == [{"a": 1}]
    assert "an object longer than 20 bytes, and all after it" in failures_of(rows)[0]
    raw = read(path, long, file_type="raw", max_record=20)
    assert failures_of(raw) == [f"a file longer than 20 bytes: {path} near byte 50"]


def test_a_byte_order_mark_is_no_part_of_the_data(tmp_path: Path) -> None:
    mark = b"\xef\xbb\xbf"
    assert items_of(read(tmp_path / "f", mark + b"a", file_type="lines")) == [b"a"]
    table = read(tmp_path / "f", mark + b"a\n1\n", file_type="csv", has_header=True)
    assert items_of(table) == [{"a": "1"}]


@pytest.mark.parametrize("method", ["gzip", "zstd"])
def test_compressed_files_are_read_from_any_place(tmp_path: Path, method: str) -> None:
    compress = gzip.compress if method == "gzip" else zstd.compress
    content = b"".join(b'{"n": %d}\n' % n for n in range(3000))
    whole = read(tmp_path / "f", compress(content), decompression=method)
    assert [row["n"] for row in items_of(whole)] == list(range(3000))
    rest = read(tmp_path / "f", compress(content), whole[1999].place, decompression=method)
    assert [row["n"] for row in items_of(rest)] == list(range(2000, 3000))
    torn = compress(content)[:-20]
    assert not failures_of(read(tmp_path / "f", torn, decompression=method, is_final=False))
    assert "damaged" in failures_of(read(tmp_path / "f", torn, decompression=method))[-1]


def test_another_file_of_the_same_name_is_read_from_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "f"
    place = read(path, b"one\ntwo\n", file_type="lines")[-1].place
    for content in (b"other\nlines\nand more\n", b"one\n"):
        again = read(path, content, place, file_type="lines")
        assert items_of(again) == content.splitlines()
        assert str(again[0].place) > str(place)
    grown = read(path, b"one\ntwo\nthree\n", place, file_type="lines")
    assert items_of(grown) == [b"three"]
