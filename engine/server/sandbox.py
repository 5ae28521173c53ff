"""An engine beside the server's own, for what must not touch it: trial runs, connection checks."""

from __future__ import annotations

from typing import Any, Literal

import anyio

from engine.config.positions import NOWHERE
from engine.config.streams import streams_from
from engine.engine import Engine
from engine.errors import EngineError
from engine.run.rule import Rule

Role = Literal["sources", "lookups", "sinks"]
"""What a connection is for."""
_LONGEST_CHECK = 10.0  # seconds
_UNDER_WAY = frozenset({"", "connecting"})
"""Messages of connections of which nothing is known yet."""
_IDENTITY = frozenset({"clientid", "enableClientSession"})
"""Properties with which a check would take the place of the client that it stands for."""
_TOPIC = "connection/check"


def sandbox(engine: Engine) -> Engine:
    """Return an engine that knows the streams, plugins and properties of another one.

    It isn't running yet. Topics of memory streams and connections are its own.
    """
    made = Engine(
        engine.root,
        clock=engine.clock,
        drain=1,
        zone=engine.zone,
        private_hosts=engine.private_hosts,
        file_folders=engine.file_folders,
    )
    made.plugins, made.functions = engine.plugins, engine.functions
    made.schemas = engine.schemas
    made.catalog.become(engine.catalog)
    made.properties.become(engine.properties)
    return made


async def check_connection(
    engine: Engine, role: Role, plugin: str, properties: dict[str, Any]
) -> None:
    """Open a source, lookup table or sink with some properties and close it again.

    Raises:
        EngineError: it can't be opened, or isn't connected within 10 s.
    """
    own = {key: value for key, value in properties.items() if key not in _IDENTITY}
    async with sandbox(engine) as trial:
        trial.define_stream("checked", replace=True, type="memory", datasource=_TOPIC)
        sql = "SELECT * FROM checked"
        action: dict[str, Any] = {"nop": {}}
        if role == "sources":
            given = {"datasource": _TOPIC, **own, "type": plugin}
            trial.define_stream("checked", replace=True, **given)
        elif role == "lookups":
            given = {"datasource": _TOPIC, "key": "id", **own, "type": plugin, "kind": "lookup"}
            (table,) = streams_from({"checked_table": given}, "table", NOWHERE)
            trial.catalog.define(table, replace=True)
            sql += " INNER JOIN checked_table ON checked.id = checked_table.id"
        else:
            action = {plugin: own}
        rule = await trial.start({"id": "connection_check", "sql": sql, "actions": [action]})
        with anyio.move_on_after(_LONGEST_CHECK):
            while not _is_up(rule):
                await rule.status.changed.wait()
            return
        raise EngineError(rule.status.message or f"{plugin} isn't connected within 10 s")


def _is_up(rule: Rule) -> bool:
    """Tell whether a rule is up with all its connections.

    Raises:
        EngineError: it never will be.
    """
    status = rule.status
    if status.state.is_failure:
        raise EngineError(status.message)
    missing = [each.message for each in status.connections.values() if not each.connected]
    if any(message not in _UNDER_WAY for message in missing):
        raise EngineError(status.missing())
    return not missing and (status.state.is_up or status.state.is_final)
