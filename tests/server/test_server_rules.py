"""Rules over HTTP: defining, running, watching their state, changing them safely."""

from __future__ import annotations

from typing import Any

import anyio

from tests.server.support import Running, Start, rule


async def until(server: Running, rule_id: str, state: str) -> None:
    with anyio.fail_after(10):
        while await server.state(rule_id) != state:
            await anyio.sleep(0.01)


async def test_a_rule_is_given_back_word_for_word(server: Running) -> None:
    await server.stream()
    text = '{ "id": "a",  "sql": "SELECT *\\n FROM demo", "actions": [ {"nop": {} } ] }'
    created = await server.client.post("/rules", content=text)
    assert (created.status_code, created.text) == (201, "Rule a was created successfully.")
    assert (await server.client.get("/rules/a")).text == text


async def test_the_list_has_names_states_and_tags(server: Running) -> None:
    await server.stream()
    await server.json("POST", "/rules", rule("b", triggered=False, tags=["x"], version="1"))
    await server.json("POST", "/rules", rule("a", name="First"))
    await until(server, "a", "running")
    common = {"trace": False}
    assert await server.json("GET", "/rules") == [
        {"id": "a", "name": "First", "status": "running", "version": "", "tags": []} | common,
        {"id": "b", "name": "b", "status": "stopped", "version": "1", "tags": ["x"]} | common,
    ]


async def test_status_has_the_metrics_of_every_operator(server: Running) -> None:
    await server.paced()
    await server.json("POST", "/rules", rule("a", "SELECT n FROM paced"))
    with anyio.fail_after(10):
        while not (await server.json("GET", "/rules/a/status")).get(
            "sink_nop_0_0_records_out_total"
        ):
            await anyio.sleep(0.01)
    status = await server.json("GET", "/rules/a/status")
    assert status["status"] == "running"
    assert status["lastStartTimestamp"] > 0
    assert status["source_paced_0_connection_status"] == 1
    assert status["op_3_project_0_records_in_total"] > 0
    typed = await server.json("GET", "/v2/rules/a/status")
    assert typed["balance"]["holds"]
    topology = await server.json("GET", "/rules/a/topo")
    assert topology["sources"] == ["source_paced"]
    assert topology["edges"]["op_3_project"] == ["sink_nop_0"]
    assert set(await server.json("GET", "/rules/status/all")) == {"a"}


async def test_start_stop_and_restart(server: Running) -> None:
    await server.paced()
    await server.json("POST", "/rules", rule("a", "SELECT n FROM paced"))
    assert await server.json("POST", "/rules/a/stop") == "Rule a was stopped."
    await until(server, "a", "stopped")
    assert await server.json("POST", "/rules/a/start") == "Rule a was started"
    await until(server, "a", "running")
    started = (await server.json("GET", "/rules/a/status"))["lastStartTimestamp"]
    assert await server.json("POST", "/rules/a/restart") == "Rule a was restarted"
    with anyio.fail_after(10):
        while (await server.json("GET", "/rules/a/status"))["lastStartTimestamp"] == started:
            await anyio.sleep(0.01)


async def test_what_is_not_there_is_404(server: Running) -> None:
    for path in ("", "/status", "/topo", "/explain", "/schema", "/results"):
        assert (await server.refused("GET", f"/rules/none{path}"))[:2] == (404, 1002)
    for action in ("start", "stop", "restart"):
        assert (await server.refused("POST", f"/rules/none/{action}"))[:2] == (404, 1002)
    assert (await server.refused("DELETE", "/rules/none"))[:2] == (404, 1002)
    assert (await server.refused("GET", "/nowhere"))[:2] == (404, 1002)


async def test_a_wrong_rule_is_refused_and_leaves_the_old_one_running(server: Running) -> None:
    await server.stream()
    await server.json("POST", "/rules", rule("a"))
    await until(server, "a", "running")
    wrong: list[dict[str, Any]] = [
        rule("a", "SELECT * FROM"),
        rule("a", "SELECT * FROM nowhere"),
        {**rule("a"), "actions": []},
        {**rule("a"), "actions": [{"nosuch": {}}]},
        {**rule("a"), "options": {"bufferLength": -1}},
        {**rule("a"), "optoins": {}},
        rule("other"),
    ]
    for body in wrong:
        assert (await server.refused("PUT", "/rules/a", body))[0] == 400
    assert (await server.refused("POST", "/rules", rule("a")))[:2] == (400, 4000)
    assert (await server.refused("POST", "/rules", rule("a/../b")))[0] == 400
    assert await server.json("GET", "/rules/a") == rule("a")
    assert await server.state("a") == "running"


async def test_put_defines_replaces_and_starts(server: Running) -> None:
    await server.stream()
    assert await server.json(
        "PUT", "/rules/a", {"sql": "SELECT * FROM demo", "actions": [{"nop": {}}]}
    )
    await until(server, "a", "running")
    await server.json("PUT", "/rules/a", rule("a", "SELECT 1 AS one FROM demo", triggered=False))
    await until(server, "a", "stopped")
    assert "one" in await server.json("GET", "/rules/a/explain")
    assert await server.json("GET", "/rules/a/schema") == {"one": {}}
    assert await server.json("DELETE", "/rules/a") == "Rule a is dropped."
    assert await server.json("GET", "/rules") == []


async def test_updates_can_be_bound_to_a_version(server: Running) -> None:
    await server.stream()
    await server.json("POST", "/rules", rule("a", version="1"))
    assert (await server.refused("PUT", "/rules/a", rule("a", version="1")))[0] == 400
    seen = (await server.client.get("/rules/a")).headers["etag"]
    await server.json("PUT", "/rules/a", rule("a", version="2"), headers={"If-Match": seen})
    stale = {"If-Match": seen}
    assert (await server.refused("PUT", "/rules/a", rule("a", version="3"), headers=stale))[
        0
    ] == 412


async def test_validation_runs_nothing(server: Running) -> None:
    await server.stream()
    valid = {"sql": "SELECT * FROM demo", "actions": [{"nop": {}}]}
    assert await server.json("POST", "/rules/validate", valid) == {
        "valid": True,
        "sources": ["demo"],
    }
    wrong = await server.client.post("/rules/validate", json={**valid, "sql": "SELECT x FROM no"})
    assert wrong.status_code == 422
    assert "unknown stream" in wrong.text
    assert (await server.client.post("/rules/validate", content="")).status_code == 400
    assert await server.json("GET", "/rules") == []


async def test_tags_find_and_run_rules(server: Running) -> None:
    await server.paced()
    for rule_id, tags in (("a", ["x", "y"]), ("b", ["x"])):
        body = rule(rule_id, "SELECT n FROM paced", tags=tags, triggered=False)
        await server.json("POST", "/rules", body)
    match = await server.client.request("GET", "/rules/tags/match", json={"tags": ["x", "y"]})
    assert match.json() == {"rules": ["a"]}
    started = await server.json("POST", "/rules/bulkstart", {"tags": ["x"]})
    assert started == [{"ruleId": r, "success": True, "error": ""} for r in ("a", "b")]
    await until(server, "b", "running")
    await server.json("PATCH", "/rules/b/tags", {"tags": ["y", "x"]})
    assert (await server.json("GET", "/rules?"))[1]["tags"] == ["x", "y"]
    await server.json("DELETE", "/rules/b/tags", {"tags": ["x"]})
    await server.json("PUT", "/rules/a/tags", {"tags": ["z"]})
    assert (await server.json("GET", "/rules/a"))["tags"] == ["z"]
    assert await server.state("b") == "running"
    assert (await server.refused("POST", "/rules/bulkstop", {"tags": ["none"]}))[0] == 400


async def test_rules_come_back_as_they_were_left(start: Start) -> None:
    async with start() as first:
        await first.paced()
        await first.stream()
        for rule_id in ("runs", "stopped"):
            await first.json("POST", "/rules", rule(rule_id, "SELECT n FROM paced"))
        await first.json("POST", "/rules", rule("temporary", temp=True))
        await first.json("POST", "/rules", rule("waits", triggered=False))
        await first.json("POST", "/rules/stopped/stop")
    async with start() as second:
        states = {each["id"]: each["status"] for each in await second.json("GET", "/rules")}
        assert states.keys() == {"runs", "stopped", "waits"}
        assert states["stopped"] == states["waits"] == "stopped"
        await until(second, "runs", "running")


async def test_a_rule_that_cannot_be_recovered_is_shown_with_the_reason(start: Start) -> None:
    async with start() as first:
        await first.stream()
        await first.json("POST", "/rules", rule("a"))
        await first.json("DELETE", "/streams/demo?force=1")
    async with start() as second:
        status = await second.json("GET", "/rules/a/status")
        assert status["status"] == "stopped by error"
        assert "unknown stream demo" in status["message"]
        await second.stream()
        await second.json("POST", "/rules/a/start")
        await until(second, "a", "running")


async def test_secrets_are_hidden_and_survive_what_clients_send_back(server: Running) -> None:
    await server.stream()
    action = {"mqtt": {"server": "tcp://127.0.0.1:1", "topic": "t", "password": "hush"}}
    await server.json("POST", "/rules", {**rule("a", triggered=False), "actions": [action]})
    shown = await server.client.get("/rules/a")
    assert "hush" not in shown.text
    body = {**shown.json(), "name": "changed"}
    assert body["actions"][0]["mqtt"]["password"] == "***"
    await server.json("PUT", "/rules/a", body)
    definition = server.service.engine.rules["a"].definition
    assert definition.name == "changed"
    assert definition.actions[0].properties["password"] == "hush"


async def test_the_state_of_a_rule_can_be_reset(server: Running) -> None:
    await server.paced()
    await server.json("POST", "/rules", rule("a", "SELECT n FROM paced"))
    await until(server, "a", "running")
    await server.json("PUT", "/rules/a/reset_state")
    await until(server, "a", "running")
    await server.json("POST", "/rules/a/stop")
    await until(server, "a", "stopped")
    await server.json("PUT", "/rules/a/reset_state")
    assert await server.state("a") == "stopped"
