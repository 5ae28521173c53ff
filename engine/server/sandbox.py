"""An engine beside the server's own, for what must not touch it: trial runs, connection checks."""

from __future__ import annotations

from typing import Any

import anyio

from engine.engine import Engine
from engine.errors import EngineError
from engine.registry import PluginKind
from engine.run.rule import Rule

_LONGEST_CHECK = 10.0  # seconds


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
    )
    made.plugins, made.functions = engine.plugins, engine.functions
    made.schemas = engine.schemas
    made.catalog.become(engine.catalog)
    made.properties.become(engine.properties)
    return made


async def check_connection(engine: Engine, kind: PluginKind, plugin: str, props: Any) -> None:
    """Open a source or sink with some properties and close it again.

    Raises:
        EngineError: it can't be opened, or isn't connected within 10 s.
    """
    async with sandbox(engine) as trial:
        trial.define_stream("checked", replace=True, **_source_of(kind, plugin, props))
        action = {plugin: props} if kind is PluginKind.SINK else {"nop": {}}
        rule = await trial.start(
            {"id": "connection_check", "sql": "SELECT * FROM checked", "actions": [action]}
        )
        with anyio.move_on_after(_LONGEST_CHECK):
            while not _is_up(rule):
                await rule.status.changed.wait()
            return
        raise EngineError(rule.status.message or f"{plugin} isn't connected within 10 s")


def _source_of(kind: PluginKind, plugin: str, props: dict[str, Any]) -> dict[str, Any]:
    if kind is PluginKind.SINK:
        return {"type": "memory", "datasource": "connection/check"}
    return {"datasource": "connection/check", **props, "type": plugin}


def _is_up(rule: Rule) -> bool:
    """Tell whether a rule is up with all its connections.

    Raises:
        EngineError: it never will be.
    """
    status = rule.status
    if status.state.is_failure:
        raise EngineError(status.message)
    missing = status.missing()
    if missing:
        raise EngineError(missing)
    return status.state.is_up or status.state.is_final
