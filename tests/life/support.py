"""Rules that tell what happens to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio

from engine import Engine, Rule
from engine.api import Batch, Config, Sink
from engine.clock import settled
from engine.registry import PluginKind

START = 1_704_067_200_000  # 2024-01-01T00:00:00Z
SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE

_OWN = ("actions", "version", "triggered", "tags", "id", "name")


def rule(sql: str = "SELECT n FROM demo", **keys: Any) -> dict[str, Any]:
    """A rule with the id ``r``; what isn't a key of a rule is one of its options."""
    own = {key: keys.pop(key) for key in _OWN if key in keys}
    return {"id": "r", "sql": sql, "actions": [{"collect": {}}], "options": keys, **own}


def marked(mark: str = "", **keys: Any) -> dict[str, Any]:
    """A rule whose sink writes into the journal."""
    return rule(actions=[{"journal": {"mark": mark} if mark else {}}], **keys)


async def started(engine: Engine, definition: dict[str, Any]) -> Rule:
    """Start a rule and let it get going."""
    made = await engine.start(definition)
    await settled()
    return made


class Journal:
    """What happens to the sinks ``journal`` of an engine; they fail to open when told."""

    def __init__(self, engine: Engine) -> None:
        self.events: list[str] = []
        self.fails: Callable[[str], bool] = lambda _: False
        self.open: dict[str, int] = {}
        """By rule."""
        journal = self

        class JournalConfig(Config):
            mark: str = ""

        class Noting(Sink[JournalConfig]):
            async def open(self) -> None:
                rule_id = self.ctx.rule_id
                assert not journal.open.get(rule_id), "two runs of one rule overlap"
                journal.open[rule_id] = 1
                journal.note("open", self.config.mark)
                await anyio.lowlevel.checkpoint()
                if journal.fails(self.config.mark):
                    raise RuntimeError(f"{self.config.mark} is broken")

            async def collect(self, batch: Batch) -> None:
                journal.events += [f"row {row['n']}" for row in batch.rows or ()]

            async def close(self) -> None:
                await anyio.lowlevel.checkpoint()
                journal.open[self.ctx.rule_id] = 0
                journal.note("close", self.config.mark)

        engine.plugins.register(PluginKind.SINK, "journal", Noting)

    def note(self, event: str, mark: str) -> None:
        self.events.append(f"{event} {mark}".rstrip())

    def taken(self) -> list[str]:
        """Return what happened since it was asked last."""
        events, self.events = self.events, []
        return events
