"""Many clients at once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import anyio

from tests.server.support import Running, rule

RULES = 60
MANY = 1000
CLIENTS = 8
SHARED = (
    'CREATE STREAM demo () WITH (TYPE="memory", DATASOURCE="demo", FORMAT="json", SHARED="TRUE")'
)


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


async def test_a_thousand_rules_come_change_and_go_while_data_flows(server: Running) -> None:
    await server.paced()
    await server.stream(SHARED)
    await server.json("POST", "/rules", rule("watched", "SELECT n FROM paced"))
    engine = server.service.engine
    tasks_before = len(asyncio.all_tasks())
    pushed = 0

    async def push() -> None:
        nonlocal pushed
        while True:
            await engine.push("demo", [{"n": pushed}])
            pushed += 1
            await anyio.sleep(0.5)

    async def all_of(method: str, path: str, body: Callable[[int], Any]) -> None:
        """Call for every rule, from several clients at the same time."""
        numbers = iter(range(MANY))

        async def client() -> None:
            for number in numbers:
                await server.json(method, path.format(number), body(number))

        async with anyio.create_task_group() as clients:
            for _ in range(CLIENTS):
                clients.start_soon(client)

    async def flows() -> None:
        """Return when data has gone through the rules."""
        before = [engine.rules[f"r{number}"].metrics.delivered for number in (0, MANY - 1)]
        while any(
            engine.rules[f"r{number}"].metrics.delivered == delivered
            for number, delivered in zip((0, MANY - 1), before, strict=True)
        ):
            await anyio.sleep(0.05)

    def expected(condition: str) -> dict[str, str]:
        return {f"r{n}": f"SELECT n + {n} AS m FROM demo WHERE {condition}" for n in range(MANY)}

    with anyio.fail_after(110):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(push)
            for method, path, condition in (
                ("POST", "/rules", "n >= 0"),
                ("PUT", "/rules/r{}", "n > -1"),
            ):
                sql = expected(condition)
                await all_of(method, path, lambda n, sql=sql: rule(f"r{n}", sql[f"r{n}"]))
                listed = await server.json("GET", "/rules")
                assert [each["id"] for each in listed] == sorted([*sql, "watched"])
                assert {each["status"] for each in listed} == {"running"}
                assert {rule_id: engine.rules[rule_id].definition.sql for rule_id in sql} == sql
                await flows()
            accounts = [each.metrics.balance() for each in engine.rules.values()]
            await all_of("DELETE", "/rules/r{}", lambda _: None)
            tasks.cancel_scope.cancel()
    assert all(account.holds for account in accounts)
    assert [each["id"] for each in await server.json("GET", "/rules")] == ["watched"]
    assert list(server.service.rules.ids()) == ["watched"]
    watched = engine.rules["watched"].metrics
    assert watched.balance().holds
    assert watched.delivered > 100
    assert watched.dropped.total() == 0
    with anyio.fail_after(10):
        while len(asyncio.all_tasks()) > tasks_before + CLIENTS:
            await anyio.sleep(0.05)


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
