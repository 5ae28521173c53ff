"""What the sources and sinks of rules choose: sections, connections, single properties."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from engine.config.rule import RuleDef
from engine.engine import Engine
from engine.errors import EngineError
from engine.registry import PluginKind
from engine.server.queries import streams_of

_SELECTOR = "connectionSelector"


class Choice(NamedTuple):
    """One operator that connects a rule with the world outside."""

    operator: str
    kind: PluginKind
    plugin: str
    given: Mapping[str, Any]
    """The properties that stand with the action or stream itself."""
    key: str
    """The section that has more of them."""


class Choices:
    """Looks up what rules choose; files with sections are read once."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._sections: dict[tuple[PluginKind, str], Mapping[str, Any]] = {}

    def of_rule(self, rule: RuleDef) -> Iterator[Choice]:
        """Yield the sinks and sources of a rule."""
        for action in rule.actions:
            key = str(action.properties.get("resourceId", "default"))
            yield Choice(
                f"sink[{action.name}]", PluginKind.SINK, action.type, action.properties, key
            )
        for name in streams_of(rule.sql):
            if name in self._engine.catalog:
                stream = self._engine.catalog[name]
                options = stream.options
                given = {
                    "schemaId": options.schema_id,
                    "format": options.format,
                    **stream.properties,
                    **options.extra,
                }
                yield Choice(
                    f"source[{name}]",
                    PluginKind.SOURCE,
                    stream.source_type,
                    given,
                    options.conf_key,
                )

    def connection(self, choice: Choice) -> str:
        """Return the named connection that an operator uses, "" if none."""
        chosen = self.value(choice, _SELECTOR)
        return "" if chosen is None else str(chosen)

    def value(self, choice: Choice, name: str) -> Any:
        """Return a property that stands with the operator or in its sections, None if none does."""
        if choice.given.get(name) is not None:
            return choice.given[name]
        sections = self._sections_of(choice.kind, choice.plugin)
        for key in (choice.key, "default"):
            section = sections.get(key)
            if isinstance(section, Mapping) and section.get(name) is not None:
                return section[name]
        return None

    def _sections_of(self, kind: PluginKind, plugin: str) -> Mapping[str, Any]:
        if (kind, plugin) not in self._sections:
            try:
                found: Mapping[str, Any] = self._engine.properties.sections(kind, plugin)
            except EngineError:  # a file that can't be read; no rule that needs it runs
                found = {}
            self._sections[kind, plugin] = found
        return self._sections[kind, plugin]
