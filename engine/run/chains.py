"""Rules that feed each other through topics inside the engine: no result may come back."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from engine.errors import ConfigError
from engine.run.rule import Rule, RuleParts
from engine.topics import matches

_ACTION = re.compile(r"\{\{.*?\}\}", re.DOTALL)
_ANY = "\0"
"""Stands for what a template makes; no filter has it, so that only wildcards match it."""


@dataclass(frozen=True, slots=True)
class Topics:
    """The topic filters that a rule reads and the topics, or templates, that it publishes to.

    What it reads as a table makes no results, so it isn't among them.
    """

    read: tuple[str, ...]
    published: tuple[str, ...]

    @classmethod
    def of(cls, parts: RuleParts) -> Topics:
        """Return the topics of a rule."""
        streams = [source.reader for source in parts.inputs if not source.is_table]
        return cls(
            tuple(topic for reader in streams for topic in reader.topics),
            tuple(topic for sink in parts.all_sinks for topic in sink.topics),
        )

    def feeding(self, other: Topics) -> str:
        """Return the topic by which all results go on to another rule, "" if there is none.

        Those of a template do if a wildcard takes them, whatever it makes.
        """
        for topic in self.published:
            plain = _ACTION.sub(_ANY, topic)
            if any(matches(pattern, plain) for pattern in other.read):
                return topic
        return ""


class Chains:
    """The topics of all rules that run, or are about to."""

    def __init__(self) -> None:
        self._topics: WeakKeyDictionary[Rule, Topics] = WeakKeyDictionary()

    def enter(self, rule: Rule, parts: RuleParts) -> None:
        """Take a rule in, in place of an earlier one of its id.

        Raises:
            ConfigError: its results would come back to it.
        """
        topics = Topics.of(parts)
        if topics.read and topics.published:
            path = self._way_back(rule, topics)
            if path:
                raise ConfigError(
                    f"rule {rule.id}: its results would come back to it without end: {path}",
                    at=rule.definition.at,
                    hint="publish to a topic that none of these rules reads",
                )
        self._topics[rule] = topics

    def _others(self, rule: Rule) -> list[tuple[str, Topics]]:
        return [
            (other.id, topics)
            for other, topics in self._topics.items()
            if other.id != rule.id and not other.status.state.is_final
        ]

    def _way_back(self, rule: Rule, topics: Topics) -> str:
        """Return the shortest way of a rule's results back to it, in words; "" if there is none."""
        others = self._others(rule)
        reached = {rule.id}
        ways = deque([(topics, rule.id)])
        while ways:
            at, way = ways.popleft()
            if topic := at.feeding(topics):
                return f"{way} → topic {topic} → {rule.id}"
            for name, further in _fed(at, others):
                if name not in reached:
                    reached.add(name)
                    ways.append((further, f"{way} → topic {at.feeding(further)} → {name}"))
        return ""


def _fed(topics: Topics, others: Iterable[tuple[str, Topics]]) -> Iterable[tuple[str, Topics]]:
    return [(name, further) for name, further in others if topics.feeding(further)]
