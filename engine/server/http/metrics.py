"""Metrics over HTTP: as they are, and as they were."""

from __future__ import annotations

import tempfile
import time
from collections.abc import AsyncIterator
from typing import IO

import anyio.to_thread
from litestar import Response, get
from litestar.response import Stream

from engine.server.exposition import CONTENT_TYPE
from engine.server.http.document import OBJECT, documented
from engine.server.http.replies import AnyRequest, Serving, json, text
from engine.server.problems import Problem

_HOUR = 3600
_IN_MEMORY = 1 << 20
_CHUNK = 1 << 16


@get("/metrics", operation_class=documented(media="text/plain"))
async def metrics(service: Serving) -> Stream:
    """Return the metrics of all rules and of the process, for Prometheus."""
    return Stream(service.metrics(), media_type=CONTENT_TYPE)


@get("/metrics/dump", operation_class=documented(media="application/zip"))
async def metrics_dump(service: Serving, request: AnyRequest) -> Stream:
    """Return a zip file of the snapshots from ``startTime`` to ``endTime``.

    Both are Unix seconds; without them it is the last hour.
    """
    now = time.time()
    end = _seconds(request, "endTime", now)
    start = _seconds(request, "startTime", end - _HOUR)
    file = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - whoever reads it closes it
    await anyio.to_thread.run_sync(service.metrics_dump.collect, start, end, file)
    headers = {"Content-Disposition": 'attachment; filename="metrics.zip"'}
    return Stream(_chunks(file), media_type="application/zip", headers=headers)


@get("/metrics/dump/check")
async def metrics_dump_check(service: Serving) -> Response[str]:
    """Tell whether metrics are written down."""
    return text("enabled" if service.metrics_dump.is_enabled else "disabled")


@get("/rules/usage/cpu", operation_class=documented(reply=OBJECT))
async def cpu_usage(service: Serving) -> Response[bytes]:
    """Return the milliseconds that decoders and query of each rule have taken in this run."""
    return json(service.rules.times())


ROUTES = [metrics, metrics_dump, metrics_dump_check, cpu_usage]


def _seconds(request: AnyRequest, name: str, default: float) -> float:
    given = request.query_params.get(name, "")
    try:
        return int(given) if given else default
    except ValueError:
        raise Problem(f"{name} is a number of seconds since 1970, not {given[:40]!r}") from None


async def _chunks(file: IO[bytes]) -> AsyncIterator[bytes]:
    with file:
        file.seek(0)
        while chunk := file.read(_CHUNK):
            yield chunk
