"""Zip files from strangers: what is refused, and that nothing gets out of the folder."""

from __future__ import annotations

import stat
import struct
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import PluginError
from engine.packages import Limits
from engine.packages.archive import LIMITS, unpack
from tests.packages.making import tree, zip_of


def refusal(archive: Path, folder: Path, limits: Limits = LIMITS) -> str:
    """Return why a zip is refused; nothing may have been written outside of the folder."""
    inside = folder / "in" / "deep"
    inside.mkdir(parents=True, exist_ok=True)
    with pytest.raises(PluginError) as caught:
        unpack(archive, inside, limits)
    assert [
        path for path in folder.rglob("*") if path.is_file() and inside not in path.parents
    ] == []
    return caught.value.message


def test_files_are_unpacked_as_they_are(tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "a.zip", {"a.py": "x = 1\n", "etc/deep/b.bin": b"\0\1", "etc/": ""})
    folder = tmp_path / "out"
    folder.mkdir()
    names = unpack(archive, folder)
    assert sorted(map(str, names)) == ["a.py", "etc/deep/b.bin"]
    assert (folder / "etc/deep/b.bin").read_bytes() == b"\0\1"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("../evil.py", "leads out of the package"),
        ("etc/../../evil.py", "leads out of the package"),
        ("/etc/evil.py", "is absolute"),
        ("C:/evil.py", "is absolute"),
        ("C:evil.py", "is absolute"),
        ("etc\\..\\evil.py", "is no plain relative name"),
        ("etc//evil.py", "is no plain relative name"),
        ("./evil.py", "is no plain relative name"),
        ("etc/\x07evil.py", "is no plain relative name"),
        ("etc/evil\x00.py", "is no plain relative name"),
        ("etc/evil. ", "means something else"),
        ("etc/evil.", "means something else"),
        ("etc/CON", "means something else"),
        ("etc/nul.txt", "means something else"),
        ("etc/evil.py:stream", "means something else"),
        ("etc/" + "x" * 300, "is too long"),
        ("/".join("d" * 30) + "/x", "is too long"),
    ],
)
def test_a_name_that_could_go_elsewhere_is_refused(tmp_path: Path, name: str, why: str) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        info = zipfile.ZipInfo("x" * len(name.encode()))
        opened.writestr(info, "x")
    data = archive.read_bytes().replace(b"x" * len(name.encode()), name.encode(), 2)
    archive.write_bytes(data)
    assert why in refusal(archive, tmp_path / "out")


@pytest.mark.parametrize(
    "names",
    [
        ("Random.py", "random.py"),
        ("etc/a", "ETC/b"),
        ("etc/Straße", "etc/STRASSE"),
        ("a.py", "a.py"),
        ("a", "a/b"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_names_for_one_file_are_refused(tmp_path: Path, names: tuple[str, str]) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        for name in names:
            opened.writestr(name, "x")
    assert "same name" in (why := refusal(archive, tmp_path / "out")) or "a folder" in why


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK])
def test_links_and_devices_are_refused(tmp_path: Path, kind: int) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        info = zipfile.ZipInfo("etc/link")
        info.external_attr = (kind | 0o777) << 16
        opened.writestr(info, "/etc/passwd")
    assert "is a link" in (why := refusal(archive, tmp_path / "out")) or "no regular file" in why


def test_a_bomb_is_refused_before_it_fills_the_disk(tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "a.zip", {"etc/zeros": bytes(30 << 20)})
    assert "times its packed size" in refusal(archive, tmp_path / "out")
    written = sum(path.stat().st_size for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert written < 16 << 20


def test_sizes_are_bounded_whatever_the_zip_says(tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "a.zip", {"a": b"abc" * 400, "b": b"abc" * 400})
    assert "bytes unpacked, more than" in refusal(archive, tmp_path / "1", Limits(total=2000))
    # a size in the directory that is a lie
    data = bytearray(archive.read_bytes())
    for start in (data.find(b"PK\1\2"), data.rfind(b"PK\1\2")):
        struct.pack_into("<L", data, start + 24, 1)
    archive.write_bytes(data)
    assert refusal(archive, tmp_path / "2", Limits(total=2000))


def test_too_many_files_are_refused(tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "a.zip", {f"etc/{n}": "" for n in range(20)})
    assert "more than 10" in refusal(archive, tmp_path / "out", Limits(files=10))


def test_an_encrypted_file_is_refused(tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "a.zip", {"a.py": "x"})
    data = bytearray(archive.read_bytes())
    data[data.find(b"PK\1\2") + 8] |= 1
    archive.write_bytes(data)
    assert "is encrypted" in refusal(archive, tmp_path / "out")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_only_the_usual_compression_is_taken(tmp_path: Path, method: int) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w", method) as opened:
        opened.writestr("a.py", "x" * 1000)
    assert "isn't supported" in refusal(archive, tmp_path / "out")


@pytest.mark.parametrize("data", [b"", b"PK", b"no zip at all", b"PK\5\6" + b"\0" * 17])
def test_what_is_no_zip_is_refused(tmp_path: Path, data: bytes) -> None:
    archive = tmp_path / "a.zip"
    archive.write_bytes(data)
    assert "no zip file" in refusal(archive, tmp_path / "out")


@given(st.data())
def test_damage_is_told_in_one_way_and_stays_inside(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    archive = zip_of(folder / "a.zip", {"a.py": "x = 1\n" * 30, "etc/b": b"\0" * 50})
    content = bytearray(archive.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    archive.write_bytes(content)
    inside = folder / "x" / "y"
    inside.mkdir(parents=True)
    try:
        unpack(archive, inside)
    except PluginError:
        assert set(tree(folder)) >= {"a.zip"}
    assert not [
        p for p in folder.rglob("*") if p.is_file() and inside not in p.parents and p != archive
    ]
