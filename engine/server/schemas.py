"""Schemas of a server: files that clients put into ``data/schemas``, tried before they count."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import msgspec

from engine.config.version import check_version
from engine.errors import ConfigError
from engine.schemas.files import SUFFIXES, SchemaFile
from engine.schemas.registry import SchemaRegistry
from engine.server.definitions import Condition, anything
from engine.server.fetch import Fetcher
from engine.server.names import checked_name
from engine.server.problems import Problem, missing
from engine.server.staging import (
    is_zip,
    placeless,
    staging,
    text_of,
    texts_in,
    unzipped,
    write_texts,
)
from engine.server.turns import Turns

_AT_ONCE = 2  # compilers that run at the same time
_VERSION = re.compile(r"[A-Za-z0-9_.+-]{0,100}")


class SchemaDef(msgspec.Struct, frozen=True, rename="camel"):
    """A schema as clients write it: its text, or where that is."""

    name: str = ""
    content: str = ""
    file: str = ""
    """An upload (``file://NAME``) or an address, of the text or of a zip with it."""
    version: str = ""
    so_file: str = ""
    files: dict[str, str] = {}
    """What it imports, by path below the folder of the schema; exports have it."""


class Schemas:
    """What can be done with schemas; running rules keep the one that they started with."""

    def __init__(self, registry: SchemaRegistry, turns: Turns, fetcher: Fetcher) -> None:
        self._registry = registry
        self._files = registry.files
        self._turns = turns
        self._fetcher = fetcher
        self._compiling = anyio.CapacityLimiter(_AT_ONCE)

    # -- reading -------------------------------------------------------------------------------

    def names(self, type_: str) -> list[str]:
        """Return the names of all schemas of a type.

        Raises:
            Problem: there is no such type.
        """
        return list(self._files.all(_checked_type(type_)))

    async def get(self, type_: str, name: str) -> dict[str, Any]:
        """Return a schema with its text.

        Raises:
            Problem: there is none.
        """
        file = self._found(type_, name)
        content = await anyio.to_thread.run_sync(text_of, file.path)
        return {
            "type": type_,
            "name": name,
            "version": file.version,
            "content": content,
            "file": str(file.path),
        }

    # -- changing ------------------------------------------------------------------------------

    async def create(self, type_: str, given: SchemaDef) -> None:
        """Add a schema that isn't there yet.

        Raises:
            Problem: it is, or the schema is malformed.
        """
        async with self._turns.of(f"schema {type_} {given.name}"):
            if given.name in self._files.all(_checked_type(type_)):
                raise Problem(f"{type_} schema {given.name} is there already")
            await self._put(type_, given)

    async def replace(self, type_: str, given: SchemaDef, condition: Condition = anything) -> None:
        """Put another version in the place of a schema, or add it.

        Raises:
            EngineError: it is malformed, or its version isn't greater.
        """
        async with self._turns.of(f"schema {type_} {given.name}"):
            known = self._known(type_, given.name, condition)
            if known is not None:
                what = f"{type_} schema {given.name}"
                check_version(known.version, given.version, what)
            await self._put(type_, given)

    async def upload(
        self, type_: str, name: str, data: bytes, version: str, condition: Condition = anything
    ) -> None:
        """Put a file, a schema or a zip with it, in the place of a schema, or add it.

        Raises:
            EngineError: it is malformed, or its version isn't greater.
        """
        async with self._turns.of(f"schema {type_} {name}"):
            known = self._known(type_, name, condition)
            if known is not None:
                check_version(known.version, version, f"{type_} schema {name}")
            await self._install(type_, name, version, data, {})

    async def drop(self, type_: str, name: str, condition: Condition = anything) -> None:
        """Delete a schema; rules that use it can't start any more.

        Raises:
            Problem: there is none, or it stands in a file of the server's administrator.
        """
        async with self._turns.of(f"schema {type_} {name}"):
            file = self._found(type_, name)
            if not file.is_own:
                raise Problem(f"{type_} schema {name} stands in {file.path}", hint="delete that")
            condition(text_of(file.path))
            await anyio.to_thread.run_sync(self._remove, type_, name, None)

    # -- export and import ---------------------------------------------------------------------

    async def export(self) -> dict[str, str]:
        """Return all schemas that clients have put here, as ``<type>_<name>`` and JSON text."""
        return await anyio.to_thread.run_sync(self._export)

    async def take(self, key: str, entry: dict[str, Any]) -> None:
        """Take a schema from an export in.

        Raises:
            EngineError: it is malformed.
        """
        type_ = str(entry.get("type") or key.partition("_")[0])
        # an export of the reference says where the file was on that machine, beside its text
        given = msgspec.convert(
            {k: v for k, v in entry.items() if k != "file" or not entry.get("content")}, SchemaDef
        )
        async with self._turns.of(f"schema {type_} {given.name}"):
            await self._put(_checked_type(type_), given)

    def is_code(self, key: str, entry: dict[str, Any]) -> bool:
        """Tell whether the server would run what an export holds."""
        return str(entry.get("type") or key.partition("_")[0]) == "custom"

    async def clear(self, *, code: bool) -> None:
        """Delete the schemas that clients have put here, with ``code`` also those of Python."""
        for type_ in SUFFIXES:
            for name, file in self._files.all(type_).items():
                if file.is_own and (code or type_ != "custom"):
                    await self.drop(type_, name)

    # -- inside --------------------------------------------------------------------------------

    def _export(self) -> dict[str, str]:
        found = {}
        for type_ in SUFFIXES:
            for name, file in self._files.all(type_).items():
                if file.is_own:
                    entry = {
                        "type": type_,
                        "name": name,
                        "version": file.version,
                        "content": text_of(file.path),
                        "files": texts_in(file.imports, SUFFIXES[type_]),
                    }
                    found[f"{type_}_{name}"] = msgspec.json.encode(entry).decode()
        return found

    def _known(self, type_: str, name: str, condition: Condition) -> SchemaFile | None:
        """Return a schema that is to be replaced, None if there is none, if ``condition`` holds."""
        known = self._files.all(_checked_type(type_)).get(name)
        condition(None if known is None else text_of(known.path))
        return known

    def _found(self, type_: str, name: str) -> SchemaFile:
        known = self._files.all(_checked_type(type_))
        if name not in known:
            raise missing(f"{type_} schema {name}")
        return known[name]

    async def _put(self, type_: str, given: SchemaDef) -> None:
        if given.so_file:
            raise Problem(
                "soFile: a schema compiled for the reference can't be used here",
                hint="give its text, or a schema of type custom written in Python",
            )
        if bool(given.content) == bool(given.file):
            raise Problem("give either 'content' or 'file'")
        data = given.content.encode("utf-8", "surrogatepass")
        if given.file:
            data = await self._fetcher.read(given.file)
        await self._install(type_, given.name, given.version, data, given.files)

    async def _install(
        self, type_: str, name: str, version: str, data: bytes, files: dict[str, str]
    ) -> None:
        checked_name(name, "name of a schema")
        if not _VERSION.fullmatch(version):
            raise Problem(
                f"{version[:40]!r} can't be the version of a schema",
                hint="use letters, digits and . _ + -",
            )
        await anyio.to_thread.run_sync(
            self._try_out, type_, name, version, data, files, limiter=self._compiling
        )

    def _try_out(
        self, type_: str, name: str, version: str, data: bytes, files: dict[str, str]
    ) -> None:
        """Write a schema beside all others, compile it there, and only then put it in place."""
        suffix = SUFFIXES[type_]
        folder = self._files.own_folder(type_)
        with staging(folder, f"schema {name}") as staged:
            path = staged / (f"{name}@{version}{suffix}" if version else f"{name}{suffix}")
            if is_zip(data):
                _unzip(data, staged, name, path, suffix)
            else:
                path.write_bytes(data)
                write_texts(staged / name, files, suffix)
            file = SchemaFile(type_, name, version, path, is_own=True)
            try:
                self._registry.compile(file)
            except ConfigError as error:
                raise Problem(placeless(str(error), staged)) from None
            self._move(file, folder)
        self._registry.schema(self._files.get(type_, name))  # rules needn't wait for it

    def _move(self, file: SchemaFile, folder: Path) -> None:
        target = folder / file.name
        if target.is_dir():
            shutil.rmtree(target)
        if file.imports.is_dir():
            os.replace(file.imports, target)
        os.replace(file.path, folder / file.path.name)
        self._remove(file.type, file.name, folder / file.path.name)

    def _remove(self, type_: str, name: str, keep: Path | None) -> None:
        """Delete the files of a schema, all but one version if ``keep`` names that."""
        for file in self._files.versions(type_, name):
            if file.is_own and file.path != keep:
                file.path.unlink(missing_ok=True)
        if keep is None:
            shutil.rmtree(self._files.own_folder(type_) / name, ignore_errors=True)


def _unzip(data: bytes, staged: Path, name: str, path: Path, suffix: str) -> None:
    """Unpack a schema and the folder with what it imports.

    Raises:
        EngineError: the zip is damaged, or holds anything else.
    """
    found = unzipped(data, staged)
    allowed = [one for one in found if one.suffix == suffix and one.parts[0] == name]
    main = f"{name}{suffix}"
    if strangers := [str(one) for one in found if one not in allowed and str(one) != main]:
        raise Problem(
            f"{strangers[0]} has no place in the zip of a schema",
            hint=f"it holds {main} and a folder {name} with {suffix} files that this imports",
        )
    if not (staged / main).is_file():
        raise Problem(f"the zip has no {main}")
    os.replace(staged / main, path)


def _checked_type(type_: str) -> str:
    if type_ not in SUFFIXES:
        raise missing(f"schemas of type {type_}", hint=f"there are {', '.join(SUFFIXES)}")
    return type_
