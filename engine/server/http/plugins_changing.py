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
from engine.server.http.document import STRING, a_list, an_object, documented
from engine.server.http.plugins import kind_of
from engine.server.http.replies import AnyRequest, Serving, body_of, flag, text
from engine.server.names import checked_name
from engine.server.problems import Problem, missing
from engine.server.service import Service
from engine.suggest import did_you_mean

_Package = documented(an_object(["name", "file"], name=STRING, file=STRING, sha256=STRING))
_Functions = documented(an_object(["functions"], functions=a_list(STRING)))


class PackageDef(msgspec.Struct, frozen=True):
    """Where a package is: an upload (``file://NAME``) or an address."""

    name: str
    file: str
    sha256: str = ""


class FunctionList(msgspec.Struct, frozen=True):
    """Names of functions."""

    functions: list[str]


@post("/plugins/{role:str}", operation_class=_Package)
async def install_plugin(
    service: Serving, request: AnyRequest, role: FromPath[str]
) -> Response[str]:
    """Install a plugin; rules that start from now on can use it."""
    given = await body_of(request, PackageDef)
    kind = kind_of(role)
    await _with_package(service, given, partial(_packages(service).install, kind))
    return text(f"{kind.singular} plugin {given.name} is created", 201)


@put("/plugins/{role:str}/{name:str}", operation_class=_Package)
async def update_plugin(
    service: Serving, request: AnyRequest, role: FromPath[str], name: FromPath[str]
) -> Response[str]:
    """Put another version in the place of a plugin; running rules keep theirs."""
    given = msgspec.structs.replace(await body_of(request, PackageDef), name=name)
    kind = kind_of(role)
    await _with_package(service, given, partial(_packages(service).update, kind))
    return text(f"{kind.singular} plugin {name} is updated")


@delete(
    "/plugins/{role:str}/{name:str}", status_code=200, operation_class=documented(flags=("force",))
)
async def remove_plugin(
    service: Serving, request: AnyRequest, role: FromPath[str], name: FromPath[str]
) -> Response[str]:
    """Remove a plugin that no rule uses; ``force=1``: even if one does."""
    kind = kind_of(role)
    remove = partial(
        _packages(service).remove,
        kind,
        checked_name(name, "name of a plugin"),
        force=flag(request, "force"),
    )
    await anyio.to_thread.run_sync(remove)
    return text(f"{kind.singular} plugin {name} is deleted")


@post("/plugins/{role:str}/{name:str}/register", status_code=200, operation_class=_Functions)
async def register_functions(
    service: Serving, request: AnyRequest, role: FromPath[str], name: FromPath[str]
) -> Response[str]:
    """Check that a plugin has some functions; which it has is read from its file."""
    if kind_of(role) is not PluginKind.FUNCTION:
        raise Problem("only plugins of functions have functions")
    given = await body_of(request, FunctionList)
    plugins = service.engine.plugins
    if not plugins.has(PluginKind.FUNCTION, name):
        raise missing(f"function plugin {name}")
    known = plugins.describe(PluginKind.FUNCTION, name).functions
    for function in given.functions:
        if function not in known:
            hint = did_you_mean(function, known) or f"it has {', '.join(known)}"
            raise Problem(f"plugin {name} exports no function {function[:60]!r}", hint=hint)
    return text(f"function plugin {name} has {', '.join(given.functions)}")


ROUTES = [install_plugin, update_plugin, remove_plugin, register_functions]


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
