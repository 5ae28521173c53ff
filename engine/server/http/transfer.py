"""Import, export and uploads over HTTP."""

from __future__ import annotations

import msgspec
from litestar import Response, delete, get, post
from litestar.datastructures import UploadFile
from litestar.params import FromPath

from engine.server.credentials import Role
from engine.server.http.document import FILE, NAMES, OBJECT, STRING, a_list, an_object, documented
from engine.server.http.replies import AnyRequest, Serving, body_of, flag, form_of, json, text
from engine.server.problems import ENCODING, Problem
from engine.server.service import Service
from engine.server.transfer import Imported

_FILE = an_object(content=STRING, file=STRING)
_File = documented(_FILE)
_Import = documented(_FILE, reply=OBJECT, flags=("partial", "stop"), refusal=400, refused=OBJECT)
_Upload = documented(
    an_object(["name"], name=STRING, content=STRING, file=STRING), form=an_object(uploadFile=FILE)
)
_Export = documented(media="application/octet-stream", flags=("secrets",))
_ExportRules = documented(a_list(STRING), media="application/octet-stream", flags=("secrets",))
_LARGEST = 1 << 30


class Given(msgspec.Struct, frozen=True):
    """A body with the text of a file, or with where the file is."""

    content: str = ""
    file: str = ""
    name: str = ""


@post("/ruleset/export", status_code=200, operation_class=_Export)
async def export_rule_set(service: Serving, request: AnyRequest) -> Response[bytes]:
    """Return streams, tables and rules as a file."""
    found = await service.transfer.rule_set(secrets=_wants_secrets(request))
    return _download(msgspec.json.encode(found), "headrace_export.json")


@post("/ruleset/import", status_code=200, operation_class=_File)
async def import_rule_set(service: Serving, request: AnyRequest) -> Response[str]:
    """Take streams, tables and rules in; those of the same name are replaced."""
    imported = await service.transfer.take(
        await _given(service, request), partial=True, code=_may_run(request)
    )
    if imported.has_failures:
        raise Problem(f"{imported.message()}; failed: {_failures(imported)}")
    return text(imported.message())


@get("/data/export", operation_class=_Export)
async def export_data(service: Serving, request: AnyRequest) -> Response[bytes]:
    """Return everything that is defined as a file, with ``***`` for secrets."""
    found = await service.transfer.export(secrets=_wants_secrets(request))
    return _download(msgspec.json.encode(found), "headrace_export.json")


@post("/data/export", status_code=200, operation_class=_ExportRules)
async def export_rules(service: Serving, request: AnyRequest) -> Response[bytes]:
    """Return some rules and all that they need as a file."""
    rules = await body_of(request, list[str])
    found = await service.transfer.export(rules, secrets=_wants_secrets(request))
    return _download(msgspec.json.encode(found), "headrace_export.json")


@post("/data/import", status_code=200, operation_class=_Import)
async def import_data(service: Serving, request: AnyRequest) -> Response[bytes]:
    """Take a file in; everything that is here goes first, except with ``partial=1``."""
    partial, stop = flag(request, "partial"), flag(request, "stop")
    imported = await service.transfer.take(
        await _given(service, request), partial=partial, code=_may_run(request)
    )
    if stop:
        service.stop()
    return _outcome(imported)


@post("/async/data/import", status_code=200, operation_class=_Import)
async def import_later(service: Serving, request: AnyRequest) -> Response[bytes]:
    """Take a file in after this answer, which says how to ask for the outcome."""
    partial, code = flag(request, "partial"), _may_run(request)
    given = await _given(service, request)

    async def take() -> str:
        imported = await service.transfer.take(given, partial=partial, code=code)
        if imported.has_failures:
            raise Problem(f"{imported.message()}; failed: {_failures(imported)}")
        return imported.message()

    return json({"id": service.jobs.start(take)})


@get("/async/task/{job_id:str}", operation_class=documented(reply=OBJECT))
async def get_task(service: Serving, job_id: FromPath[str]) -> Response[bytes]:
    """Return how an import is that goes on after its answer."""
    return json(service.jobs.get(job_id))


@post("/async/task/{job_id:str}/cancel", status_code=200)
async def cancel_task(service: Serving, job_id: FromPath[str]) -> Response[str]:
    """End an import where it is; what it has taken by then stays."""
    service.jobs.cancel(job_id)
    return text("success")


@get("/data/import/status", operation_class=documented(reply=OBJECT))
async def import_status(service: Serving) -> Response[bytes]:
    """Return what the last import couldn't take."""
    return json(service.transfer.last.failures)


@get("/v2/data/export", operation_class=_Export)
async def export_yaml(service: Serving, request: AnyRequest) -> Response[bytes]:
    """Return everything as YAML."""
    found = await service.transfer.export_yaml(secrets=_wants_secrets(request))
    return _download(found.encode(), "headrace_export.yaml")


@post("/v2/data/import", status_code=200, operation_class=_Import)
async def import_yaml(service: Serving, request: AnyRequest) -> Response[bytes]:
    """Take a YAML file in."""
    given = await _given(service, request)
    partial = flag(request, "partial")
    imported = await service.transfer.take(
        given, partial=partial, code=_may_run(request), is_json=False
    )
    return _outcome(imported)


@get("/config/uploads", operation_class=documented(reply=NAMES))
async def list_uploads(service: Serving) -> Response[bytes]:
    """Return the paths of all uploaded files."""
    return json(await service.uploads.names())


@post("/config/uploads", operation_class=_Upload, request_max_body_size=_LARGEST)
async def upload(service: Serving, request: AnyRequest) -> Response[str]:
    """Store a file: a form with ``uploadFile``, or ``{name, content}``, or ``{name, file}``."""
    if request.headers.get("content-type", "").startswith("multipart/"):
        form = await form_of(request)
        sent = form.get("uploadFile")
        if not isinstance(sent, UploadFile):
            raise Problem("the form has no file 'uploadFile'", code=ENCODING)
        data = await sent.read(service.settings.max_upload + 1)
        name = sent.filename
    else:
        given = await body_of(request, Given)
        name = given.name
        data = await _content(service, given)
    if len(data) > service.settings.max_upload:
        raise Problem(f"more than {int(service.settings.max_upload)} bytes", status=413)
    return text(await service.uploads.put(name, data), 201)


@delete("/config/uploads/{name:str}", status_code=200)
async def drop_upload(service: Serving, name: FromPath[str]) -> Response[str]:
    """Delete an uploaded file."""
    await service.uploads.drop(name)
    return text("ok")


ROUTES = [
    export_rule_set,
    import_rule_set,
    export_data,
    export_rules,
    import_data,
    import_later,
    get_task,
    cancel_task,
    import_status,
    export_yaml,
    import_yaml,
    list_uploads,
    upload,
    drop_upload,
]


async def _given(service: Service, request: AnyRequest) -> str:
    """Return the text of the file that a body holds or names."""
    data = await _content(service, await body_of(request, Given))
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Problem("the file isn't UTF-8 text", code=ENCODING) from None


async def _content(service: Service, given: Given) -> bytes:
    if bool(given.content) == bool(given.file):
        raise Problem("give either 'content' or 'file'", code=ENCODING)
    if given.content:
        return given.content.encode("utf-8", "surrogatepass")
    return await service.fetcher.read(given.file)


def _may_run(request: AnyRequest) -> bool:
    """Tell whether a caller may change what the server runs."""
    return request.user.role is Role.ADMIN and request.user.is_known


def _wants_secrets(request: AnyRequest) -> bool:
    if not flag(request, "secrets"):
        return False
    if not _may_run(request):
        raise Problem("secrets are only for known administrators", status=403)
    return True


def _outcome(imported: Imported) -> Response[bytes]:
    found = {
        "ErrorMsg": _failures(imported) if imported.has_failures else "",
        "ConfigResponse": imported.failures,
    }
    return json(found, 400 if imported.has_failures else 200)


def _failures(imported: Imported) -> str:
    return "; ".join(
        f"{section} {name}: {why}"
        for section, failures in imported.failures.items()
        for name, why in failures.items()
    )


def _download(data: bytes, name: str) -> Response[bytes]:
    return Response(
        data,
        media_type="application/octet-stream",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )
