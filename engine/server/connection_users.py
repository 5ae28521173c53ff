"""Which rules use which named connection, and through which of their operators."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from engine.engine import Engine
from engine.errors import EngineError
from engine.registry import PluginKind
from engine.run.rule import Rule
from engine.server.queries import streams_of

Users = dict[str, set[str]]
"""By rule, the names of the operators that use a connection."""
_SELECTOR = "connectionSelector"


def connection_users(engine: Engine) -> dict[str, Users]:
    """Return the users of each connection that any rule uses, by the name of the connection."""
    search = _Search(engine)
    found: dict[str, Users] = {}
    for rule_id, rule in engine.rules.items():
        for operator, name in search.of_rule(rule):
            found.setdefault(name, {}).setdefault(rule_id, set()).add(operator)
    return found


class _Search:
    """Looks up what rules choose; files with sections are read once."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._sections: dict[tuple[PluginKind, str], Mapping[str, Any]] = {}

    def of_rule(self, rule: Rule) -> Iterator[tuple[str, str]]:
        """Yield operators of a rule with the connections that they use."""
        for action in rule.definition.actions:
            key = action.properties.get("resourceId", "default")
            name = self._selected(PluginKind.SINK, action.type, action.properties, str(key))
            if name:
                yield f"sink[{action.name}]", name
        for stream in streams_of(rule.definition.sql):
            if stream in self._engine.catalog:
                found = self._engine.catalog[stream]
                given = {**found.properties, **found.options.extra}
                key = found.options.conf_key
                if name := self._selected(PluginKind.SOURCE, found.source_type, given, key):
                    yield f"source[{stream}]", name

    def _selected(self, kind: PluginKind, plugin: str, given: Mapping[str, Any], key: str) -> str:
        """Return the name that properties choose, or the section that they name; "" if none."""
        chosen = given.get(_SELECTOR)
        sections = self._sections_of(kind, plugin) if chosen is None else {}
        for name in (key, "default"):
            section = sections.get(name)
            if chosen is None and isinstance(section, Mapping):
                chosen = section.get(_SELECTOR)
        return "" if chosen is None else str(chosen)

    def _sections_of(self, kind: PluginKind, plugin: str) -> Mapping[str, Any]:
        if (kind, plugin) not in self._sections:
            try:
                found: Mapping[str, Any] = self._engine.properties.sections(kind, plugin)
            except EngineError:  # a file that can't be read; no rule that needs it runs
                found = {}
            self._sections[kind, plugin] = found
        return self._sections[kind, plugin]
