"""Many clients at once."""

from __future__ import annotations

import random

import anyio

from tests.server.support import Running, rule

RULES = 60


async def test_rules_change_under_many_hands_while_data_flows(server: Running) -> None:
    await server.paced()
    await server.json("POST", "/rules", rule("watched", "SELECT n FROM paced"))

    async def one(number: int) -> None:
        rule_id = f"r{number}"
        await server.json("POST", "/rules", rule(rule_id, "SELECT n FROM paced"))
        await server.json("GET", "/rules")
        await server.json("PUT", f"/rules/{rule_id}", rule(rule_id, "SELECT n + 1 AS m FROM paced"))
        await server.json("GET", f"/rules/{rule_id}/status")
        await server.json("DELETE", f"/rules/{rule_id}")

    async def contend() -> None:
        choices = ["start", "stop", "restart"]
        for _ in range(10):
            await server.client.post(f"/rules/watched/{random.choice(choices)}")

    with anyio.fail_after(50):
        async with anyio.create_task_group() as tasks:
            for number in range(RULES):
                tasks.start_soon(one, number)
            tasks.start_soon(contend)
            tasks.start_soon(contend)
    assert [each["id"] for each in await server.json("GET", "/rules")] == ["watched"]
    await server.json("POST", "/rules/watched/start")
    with anyio.fail_after(10):
        while await server.state("watched") != "running":
            await anyio.sleep(0.01)
    assert server.service.engine.rules["watched"].metrics.balance().holds


async def test_two_who_create_the_same_rule_do_not_both_succeed(server: Running) -> None:
    await server.stream()
    statuses: list[int] = []

    async def create() -> None:
        answer = await server.client.post("/rules", json=rule("same"))
        statuses.append(answer.status_code)

    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(create)
    assert sorted(statuses) == [201, *[400] * 9]
