"""A full import: all of a file in the place of what is there, or nothing of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from tests.server.support import DEMO, Running, Start, rule

COUNTING = "SELECT count(*) AS n FROM paced GROUP BY COUNTWINDOW(1000000)"
SECTION = "/metadata/sources/mqtt/confKeys/mine"


async def _defined(server: Running) -> None:
    await server.paced()
    await server.stream()
    await server.json("PUT", SECTION, {"password": "hush"})
    await server.json("POST", "/rules", rule("runs", COUNTING))
    await server.json("POST", "/rules", rule("stopped"))
    await server.json("POST", "/rules/stopped/stop")
    await server.json("POST", "/config/uploads", {"name": "note.txt", "content": "old"})
    with anyio.fail_after(10):
        while await server.state("stopped") != "stopped":
            await anyio.sleep(0.01)


async def _assert_as_defined(server: Running) -> None:
    assert await server.json("GET", "/streams") == ["demo", "paced"]
    assert [each["id"] for each in await server.json("GET", "/rules")] == ["runs", "stopped"]
    assert await server.state("runs") == "running"
    assert await server.state("stopped") == "stopped"
    kept = server.service.engine.properties.sections("sources", "mqtt")["mine"]  # type: ignore[arg-type]
    assert kept == {"password": "hush"}
    (path,) = await server.json("GET", "/config/uploads")
    assert Path(path).read_text() == "old"


BROKEN: list[dict[str, Any]] = [
    {"streams": {"q": "CREATE STREAM q ("}},
    {"streams": {"demo": DEMO}, "rules": {"a": rule("a"), "b": rule("b", "SELECT * FROM none")}},
    {"uploads": {"note.txt": {"content": "new"}, "more": {"content": "new"}}, "rules": {"a": []}},
    {"uploads": {"note.txt": {"content": "new"}, "more": {"content": "new"}}, "Schema": {"x": {}}},
    {"sourceConfig": {"mqtt": {"other": 5}}},
    {"connectionConfig": {"mqtt": {"con": {}}}, "scripts": {"area": {"script": "no"}}},
]


@pytest.mark.parametrize("content", BROKEN, ids=json.dumps)
async def test_what_cannot_be_taken_whole_changes_nothing(
    start: Start, content: dict[str, Any]
) -> None:
    async with start() as server:
        await _defined(server)
        answer = await server.client.post("/data/import", json={"content": json.dumps(content)})
        assert answer.status_code == 400
        assert "imported nothing, all is as it was before" in answer.json()["ErrorMsg"]
        await _assert_as_defined(server)
    async with start() as server:
        await _assert_as_defined(server)


async def test_a_cancelled_import_changes_nothing(server: Running) -> None:
    await _defined(server)
    many = {"streams": {"demo": DEMO}, "rules": {f"r{n}": rule(f"r{n}") for n in range(200)}}
    body = {"content": json.dumps(many)}
    job = (await server.json("POST", "/async/data/import", body))["id"]
    with anyio.fail_after(20):
        while "r0" not in server.service.engine.rules:
            await anyio.lowlevel.checkpoint()
        await server.json("POST", f"/async/task/{job}/cancel")
        while (await server.json("GET", f"/async/task/{job}"))["status"] == "running":
            await anyio.sleep(0.01)
    assert (await server.json("GET", f"/async/task/{job}"))["status"] == "cancelled"
    await _assert_as_defined(server)


@pytest.mark.parametrize("comes_back", [True, False])
async def test_a_rule_that_comes_back_keeps_its_state(server: Running, comes_back: bool) -> None:
    await server.paced()
    counted = rule("counted", COUNTING, options={"qos": 1})
    await server.json("POST", "/rules", counted)
    exported = (await server.client.get("/data/export")).json()
    checkpoints = server.service.engine.checkpoints
    with anyio.fail_after(10):
        while (await server.json("GET", "/rules/counted/status"))[
            "source_paced_0_records_in_total"
        ] < 3:
            await anyio.sleep(0.01)
    if not comes_back:
        exported["rules"] = {}
    await server.json("POST", "/data/import", {"content": json.dumps(exported)})
    assert (checkpoints().load("counted").checkpoint is not None) is comes_back
