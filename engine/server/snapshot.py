"""All that is defined at a moment, to be put back when what replaces it can't be taken."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from engine.catalog import Catalog
from engine.errors import EngineError
from engine.server.configs import Configs
from engine.server.definitions import Change, Definitions, Kind
from engine.server.problems import Problem
from engine.server.rules import Rules
from engine.server.uploads import Uploads

logger = logging.getLogger(__name__)

_STORED = (
    Kind.STREAM,
    Kind.TABLE,
    Kind.RULE,
    Kind.TRIGGERED,
    Kind.SOURCE_CONFIG,
    Kind.SINK_CONFIG,
    Kind.CONNECTION,
)
"""What an import replaces and only ``Definitions`` keep; parts know how to keep themselves."""


class Part(Protocol):
    """A kind of definitions that are exported by name as JSON text."""

    async def export(self) -> dict[str, str]:
        """Return all that clients have defined."""

    def is_code(self, key: str, entry: dict[str, Any]) -> bool:
        """Tell whether the server would run an entry, which not everybody may make it do."""

    async def take(self, key: str, entry: dict[str, Any]) -> None:
        """Take an entry in, in place of one of that name."""

    async def clear(self, *, code: bool) -> None:
        """Delete all that clients have defined, with ``code`` also what the server runs."""


class Snapshot:
    """What was defined when it was made; the state of rules is no part of it and isn't touched."""

    def __init__(
        self,
        definitions: Definitions,
        catalog: Catalog,
        rules: Rules,
        configs: Configs,
        parts: Mapping[str, Part],
        entries: Mapping[str, Mapping[str, str]],
        uploads: Uploads,
        files: Mapping[str, bytes | None],
    ) -> None:
        """``entries`` are the exports of the parts.

        ``files`` are the uploads that may be changed, None for those that may be added.
        """
        self._definitions = definitions
        self._catalog = catalog
        self._rules = rules
        self._configs = configs
        self._parts = parts
        self._uploads = uploads
        self._stored = {kind: dict(definitions.all(kind)) for kind in _STORED}
        self._streams = catalog.copy()
        self._known = rules.known()
        self._entries = entries
        self._files = files

    async def put_back(self, *, code: bool) -> None:
        """Make everything be as it was; what can't be is logged. Rules start where they stopped.

        ``code`` tells whether what the server runs may have been changed.

        Raises:
            StoreFailed: the disk doesn't take the definitions.
        """
        for rule_id in self._rules.ids():
            await self._rules.delete(rule_id, keep_state=True)
        await self._definitions.apply(*self._changes())  # from here on a restart has them, too
        self._catalog.become(self._streams)
        self._configs.recover()
        for section, part in self._parts.items():
            await self._put_part_back(section, part, code=code)
        await self._put_files_back()
        await self._rules.bring_back(self._known)

    def _changes(self) -> list[Change]:
        return [
            Change(kind, name, before.get(name))
            for kind, before in self._stored.items()
            for name in {*before, *self._definitions.all(kind)}
            if before.get(name) != self._definitions.get(kind, name)
        ]

    async def _put_part_back(self, section: str, part: Part, *, code: bool) -> None:
        before = self._entries[section]
        if await part.export() == before:
            return
        await part.clear(code=code)
        left = await part.export()
        for name, text in before.items():
            if left.get(name) == text:
                continue
            try:
                await part.take(name, msgspec.json.decode(text))
            except EngineError as error:
                logger.error("%s %s can't be put back: %s", section, name, error)

    async def _put_files_back(self) -> None:
        for name, data in self._files.items():
            try:
                if data is not None:
                    await self._uploads.put(name, data)
                elif await self._uploads.find(name) is not None:
                    await self._uploads.drop(name)
            except Problem as error:
                logger.error("upload %s can't be put back: %s", name, error)
