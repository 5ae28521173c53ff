"""Rules under the server get files in the folders that are named, and nothing of the engine's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.server.settings import load_settings
from tests.conftest import eventually
from tests.server.support import Running, Start, rule

KEPT = [
    "plugins/sinks/mine.py",
    "etc/server.yaml",
    "log/x.log",
    "data/server/definitions.db",
    "data/cache/r/1",
    "data/schemas/custom/x.py",
    "data/services/x.json",
    "data/checkpoints.db",
    "data/checkpoints.db-journal",
    "data/../plugins/functions/x.py",
]
OTHERS = ["x.txt", "../x.txt", "/etc/x", "database/x", "data/link/x", "data/a\0b"]


def writes(path: str) -> dict[str, Any]:
    return {"file": {"path": path, "sendSingle": True}}


COPY = writes("data/out/copy.jsonl")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with a link in ``data`` that leads out of it."""
    (tmp_path / "data" / "in").mkdir(parents=True)
    (tmp_path / "plugins").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.jsonl").write_text('{"n": "secret"}\n')
    (tmp_path / "data" / "link").symlink_to(tmp_path / "outside")
    return tmp_path


async def reads(server: Running, datasource: str, **more: Any) -> None:
    """Define the stream ``s``, which reads a file or folder by lines."""
    given = {"path": "", "datasource": datasource, "fileType": "lines", **more}
    await server.json("PUT", "/metadata/sources/file/confKeys/k", given)
    await server.stream(
        f'CREATE STREAM s () WITH (TYPE="file", CONF_KEY="k", DATASOURCE="{datasource}")'
    )


async def simulates(server: Running, *rows: dict[str, Any]) -> None:
    """Define the stream ``s``, which has some rows and ends."""
    section = {"data": rows, "interval": 0, "loop": False}
    await server.json("PUT", "/metadata/sources/simulator/confKeys/k", section)
    await server.stream('CREATE STREAM s () WITH (TYPE="simulator", CONF_KEY="k")')


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.parametrize("sink", ["file", "parquet"])
async def test_rules_that_would_write_elsewhere_are_refused(
    server: Running, root: Path, sink: str
) -> None:
    if sink == "parquet":
        pytest.importorskip("pyarrow")
    await server.stream()
    before = sorted(root.rglob("*"))
    hints = ("choose another folder below data", "fileFolders in etc/server.yaml", "path of a file")
    for path in [*KEPT, *OTHERS]:
        actions = [{sink: {"path": path}}]
        status, _, message = await server.refused("POST", "/rules", rule("r", actions=actions))
        assert status == 400, path
        assert any(hint in message for hint in hints), path
        check = f"/metadata/sinks/connection/{sink}"
        assert (await server.refused("POST", check, {"path": path}))[0] == 400, path
    assert await server.json("GET", "/rules") == []
    assert sorted(root.rglob("*")) == before


async def test_what_the_engine_keeps_is_refused_whatever_the_folders_are(start: Start) -> None:
    async with start(file_folders=(".", "etc", "/")) as server:
        await server.stream()
        for path in KEPT:
            body = rule("r", actions=[writes(path)])
            assert "what the engine keeps" in (await server.refused("POST", "/rules", body))[2]


async def test_an_update_to_such_a_path_leaves_the_rule_as_it_runs(server: Running) -> None:
    await server.paced()
    await server.json("POST", "/rules", rule("r", "SELECT * FROM paced", actions=[COPY]))
    running = server.service.engine.rules["r"]
    await eventually(lambda: running.status.state == "running")
    since = running.status.since
    body = rule("r", "SELECT * FROM paced", actions=[writes("plugins/x.py")])
    status, _, message = await server.refused("PUT", "/rules/r", body)
    assert (status, "what the engine keeps" in message) == (400, True)
    answer = await server.client.post("/rules/validate", json=body)
    assert "what the engine keeps" in answer.text
    assert server.service.engine.rules["r"] is running
    assert running.status.since == since


async def test_named_folders_are_read_and_written(start: Start, root: Path) -> None:
    (root / "etc").mkdir()
    (root / "etc" / "server.yaml").write_text(f"fileFolders: [{root}/outside, copies]\n")
    folders = load_settings(root).file_folders
    action = writes("copies/c.jsonl")
    async with start(file_folders=folders) as server:
        await reads(server, "outside/secret.jsonl")
        await server.json("POST", "/rules", rule("r", "SELECT * FROM s", actions=[action]))
        await eventually(lambda: lines(root / "copies" / "c.jsonl") == [{"n": "secret"}])
        refused = rule("q", "SELECT * FROM s", actions=[COPY])
        assert "outside of the folders" in (await server.refused("POST", "/rules", refused))[2]
    async with start() as server:  # the setting is taken back: the rule can't come up
        status = await server.json("GET", "/rules/r/status")
        assert status["status"] == "stopped by error"
        assert "outside of the folders" in status["message"]
    assert lines(root / "copies" / "c.jsonl") == [{"n": "secret"}]


@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("/etc/passwd", {}),
        ("data/server/definitions.db", {}),
        ("data/link", {}),
        ("data/in", {"actionAfterRead": 2, "moveTo": "plugins"}),
    ],
)
async def test_rules_that_would_read_elsewhere_are_refused(
    server: Running, root: Path, path: str, more: dict[str, Any]
) -> None:
    await reads(server, path, **more)
    refused = rule("r", "SELECT * FROM s", actions=[COPY])
    assert (await server.refused("POST", "/rules", refused))[0] == 400
    assert not (root / "data" / "out").exists()


async def test_messages_whose_path_leads_elsewhere_are_rejected(
    server: Running, root: Path
) -> None:
    kinds = ["data/out", "plugins", "data/server", "data/link", "data/out"]
    await simulates(server, *({"kind": kind, "n": n} for n, kind in enumerate(kinds)))
    action = writes("{{.kind}}/x.py")
    await server.json("POST", "/rules", rule("r", "SELECT * FROM s", actions=[action]))
    written = root / "data" / "out" / "x.py"
    await eventually(lambda: [row["n"] for row in lines(written)] == [0, 4])
    metrics = server.service.engine.rules["r"].metrics
    await eventually(lambda: sum(metrics.dropped.values()) == 3)
    assert list(root.rglob("x.py")) == [written]
    assert "what the engine keeps" in metrics.last_error or "outside" in metrics.last_error


async def test_in_a_folder_files_that_rules_do_not_get_are_passed_over(
    server: Running, root: Path
) -> None:
    data = root / "data"
    (data / "checkpoints.db-x").write_text('{"n": "kept"}\n')
    (data / "led.jsonl").symlink_to(root / "outside" / "secret.jsonl")
    (data / "zz.jsonl").write_text('{"n": 1}\n')
    await reads(server, "data", interval=10)
    await server.json("POST", "/rules", rule("r", "SELECT * FROM s", actions=[COPY]))
    await eventually(lambda: lines(data / "out" / "copy.jsonl"))
    assert lines(data / "out" / "copy.jsonl") == [{"n": 1}]


async def test_files_are_not_moved_to_where_the_engine_keeps_its_own(
    server: Running, root: Path
) -> None:
    given = root / "data" / "in" / "checkpoints.db-journal"
    given.write_text('{"n": 1}\n')
    await reads(server, "data/in/checkpoints.db-journal", actionAfterRead=2, moveTo="data")
    await server.json("POST", "/rules", rule("r", "SELECT * FROM s", actions=[COPY]))
    engine = server.service.engine
    await eventually(lambda: engine.rules["r"].status.state.is_final)
    assert given.exists()
    assert not (root / "data" / given.name).exists()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("sqlite://data/server/definitions.db", "what the engine keeps"),
        ("sqlite:///etc/x.db", "outside of the folders"),
        ("sqlite+pysqlite:///data/x.db", "write sqlite://path"),
    ],
)
async def test_lookups_get_databases_in_the_folders_only(
    server: Running, url: str, message: str
) -> None:
    await server.stream()
    await server.json("PUT", "/metadata/sources/sql/confKeys/k", {"dburl": url})
    table = 'CREATE TABLE t () WITH (TYPE="sql", CONF_KEY="k", DATASOURCE="t", KIND="lookup")'
    await server.json("POST", "/tables", {"sql": table})
    refused = rule("r", "SELECT * FROM demo INNER JOIN t ON demo.id = t.id")
    assert message in (await server.refused("POST", "/rules", refused))[2]
