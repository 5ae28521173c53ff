"""Plugins over HTTP: installing, updating and removing packages."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio.to_thread
import msgspec
from litestar import Response, delete, post, put
from litestar.params import FromPath

from engine.packages import Packages
from engine.registry import PluginKind
from engine.server.http.replies import (
    STRING,
    AnyRequest,
    Serving,
    an_object,
    body_of,
    documented,
    flag,
    text,
)
from engine.server.names import checked_name
from engine.server.problems import missing
from engine.server.service import Service

_Package = documented(an_object(["name", "file"], name=STRING, file=STRING, sha256=STRING))
_KINDS = {kind.value: kind for kind in PluginKind}


class PackageDef(msgspec.Struct, frozen=True):
    """Where a package is: an upload (``file://NAME``) or an address."""

    name: str
    file: str
    sha256: str = ""


@post("/plugins/{role:str}", operation_class=_Package)
async def install_plugin(
    service: Serving, request: AnyRequest, role: FromPath[str]
) -> Response[str]:
    """Install a plugin; rules that start from now on can use it."""
    given = await body_of(request, PackageDef)
    kind = _kind(role)
    await _with_package(service, given, partial(_packages(service).install, kind))
    return text(f"{kind.singular} plugin {given.name} is created", 201)


@put("/plugins/{role:str}/{name:str}", operation_class=_Package)
async def update_plugin(
    service: Serving, request: AnyRequest, role: FromPath[str], name: FromPath[str]
) -> Response[str]:
    """Put another version in the place of a plugin; running rules keep theirs."""
    given = msgspec.structs.replace(await body_of(request, PackageDef), name=name)
    kind = _kind(role)
    await _with_package(service, given, partial(_packages(service).update, kind))
    return text(f"{kind.singular} plugin {name} is updated")


@delete("/plugins/{role:str}/{name:str}", status_code=200)
async def remove_plugin(
    service: Serving, request: AnyRequest, role: FromPath[str], name: FromPath[str]
) -> Response[str]:
    """Remove a plugin that no rule uses; ``force=1``: even if one does."""
    kind = _kind(role)
    remove = partial(
        _packages(service).remove,
        kind,
        checked_name(name, "name of a plugin"),
        force=flag(request, "force"),
    )
    await anyio.to_thread.run_sync(remove)
    return text(f"{kind.singular} plugin {name} is deleted")


ROUTES = [install_plugin, update_plugin, remove_plugin]


async def _with_package(service: Service, given: PackageDef, work: Callable[..., Any]) -> None:
    """Fetch a package as the settings allow it, then do something with it in a thread."""
    name = checked_name(given.name, "name of a plugin")
    data = await service.fetcher.read(given.file)

    def carry_out() -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{name}.zip"
            path.write_bytes(data)
            work(name, str(path), sha256=given.sha256)

    await anyio.to_thread.run_sync(carry_out)


def _packages(service: Service) -> Packages:
    return Packages(service.engine.root, service.engine.plugins)


def _kind(role: str) -> PluginKind:
    if role not in _KINDS:
        raise missing(f"plugins of kind {role}")
    return _KINDS[role]
