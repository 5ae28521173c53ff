"""The HTTP application of a server."""

from __future__ import annotations

import logging
from typing import Any

from litestar import Litestar, Response
from litestar.config.cors import CORSConfig
from litestar.datastructures import State
from litestar.di import Provide
from litestar.enums import MediaType
from litestar.exceptions import HTTPException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, YamlRenderPlugin
from litestar.types import ASGIApp

from engine import __version__
from engine.errors import EngineError
from engine.server.audit import AuditLog
from engine.server.guard import Guard
from engine.server.http import (
    batch,
    configs,
    connections,
    functions,
    live,
    metrics,
    plugins,
    plugins_changing,
    rules,
    schemas,
    streams,
    system,
    tracing,
    transfer,
)
from engine.server.http.document import complete
from engine.server.http.replies import AnyRequest
from engine.server.problems import ENCODING, GENERAL, NOT_FOUND, UNDEFINED, problem_of
from engine.server.service import Service

logger = logging.getLogger(__name__)

_ROUTES: list[Any] = [
    *system.ROUTES,
    *streams.ROUTES,
    *rules.ROUTES,
    *tracing.ROUTES,
    *metrics.ROUTES,
    *configs.ROUTES,
    *connections.ROUTES,
    *schemas.ROUTES,
    *functions.ROUTES,
    *plugins.ROUTES,
    *plugins_changing.ROUTES,
    *transfer.ROUTES,
    *live.ROUTES,
    *batch.ROUTES,
]
_CODES = {404: NOT_FOUND, 400: ENCODING}


def application(service: Service, audit: AuditLog) -> ASGIApp:
    """Return the application: the door, and the routes behind it."""
    settings = service.settings
    origins = list(settings.origins)

    def provide_service() -> Service:
        return service

    inner = Litestar(
        _ROUTES,
        dependencies={"service": Provide(provide_service, sync_to_thread=False)},
        exception_handlers={
            EngineError: _engine_error,
            HTTPException: _http_error,
            Exception: _unexpected,
        },
        openapi_config=OpenAPIConfig(
            title="Headrace",
            version=__version__,
            description="Streams, rules and what belongs to them; paths and JSON are eKuiper's.",
            path="/openapi",
            use_handler_docstrings=True,
            render_plugins=[JsonRenderPlugin(), YamlRenderPlugin()],
        ),
        cors_config=CORSConfig(allow_origins=origins) if origins else None,
        request_max_body_size=int(settings.max_body),
        logging_config=None,
        state=State({}),
    )
    complete(inner)
    return Guard(inner, settings, service.credentials, audit)


def _engine_error(request: AnyRequest, error: EngineError) -> Response[dict[str, Any]]:
    problem = problem_of(error)
    return _answer(problem.status, problem.code, str(problem), problem.headers)


def _http_error(request: AnyRequest, error: HTTPException) -> Response[dict[str, Any]]:
    status = error.status_code
    headers = dict(error.headers or {})
    text = str(error.detail)
    if extra := error.extra:
        text = f"{text}: {extra}"
    return _answer(status, _CODES.get(status, GENERAL), text, headers)


def _unexpected(request: AnyRequest, error: Exception) -> Response[dict[str, Any]]:
    logger.exception("%s %s failed", request.method, request.url.path, exc_info=error)
    return _answer(500, UNDEFINED, "the server has failed; its log says more", {})


def _answer(
    status: int, code: int, message: str, headers: dict[str, str]
) -> Response[dict[str, Any]]:
    return Response(
        {"error": code, "message": message},
        status_code=status,
        media_type=MediaType.JSON,
        headers=headers,
    )
