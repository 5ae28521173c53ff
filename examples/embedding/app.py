"""A web application with a rule inside: POST readings, GET what is hot.

Run it with ``uvicorn app:app`` (pip install uvicorn starlette).
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from engine import Engine
from engine.api import Batch, Config, Sink
from engine.registry import PluginKind

RULE = {
    "id": "hot",
    "sql": "SELECT device, temperature FROM readings WHERE temperature > 50",
    "actions": [{"recent": {}}],
}


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    recent: deque[dict[str, Any]] = deque(maxlen=100)

    class Recent(Sink[Config]):
        async def collect(self, batch: Batch) -> None:
            recent.extend(batch.rows or ())

    async with Engine() as engine:  # leaves only when the rule has drained
        engine.plugins.register(PluginKind.SINK, "recent", Recent)
        engine.define_stream("readings", type="memory", datasource="readings")
        app.state.engine = engine
        app.state.rule = await engine.start(RULE)
        app.state.recent = recent
        yield


async def post_readings(request: Request) -> JSONResponse:
    taken = await request.app.state.engine.push("readings", await request.json())
    return JSONResponse({"rules": taken}, status_code=202)


async def get_hot(request: Request) -> JSONResponse:
    return JSONResponse(list(request.app.state.recent))


async def get_status(request: Request) -> JSONResponse:
    rule = request.app.state.rule
    return JSONResponse({"state": rule.status.state, "received": rule.metrics.received})


app = Starlette(
    routes=[
        Route("/readings", post_readings, methods=["POST"]),
        Route("/hot", get_hot),
        Route("/status", get_status),
    ],
    lifespan=lifespan,
)
