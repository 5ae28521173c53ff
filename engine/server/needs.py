"""What rules need of what clients have defined."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from engine.config.rule import RuleDef
from engine.engine import Engine
from engine.registry import PluginKind
from engine.server.choices import Choice, Choices
from engine.server.definitions import Kind
from engine.server.queries import functions_of, streams_of

_KINDS = {PluginKind.SOURCE: Kind.SOURCE_CONFIG, PluginKind.SINK: Kind.SINK_CONFIG}


@dataclass(frozen=True, slots=True)
class Needs:
    """Names of what rules need."""

    streams: set[str] = field(default_factory=set)
    """Also of tables."""
    sections: set[tuple[Kind, str, str]] = field(default_factory=set)
    """Kind, type of plugin and key."""
    connections: set[str] = field(default_factory=set)
    entries: set[tuple[str, str]] = field(default_factory=set)
    """Section of an export and name in it."""

    def has_entry(self, section: str, name: str) -> bool:
        """Tell whether an entry of a section with schemas, services or scripts is needed."""
        return (section, name) in self.entries


def needs_of(engine: Engine, rules: Iterable[RuleDef]) -> Needs:
    """Return what rules need; what isn't there is named all the same."""
    needs, choices = Needs(), Choices(engine)
    services = {name: about.service for name, about in engine.services.functions().items()}
    for rule in rules:
        needs.streams.update(streams_of(rule.sql))
        for function in functions_of(rule.sql):
            needs.entries.add(("scripts", function))
            if function in services:
                needs.entries.add(("Service", services[function]))
        for choice in choices.of_rule(rule):
            _add(needs, choices, choice)
    return needs


def _add(needs: Needs, choices: Choices, choice: Choice) -> None:
    kind = _KINDS[choice.kind]
    needs.sections.update((kind, choice.plugin, key) for key in (choice.key, "default"))
    if connection := choices.connection(choice):
        needs.connections.add(connection)
    schema = str(choices.value(choice, "schemaId") or "").partition(".")[0]
    if schema:
        format_ = str(choices.value(choice, "format") or "").lower()
        needs.entries.add(("Schema", f"{format_}_{schema}"))
