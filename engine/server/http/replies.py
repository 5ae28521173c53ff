"""Answers in the forms that eKuiper's clients expect, and what comes with a request."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, TypeVar

import msgspec
from litestar import Request, Response
from litestar.datastructures import FormMultiDict, State
from litestar.di import NamedDependency
from litestar.enums import MediaType

from engine.server.credentials import Caller
from engine.server.definitions import Condition, etag_of
from engine.server.http.document import BOOLEAN, NAMES, OBJECT, OBJECTS, SQL, STRING, an_object
from engine.server.problems import ENCODING, Problem
from engine.server.service import Service

AnyRequest = Request[Caller, None, State]
Serving = NamedDependency[Service]
"""What a route needs to do anything: it must be called ``service``."""
T = TypeVar("T")


def text(message: str, status: int = HTTPStatus.OK) -> Response[str]:
    """Return a plain sentence."""
    return Response(message, status_code=int(status), media_type=MediaType.TEXT)


def json(value: Any, status: int = HTTPStatus.OK) -> Response[bytes]:
    """Return a value as JSON."""
    return Response(msgspec.json.encode(value), status_code=int(status), media_type=MediaType.JSON)


def stored(request: AnyRequest, shown: bytes, kept: str) -> Response[bytes]:
    """Return a definition with the entity tag of what is stored, or 304 if the client has it."""
    tag = f'"{etag_of(kept)}"'
    if tag in _tags(request.headers.get("if-none-match", "")):
        return Response(b"", status_code=HTTPStatus.NOT_MODIFIED, headers={"ETag": tag})
    return Response(shown, media_type=MediaType.JSON, headers={"ETag": tag})


def condition(request: AnyRequest) -> Condition:
    """Return what a client says of the definition that it wants to change.

    ``If-Match`` names the versions that it knows, ``If-None-Match: *`` says there is none yet.
    """
    match = request.headers.get("if-match", "")
    none_match = request.headers.get("if-none-match", "")

    def check(known: str | None) -> None:
        if none_match.strip() == "*" and known is not None:
            raise _changed("it is defined already")
        if not match:
            return
        if known is None:
            raise _changed("it isn't defined any more")
        if match.strip() != "*" and f'"{etag_of(known)}"' not in _tags(match):
            raise _changed("somebody has changed it")

    return check


async def body_text(request: AnyRequest) -> str:
    """Return the body of a request as text.

    Raises:
        Problem: it is empty or isn't UTF-8.
    """
    data = await request.body()
    try:
        found = data.decode()
    except UnicodeDecodeError:
        raise Problem("the body isn't UTF-8 text", code=ENCODING) from None
    if not found.strip():
        raise Problem("the body is empty", code=ENCODING)
    return found


async def body_of(request: AnyRequest, kind: type[T]) -> T:
    """Return the body of a request, whatever its content type says, from JSON.

    Raises:
        Problem: it isn't JSON or isn't a ``kind``.
    """
    try:
        return msgspec.json.decode(await body_text(request), type=kind)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise Problem(f"invalid body: {error}", code=ENCODING) from None


async def form_of(request: AnyRequest) -> FormMultiDict:
    """Return the form of a request.

    Raises:
        Problem: the body is none.
    """
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise Problem("send a form", status=HTTPStatus.UNSUPPORTED_MEDIA_TYPE, code=ENCODING)
    try:
        return await request.form()
    except ValueError as error:  # a text that isn't UTF-8, a part without a name
        raise Problem(f"the form can't be read: {error}", code=ENCODING) from None


def check_name(given: str, path: str) -> None:
    """Refuse a body that names another one than the path.

    Raises:
        Problem: it does.
    """
    if given != path:
        raise Problem(f"the body says {given!r}, the path says {path!r}")


def flag(request: AnyRequest, name: str) -> bool:
    """Tell whether a query parameter says yes: ``1``, ``true`` or ``t``."""
    return request.query_params.get(name, "").lower() in ("1", "t", "true")


STATEMENT = an_object(["sql"], sql=SQL)
TAGS = an_object(["tags"], tags=NAMES)
RULE = an_object(
    ["sql", "actions"],
    id=STRING,
    name=STRING,
    version=STRING,
    sql=SQL,
    actions=OBJECTS,
    options=OBJECT,
    triggered=BOOLEAN,
    tags=NAMES,
    temp=BOOLEAN,
)


def _tags(header: str) -> set[str]:
    return {tag.strip().removeprefix("W/") for tag in header.split(",")}


def _changed(why: str) -> Problem:
    return Problem(
        f"the condition of the request doesn't hold: {why}", status=HTTPStatus.PRECONDITION_FAILED
    )
