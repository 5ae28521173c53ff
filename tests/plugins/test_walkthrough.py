"""The manual's way of a plugin, from writing to upgrading, done as it stands there."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from engine.testing import check_function
from tests.plugins.test_plugin_manual import PAGE, block

CHECKOUT = Path(__file__).parents[2]
CONSOLE = re.findall(r"^```console\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def author(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the manual's plugins and their tests, and a site."""
    root = tmp_path_factory.mktemp("author")
    (root / "site").mkdir()
    (root / "tests").mkdir()
    for kind, name in (("sources", "counter"), ("sinks", "record"), ("functions", "change")):
        folder = root / "plugins" / kind
        folder.mkdir(parents=True)
        symbol = name[:1].upper() + name[1:]
        (folder / f"{name}.py").write_text(block(f"class {symbol}("))
        (root / "tests" / f"test_{name}.py").write_text(block(f"def test_{name}("))
    (rule,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    (root / "rule.yaml").write_text(rule)
    return root


def run(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        capture_output=True,
        text=True,
        timeout=50,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        check=False,
    )


def test_the_tests_of_the_manual_pass(author: Path) -> None:
    done = run(["pytest", "-q", "-p", "no:asyncio", "tests"], author)
    assert "4 passed" in done.stdout, done.stdout


def test_the_commands_of_the_manual_give_what_it_says(author: Path) -> None:
    lines = "".join(CONSOLE).splitlines()
    commands = [number for number, line in enumerate(lines) if line.startswith("$ headrace ")]
    assert len(commands) >= 10
    for number, following in zip(commands, [*commands[1:], len(lines)], strict=True):
        done = run(["engine", *shlex.split(lines[number])[2:]], author)
        assert done.returncode == 0, done.stderr
        shown = "\n".join(lines[number + 1 : following])
        pattern = re.escape(shown).replace("…", ".*")
        # how wide a column is depends on what else is there
        pattern = re.sub(r"(\\ )+", r"\\s+", pattern)
        assert re.fullmatch(pattern, (done.stdout + done.stderr).rstrip(), re.DOTALL), done


def test_the_whole_batch_form_of_the_manual(tmp_path: Path) -> None:
    folder = tmp_path / "plugins" / "functions"
    folder.mkdir(parents=True)
    (folder / "compassPoint.py").write_text(block("class CompassPoint("))
    calls = [(0,), (44,), (359,), (None,)]
    assert check_function("compassPoint", tmp_path, calls).results == ["N", "NE", "N", None]


def test_every_bundled_example_is_in_the_manual() -> None:
    names = [path.stem for path in (CHECKOUT / "plugins" / "functions").glob("*.py")]
    assert len(names) >= 5
    for name in names:
        assert f"`{name}" in PAGE, name
