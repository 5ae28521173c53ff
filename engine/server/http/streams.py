"""Streams and tables over HTTP."""

from __future__ import annotations

from typing import Any, Literal

import anyio.to_thread
import msgspec
from litestar import Response, delete, get, post, put
from litestar.params import FromPath, FromQuery

from engine.catalog import Stream
from engine.server.http.document import NAMES, OBJECT, OBJECTS, documented
from engine.server.http.replies import (
    STATEMENT,
    AnyRequest,
    Serving,
    body_of,
    condition,
    flag,
    json,
    stored,
    text,
)
from engine.server.service import Service
from engine.server.stream_json import described, detail_of, schema_of
from engine.server.streams import StreamKind

_Statement = documented(STATEMENT)
_Drop = documented(flags=("force",))


class Statement(msgspec.Struct, frozen=True):
    """A body with a statement."""

    sql: str


@get("/streams", operation_class=documented(reply=NAMES))
async def list_streams(service: Serving) -> Response[bytes]:
    """Return the names of all streams."""
    return json([stream.name for stream in service.streams.defined("stream")])


@get("/tables", operation_class=documented(reply=NAMES))
async def list_tables(service: Serving, kind: FromQuery[str] = "") -> Response[bytes]:
    """Return the names of all tables, or of those of a kind."""
    return json([table.name for table in service.streams.defined("table", _kind(kind))])


@get("/streamdetails", operation_class=documented(reply=OBJECTS))
async def stream_details(service: Serving) -> Response[bytes]:
    """Return names, types and formats of all streams."""
    return json([detail_of(stream) for stream in service.streams.defined("stream")])


@get("/tabledetails", operation_class=documented(reply=OBJECTS))
async def table_details(service: Serving, kind: FromQuery[str] = "") -> Response[bytes]:
    """Return names, types and formats of tables."""
    return json([detail_of(table) for table in service.streams.defined("table", _kind(kind))])


@post("/streams", operation_class=_Statement)
async def create_stream(service: Serving, request: AnyRequest) -> Response[str]:
    """Define a stream by its CREATE statement; other statements about streams are run, too."""
    return await _create(service, request, "stream")


@post("/tables", operation_class=_Statement)
async def create_table(service: Serving, request: AnyRequest) -> Response[str]:
    """Define a table by its CREATE statement."""
    return await _create(service, request, "table")


@get("/streams/{name:str}", operation_class=documented(reply=OBJECT))
async def get_stream(service: Serving, request: AnyRequest, name: FromPath[str]) -> Response[bytes]:
    """Return the definition of a stream."""
    return _described(service, request, "stream", name)


@get("/tables/{name:str}", operation_class=documented(reply=OBJECT))
async def get_table(service: Serving, request: AnyRequest, name: FromPath[str]) -> Response[bytes]:
    """Return the definition of a table."""
    return _described(service, request, "table", name)


@get("/streams/{name:str}/schema", operation_class=documented(reply=OBJECT))
async def get_stream_schema(service: Serving, name: FromPath[str]) -> Response[bytes]:
    """Return the columns of a stream."""
    return json(await _columns(service, service.streams.get("stream", name)))


@get("/tables/{name:str}/schema", operation_class=documented(reply=OBJECT))
async def get_table_schema(service: Serving, name: FromPath[str]) -> Response[bytes]:
    """Return the columns of a table."""
    return json(await _columns(service, service.streams.get("table", name)))


@put("/streams/{name:str}", operation_class=_Statement)
async def replace_stream(
    service: Serving, request: AnyRequest, name: FromPath[str]
) -> Response[str]:
    """Replace a stream; running rules keep the old one until they restart."""
    return await _replace(service, request, "stream", name)


@put("/tables/{name:str}", operation_class=_Statement)
async def replace_table(
    service: Serving, request: AnyRequest, name: FromPath[str]
) -> Response[str]:
    """Replace a table."""
    return await _replace(service, request, "table", name)


@delete("/streams/{name:str}", status_code=200, operation_class=_Drop)
async def drop_stream(service: Serving, request: AnyRequest, name: FromPath[str]) -> Response[str]:
    """Forget a stream that no rule reads; ``force=true``: even if one does."""
    return await _drop(service, request, "stream", name)


@delete("/tables/{name:str}", status_code=200, operation_class=_Drop)
async def drop_table(service: Serving, request: AnyRequest, name: FromPath[str]) -> Response[str]:
    """Forget a table."""
    return await _drop(service, request, "table", name)


ROUTES = [
    list_streams,
    list_tables,
    stream_details,
    table_details,
    create_stream,
    create_table,
    get_stream,
    get_table,
    get_stream_schema,
    get_table_schema,
    replace_stream,
    replace_table,
    drop_stream,
    drop_table,
]


async def _columns(service: Service, stream: Stream) -> dict[str, Any]:
    # a schema may have to be compiled
    return await anyio.to_thread.run_sync(schema_of, stream, service.engine.schemas)


def _kind(given: str) -> Literal["", "scan", "lookup"]:
    return given if given in ("scan", "lookup") else ""  # type: ignore[return-value]


async def _create(service: Service, request: AnyRequest, kind: StreamKind) -> Response[str]:
    statement = await body_of(request, Statement)
    return text(await service.streams.execute(statement.sql, kind), 201)


def _described(
    service: Service, request: AnyRequest, kind: StreamKind, name: str
) -> Response[bytes]:
    stream = service.streams.get(kind, name)
    shown = msgspec.json.encode(described(stream))
    return stored(request, shown, service.streams.statement(kind, name) or shown.decode())


async def _replace(
    service: Service, request: AnyRequest, kind: StreamKind, name: str
) -> Response[str]:
    statement = await body_of(request, Statement)
    return text(await service.streams.replace(kind, name, statement.sql, condition(request)))


async def _drop(
    service: Service, request: AnyRequest, kind: StreamKind, name: str
) -> Response[str]:
    force = flag(request, "force")
    return text(await service.streams.drop(kind, name, force=force, condition=condition(request)))
