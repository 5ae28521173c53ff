"""The commands ``plugin`` and ``state`` as their users meet them: real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from engine import Engine
from tests.conftest import eventually
from tests.packages.making import function, tree, zip_of

CHECKOUT = Path(__file__).parents[2]


def headrace(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "engine", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=50,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        check=False,
    )


def data_of(*arguments: object, cwd: Path) -> Any:
    done = headrace(*arguments, "--format", "json", cwd=cwd)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_from_a_new_plugin_to_its_removal(tmp_path: Path) -> None:
    author, site = tmp_path / "author", tmp_path / "site"
    author.mkdir()
    site.mkdir()
    done = headrace("plugin", "new", "function", "limit", cwd=author)
    assert "python -m pytest" in done.stdout, done.stderr
    packed = data_of("plugin", "pack", "function", "limit", "--version", "1.0.0", cwd=author)
    installed = data_of(
        *("plugin", "install", "function", "limit", packed["file"]),
        *("--sha256", packed["sha256"], "--root", site),
        cwd=author,
    )
    assert (installed["version"], installed["functions"]) == ("1.0.0", ["limit"])
    listed = data_of("plugin", "list", "function", cwd=site)
    assert {"limit", "echo"} <= {one["name"] for one in listed}
    shown = headrace("plugin", "describe", "function", "limit", cwd=site).stdout
    for text in ("version       1.0.0", "export        isolated", "limit@1.0.0.zip (sha256"):
        assert text in shown
    assert "1.0.0" in headrace("plugin", "list", cwd=site).stdout
    assert data_of("plugin", "update", "function", "limit", cwd=site)["replaced"] == "1.0.0"
    removed = data_of("plugin", "remove", "function", "limit", cwd=site)
    assert removed["files"] == ["plugins/functions/limit@1.0.0.py"]
    assert not [name for name in tree(site) if not name.endswith("/")]


def test_a_version_cannot_lead_out_of_the_folder(tmp_path: Path) -> None:
    data_of("plugin", "new", "function", "limit", cwd=tmp_path)
    command = ("plugin", "pack", "function", "limit", "--version", "../../out")
    done = headrace(*command, cwd=tmp_path)
    assert done.returncode == 2
    assert "'../../out' can't be the version of a file" in done.stderr


@pytest.mark.parametrize("kind", ["source", "sink", "function"])
def test_a_new_plugin_passes_its_own_test(tmp_path: Path, kind: str) -> None:
    written = data_of("plugin", "new", kind, "myOwn", cwd=tmp_path)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:asyncio", written["test"]]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=50,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("install", "function", "geo", "bad.zip"), "error: bad.zip: it holds no function geo"),
        (("install", "function", "geo", "none.zip"), "can't be read: No such file"),
        (("remove", "function", "geo"), "error: unknown function 'geo'"),
        (("describe", "sink", "lag"), "did you mean 'log'?"),
        (("new", "source", "a-b"), "can't be the name of a plugin"),
        (("list", "thing"), "'thing' is not one of"),
    ],
)
def test_mistakes_are_told_without_a_traceback(
    tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    zip_of(tmp_path / "bad.zip", {"other.py": function("other")})
    done = headrace("plugin", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


async def test_state_is_shown_and_cleared(tmp_path: Path) -> None:
    def state(*arguments: object) -> subprocess.CompletedProcess[str]:
        return headrace("state", *arguments, "--root", tmp_path, cwd=CHECKOUT)

    assert "no rule has stored state" in state("show").stdout
    assert json.loads(state("show", "--format", "json").stdout) == []
    assert "no rule has stored state" in state("show", "words").stderr
    rule = {
        "id": "words",
        "sql": "SELECT accumulateWordCount(t) AS n FROM demo",
        "actions": [{"nop": {}}],
        "options": {"qos": 1},
    }
    async with Engine(tmp_path, drain=5) as engine:
        engine.define_stream("demo", type="memory", datasource="demo")
        started = await engine.start(rule)
        await eventually(lambda: started.status.state == "running")
        await engine.push("demo", [{"t": "a b c"}])
        refused = state("clear", "words")
        assert refused.returncode == 2
        assert "an engine is running with this root" in refused.stderr
    shown = state("show", "words")
    assert "function[accumulateWordCount]/0" in shown.stdout
    assert "# words = 3" in shown.stdout
    found = json.loads(state("show", "words", "--format", "json").stdout)
    assert {"words": 3} in [part["counters"] for part in found["parts"]]
    assert [one["rule"] for one in json.loads(state("show", "--format", "json").stdout)] == [
        "words"
    ]
    assert "did you mean 'words'?" in state("show", "word").stderr
    assert "has forgotten everything" in state("clear", "words").stdout
    assert "rule words has no stored state" in state("clear", "words").stderr
    assert "no rule has stored state" in state("show").stdout
