"""Traces of rules over HTTP, in eKuiper's form."""

from __future__ import annotations

from typing import Any

from engine.broker import free_port
from engine.server.settings import OpenTelemetry
from engine.tracing.spans import Collector
from tests.conftest import eventually
from tests.server.support import Running, Start, rule


async def traced(server: Running, rule_id: str = "a") -> list[str]:
    """Push a row and return the traces of a rule."""
    await server.service.engine.push("demo", [{"n": 1, "password": "hush"}])
    found: list[str] = await server.json("GET", f"/trace/rule/{rule_id}")
    return found


def operators(tree: dict[str, Any]) -> list[str]:
    below = [name for child in tree["ChildSpan"] for name in operators(child)]
    return [tree["Name"], *below]


async def test_a_rule_is_traced_while_somebody_wants_it(server: Running) -> None:
    await server.stream()
    await server.json("POST", "/rules", rule("a"))
    assert (await server.json("GET", "/rules"))[0]["trace"] is False
    assert await traced(server) == []
    await server.json("POST", "/rules/a/trace/start", {"strategy": "always"})
    assert (await server.json("GET", "/rules"))[0]["trace"] is True
    await eventually(lambda: server.service.engine.rules["a"].status.state == "running")
    await traced(server)
    engine = server.service.engine
    await eventually(lambda: "nop_0" in str(engine.tracing.tree(engine.tracing.traces_of("a")[0])))
    (trace_id,) = await server.json("GET", "/trace/rule/a?limit=5")
    tree = await server.json("GET", f"/trace/{trace_id}")
    assert operators(tree) == ["demo", "2_decoder", "3_project", "nop_0"]
    assert tree["TraceID"] == trace_id
    assert tree["ChildSpan"][0]["Attribute"]["data"] == '{"n":1,"password":"***"}'
    assert {"SpanID", "ParentSpanID", "Links", "StartTime", "EndTime"} <= set(tree)
    assert await server.json("GET", "/trace/rule/a?limit=0") == []
    await server.json("POST", "/rules/a/trace/stop")
    assert len(await traced(server)) == 1


async def test_a_rule_may_say_that_it_is_traced(server: Running) -> None:
    await server.stream()
    await server.json("POST", "/rules", rule("a", options={"trace": {"rate": 5}}))
    await server.json("POST", "/rules", rule("b", options={"enableRuleTracer": True}))
    assert [each["trace"] for each in await server.json("GET", "/rules")] == [True, True]


async def test_what_is_wrong_is_refused(server: Running) -> None:
    await server.stream()
    await server.json("POST", "/rules", rule("a"))
    for path in ("/rules/nobody/trace/start", "/rules/nobody/trace/stop"):
        assert (await server.refused("POST", path))[0] == 404
    assert (await server.refused("GET", "/trace/rule/nobody"))[0] == 404
    assert (await server.refused("GET", "/trace/0af7651916cd43dd8448eb211c80319c"))[0] == 404
    for body in ({"strategy": "tail"}, {"rate": 0}, []):
        assert (await server.refused("POST", "/rules/a/trace/start", body))[0] == 400
    refusal = await server.refused("POST", "/tracer", {"action": True, "collector_url": "ftp://x"})
    assert refusal[0] == 400
    assert "http://host:4318" in refusal[2]


async def test_the_collector_is_kept_over_a_restart(start: Start) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    async with start() as server:
        assert server.service.engine.tracing.collector is None
        body = {"action": True, "service_name": "plant", "collector_url": url}
        assert await server.json("POST", "/tracer", body) == "success"
    async with start() as server:
        assert server.service.engine.tracing.collector == Collector(url, "plant")
        await server.json("POST", "/tracer", {"action": False})
    async with start() as server:
        assert server.service.engine.tracing.collector is None


async def test_the_collector_of_the_settings_is_used_until_one_is_chosen(start: Start) -> None:
    url = f"127.0.0.1:{free_port()}"
    settings = OpenTelemetry(enable_remote_collector=True, remote_endpoint=url)
    async with start(open_telemetry=settings) as server:
        assert server.service.engine.tracing.collector == Collector(url)
        await server.json("POST", "/tracer", {"action": False})
    async with start(open_telemetry=settings) as server:
        assert server.service.engine.tracing.collector is None


async def test_only_administrators_say_where_traces_go(start: Start) -> None:
    async with start(authentication=True) as server:
        token = await server.service.credentials.create("writer", "write")
        answer = await server.client.post(
            "/tracer", json={"action": False}, headers={"Authorization": token}
        )
        assert answer.status_code == 403
