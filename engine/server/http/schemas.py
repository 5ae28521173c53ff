"""Schemas over HTTP."""

from __future__ import annotations

import msgspec
from litestar import Response, delete, get, post, put
from litestar.datastructures import UploadFile
from litestar.params import FromPath

from engine.server.http.document import FILE, NAMES, OBJECT, STRING, an_object, documented
from engine.server.http.replies import (
    AnyRequest,
    Serving,
    body_of,
    check_name,
    condition,
    form_of,
    json,
    stored,
    text,
)
from engine.server.problems import ENCODING, Problem
from engine.server.schemas import SchemaDef

_Schema = documented(an_object(["name"], name=STRING, content=STRING, file=STRING, version=STRING))
_Changed = documented(an_object(name=STRING, content=STRING, file=STRING, version=STRING))
_Upload = documented(form=an_object(["file"], file=FILE, version=STRING))
_WRONG_TYPE = 415


@get("/schemas/{kind:str}", operation_class=documented(reply=NAMES))
async def list_schemas(service: Serving, kind: FromPath[str]) -> Response[bytes]:
    """Return the names of the schemas of a type, protobuf or custom."""
    return json(service.schemas.names(kind))


@post("/schemas/{kind:str}", operation_class=_Schema)
async def create_schema(
    service: Serving, request: AnyRequest, kind: FromPath[str]
) -> Response[str]:
    """Add a schema, which is compiled at once."""
    given = await body_of(request, SchemaDef)
    await service.schemas.create(kind, given)
    return text(f"{kind} schema {given.name} is created", 201)


@get("/schemas/{kind:str}/{name:str}", operation_class=documented(reply=OBJECT))
async def get_schema(
    service: Serving, request: AnyRequest, kind: FromPath[str], name: FromPath[str]
) -> Response[bytes]:
    """Return a schema with its text and version."""
    found = await service.schemas.get(kind, name)
    return stored(request, msgspec.json.encode(found), found["content"])


@put("/schemas/{kind:str}/{name:str}", operation_class=_Changed)
async def replace_schema(
    service: Serving, request: AnyRequest, kind: FromPath[str], name: FromPath[str]
) -> Response[str]:
    """Replace a schema; running rules keep the old one until they restart."""
    given = await body_of(request, SchemaDef)
    check_name(given.name or name, name)
    given = msgspec.structs.replace(given, name=name)
    await service.schemas.replace(kind, given, condition(request))
    return text(f"{kind} schema {name} is updated")


@put("/schemas/{kind:str}/{name:str}/upload", operation_class=_Upload)
async def upload_schema(
    service: Serving, request: AnyRequest, kind: FromPath[str], name: FromPath[str]
) -> Response[str]:
    """Replace a schema by a form with its file, or a zip of it, as ``file``, and ``version``."""
    form = await form_of(request)
    sent, version = form.get("file"), form.get("version", "")
    if not isinstance(sent, UploadFile) or not isinstance(version, str):
        raise Problem("the form has no file 'file'", status=_WRONG_TYPE, code=ENCODING)
    data = await sent.read(service.settings.max_upload + 1)
    if len(data) > service.settings.max_upload:
        raise Problem(f"more than {int(service.settings.max_upload)} bytes", status=413)
    await service.schemas.upload(kind, name, data, version, condition(request))
    return text(f"{kind} schema {name} is updated")


@delete("/schemas/{kind:str}/{name:str}", status_code=200)
async def drop_schema(
    service: Serving, request: AnyRequest, kind: FromPath[str], name: FromPath[str]
) -> Response[str]:
    """Delete a schema; rules that use it can't start any more."""
    await service.schemas.drop(kind, name, condition(request))
    return text(f"{kind} schema {name} is deleted")


ROUTES = [
    list_schemas,
    create_schema,
    get_schema,
    replace_schema,
    upload_schema,
    drop_schema,
]
