"""Results as they come, and trial runs."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest
import websockets

from tests.server.support import Running, rule


async def events(server: Running, path: str, wanted: int) -> list[tuple[str, Any]]:
    """Return the first events of a stream as (kind, data)."""
    found: list[tuple[str, Any]] = []
    kind = "message"
    with anyio.fail_after(10):
        async with server.client.stream("GET", path) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            async for line in answer.aiter_lines():
                if line.startswith("event: "):
                    kind = line[7:]
                elif line.startswith("data: "):
                    found.append((kind, json.loads(line[6:])))
                    kind = "message"
                if len(found) >= wanted:
                    break
    return found


def socket(server: Running, path: str) -> Any:
    return websockets.connect(server.url.replace("http", "ws") + path, proxy=None)


async def test_results_of_a_running_rule_can_be_watched(server: Running) -> None:
    await server.paced()
    await server.json("POST", "/rules", rule("a", "SELECT n * 2 AS d FROM paced"))
    found = await events(server, "/rules/a/results?rate=1000", 5)
    assert all(kind == "message" and row["d"] % 2 == 0 for kind, row in found)


async def test_watching_is_sampled_and_says_what_was_left_out(server: Running) -> None:
    await server.paced()
    await server.json("POST", "/rules", rule("a", "SELECT n FROM paced"))
    found = await events(server, "/rules/a/results?rate=1", 3)
    assert "skipped" in {kind for kind, _ in found}


async def test_a_watcher_follows_an_update_and_ends_with_the_rule(server: Running) -> None:
    await server.paced()
    await server.json("POST", "/rules", rule("a", "SELECT n FROM paced"))
    async with socket(server, "/rules/a/results/ws?rate=100") as watching:
        assert "n" in json.loads(await watching.recv())["row"]
        await server.json("PUT", "/rules/a", rule("a", "SELECT n AS m FROM paced"))
        with anyio.fail_after(10):
            while "m" not in json.loads(await watching.recv()).get("row", {}):
                pass
        await server.json("DELETE", "/rules/a")
        with anyio.fail_after(10):
            async for _ in watching:  # ends with the connection
                pass
        assert watching.close_code == 1000


async def test_nobody_who_watches_leaves_anything_behind(server: Running) -> None:
    await server.paced()
    await server.json("POST", "/rules", rule("a", "SELECT n FROM paced"))
    await events(server, "/rules/a/results", 1)
    with anyio.fail_after(10):
        while server.service.engine.rules["a"].taps:
            await anyio.sleep(0.01)


async def test_a_trial_run_shows_what_a_query_makes_of_rows(server: Running) -> None:
    await server.stream()
    body = {
        "id": "t",
        "sql": "SELECT a + 1 AS b FROM demo WHERE a > 1",
        "mockSource": {"demo": {"data": [{"a": 1}, {"a": 2}, {"a": 3}], "interval": 1}},
        "sinkProps": {"sendSingle": True},
    }
    made = await server.json("POST", "/ruletest", body)
    assert made["id"] == "t"
    async with socket(server, "/test/t/ws") as watching:
        assert await server.json("POST", "/ruletest/t/start") == "Test rule t was started"
        with anyio.fail_after(10):
            assert [json.loads(await watching.recv()) for _ in range(2)] == [{"b": 3}, {"b": 4}]
        assert await server.json("DELETE", "/ruletest/t") == "Test rule t was stopped."
        with anyio.fail_after(10), pytest.raises(websockets.ConnectionClosed):
            await watching.recv()
    assert await server.json("GET", "/rules") == []
    assert (await server.refused("POST", "/ruletest/t/start"))[0] == 404


async def test_a_trial_run_shows_errors_and_templates(server: Running) -> None:
    await server.stream()
    body = {
        "sql": "SELECT a * 2 AS b FROM demo",
        "mockSource": {"demo": {"data": [{"a": 1}, {"a": "x"}], "interval": 1}},
        "sinkProps": {"fields": ["b"]},
    }
    trial = (await server.json("POST", "/ruletest", body))["id"]
    await server.json("POST", f"/ruletest/{trial}/start")
    found = await events(server, f"/test/{trial}", 2)
    assert found[0] == ("message", {"b": 2})
    await server.json("DELETE", f"/ruletest/{trial}")


async def test_a_wrong_trial_is_refused(server: Running) -> None:
    await server.stream()
    mock = {"demo": {"data": [{"a": 1}]}}
    wrong: list[dict[str, Any]] = [
        {"sql": "SELECT FROM", "mockSource": mock},
        {"sql": "SELECT * FROM demo"},
        {"sql": "SELECT * FROM demo", "mockSource": {"no": {"data": []}}},
        {"sql": "SELECT * FROM demo", "mockSource": {"demo": {"data": []}}},
        {"sql": "SELECT * FROM demo", "mockSource": mock, "sinkProps": {"nosuch": 1}},
        {"sql": "SELECT * FROM demo", "mockSource": mock, "id": "a/b"},
        {},
    ]
    for body in wrong:
        assert (await server.refused("POST", "/ruletest", body))[0] == 400
    assert (await server.refused("GET", "/test/none"))[0] == 404
