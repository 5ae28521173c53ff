"""External services of a server: descriptions that clients put into ``data/services``."""

from __future__ import annotations

from typing import Any

import anyio.to_thread
import msgspec

from engine.server.definitions import Condition, anything
from engine.server.fetch import Fetcher
from engine.server.names import checked_name
from engine.server.problems import Problem, missing
from engine.server.secrets import masked, restored
from engine.server.service_files import ServiceFiles
from engine.server.turns import Turns
from engine.services.description import ServiceDef
from engine.services.functions import ServiceFunction, Services

_FUNCTIONS = "functions"
_TURN = "services"
"""One for all services: they share the names of functions."""


class ExternalDef(msgspec.Struct, frozen=True):
    """A service as clients write it: its description, or where that is."""

    name: str = ""
    content: str | dict[str, Any] = ""
    """The description, or its JSON text."""
    file: str = ""
    """An upload (``file://NAME``) or an address, of the description or of a zip with it."""
    files: dict[str, str] = {}
    """The schemas that it names, by path; exports have them."""


class ExternalServices:
    """What can be done with services; running rules keep the one that they started with."""

    def __init__(self, services: Services, turns: Turns, fetcher: Fetcher) -> None:
        self._services = services
        self._files = ServiceFiles(services)
        self._turns = turns
        self._fetcher = fetcher

    # -- reading -------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """Return the names of all services."""
        return list(self._services.services())

    async def get(self, name: str) -> tuple[dict[str, Any], str]:
        """Return a service, without secrets in its headers, and all that is stored of it.

        Raises:
            Problem: there is none.
        """
        async with self._turns.of(_TURN):
            found, kept = await anyio.to_thread.run_sync(self._stored, name)
        if found is None or kept is None:
            raise missing(f"service {name}")
        shown: dict[str, Any] = masked(_plain(found))
        return {"name": name, **shown}, kept

    def functions(self) -> list[dict[str, str]]:
        """Return all functions and where they come from."""
        return [_shown(found) for _, found in sorted(self._services.functions().items())]

    def function(self, name: str) -> dict[str, str]:
        """Return where a function comes from.

        Raises:
            Problem: there is none.
        """
        found = self._services.functions().get(name)
        if found is None:
            raise missing(f"function {name}")
        return _shown(found)

    # -- changing ------------------------------------------------------------------------------

    async def create(self, given: ExternalDef) -> None:
        """Add a service.

        Raises:
            EngineError: there is one of that name, or it can't be used.
        """
        data = await self._data(given)
        async with self._turns.of(_TURN):
            if given.name in self._services.services():
                raise Problem(f"service {given.name} is there already")
            await self._put(given, data)

    async def replace(self, given: ExternalDef, condition: Condition = anything) -> None:
        """Replace a service, or add it.

        Raises:
            EngineError: it can't be used; what was there stays.
        """
        data = await self._data(given)
        async with self._turns.of(_TURN):
            await self._check(given.name, condition)
            await self._put(given, data)

    async def drop(self, name: str, condition: Condition = anything) -> None:
        """Forget a service; rules that call it can't start any more.

        Raises:
            Problem: there is none, or it stands in a file of the server's administrator.
        """
        path = self._files.path_of(checked_name(name, "name of a service"))
        async with self._turns.of(_TURN):
            if not path.is_file():
                if name in self._services.services():
                    raise Problem(
                        f"service {name} stands in a file of the root", hint="delete that"
                    )
                raise missing(f"service {name}")
            await self._check(name, condition)
            await anyio.to_thread.run_sync(self._files.remove, name)

    # -- export and import ---------------------------------------------------------------------

    async def export(self) -> dict[str, str]:
        """Return all services that clients have put here, as JSON, by name."""
        async with self._turns.of(_TURN):
            found = await anyio.to_thread.run_sync(self._files.export)
        return {name: msgspec.json.encode(entry).decode() for name, entry in found.items()}

    def is_code(self, key: str, entry: dict[str, Any]) -> bool:
        """Tell that services make the server call wherever they say."""
        return True

    async def take(self, key: str, entry: dict[str, Any]) -> None:
        """Take a service from an export in.

        Raises:
            EngineError: it can't be used.
        """
        await self.replace(msgspec.convert({"name": key, **entry}, ExternalDef))

    async def clear(self, *, code: bool) -> None:
        """Forget all services that clients have put here, if ``code`` may be changed."""
        for name in self._files.names() if code else ():
            await self.drop(name)

    # -- inside --------------------------------------------------------------------------------

    async def _data(self, given: ExternalDef) -> bytes:
        """Return what a client has given, which nobody has to wait for in a turn."""
        checked_name(given.name, "name of a service")
        if given.name == _FUNCTIONS:
            raise Problem(f"a service can't be called {given.name}", hint="that is a path here")
        if bool(given.content) == bool(given.file):
            raise Problem("give either 'content' or 'file'")
        if given.file:
            return await self._fetcher.read(given.file)
        if isinstance(given.content, str):
            return given.content.encode("utf-8", "surrogatepass")
        return msgspec.json.encode(given.content)

    async def _check(self, name: str, condition: Condition) -> None:
        _, kept = await anyio.to_thread.run_sync(self._stored, name)
        condition(kept)

    def _stored(self, name: str) -> tuple[ServiceDef | None, str | None]:
        """Return a service, and it with its schemas as text; None if there is none."""
        found: ServiceDef | None = self._services.services().get(name)
        if found is None:
            return None, None
        kept = {"content": _plain(found), "files": self._files.schemas_of(found)}
        return found, msgspec.json.encode(kept).decode()

    async def _put(self, given: ExternalDef, data: bytes) -> None:
        known = self._services.services().get(given.name)
        data = _with_secrets(data, _plain(known))
        await anyio.to_thread.run_sync(self._files.put, given.name, data, given.files)


def _with_secrets(data: bytes, known: Any) -> bytes:
    """Return a description whose ``***`` are the secrets of the one that is there."""
    try:
        given = msgspec.json.decode(data)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return data  # a zip, or malformed: whoever reads it says where
    meant = restored(given, known)
    return data if meant == given else msgspec.json.encode(meant)


def _plain(found: ServiceDef | None) -> Any:
    return msgspec.to_builtins(found, enc_hook=lambda duration: f"{duration:g}s")


def _shown(found: ServiceFunction) -> dict[str, str]:
    return {
        "FuncName": found.name,
        "ServiceName": found.service,
        "InterfaceName": found.interface,
        "MethodName": found.method,
        "Addr": found.address,
    }
