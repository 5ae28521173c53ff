"""The files of external services in ``data/services``: tried before they count, shared schemas."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from engine.errors import ConfigError
from engine.server.problems import Problem
from engine.server.staging import (
    is_zip,
    placeless,
    staging,
    text_of,
    texts_in,
    unzipped,
    write_texts,
)
from engine.services.description import ServiceDef, read_service
from engine.services.functions import Services
from engine.services.schemas import SCHEMAS, schemas_of

logger = logging.getLogger(__name__)


class ServiceFiles:
    """Reads and writes them; one at a time may write. All of it blocks."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._folder = services.folder
        self._schemas = services.folder / SCHEMAS

    def path_of(self, name: str) -> Path:
        """Return where the description of a service is, or would be."""
        return self._folder / f"{name}.json"

    def names(self) -> list[str]:
        """Return the names of all services that have their files here, usable or not."""
        return sorted(path.stem for path in self._folder.glob("*.json"))

    def schemas_of(self, service: ServiceDef) -> dict[str, str]:
        """Return the schemas that a service needs, by path."""
        paths = sorted(schemas_of(service, self._schemas))
        return {path: text_of(self._schemas / path) for path in paths}

    def export(self) -> dict[str, dict[str, Any]]:
        """Return all services by name, each with its schemas; what can't be read is logged."""
        found = {}
        for name in self.names():
            path = self.path_of(name)
            try:
                files = self.schemas_of(read_service(path))
                content = msgspec.json.decode(path.read_bytes())
            except (ConfigError, msgspec.MsgspecError, OSError) as error:
                logger.error("service %s can't be exported: %s", name, error)
            else:
                found[name] = {"name": name, "content": content, "files": files}
        return found

    def put(self, name: str, data: bytes, files: Mapping[str, str]) -> None:
        """Write a service beside all others, load it there, and only then put it in place.

        ``data`` is its description or a zip with it, ``files`` are its schemas by path.

        Raises:
            Problem: it can't be used, or takes what belongs to another one.
        """
        with staging(self._folder, f"service {name}") as staged:
            path = staged / f"{name}.json"
            if is_zip(data):
                _unzip(data, staged, path)
            else:
                path.write_bytes(data)
                write_texts(staged / SCHEMAS, files, ".proto")
            given = texts_in(staged / SCHEMAS, ".proto")
            try:
                functions = self._services.try_out(path)
            except ConfigError as error:
                raise Problem(placeless(str(error), staged)) from None
            self._check_functions(name, functions)
            self._check_schemas(name, given)
            before = self._needed_by(name)
            for relative in given:
                target = self._schemas / relative
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(staged / SCHEMAS / relative, target)
            os.replace(path, self.path_of(name))
            self._sweep(before)
        self._services.services()  # rules needn't wait until it is loaded

    def remove(self, name: str) -> None:
        """Delete a service and the schemas that no other one needs."""
        before = self._needed_by(name)
        self.path_of(name).unlink()
        self._sweep(before)

    def _check_functions(self, name: str, functions: list[str]) -> None:
        known = self._services.functions()
        for function in functions:
            if function in known and known[function].service != name:
                raise Problem(f"{function} is a function of {known[function].service} already")

    def _check_schemas(self, name: str, given: Mapping[str, str]) -> None:
        for other in self.names():
            if other == name:
                continue
            for relative in self._needed_by(other) & given.keys():
                if text_of(self._schemas / relative) != given[relative]:
                    raise Problem(
                        f"{relative} is a schema of {other} already, and another one",
                        hint="give the file another name",
                    )

    def _needed_by(self, name: str) -> set[str]:
        try:
            return schemas_of(read_service(self.path_of(name)), self._schemas)
        except ConfigError:
            return set()  # it isn't there, or nobody can use it

    def _sweep(self, schemas: set[str]) -> None:
        """Delete those of some schemas that no service needs any more."""
        for relative in schemas.difference(*map(self._needed_by, self.names())):
            path = self._schemas / relative
            path.unlink(missing_ok=True)
            for folder in path.parents:
                if folder == self._schemas or any(folder.iterdir()):
                    break
                folder.rmdir()


def _unzip(data: bytes, staged: Path, path: Path) -> None:
    """Unpack a service and the schemas that it names.

    Raises:
        EngineError: the zip is damaged, or holds anything else.
    """
    for found in unzipped(data, staged):
        is_schema = found.parts[0] == SCHEMAS and found.suffix == ".proto"
        if str(found) != path.name and not is_schema:
            raise Problem(
                f"{found} has no place in the zip of a service",
                hint=f"it holds {path.name} and a folder {SCHEMAS} with .proto files",
            )
    if not path.is_file():
        raise Problem(f"the zip has no {path.name}")
