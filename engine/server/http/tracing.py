"""Traces over HTTP: which rules are traced, what came of it, where it is sent to."""

from __future__ import annotations

import msgspec
from litestar import Response, get, post
from litestar.params import FromPath, FromQuery

from engine.config.rule import TraceOptions
from engine.server.http.document import BOOLEAN, INTEGER, STRING, an_object, documented
from engine.server.http.replies import AnyRequest, Serving, body_of, json, text
from engine.server.problems import missing
from engine.server.service import Service
from engine.tracing.spans import SERVICE, Collector

_MOST_IDS = 1000

_Options = documented(an_object(strategy=STRING, rate=INTEGER), required=False)
_Tracer = documented(an_object(["action"], action=BOOLEAN, collector_url=STRING))


class TracerDef(msgspec.Struct, frozen=True):
    """Whether spans are sent to a collector, and to which one."""

    action: bool
    collector_url: str = Collector().url
    service_name: str = ""
    service: str = msgspec.field(default="", name="serviceName")
    """eKuiper's spelling of the same."""


@post("/rules/{rule_id:str}/trace/start", status_code=200, operation_class=_Options)
async def start_trace(
    service: Serving, request: AnyRequest, rule_id: FromPath[str]
) -> Response[str]:
    """Trace rows of a rule, until it is stopped or the rule or the server ends."""
    has_body = bool((await request.body()).strip())
    options = await body_of(request, TraceOptions) if has_body else TraceOptions()
    _known(service, rule_id)
    service.engine.trace(rule_id, options)
    return text(f"Rule {rule_id} is traced.")


@post("/rules/{rule_id:str}/trace/stop", status_code=200)
async def stop_trace(service: Serving, rule_id: FromPath[str]) -> Response[str]:
    """Trace no more rows of a rule."""
    _known(service, rule_id)
    service.engine.trace(rule_id, None)
    return text(f"Rule {rule_id} is no longer traced.")


@get("/trace/rule/{rule_id:str}")
async def traces_of_rule(
    service: Serving, rule_id: FromPath[str], limit: FromQuery[int] = 100
) -> Response[bytes]:
    """Return the ids of the last traces that a rule has a part in, the newest first."""
    _known(service, rule_id)
    return json(service.engine.tracing.traces_of(rule_id, min(max(limit, 0), _MOST_IDS)))


@get("/trace/{trace_id:str}")
async def get_trace(service: Serving, trace_id: FromPath[str]) -> Response[bytes]:
    """Return the spans of a trace as a tree."""
    tree = service.engine.tracing.tree(trace_id)
    if tree is None:
        raise missing(f"trace {trace_id[:40]}")
    return json(tree)


@post("/tracer", status_code=200, operation_class=_Tracer)
async def set_tracer(service: Serving, request: AnyRequest) -> Response[str]:
    """Send spans to a collector, now and after each start of the server, or to none."""
    given = await body_of(request, TracerDef)
    name = given.service_name or given.service or SERVICE
    await service.set_collector(Collector(given.collector_url, name) if given.action else None)
    return text("success")


ROUTES = [start_trace, stop_trace, traces_of_rule, get_trace, set_tracer]


def _known(service: Service, rule_id: str) -> None:
    """Raise ``Problem`` if there is no such rule, or it is one that the engine doesn't take."""
    service.rules.definition(rule_id)
