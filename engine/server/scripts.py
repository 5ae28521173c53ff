"""Scripts of a server: functions in JavaScript, kept over restarts."""

from __future__ import annotations

import logging
from typing import Any

import msgspec

from engine.errors import EngineError
from engine.scripts.functions import ScriptDef, Scripts
from engine.server.definitions import Change, Condition, Definitions, Kind, anything
from engine.server.problems import Problem, missing
from engine.server.turns import Turns

logger = logging.getLogger(__name__)


class StoredScripts:
    """What can be done with scripts; running rules keep the one that they started with."""

    def __init__(self, scripts: Scripts, definitions: Definitions, turns: Turns) -> None:
        self._scripts = scripts
        self._definitions = definitions
        self._turns = turns

    def recover(self) -> None:
        """Make all that is stored usable again; what can't be is logged."""
        for name, text in self._definitions.all(Kind.SCRIPT).items():
            try:
                self._scripts.put(msgspec.json.decode(text, type=ScriptDef))
            except EngineError as error:
                logger.error("script %s can't be recovered: %s", name, error)

    def names(self) -> list[str]:
        """Return the names of all scripts."""
        return sorted(self._definitions.all(Kind.SCRIPT))

    def text(self, name: str) -> str:
        """Return a script as JSON.

        Raises:
            Problem: there is none.
        """
        found = self._definitions.get(Kind.SCRIPT, name)
        if found is None:
            raise missing(f"script {name}")
        return found

    async def create(self, given: ScriptDef) -> None:
        """Add a script.

        Raises:
            EngineError: there is one of that name, or it can't be used.
        """
        async with self._turns.of(f"script {given.id}"):
            if self._definitions.get(Kind.SCRIPT, given.id) is not None:
                raise Problem(f"script {given.id} is there already")
            await self._put(given)

    async def replace(self, given: ScriptDef, condition: Condition = anything) -> None:
        """Replace a script, or add it.

        Raises:
            EngineError: it can't be used; what was there stays.
        """
        async with self._turns.of(f"script {given.id}"):
            condition(self._definitions.get(Kind.SCRIPT, given.id))
            await self._put(given)

    async def drop(self, name: str, condition: Condition = anything) -> None:
        """Forget a script; rules that call it can't start any more.

        Raises:
            Problem: there is none.
        """
        async with self._turns.of(f"script {name}"):
            condition(self.text(name))
            await self._definitions.apply(Change(Kind.SCRIPT, name, None))
            self._scripts.drop(name)

    # -- export and import ---------------------------------------------------------------------

    async def export(self) -> dict[str, str]:
        """Return all scripts as JSON, by name."""
        return dict(sorted(self._definitions.all(Kind.SCRIPT).items()))

    def is_code(self, key: str, entry: dict[str, Any]) -> bool:
        """Tell that the server runs scripts."""
        return True

    async def take(self, key: str, entry: dict[str, Any]) -> None:
        """Take a script from an export in.

        Raises:
            EngineError: it can't be used.
        """
        await self.replace(msgspec.convert({"id": key, **entry}, ScriptDef))

    async def clear(self, *, code: bool) -> None:
        """Forget all scripts, if ``code`` may be changed."""
        for name in self.names() if code else ():
            await self.drop(name)

    async def _put(self, given: ScriptDef) -> None:
        before = self._definitions.get(Kind.SCRIPT, given.id)
        self._scripts.put(given)
        try:
            text = msgspec.json.encode(given).decode()
            await self._definitions.apply(Change(Kind.SCRIPT, given.id, text))
        except BaseException:
            self._scripts.drop(given.id)
            if before is not None:
                self._scripts.put(msgspec.json.decode(before, type=ScriptDef))
            raise
