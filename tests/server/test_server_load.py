"""Many clients at once, and requests that nobody would think of."""

from __future__ import annotations

import json
import random

import anyio
import anyio.to_thread
import pytest
from hypothesis import HealthCheck, given, settings

from tests.server.support import Running, Start, rule

schemathesis = pytest.importorskip("schemathesis")
RULES = 60
_TO_BE_LEFT_ALONE = ("/stop", "/results", "/test/")


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


async def test_no_request_makes_the_server_fail(start: Start) -> None:
    """What the OpenAPI document allows, and what it doesn't, is answered without a 5xx."""
    async with start(rate_limit=0) as server:
        await server.paced()
        await server.json("POST", "/rules", rule("a", "SELECT n FROM paced"))
        document = json.loads(await server.json("GET", "/openapi/openapi.json"))
        for path in list(document["paths"]):
            if any(word in path for word in _TO_BE_LEFT_ALONE):
                del document["paths"][path]
        failures = await anyio.to_thread.run_sync(_fuzz, document, server.url)
    assert not failures, "\n".join(failures[:5])


def _fuzz(document: dict[str, object], url: str) -> list[str]:
    schema = schemathesis.openapi.from_dict(json.loads(json.dumps(document)))
    failures: list[str] = []
    limits = settings(
        max_examples=15,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    for found in schema.get_all_operations():
        operation = found.ok()

        def call(case: object) -> None:
            answer = case.call(base_url=url, timeout=20)  # type: ignore[attr-defined]
            if answer.status_code >= 500:
                failures.append(f"{case!r}: {answer.status_code} {answer.text[:300]}")

        limits(given(case=operation.as_strategy())(call))()
    return failures
