"""The functions of external services, as described in ``etc/services`` and ``data/services``.

Each ``<service>.json`` there is a service; a changed file counts for rules that start afterwards.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.errors import ConfigError, EngineError, RowError
from engine.schemas.protoc import compiled
from engine.services.description import InterfaceDef, ServiceDef, read_service
from engine.services.rest import RestClient
from engine.services.schemas import SCHEMAS
from engine.sql.functions import FunctionSpec, Nulls, Parameter, builtins
from engine.sql.kinds import Kind, kind_of
from engine.state.stored import DATA

logger = logging.getLogger(__name__)

_VALUES = (Parameter("values", Kind.ANY, variadic=True),)
_REQUEST = (Parameter("method", Kind.STRING), Parameter("path", Kind.STRING), *_VALUES)


@dataclass(frozen=True, slots=True)
class ServiceFunction:
    """A function and where it comes from."""

    name: str
    service: str
    interface: str
    method: str
    """What the service calls it."""
    address: str


@dataclass(slots=True)
class _Loaded:
    state: object
    definition: ServiceDef
    specs: dict[str, tuple[ServiceFunction, FunctionSpec]] = field(default_factory=dict)


class Services:
    """The services of one root and their functions."""

    def __init__(self, root: Path) -> None:
        self._given = root / "etc" / "services"
        self.folder = root / DATA / "services"
        """Where services are put while the engine runs; it need not be there."""
        self._loaded: dict[str, _Loaded] = {}
        self._told: dict[str, object] = {}
        self._clients: list[RestClient] = []
        self._loading = threading.Lock()

    # -- for queries ---------------------------------------------------------------------------

    def get(self, name: str) -> FunctionSpec | None:
        """Return the function called ``name``, None if no service has it."""
        for service in self._current().values():
            if name in service.specs:
                return service.specs[name][1]
        return None

    def names(self) -> list[str]:
        """Return the names of all functions."""
        return [name for service in self._current().values() for name in service.specs]

    # -- for those who manage them -------------------------------------------------------------

    def services(self) -> dict[str, ServiceDef]:
        """Return all services by name; those that can't be used are logged and left out."""
        return {name: service.definition for name, service in self._current().items()}

    def functions(self) -> dict[str, ServiceFunction]:
        """Return all functions by name."""
        return {
            name: about
            for service in reversed(self._current().values())
            for name, (about, _) in service.specs.items()
        }

    def try_out(self, path: Path) -> list[str]:
        """Load a service from anywhere, return the names of its functions and forget it again.

        Raises:
            ConfigError: it can't be used.
        """
        return list(self._load(path, None).specs)

    def close(self) -> None:
        """Close all connections."""
        for client in self._clients:
            client.close()

    # -- loading -------------------------------------------------------------------------------

    def _current(self) -> dict[str, _Loaded]:
        """Return the services as their files are now, by name; any thread may ask."""
        with self._loading:
            return self._reloaded()

    def _reloaded(self) -> dict[str, _Loaded]:
        paths = {
            path.stem: path
            for folder in (self._given, self.folder)
            if folder.is_dir()
            for path in sorted(folder.glob("*.json"))
        }
        for gone in self._loaded.keys() - paths.keys():
            del self._loaded[gone]
        for name, path in paths.items():
            state = _state(path)
            known = self._loaded.get(name)
            if known is not None and known.state == state:
                continue
            self._loaded.pop(name, None)
            if self._told.get(name) == state:
                continue
            try:
                self._loaded[name] = self._load(path, state)
            except EngineError as error:
                self._told[name] = state
                logger.error("service %s can't be used: %s", name, error)
        return dict(sorted(self._loaded.items()))

    def _load(self, path: Path, state: object) -> _Loaded:
        loaded = _Loaded(state, read_service(path))
        for name, interface in loaded.definition.interfaces.items():
            client = RestClient(interface)
            self._clients.append(client)
            made = _functions_of(name, interface, client, path)
            for function, (method, spec) in made.items():
                if builtins().get(function) is not None:
                    raise ConfigError(f"{path}: {function} is a built-in function")
                about = ServiceFunction(function, path.stem, name, method, interface.address)
                loaded.specs[function] = about, spec
        return loaded


def _functions_of(
    name: str, interface: InterfaceDef, client: RestClient, path: Path
) -> dict[str, tuple[str, FunctionSpec]]:
    """Return the functions of an interface, each with what the service calls it."""
    if interface.schemaless:
        return {name: (name, _spec(name, _REQUEST, _schemaless(client)))}
    file = path.parent / SCHEMAS / interface.schema_file
    if not file.resolve().is_relative_to((path.parent / SCHEMAS).resolve()):
        raise ConfigError(f"{path}: {interface.schema_file!r} leads out of the folder schemas")
    if not file.is_file():
        raise ConfigError(f"{path}: there is no {file}")
    from engine.schemas.protobuf import ProtobufSchema

    methods = ProtobufSchema(file, compiled(file, (path.parent / SCHEMAS,))).methods()
    called = {function.service_name: function.name for function in interface.functions}
    if unknown := called.keys() - methods.keys():
        raise ConfigError(f"{file} has no rpc {sorted(unknown)[0]}")
    found = {}
    for method, fields in methods.items():
        function = called.get(method, method)
        found[function] = method, _spec(function, _VALUES, _described(client, method, fields))
    return found


def _spec(name: str, parameters: tuple[Parameter, ...], call: Callable[..., Any]) -> FunctionSpec:
    return FunctionSpec(
        name=name,
        call=call,
        parameters=parameters,
        nulls=Nulls.PASS,
        category="service",
        doc="A function of an external service.",
        stateless=False,
        is_blocking=True,
    )


def _schemaless(client: RestClient) -> Callable[..., Any]:
    """Return ``fn(method, path, …)``; one more argument is the body, several are its elements."""

    def call(method: Any, path: Any, *values: Any) -> Any:
        if not isinstance(method, str) or not isinstance(path, str):
            raise RowError("the method and the path of a request must be strings")
        if not values:
            return client.call(method.upper(), path)
        return client.call(method.upper(), path, values[0] if len(values) == 1 else values)

    return call


def _described(client: RestClient, method: str, fields: Sequence[str]) -> Callable[..., Any]:
    """Return ``fn(object)`` or ``fn(field, …)`` of a described rpc, which is a POST to its name."""

    def call(*values: Any) -> Any:
        if len(values) == 1 and isinstance(values[0], dict):
            body = values[0]
        elif len(values) == len(fields):
            body = dict(zip(fields, values, strict=True))
        else:
            given = kind_of(values[0]) if len(values) == 1 else f"{len(values)} values"
            raise RowError(f"{method} takes an object or {', '.join(fields)}, not {given}")
        return client.call("POST", method, body)

    return call


def _state(path: Path) -> object:
    folder = path.parent / SCHEMAS
    files = [path, *sorted(folder.rglob("*.proto"))]
    return [
        (str(file), about.st_mtime_ns, about.st_size) for file in files if (about := file.stat())
    ]
