"""A process that is killed in the middle leaves the plugins as they were, or as they should be."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine import Engine
from engine.errors import PluginError
from engine.packages import Packages
from engine.registry import PluginKind, PluginRegistry
from tests.packages.making import function, tree, zip_of

FUNCTION = PluginKind.FUNCTION
CHECKOUT = Path(__file__).parents[2]
# The second version has another file name, one file less and one more.
ONE = {
    "geo@1.0.0.py": function(answer="1"),
    "geo.yaml": "default: {level: 1}\n",
    "etc/old.txt": "1",
    "etc/both/same.txt": "1",
}
TWO = {
    "geo@2.0.0.py": function(answer="2"),
    "geo.yaml": "default: {level: 2}\n",
    "etc/both/same.txt": "2",
    "etc/new/new.txt": "2",
}
SAME_FILE = {**TWO, "geo@1.0.0.py": function(answer="2")}
del SAME_FILE["geo@2.0.0.py"]
FOLDER = {"geo@1.0.0/__init__.py": function(answer="2"), "geo@1.0.0/more.py": ""}


class Victims:
    """Processes that die on demand."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.packages.victim"]
        self._server = subprocess.Popen(
            command, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, operation: str, root: Path, archive: Path, step: int) -> bool:
        """Carry out an operation; tell whether it was killed."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(f"{operation} {root} {archive} {step}\n")
        self._server.stdin.flush()
        answer = self._server.stdout.readline().strip()
        assert answer in ("killed", "done 0")
        return answer == "killed"

    def close(self) -> None:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait(10)
        self._server.stdout.close()


@pytest.fixture(scope="module")
def victims() -> Iterator[Victims]:
    made = Victims()
    yield made
    made.close()


def normal(root: Path) -> dict[str, bytes]:
    """Return what matters of a root: records have times."""
    return {
        name: b"" if "/.packages/" in name else data
        for name, data in tree(root).items()
        if not name.endswith("/")
    }


def answer(root: Path) -> str:
    """Return what a rule that starts now gets from the plugin."""
    registry = PluginRegistry(root)
    if not registry.has(FUNCTION, "geo"):
        return "nothing"
    try:
        return str(registry.get(FUNCTION, "geo").instance().exec(None))
    except PluginError as error:
        return error.message.partition(": ")[2]


async def entered(root: Path) -> None:
    async with Engine(root):
        pass


@pytest.mark.parametrize(
    ("operation", "before", "after"),
    [
        ("install", None, ONE),
        ("update", ONE, TWO),
        ("update", ONE, SAME_FILE),
        ("update", ONE, FOLDER),
        ("remove", ONE, None),
    ],
    ids=["install", "update", "update in place", "update by a folder", "remove"],
)
def test_a_killed_operation_is_undone_or_completed(
    tmp_path: Path,
    victims: Victims,
    operation: str,
    before: dict[str, str] | None,
    after: dict[str, str] | None,
) -> None:
    start, root = tmp_path / "start", tmp_path / "root"
    start.mkdir()
    (start / "mine.txt").write_text("not of a package")
    if before is not None:
        place = zip_of(tmp_path / "before.zip", before)
        Packages(start).install(FUNCTION, "geo", str(place))
    archive = zip_of(tmp_path / "after.zip", after or ONE)
    old, old_answer = normal(start), answer(start)
    new_answer = "nothing" if after is None else "2" if before else "1"

    shutil.copytree(start, root)
    assert not victims.run(operation, root, archive, 100_000)
    new = normal(root)
    assert answer(root) == new_answer
    assert new != old

    seen = set()
    for step in range(1, 500):
        shutil.rmtree(root)
        shutil.copytree(start, root)
        if not victims.run(operation, root, archive, step):
            break
        found = answer(root)  # what an engine sees before anybody cleans up
        if after is FOLDER and found.startswith("two files for function geo"):
            found = new_answer  # they can't be exchanged in one step
        assert found in (old_answer, new_answer)
        asyncio.run(entered(root))
        assert normal(root) in (old, new)
        assert answer(root) == (old_answer if normal(root) == old else new_answer)
        assert not (root / "plugins" / ".staging").exists()
        seen.add(answer(root))
    assert step > 10
    assert seen == {old_answer, new_answer}  # both ways out were taken


def test_two_operations_at_once_dont_meet(tmp_path: Path) -> None:
    from engine.state.lock import FolderLock

    archive = zip_of(tmp_path / "one.zip", ONE)
    root = tmp_path / "root"
    lock = FolderLock(root / "plugins" / ".staging")
    with pytest.raises(PluginError, match="another installation is under way"):
        Packages(root).install(FUNCTION, "geo", str(archive))
    lock.release()
    Packages(root).install(FUNCTION, "geo", str(archive))
    assert answer(root) == "1"
