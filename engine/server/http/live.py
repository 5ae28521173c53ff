"""Results as they come, over server-sent events and websockets; and trial runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

import anyio
from litestar import Response, WebSocket, delete, get, post, websocket
from litestar.datastructures import State
from litestar.exceptions import WebSocketDisconnect
from litestar.params import FromPath, QueryParameter
from litestar.response import Stream

from engine.server.credentials import Caller
from engine.server.feed import Feed
from engine.server.http.document import OBJECT, SQL, STRING, an_object, documented
from engine.server.http.replies import AnyRequest as AnyRequest
from engine.server.http.replies import Serving, body_of, json, text
from engine.server.live import MOST_RATE
from engine.server.problems import Problem
from engine.server.service import Service
from engine.server.trials import TrialDef

_Socket = WebSocket[Caller, None, State]
_Rate = Annotated[int, QueryParameter(ge=1, le=MOST_RATE)]
_Trial = documented(
    an_object(["sql"], id=STRING, sql=SQL, mockSource=OBJECT, sinkProps=OBJECT, options=OBJECT),
    reply=OBJECT,
)
_EVENTS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_HEARTBEAT = 15.0
"""Seconds of silence after which a comment shows that the connection is alive."""
_GONE, _TRY_LATER = 1000, 1013


@get("/rules/{rule_id:str}/results")
async def results(service: Serving, rule_id: FromPath[str], rate: _Rate = 20) -> Stream:
    """Send results of a rule as events: ``data`` is a row, ``skipped`` how many were left out."""
    service.rules.definition(rule_id)
    return _stream(_events(service, rule_id, rate))


@websocket("/rules/{rule_id:str}/results/ws")
async def results_socket(
    socket: _Socket, service: Serving, rule_id: FromPath[str], rate: _Rate = 20
) -> None:
    """Send results of a rule as ``{"row": …}``, and ``{"skipped": n}``."""
    await socket.accept()
    try:
        service.rules.definition(rule_id)
        async for rows, skipped in service.live.watch(rule_id, rate):
            for row in rows:
                await socket.send_text(f'{{"row":{row.decode()}}}')
            if skipped:
                await socket.send_text(f'{{"skipped":{skipped}}}')
        await socket.close(_GONE)
    except Problem as problem:
        await socket.close(_TRY_LATER if problem.status == 429 else 1008, problem.message[:120])
    except WebSocketDisconnect:
        return


@post("/ruletest", status_code=200, operation_class=_Trial)
async def create_trial(service: Serving, request: AnyRequest) -> Response[bytes]:
    """Prepare a trial run; its results come from ``/test/{id}``."""
    trial_id = await service.trials.create(await body_of(request, TrialDef))
    return json({"id": trial_id, "port": service.settings.port})


@post("/ruletest/{trial_id:str}/start", status_code=200)
async def start_trial(service: Serving, trial_id: FromPath[str]) -> Response[str]:
    """Let a trial run begin."""
    await service.trials.start(trial_id)
    return text(f"Test rule {trial_id} was started")


@delete("/ruletest/{trial_id:str}", status_code=200)
async def delete_trial(service: Serving, trial_id: FromPath[str]) -> Response[str]:
    """End a trial run."""
    service.trials.delete(trial_id)
    return text(f"Test rule {trial_id} was stopped.")


@get("/test/{trial_id:str}")
async def trial_results(service: Serving, trial_id: FromPath[str]) -> Stream:
    """Send the results of a trial run as events."""
    return _stream(_trial_events(service.trials.feed(trial_id)))


@websocket("/test/{trial_id:str}/ws")
async def trial_socket(socket: _Socket, service: Serving, trial_id: FromPath[str]) -> None:
    """Send the results of a trial run as they are."""
    await socket.accept()
    try:
        with service.trials.feed(trial_id).watched() as watcher:
            while not watcher.is_over:
                for message in await watcher.next(_HEARTBEAT):
                    await socket.send_text(message.decode(errors="replace"))
        await socket.close(_GONE)
    except Problem as problem:
        await socket.close(1008, problem.message[:120])
    except WebSocketDisconnect:
        return


ROUTES = [
    results,
    results_socket,
    create_trial,
    start_trial,
    delete_trial,
    trial_results,
    trial_socket,
]


def _stream(events: AsyncIterator[bytes]) -> Stream:
    return Stream(events, media_type="text/event-stream", headers=_EVENTS)


async def _events(service: Service, rule_id: str, rate: int) -> AsyncIterator[bytes]:
    yield b": results\n\n"
    last = anyio.current_time()
    async for rows, skipped in service.live.watch(rule_id, rate):
        if rows:
            yield b"".join(b"data: %b\n\n" % row for row in rows)
        if skipped:
            yield b"event: skipped\ndata: %d\n\n" % skipped
        if rows or skipped:
            last = anyio.current_time()
        elif anyio.current_time() - last > _HEARTBEAT:
            yield b":\n\n"
            last = anyio.current_time()


async def _trial_events(feed: Feed) -> AsyncIterator[bytes]:
    yield b": results\n\n"
    with feed.watched() as watcher:
        while not watcher.is_over:
            messages = await watcher.next(_HEARTBEAT)
            for message in messages:
                lines = message.split(b"\n")
                yield b"".join(b"data: %b\n" % line for line in lines) + b"\n"
            if not messages:
                yield b":\n\n"
