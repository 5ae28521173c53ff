"""Installing, updating, removing and describing plugins of a root."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from engine import Engine
from engine.errors import PluginError
from engine.packages import Limits, Packages
from engine.registry import PluginKind
from tests.conftest import Rows, eventually
from tests.packages.making import function, tree, zip_of

SOURCE, SINK, FUNCTION = PluginKind.SOURCE, PluginKind.SINK, PluginKind.FUNCTION
FULL = {
    "Geo@v1.0.0.py": function(),
    "geo.yaml": "default:\n  level: 5\n",
    "geo.json": '{"about": {"author": {"name": "Ada"}}}',
    "etc/map/world.txt": "earth",
    "requirements.txt": "# nothing unusual\nmsgspec>=0.1  # is there\n",
    "README.md": "For people.",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "root"
    made.mkdir()
    return made


def package(folder: Path, **more: str) -> str:
    """Write a zip of the function geo in its first version."""
    return str(zip_of(folder / "geo.zip", {**FULL, **more}))


def version(folder: Path, number: str, **files: str) -> str:
    """Write a zip of some version of geo that has nothing else."""
    name = f"Geo@v{number}.py" if number else "geo.py"
    files = {path.replace("__", "."): text for path, text in files.items()}
    texts = {name: function(answer=number), **files}
    return str(zip_of(folder / f"geo-{number}.zip", texts))


def refusal(root: Path, files: dict[str, str], kind: PluginKind = FUNCTION) -> str:
    """Return why a package can't be installed; nothing may be left of it."""
    before = tree(root)
    archive = zip_of(root.parent / "refused.zip", files)
    with pytest.raises(PluginError) as caught:
        Packages(root).install(kind, "geo", str(archive))
    assert tree(root) == before
    return str(caught.value)


# -- installing --------------------------------------------------------------------------------


def test_everything_is_moved_into_its_place(root: Path, tmp_path: Path) -> None:
    installed = Packages(root).install(FUNCTION, "geo", package(tmp_path))
    assert (installed.name, installed.version, installed.functions) == ("geo", "1.0.0", ("geo",))
    files = tree(root)
    assert files["plugins/functions/Geo@v1.0.0.py"].decode() == FULL["Geo@v1.0.0.py"]
    assert files["etc/functions/geo.yaml"] == b"default:\n  level: 5\n"
    assert files["etc/functions/geo/map/world.txt"] == b"earth"
    assert json.loads(files["etc/functions/geo.json"])["about"]["author"]["name"] == "Ada"
    assert [name for name in files if "README" in name or "requirements" in name] == []
    assert "plugins/.staging/" not in files


def test_a_package_folder_is_a_plugin_too(root: Path, tmp_path: Path) -> None:
    text = function().replace('"1"', "answer.TEXT").replace("class", "from . import answer\nclass")
    files = {"geo@2.0.0/__init__.py": text, "geo@2.0.0/answer.py": "TEXT = 'inner'\n"}
    packages = Packages(root)
    packages.install(FUNCTION, "geo", str(zip_of(tmp_path / "geo.zip", files)))
    assert Engine(root).plugins.get(FUNCTION, "geo").instance().exec(None) == "inner"
    assert not [name for name in tree(root) if "__pycache__" in name]
    packages.remove(FUNCTION, "geo")
    assert not [name for name in tree(root) if not name.endswith("/")]


def test_the_name_may_be_given_as_the_symbol(root: Path, tmp_path: Path) -> None:
    assert Packages(root).install(FUNCTION, "Geo", package(tmp_path)).name == "geo"


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({}, "it holds no function geo, it is empty"),
        ({"other.py": function("other")}, "it holds no function geo, but other.py"),
        ({"geo/geo.py": function()}, "pack what is in the folder geo, not the folder"),
        ({"geo.py": function(), "Geo@1.py": function()}, "a package holds one plugin"),
        ({"geo.py": function(), "install.sh": "rm"}, "it must not hold install.sh"),
        ({"geo.py": function(), "other.py": ""}, "it must not hold other.py"),
        ({"geo.py": function(), "readme.so": ""}, "it must not hold readme.so"),
        ({"geo.py": "def ("}, "geo.py:1: syntax error"),
        ({"geo.py": "import nothing_like_it"}, "No module named 'nothing_like_it'"),
        ({"geo.py": function("other")}, "expected the symbol Geo, found Other"),
        ({"geo.py": "1/0"}, "geo.py:1: ZeroDivisionError"),
        ({"geo.py": "raise SystemExit"}, "it ends the program while it is imported"),
        ({"geo.py": function(), "requirements.txt": "nothing-like-it>=1"}, "it needs nothing-like"),
        (
            {"geo.py": function(), "requirements.txt": "-r more.txt"},
            "txt:1: '-r more.txt' is an op",
        ),
        ({"geo.py": function(), "geo.yaml": "a: ["}, "geo.yaml:"),
        ({"geo.py": function(), "geo.yaml": "level: 5"}, "geo.yaml: level is no section"),
        ({"geo.py": function(), "geo.json": "[]"}, "geo.json is no mapping"),
        ({"geo.py": function().replace("def exec(self, ctx", "def exec(self, x")}, "the context"),
    ],
)
def test_a_package_that_cant_be_used_leaves_no_trace(
    root: Path, files: dict[str, str], why: str
) -> None:
    assert why in refusal(root, files)


def test_a_refusal_names_no_folder_that_is_gone_by_then(root: Path) -> None:
    assert ".staging" not in refusal(root, {"geo.py": "def ("})


def test_a_plugin_of_another_kind_is_told_where_it_belongs(root: Path) -> None:
    assert "plugins/functions" in refusal(root, {"geo.py": function()}, SOURCE)


def test_a_builtin_function_cant_be_replaced(root: Path, tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "abs.zip", {"abs.py": function("abs")})
    with pytest.raises(PluginError, match="built-in"):
        Packages(root).install(FUNCTION, "abs", str(archive))
    assert tree(root) == {}


def test_a_function_that_another_plugin_exports_is_refused(root: Path, tmp_path: Path) -> None:
    packages = Packages(root)
    packages.install(FUNCTION, "geo", package(tmp_path))
    text = function("more") + "functions = {'geo': More}\n"
    with pytest.raises(PluginError, match=r"geo is also exported by Geo@v1\.0\.0\.py"):
        packages.install(FUNCTION, "more", str(zip_of(tmp_path / "m.zip", {"more.py": text})))


def test_what_is_installed_isnt_installed_again(root: Path, tmp_path: Path) -> None:
    packages = Packages(root)
    packages.install(FUNCTION, "geo", package(tmp_path))
    before = tree(root)
    with pytest.raises(PluginError, match="installed already") as caught:
        packages.install(FUNCTION, "geo", version(tmp_path, "2.0.0"))
    assert "plugin update function geo" in caught.value.hint
    assert tree(root) == before


def test_another_checksum_is_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="SHA-256"):
        Packages(root).install(FUNCTION, "geo", package(tmp_path), sha256="0" * 64)
    assert tree(root) == {}


def test_limits_hold(root: Path, tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="entries"):
        Packages(root, limits=Limits(files=2)).install(FUNCTION, "geo", package(tmp_path))
    assert tree(root) == {}


def test_configuration_of_the_operator_is_kept(root: Path, tmp_path: Path) -> None:
    own = root / "etc" / "functions" / "geo.yaml"
    own.parent.mkdir(parents=True)
    own.write_text("default:\n  level: 7\n")
    installed = Packages(root).install(FUNCTION, "geo", package(tmp_path))
    assert installed.kept == ("etc/functions/geo.yaml",)
    assert own.read_text() == "default:\n  level: 7\n"
    assert own.with_name("geo.yaml.new").read_text() == FULL["geo.yaml"]


def test_one_that_hides_a_bundled_plugin_says_so(root: Path, tmp_path: Path) -> None:
    installed = Packages(root).install(
        FUNCTION, "echo", str(zip_of(tmp_path / "e.zip", {"echo.py": function("echo")}))
    )
    assert installed.hides.endswith("echo.py")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_root_that_cant_be_written_is_told(root: Path, tmp_path: Path) -> None:
    archive = package(tmp_path)
    root.chmod(0o555)
    with pytest.raises(PluginError, match="can't be written"):
        Packages(root).install(FUNCTION, "geo", archive)


def test_a_file_in_the_way_undoes_everything(root: Path, tmp_path: Path) -> None:
    (root / "etc").mkdir()
    (root / "etc" / "functions").write_text("no folder")
    before = tree(root)
    with pytest.raises(PluginError, match="nothing has changed"):
        Packages(root).install(FUNCTION, "geo", package(tmp_path))
    assert tree(root) == before


# -- updating ----------------------------------------------------------------------------------


@pytest.mark.parametrize("number", ["2.0.0", "0.9.0", "20200331", "", "1.0.0"])
def test_an_update_takes_the_place_of_all_versions(root: Path, tmp_path: Path, number: str) -> None:
    packages = Packages(root)
    packages.install(FUNCTION, "geo", package(tmp_path))
    (root / "plugins" / "functions" / "geo@0.1.0.py").write_text(function(answer="oldest"))
    installed = packages.update(FUNCTION, "geo", version(tmp_path, number))
    assert (installed.version, installed.replaced) == (number, "1.0.0")
    assert Engine(root).plugins.get(FUNCTION, "geo").instance().exec(None) == number
    assert len([*(root / "plugins" / "functions").iterdir()]) == 1


def test_an_update_may_come_from_where_the_first_came_from(root: Path, tmp_path: Path) -> None:
    packages = Packages(root)
    packages.install(FUNCTION, "geo", package(tmp_path))
    zip_of(tmp_path / "geo.zip", {"geo@3.0.0.py": function(answer="3")})
    assert packages.update(FUNCTION, "geo").version == "3.0.0"


def test_changed_files_are_kept_and_others_follow_the_package(root: Path, tmp_path: Path) -> None:
    packages = Packages(root)
    packages.install(FUNCTION, "geo", package(tmp_path, **{"etc/gone.txt": "old"}))
    etc = root / "etc" / "functions"
    (etc / "geo.yaml").write_text("default: {level: 9}\n")
    files = {**FULL, "geo.yaml": "default: {level: 6}\n", "etc/map/world.txt": "moon"}
    del files["README.md"]
    installed = packages.update(FUNCTION, "geo", str(zip_of(tmp_path / "2.zip", files)))
    assert installed.kept == ("etc/functions/geo.yaml",)
    assert (etc / "geo.yaml").read_text() == "default: {level: 9}\n"
    assert (etc / "geo.yaml.new").read_text() == "default: {level: 6}\n"
    assert (etc / "geo" / "map" / "world.txt").read_text() == "moon"
    assert not (etc / "geo" / "gone.txt").exists()


def test_an_update_that_cant_be_used_changes_nothing(root: Path, tmp_path: Path) -> None:
    packages = Packages(root)
    packages.install(FUNCTION, "geo", package(tmp_path))
    before = tree(root)
    with pytest.raises(PluginError, match="syntax error"):
        packages.update(
            FUNCTION, "geo", str(zip_of(tmp_path / "2.zip", {**FULL, "Geo@v1.0.0.py": "def ("}))
        )
    assert tree(root) == before


def test_what_isnt_there_cant_be_updated_or_removed(root: Path, tmp_path: Path) -> None:
    packages = Packages(root)
    with pytest.raises(PluginError, match="unknown function 'geo'"):
        packages.update(FUNCTION, "geo", package(tmp_path))
    with pytest.raises(PluginError, match="echo isn't installed") as caught:
        packages.remove(FUNCTION, "echo")
    assert "comes with the engine" in caught.value.hint
    (root / "plugins" / "functions").mkdir(parents=True)
    (root / "plugins" / "functions" / "geo.py").write_text(function())
    with pytest.raises(PluginError, match="wasn't installed from a package"):
        packages.update(FUNCTION, "geo")


# -- removing ----------------------------------------------------------------------------------


def test_removing_leaves_only_what_was_changed(root: Path, tmp_path: Path) -> None:
    packages = Packages(root)
    packages.install(FUNCTION, "geo", package(tmp_path))
    (root / "plugins" / "functions" / "geo@0.1.0.py").write_text(function())
    (root / "etc" / "functions" / "geo.yaml").write_text("default: {level: 9}\n")
    removed = packages.remove(FUNCTION, "geo")
    assert removed.kept == ("etc/functions/geo.yaml",)
    assert [name for name in tree(root) if not name.endswith("/")] == ["etc/functions/geo.yaml"]
    packages.install(FUNCTION, "geo", package(tmp_path))


def test_what_rules_use_is_removed_only_by_force(root: Path, tmp_path: Path) -> None:
    packages = Packages(root)
    packages.install(FUNCTION, "geo", package(tmp_path))
    (root / "rules").mkdir()
    (root / "rules" / "r.yaml").write_text(
        "streams: {demo: {type: memory, datasource: d}}\n"
        "rules:\n  - id: hot\n    sql: SELECT geo(a) AS g FROM demo\n    actions: [{log: {}}]\n"
    )
    before = tree(root)
    with pytest.raises(PluginError, match=r"used by hot \(rules/r\.yaml:3\)"):
        packages.remove(FUNCTION, "geo")
    assert tree(root) == before
    assert packages.remove(FUNCTION, "geo", force=True).used_by[0].rule == "hot"


# -- describing --------------------------------------------------------------------------------

RULES = """\
streams:
  ticks: {type: counter}
  spare: "CREATE STREAM spare () WITH (TYPE='counter')"
rules:
  - id: first
    sql: SELECT geo(n) AS g FROM ticks
    actions:
      - record: {path: x}
"""


def test_a_description_has_versions_package_metadata_and_users(root: Path, tmp_path: Path) -> None:
    packages = Packages(root)
    packages.install(FUNCTION, "geo", package(tmp_path))
    (root / "plugins" / "functions" / "geo@0.1.0.py").write_text(function())
    (root / "deep" / "er").mkdir(parents=True)
    (root / "deep" / "er" / "rules.yaml").write_text(RULES)
    (root / "broken.yaml").write_text("rules: [")
    described = packages.describe(FUNCTION, "geo")
    assert [file.version for file in described.plugin.versions] == ["1.0.0", "0.1.0"]
    assert described.metadata == {"about": {"author": {"name": "Ada"}}}
    assert described.package is not None
    assert described.package.source == str(tmp_path / "geo.zip")
    assert [(user.rule, user.file) for user in described.used_by] == [
        ("first", "deep/er/rules.yaml:5")
    ]
    shown = json.loads(json.dumps(described.json()))
    assert (shown["name"], shown["export"], shown["usedBy"][0]["rule"]) == (
        "geo",
        "isolated",
        "first",
    )


def test_users_of_sources_are_found_across_files(root: Path) -> None:
    text = """\
from engine.api import Source
class Counter(Source):
    async def run(self, emit): ...
"""
    (root / "plugins" / "sources").mkdir(parents=True)
    (root / "plugins" / "sources" / "counter.py").write_text(text)
    (root / "streams.yaml").write_text(RULES)
    other = {"id": "second", "sql": "SELECT * FROM ticks", "actions": [{"log": {}}]}
    (root / "other.json").write_text(json.dumps(other))
    users = {user.rule for user in Packages(root).describe(SOURCE, "counter").used_by}
    assert users == {"first", "second", "stream spare"}


def test_a_broken_plugin_is_listed_with_its_error(root: Path) -> None:
    (root / "plugins" / "sinks").mkdir(parents=True)
    (root / "plugins" / "sinks" / "broken.py").write_text("def (")
    found = {report.plugin.name: report.plugin for report in Packages(root).all(SINK)}
    assert "broken.py:1: syntax error" in found["broken"].error
    assert found["log"].error == ""


# -- packing and starting ----------------------------------------------------------------------


def test_what_is_packed_can_be_installed_elsewhere(root: Path, tmp_path: Path) -> None:
    packages = Packages(root)
    packages.install(FUNCTION, "geo", package(tmp_path))
    written = packages.pack(FUNCTION, "geo", tmp_path)
    again = packages.pack(FUNCTION, "geo", tmp_path / "again.zip")
    assert written.name == "Geo@v1.0.0.zip"
    assert written.read_bytes() == again.read_bytes()
    other = tmp_path / "other"
    other.mkdir()
    Packages(other).install(FUNCTION, "geo", str(written))
    theirs, ours = tree(other), tree(root)
    record = "plugins/.packages/functions/geo.json"
    assert theirs.pop(record) != ours.pop(record)
    assert theirs == ours


def test_a_version_can_be_given_when_packing(root: Path, tmp_path: Path) -> None:
    packages = Packages(root)
    packages.new(FUNCTION, "fresh")
    assert packages.pack(FUNCTION, "fresh", tmp_path, version="v2.1.0").name == "fresh@v2.1.0.zip"


def test_a_broken_plugin_cant_be_packed(root: Path, tmp_path: Path) -> None:
    (root / "plugins" / "sinks").mkdir(parents=True)
    (root / "plugins" / "sinks" / "broken.py").write_text("def (")
    with pytest.raises(PluginError, match="syntax error"):
        Packages(root).pack(SINK, "broken", tmp_path)
    assert list(tmp_path.glob("*.zip")) == []


@pytest.mark.parametrize("name", ["", "1st", "a-b", "a.b", "../x", "class", "random", "abs"])
def test_a_name_that_cant_be_one_or_is_taken_is_refused(root: Path, name: str) -> None:
    kind = FUNCTION if name == "abs" else SOURCE
    with pytest.raises(PluginError):
        Packages(root).new(kind, name)
    assert tree(root) == {}


# -- while rules run ---------------------------------------------------------------------------


async def test_running_rules_keep_their_version(
    engine: Engine, collected: Rows, tmp_path: Path
) -> None:
    zips = tmp_path.parent / f"{tmp_path.name}-zips"
    packages = Packages(engine.root, engine.plugins)
    packages.install(FUNCTION, "geo", package(zips))

    async def started(name: str) -> None:
        rule = {
            "id": name,
            "sql": f"SELECT geo(1) AS {name} FROM demo",
            "actions": [{"collect": {}}],
        }
        made = await engine.start(rule)
        await eventually(lambda: made.status.state == "running")

    async def answers() -> dict[str, str]:
        collected.clear()
        await engine.push("demo", [{"a": 1}])
        await eventually(lambda: len(collected) == len(engine.rules))
        return {key: value for row in collected for key, value in row.items()}

    await started("first")
    packages.update(FUNCTION, "geo", version(zips, "2.0.0"))
    await started("second")
    packages.update(FUNCTION, "geo", version(zips, "1.5.0"))
    await started("third")
    assert await answers() == {"first": "1", "second": "2.0.0", "third": "1.5.0"}
    packages.remove(FUNCTION, "geo")
    assert await answers() == {"first": "1", "second": "2.0.0", "third": "1.5.0"}
    with pytest.raises(Exception, match="unknown function geo"):
        await started("fourth")
