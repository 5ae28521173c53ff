"""Which file stands behind a name: symbols, versions, places, clashes."""

from __future__ import annotations

import functools
import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from semver import Version

from engine.errors import PluginError
from engine.registry import FileState, PluginKind, PluginRegistry, version_key
from tests.plugins.folder import PluginRoot


@pytest.mark.parametrize(
    "file", ["geoHash.py", "GeoHash.py", "geoHash@1.py", "GeoHash@v1.py", "geoHash@V1.0.0-rc.1.py"]
)
@pytest.mark.parametrize("asked", ["geoHash", "GeoHash"])
def test_a_file_is_named_by_plugin_or_symbol(root: PluginRoot, file: str, asked: str) -> None:
    root.function(file)
    assert root.registry.get(PluginKind.FUNCTION, asked).name == "geoHash"
    assert root.answer(asked) == file


def test_names_that_differ_behind_the_first_letter_are_different_plugins(root: PluginRoot) -> None:
    root.function("geoHash.py")
    root.function("geohash.py")
    assert root.answer("geoHash") == "geoHash.py"
    assert root.answer("geohash") == "geohash.py"


@pytest.mark.parametrize(
    ("versions", "latest"),
    [
        (["v1.9.0", "v1.10.0"], "v1.10.0"),
        (["1.9.0", "v1.10.0"], "v1.10.0"),
        (["V2.0.0", "v1.0.0"], "V2.0.0"),
        (["1.0.0", "1.0.0-rc.1"], "1.0.0"),
        (["1.0.0-rc.2", "1.0.0-rc.10"], "1.0.0-rc.10"),
        (["1.0.0-alpha", "1.0.0-beta"], "1.0.0-beta"),
        (["1.0.0-alpha", "1.0.0-1"], "1.0.0-alpha"),
        (["1.0.0-RC", "1.0.0-alpha"], "1.0.0-alpha"),
        (["1.0.0", "1.0.0+build"], "1.0.0+build"),
        (["1.0.0+b", "1.0.1+a"], "1.0.1+a"),
        (["1.0.0-rc.1+z", "1.0.0"], "1.0.0"),
        (["20200331", "20210101"], "20210101"),
        (["20991231", "v0.0.1"], "v0.0.1"),
        (["2021-01-01", "2020-12-31"], "2021-01-01"),
        (["beta", "alpha"], "beta"),
        (["beta", "Gamma"], "beta"),
        (["", "anything"], "anything"),
        (["", "1.0.0"], "1.0.0"),
        (["1.10", "1.9"], "1.9"),  # no semantic versions: texts
        (["1.10", "1.9", "0.0.1"], "0.0.1"),
        (["01.2.3", "0.0.1"], "0.0.1"),
        (["1.2.3.4", "1.0.0"], "1.0.0"),
        (["a@b", "a@c"], "a@c"),
    ],
)
def test_of_several_versions_only_the_latest_takes_effect(
    root: PluginRoot, versions: list[str], latest: str
) -> None:
    def name(version: str) -> str:
        return f"Geo@{version}.py" if version else "Geo.py"

    for version in versions:
        root.function(name(version))
    assert root.answer("geo") == name(latest)
    states = {Path(file.file).name: file.state for file in root.registry.files(PluginKind.FUNCTION)}
    assert states == {
        name(version): FileState.ACTIVE if version == latest else FileState.SUPERSEDED
        for version in versions
    }


@pytest.mark.parametrize(
    ("file", "shown"),
    [
        ("geo.py", ""),
        ("geo@v1.0.0.py", "1.0.0"),
        ("geo@V1.0.0.py", "1.0.0"),
        ("geo@vv1.py", "v1"),
        ("geo@20200331.py", "20200331"),
        ("geo@v.py", ""),
        ("geo@v1.0.0-rc.1+5.py", "1.0.0-rc.1+5"),
    ],
)
def test_one_leading_v_is_not_part_of_what_is_shown(
    root: PluginRoot, file: str, shown: str
) -> None:
    root.function(file)
    assert root.registry.get(PluginKind.FUNCTION, "geo").version == shown
    (present,) = root.registry.files(PluginKind.FUNCTION)
    assert present.version == shown


VERSIONS = st.one_of(
    st.builds(
        lambda *parts: "{}.{}.{}{}{}".format(*parts),
        st.integers(0, 12),
        st.integers(0, 12),
        st.integers(0, 12),
        st.sampled_from(["", "-rc.1", "-rc.2", "-rc.10", "-alpha"]),
        st.sampled_from(["", "+a", "+b"]),
    ),
    st.dates().map(lambda day: day.strftime("%Y%m%d")),
    st.text(max_size=6),
)


@given(st.lists(VERSIONS, min_size=1, max_size=8, unique=True), st.randoms())
def test_the_order_of_versions_does_not_depend_on_the_order_of_files(
    versions: list[str], random: object
) -> None:
    ordered = sorted(versions, key=version_key)
    shuffled = list(versions)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert sorted(shuffled, key=version_key) == ordered
    semantic = [is_semantic(version) for version in ordered]
    assert semantic == sorted(semantic)
    for earlier, later in itertools.pairwise(ordered):
        if is_semantic(earlier):
            assert Version.parse(earlier) <= Version.parse(later)
        elif not is_semantic(later):
            assert earlier < later


@functools.cache
def is_semantic(version: str) -> bool:
    return Version.is_valid(version)


@pytest.mark.parametrize(
    "pair",
    [
        ("geo.py", "Geo.py"),
        ("geo@1.0.0.py", "Geo@1.0.0.py"),
        ("geo@v1.0.0.py", "geo@1.0.0.py"),
        ("geo@v1.0.0.py", "geo@V1.0.0.py"),
        ("geo.py", "geo@.py"),
        ("geo.py", "geo/__init__.py"),
    ],
)
def test_two_files_for_one_name_and_version_are_an_error(
    root: PluginRoot, pair: tuple[str, str]
) -> None:
    for file in pair:
        root.write("functions", file, "from engine.api import Function\n")
    root.function("fine.py")
    message = root.error("functions", "geo")
    assert "two files for function geo" in message
    for file in pair:
        assert file.removesuffix("/__init__.py") in message
    assert "hint: remove one" in message
    assert root.answer("fine") == "fine.py"
    states = {file.name: file.state for file in root.registry.files(PluginKind.FUNCTION)}
    assert states == {"geo": FileState.CLASH, "fine": FileState.ACTIVE}


def test_a_clash_that_arises_later_is_an_error_too(root: PluginRoot) -> None:
    root.function("geo.py")
    assert root.answer("geo") == "geo.py"
    twin = root.function("Geo.py")
    assert "two files for function geo" in root.error("functions", "geo")
    twin.unlink()
    assert root.answer("geo") == "geo.py"


def test_a_clash_of_superseded_files_does_no_harm(root: PluginRoot) -> None:
    for file in ("geo@1.0.0.py", "Geo@v1.0.0.py", "geo@2.0.0.py"):
        root.function(file)
    assert root.answer("geo") == "geo@2.0.0.py"
    states = [file.state for file in root.registry.files(PluginKind.FUNCTION)]
    assert states == [FileState.ACTIVE, FileState.SUPERSEDED, FileState.SUPERSEDED]


def test_what_is_superseded_need_not_even_be_python(root: PluginRoot) -> None:
    root.write("functions", "geo@1.0.0.py", "this is no Python")
    root.function("geo@2.0.0.py")
    assert root.answer("geo") == "geo@2.0.0.py"


def test_the_root_comes_before_bundled_plugins_whatever_the_versions(tmp_path: Path) -> None:
    bundled = PluginRoot(tmp_path / "bundled")
    bundled.function("geo@9.0.0.py")
    bundled.function("other.py")
    root = PluginRoot(tmp_path / "root", tmp_path / "bundled" / "plugins")
    root.function("geo@1.0.0.py")
    assert root.answer("geo") == "geo@1.0.0.py"
    assert root.answer("other") == "other.py"
    states = [
        (file.name, file.version, file.origin, file.state)
        for file in root.registry.files(PluginKind.FUNCTION)
    ]
    assert states == [
        ("geo", "1.0.0", "root", "active"),
        ("geo", "9.0.0", "bundled", "hidden"),
        ("other", "", "bundled", "active"),
    ]


def test_a_root_that_is_the_place_of_the_bundled_plugins_lists_them_once(tmp_path: Path) -> None:
    root = PluginRoot(tmp_path)
    root.function("geo.py")
    registry = PluginRegistry(tmp_path, tmp_path / "plugins")
    assert len(registry.files(PluginKind.FUNCTION)) == 1


@pytest.mark.parametrize("name", ["_geo.py", ".geo.py", "geo.txt", "geo.pyc", "geo"])
def test_other_files_are_no_plugins(root: PluginRoot, name: str) -> None:
    root.write("functions", name, "raise SystemExit")
    assert root.registry.names(PluginKind.FUNCTION) == []


def test_names_of_other_kinds_do_not_meet(root: PluginRoot) -> None:
    root.function("geo.py")
    assert not root.registry.has(PluginKind.SINK, "geo")
    with pytest.raises(PluginError, match="unknown sink 'geo'"):
        root.registry.get(PluginKind.SINK, "geo")
