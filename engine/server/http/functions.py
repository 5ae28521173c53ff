"""Functions that clients define: scripts, and external services."""

from __future__ import annotations

import msgspec
from litestar import Response, delete, get, post, put
from litestar.params import FromPath

from engine.scripts.functions import ScriptDef
from engine.server.external import ExternalDef
from engine.server.http.document import (
    BOOLEAN,
    NAMES,
    OBJECT,
    OBJECTS,
    STRING,
    an_object,
    documented,
)
from engine.server.http.replies import (
    AnyRequest,
    Serving,
    body_of,
    check_name,
    condition,
    json,
    stored,
    text,
)

_SCRIPT = an_object(["id", "script"], id=STRING, script=STRING, description=STRING, isAgg=BOOLEAN)
_Script = documented(_SCRIPT)
_Service = documented(an_object(["name"], name=STRING, content=STRING, file=STRING))
_ChangedService = documented(an_object(name=STRING, content=STRING, file=STRING))


@get("/udf/javascript", operation_class=documented(reply=NAMES))
async def list_scripts(service: Serving) -> Response[bytes]:
    """Return the names of all scripts."""
    return json(service.scripts.names())


@post("/udf/javascript", operation_class=_Script)
async def create_script(service: Serving, request: AnyRequest) -> Response[str]:
    """Add a script; it is a function of SQL at once."""
    given = await body_of(request, ScriptDef)
    await service.scripts.create(given)
    return text(f"javascript function {given.id} is created", 201)


@get("/udf/javascript/{name:str}", operation_class=documented(reply=_SCRIPT))
async def get_script(service: Serving, request: AnyRequest, name: FromPath[str]) -> Response[bytes]:
    """Return a script with its text."""
    found = service.scripts.text(name)
    return stored(request, found.encode(), found)


@put("/udf/javascript/{name:str}", operation_class=_Script)
async def replace_script(
    service: Serving, request: AnyRequest, name: FromPath[str]
) -> Response[str]:
    """Replace a script; running rules keep the old one until they restart."""
    given = await body_of(request, ScriptDef)
    check_name(given.id, name)
    await service.scripts.replace(given, condition(request))
    return text(f"javascript function {name} is updated")


@delete("/udf/javascript/{name:str}", status_code=200)
async def drop_script(service: Serving, request: AnyRequest, name: FromPath[str]) -> Response[str]:
    """Forget a script; rules that call it can't start any more."""
    await service.scripts.drop(name, condition(request))
    return text(f"javascript function {name} is deleted")


@get("/services", operation_class=documented(reply=NAMES))
async def list_services(service: Serving) -> Response[bytes]:
    """Return the names of all external services."""
    return json(service.external.names())


@post("/services", operation_class=_Service)
async def create_service(service: Serving, request: AnyRequest) -> Response[str]:
    """Add an external service; its functions can be called at once."""
    given = await body_of(request, ExternalDef)
    await service.external.create(given)
    return text(f"service {given.name} is created", 201)


@get("/services/{name:str}", operation_class=documented(reply=OBJECT))
async def get_service(
    service: Serving, request: AnyRequest, name: FromPath[str]
) -> Response[bytes]:
    """Return the description of an external service."""
    shown, kept = await service.external.get(name)
    return stored(request, msgspec.json.encode(shown), kept)


@put("/services/{name:str}", operation_class=_ChangedService)
async def replace_service(
    service: Serving, request: AnyRequest, name: FromPath[str]
) -> Response[str]:
    """Replace an external service; running rules keep the old one until they restart."""
    given = await body_of(request, ExternalDef)
    check_name(given.name or name, name)
    await service.external.replace(msgspec.structs.replace(given, name=name), condition(request))
    return text(f"service {name} is updated")


@delete("/services/{name:str}", status_code=200)
async def drop_service(service: Serving, request: AnyRequest, name: FromPath[str]) -> Response[str]:
    """Forget an external service; rules that call it can't start any more."""
    await service.external.drop(name, condition(request))
    return text(f"service {name} is deleted")


@get("/services/functions", operation_class=documented(reply=OBJECTS))
async def list_service_functions(service: Serving) -> Response[bytes]:
    """Return the functions of all external services."""
    return json(service.external.functions())


@get("/services/functions/{name:str}", operation_class=documented(reply=OBJECT))
async def get_service_function(service: Serving, name: FromPath[str]) -> Response[bytes]:
    """Return the service that a function comes from."""
    return json(service.external.function(name))


ROUTES = [
    list_scripts,
    create_script,
    get_script,
    replace_script,
    drop_script,
    list_services,
    create_service,
    get_service,
    replace_service,
    drop_service,
    list_service_functions,
    get_service_function,
]
