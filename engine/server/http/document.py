"""The OpenAPI document, completed: bodies that routes read themselves, replies, flags, errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from litestar import Litestar
from litestar.enums import MediaType, ParamType
from litestar.handlers.http_handlers import HTTPRouteHandler
from litestar.openapi.spec import (
    OpenAPIMediaType,
    OpenAPIResponse,
    Operation,
    Parameter,
    RequestBody,
    Schema,
)
from litestar.openapi.spec.enums import OpenAPIFormat, OpenAPIType
from litestar.routes import HTTPRoute

STRING = Schema(type=OpenAPIType.STRING)
BOOLEAN = Schema(type=OpenAPIType.BOOLEAN)
INTEGER = Schema(type=OpenAPIType.INTEGER)
OBJECT = Schema(type=OpenAPIType.OBJECT)
FILE = Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.BINARY)
SQL = Schema(type=OpenAPIType.STRING, description="a statement")


def an_object(required: list[str] | None = None, **properties: Schema) -> Schema:
    """Return the schema of an object."""
    return Schema(type=OpenAPIType.OBJECT, required=required, properties=dict(properties))


def a_list(items: Schema) -> Schema:
    """Return the schema of a list."""
    return Schema(type=OpenAPIType.ARRAY, items=items)


NAMES = a_list(STRING)
OBJECTS = a_list(OBJECT)
_ERROR = an_object(["error", "message"], error=INTEGER, message=STRING)


@dataclass(frozen=True, slots=True)
class Description:
    """What a route's signature doesn't tell."""

    body: Schema | None = None
    required: bool = True
    """Whether there must be a body."""
    form: Schema | None = None
    """The body as a form, beside or instead of JSON."""
    reply: Schema | None = None
    """The JSON of a success; None: any, unless the route answers with text."""
    media: str = ""
    """The media type of a success that is a file or a text of its own kind."""
    flags: tuple[str, ...] = ()
    """Query parameters that say yes or no."""
    refusal: int = 0
    """A status with which the route says in its own way what is wrong."""
    refused: Schema | None = None
    """The JSON of that; None: it is plain text."""


class _Documented(Operation):
    described: ClassVar[Description] = Description()


def documented(
    body: Schema | None = None,
    *,
    required: bool = True,
    form: Schema | None = None,
    reply: Schema | None = None,
    media: str = "",
    flags: tuple[str, ...] = (),
    refusal: int = 0,
    refused: Schema | None = None,
) -> type[Operation]:
    """Return the ``operation_class`` of a route; see `Description` for the arguments."""
    made = Description(body, required, form, reply, media, flags, refusal, refused)
    return type("Documented", (_Documented,), {"described": made})


def complete(app: Litestar) -> None:
    """Put into the document of an application what its routes say of themselves."""
    paths = app.openapi_schema.paths or {}
    for route in app.routes:
        if not isinstance(route, HTTPRoute) or route.path_format not in paths:
            continue
        for method, (handler, _) in route.route_handler_map.items():
            operation = getattr(paths[route.path_format], method.lower(), None)
            if operation is not None:
                _complete(operation, handler)


def _complete(operation: Operation, handler: HTTPRouteHandler) -> None:
    described = Description()
    if isinstance(operation, _Documented):
        described = operation.described
    if described.body is not None or described.form is not None:
        operation.request_body = RequestBody(_contents(described), required=described.required)
    if described.flags:
        operation.parameters = [
            *(operation.parameters or ()),
            *(Parameter(name, ParamType.QUERY, schema=BOOLEAN) for name in described.flags),
        ]
    success = OpenAPIResponse("success", content=_reply(described, handler))
    error = OpenAPIResponse(
        "what is wrong, and what to do",
        content={MediaType.JSON: OpenAPIMediaType(schema=_ERROR)},
    )
    operation.responses = {str(handler.status_code): success, "default": error}
    if described.refusal:
        kind = MediaType.TEXT if described.refused is None else MediaType.JSON
        operation.responses[str(described.refusal)] = OpenAPIResponse(
            "what is wrong", content={kind: OpenAPIMediaType(schema=described.refused or STRING)}
        )


def _contents(described: Description) -> dict[str, OpenAPIMediaType]:
    contents = {}
    if described.body is not None:
        contents["application/json"] = OpenAPIMediaType(schema=described.body)
    if described.form is not None:
        contents["multipart/form-data"] = OpenAPIMediaType(schema=described.form)
    return contents


def _reply(described: Description, handler: HTTPRouteHandler) -> dict[str, OpenAPIMediaType] | None:
    returned = str(handler.fn.__annotations__["return"])
    if returned == "Response[None]":
        return None
    if described.media:
        is_text = described.media.startswith("text/")
        return {described.media: OpenAPIMediaType(schema=STRING if is_text else FILE)}
    if returned == "Stream":
        return {"text/event-stream": OpenAPIMediaType(schema=STRING)}
    if returned == "Response[str]":
        return {"text/plain": OpenAPIMediaType(schema=STRING)}
    return {"application/json": OpenAPIMediaType(schema=described.reply or Schema())}
