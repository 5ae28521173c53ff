"""Rules over HTTP."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import msgspec
from litestar import Response, delete, get, patch, post, put
from litestar.params import FromPath

from engine.errors import EngineError
from engine.server.http.document import OBJECT, OBJECTS, documented
from engine.server.http.replies import (
    RULE,
    TAGS,
    AnyRequest,
    Serving,
    body_of,
    body_text,
    condition,
    json,
    stored,
    text,
)
from engine.server.problems import Problem
from engine.server.service import Service

_Rule = documented(RULE)
_Tags = documented(TAGS)
_AT_ONCE = 50
"""Rules of a bulk that are changed at the same time: what they store is then written together."""
_Bulk = documented(TAGS, reply=OBJECTS)
_Trial = documented(RULE, reply=OBJECT, refusal=422)


class Tags(msgspec.Struct, frozen=True):
    """A body with tags."""

    tags: list[str]


@get("/rules", operation_class=documented(reply=OBJECTS))
async def list_rules(service: Serving) -> Response[bytes]:
    """Return all rules with their states."""
    return json(service.rules.summaries())


@post("/rules", operation_class=_Rule)
async def create_rule(service: Serving, request: AnyRequest) -> Response[str]:
    """Define a rule, and start it unless it says ``triggered: false``."""
    rule_id = await service.rules.create(service.rules.read(await body_text(request)))
    return text(f"Rule {rule_id} was created successfully.", 201)


@get("/rules/{rule_id:str}", operation_class=documented(reply=RULE))
async def get_rule(
    service: Serving, request: AnyRequest, rule_id: FromPath[str]
) -> Response[bytes]:
    """Return a rule as it was written."""
    shown = service.rules.shown(rule_id)
    return stored(request, shown.encode(), service.rules.text(rule_id))


@put("/rules/{rule_id:str}", operation_class=_Rule)
async def put_rule(service: Serving, request: AnyRequest, rule_id: FromPath[str]) -> Response[str]:
    """Replace a rule, or define it; a running one goes on with the new definition."""
    written = service.rules.read(await body_text(request), rule_id)
    await service.rules.upsert(written, condition(request))
    return text(f"Rule {rule_id} was updated successfully.")


@delete("/rules/{rule_id:str}", status_code=200)
async def delete_rule(
    service: Serving, request: AnyRequest, rule_id: FromPath[str]
) -> Response[str]:
    """Stop a rule and forget it."""
    await service.rules.delete(rule_id, condition(request))
    return text(f"Rule {rule_id} is dropped.")


@post("/rules/{rule_id:str}/start", status_code=200)
async def start_rule(service: Serving, rule_id: FromPath[str]) -> Response[str]:
    """Start a rule."""
    await service.rules.start(rule_id)
    return text(f"Rule {rule_id} was started")


@post("/rules/{rule_id:str}/stop", status_code=200)
async def stop_rule(service: Serving, rule_id: FromPath[str]) -> Response[str]:
    """Let a rule drain and stop."""
    await service.rules.stop(rule_id)
    return text(f"Rule {rule_id} was stopped.")


@post("/rules/{rule_id:str}/restart", status_code=200)
async def restart_rule(service: Serving, rule_id: FromPath[str]) -> Response[str]:
    """Stop a rule and start it as it is defined now."""
    await service.rules.restart(rule_id)
    return text(f"Rule {rule_id} was restarted")


@get("/rules/{rule_id:str}/status", operation_class=documented(reply=OBJECT))
async def rule_status(service: Serving, rule_id: FromPath[str]) -> Response[bytes]:
    """Return the state of a rule and the metrics of its operators."""
    return json(service.rules.status(rule_id))


@get("/v2/rules/{rule_id:str}/status", operation_class=documented(reply=OBJECT))
async def rule_status_v2(service: Serving, rule_id: FromPath[str]) -> Response[bytes]:
    """Return the same, structured, with the account of all rows."""
    return json(service.rules.report(rule_id))


@get("/rules/status/all", operation_class=documented(reply=OBJECT))
async def all_statuses(service: Serving) -> Response[bytes]:
    """Return states and exceptions of all rules."""
    return json(await service.rules.short_statuses())


@get("/rules/{rule_id:str}/topo", operation_class=documented(reply=OBJECT))
async def rule_topology(service: Serving, rule_id: FromPath[str]) -> Response[bytes]:
    """Return the operators of a rule and who feeds whom."""
    return json(service.rules.topology(rule_id))


@get("/rules/{rule_id:str}/explain")
async def explain_rule(service: Serving, rule_id: FromPath[str]) -> Response[str]:
    """Return the plan of a rule's query as text."""
    return text(service.engine.explain(service.rules.definition(rule_id).sql))


@get("/rules/{rule_id:str}/schema", operation_class=documented(reply=OBJECT))
async def rule_schema(service: Serving, rule_id: FromPath[str]) -> Response[bytes]:
    """Return the columns of a rule's results, with their types as far as they are known."""
    return json(service.rules.result_columns(rule_id))


@post("/rules/validate", status_code=200, operation_class=_Trial)
async def validate_rule(service: Serving, request: AnyRequest) -> Response[bytes] | Response[str]:
    """Try a rule: 200 with the streams that it reads, or 422 with what is wrong."""
    given = await body_text(request)
    try:
        sources = service.rules.validate(service.rules.read(given, needs_id=False))
    except EngineError as error:
        return text(str(error), 422)
    return json({"valid": True, "sources": sources})


@put("/rules/{rule_id:str}/reset_state")
async def reset_state(service: Serving, rule_id: FromPath[str]) -> Response[str]:
    """Let a rule forget what it remembers."""
    await service.rules.reset_state(rule_id)
    return text(f"Rule {rule_id} has forgotten its state.")


@put("/rules/{rule_id:str}/tags", operation_class=_Tags)
async def put_tags(service: Serving, request: AnyRequest, rule_id: FromPath[str]) -> Response[str]:
    """Replace the tags of a rule."""
    tags = (await body_of(request, Tags)).tags
    await service.rules.tag(rule_id, lambda _: list(dict.fromkeys(tags)))
    return text(f"Rule {rule_id} was updated successfully.")


@patch("/rules/{rule_id:str}/tags", operation_class=_Tags)
async def add_tags(service: Serving, request: AnyRequest, rule_id: FromPath[str]) -> Response[str]:
    """Add tags to a rule."""
    tags = (await body_of(request, Tags)).tags
    await service.rules.tag(rule_id, lambda known: list(dict.fromkeys([*known, *tags])))
    return text(f"Rule {rule_id} was updated successfully.")


@delete("/rules/{rule_id:str}/tags", status_code=200, operation_class=_Tags)
async def remove_tags(
    service: Serving, request: AnyRequest, rule_id: FromPath[str]
) -> Response[str]:
    """Take tags from a rule."""
    tags = (await body_of(request, Tags)).tags
    await service.rules.tag(rule_id, lambda known: [tag for tag in known if tag not in tags])
    return text(f"Rule {rule_id} was updated successfully.")


@get("/rules/tags/match", operation_class=documented(TAGS, required=False, reply=OBJECT))
async def match_tags(service: Serving, request: AnyRequest) -> Response[bytes]:
    """Return the rules that have all tags of the body, or of the parameters ``tag``."""
    tags = request.query_params.getall("tag", [])
    if not tags:
        tags = (await body_of(request, Tags)).tags
    return json({"rules": service.rules.tagged(tags)})


@post("/rules/bulkstart", status_code=200, operation_class=_Bulk)
async def bulk_start(service: Serving, request: AnyRequest) -> Response[bytes]:
    """Start all rules that have all of some tags."""
    return await _bulk(service, request, service.rules.start)


@post("/rules/bulkstop", status_code=200, operation_class=_Bulk)
async def bulk_stop(service: Serving, request: AnyRequest) -> Response[bytes]:
    """Stop all rules that have all of some tags."""
    return await _bulk(service, request, service.rules.stop)


@get("/rules/{rule_id:str}/scantables")
async def scan_tables(service: Serving, rule_id: FromPath[str]) -> Response[bytes]:
    """Return the rows that a rule has of the scan tables it joins, the last 1000 of each."""
    return json(service.rules.tables(rule_id))


ROUTES = [
    list_rules,
    create_rule,
    get_rule,
    put_rule,
    delete_rule,
    start_rule,
    stop_rule,
    restart_rule,
    rule_status,
    rule_status_v2,
    all_statuses,
    rule_topology,
    explain_rule,
    rule_schema,
    validate_rule,
    reset_state,
    put_tags,
    add_tags,
    remove_tags,
    match_tags,
    bulk_start,
    bulk_stop,
    scan_tables,
]


async def _bulk(
    service: Service, request: AnyRequest, work: Callable[[str], Awaitable[None]]
) -> Response[bytes]:
    tags = (await body_of(request, Tags)).tags
    rules = service.rules.tagged(tags) if tags else []
    if not rules:
        raise Problem("no rule has these tags")
    errors: dict[str, str] = {}

    async def one(rule_id: str) -> None:
        try:
            await work(rule_id)
        except EngineError as error:
            errors[rule_id] = str(error)

    for first in range(0, len(rules), _AT_ONCE):
        async with anyio.create_task_group() as tasks:
            for rule_id in rules[first : first + _AT_ONCE]:
                tasks.start_soon(one, rule_id)
    return json(
        [
            {"ruleId": rule_id, "success": rule_id not in errors, "error": errors.get(rule_id, "")}
            for rule_id in rules
        ]
    )
