"""Whatever names a zip has: it is refused, or all of it lies in the folder, each file by itself."""

from __future__ import annotations

import tempfile
import unicodedata
import zipfile
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.errors import PluginError
from engine.packages.archive import unpack

PART = st.one_of(
    st.sampled_from(
        ["..", ".", "", "~", "a", "A", "é", "e\u0301", "ﬁ", "fi", "con", "nul.txt", "C:", "\\", " "]
    ),
    st.text(max_size=4),
)
NAME = st.builds(
    lambda start, parts, end: start + "/".join(parts) + end,
    st.sampled_from(["", "/", "//", "\\\\", "C:\\", "file:///"]),
    st.lists(PART, min_size=1, max_size=4),
    st.sampled_from(["", "", "/", ".py", "\0", "\0.py", ". "]),
).filter(lambda name: _can_be_written(name))


def _can_be_written(name: str) -> bool:
    try:
        return 0 < len(name.encode()) < 1000
    except UnicodeEncodeError:
        return False


def _zip(path: Path, names: list[str]) -> None:
    with zipfile.ZipFile(path, "w") as opened:
        for number, name in enumerate(names):
            info = zipfile.ZipInfo("placeholder")
            info.filename = name  # as it is: the constructor would make it harmless
            opened.writestr(info, str(number))


@pytest.mark.filterwarnings("ignore:Duplicate name")
@given(st.lists(NAME, min_size=1, max_size=5))
@example(["é", "e\u0301"])
@example(["a/b", "A/c"])
@example(["a", "a/b"])
@example(["ok.py", "etc/ok/x"])
def test_nothing_gets_out_and_no_file_takes_the_place_of_another(names: list[str]) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        top = Path(temporary)
        inside = top / "one" / "two" / "inside"
        inside.mkdir(parents=True)
        archive = top / "a.zip"
        _zip(archive, names)
        outside = {*top.rglob("*")} - {*inside.rglob("*")}
        try:
            unpacked = unpack(archive, inside)
        except PluginError:
            unpacked = None
        found = {path for path in inside.rglob("*") if path.is_file()}
        assert {*top.rglob("*")} - {*inside.rglob("*")} == outside
        assert not any(path.is_symlink() for path in found)
        if unpacked is None:
            return
        files = [name for name in names if not name.endswith("/")]
        assert {inside / name for name in unpacked} == found
        assert len(found) == len(files)
        assert {path.read_text() for path in found} == {str(names.index(name)) for name in files}
        one_name = {unicodedata.normalize("NFC", str(name)).lower() for name in unpacked}
        assert len(one_name) == len(unpacked)
