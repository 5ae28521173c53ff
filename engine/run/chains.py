"""Rules that feed each other through topics inside the engine: no result may come back."""

from __future__ import annotations

import re
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from engine.config.rule import RuleDef
from engine.errors import ConfigError
from engine.run.parts import RuleParts
from engine.run.rule import Rule
from engine.topics import matches, plain_filter

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
    """The topics of all rules that run, or are about to.

    Who reads a topic is looked up, not searched for, since there may be thousands of rules.
    """

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}
        self._readers: dict[str, dict[str, None]] = {}
        """The ids of those who read, by filter, in the order in which they came."""
        self._wildcards: dict[str, None] = {}
        """The filters that take more than one topic."""
        self.changes = 0
        """How often a rule came: who reads a topic may be another since."""

    def enter(self, rule: Rule, parts: RuleParts) -> None:
        """Take a rule in, in place of an earlier one of its id.

        Raises:
            ConfigError: its results would come back to it.
        """
        topics = self.check(rule.definition, parts)
        gone = partial(self._gone, rule.id)
        self._add(rule.id, _Entry(weakref.ref(rule, gone), topics))

    def check(self, definition: RuleDef, parts: RuleParts) -> Topics:
        """Return the topics of a rule that would take the place of the one of its id.

        Raises:
            ConfigError: its results would come back to it.
        """
        topics = Topics.of(parts)
        if topics.read and topics.published:
            path = self._way_back(definition.id, topics)
            if path:
                raise ConfigError(
                    f"rule {definition.id}: its results would come back to it without end: {path}",
                    at=definition.at,
                    hint="publish to a topic that none of these rules reads",
                )
        return topics

    def check_together(
        self, rules: Iterable[tuple[RuleDef, RuleParts]], leaving: Iterable[str]
    ) -> None:
        """Check rules that are to run at the same time, when some of those here have ended.

        Raises:
            ConfigError: results of one of them would come back to it.
        """
        planned = Chains()
        gone = set(leaving)
        for rule_id, entry in self._entries.items():
            if rule_id not in gone and entry.is_running():
                planned._add(rule_id, entry)
        for definition, parts in rules:
            planned._add(definition.id, _Entry(None, planned.check(definition, parts)))

    def way_back(self, rule_id: str, topic: str) -> str:
        """Return how results that a rule is about to publish would come back to it, in words.

        "": they don't. Topics that are computed are known only then; those that somebody reads are
        remembered, for what other rules compute.
        """
        entry = self._entries.get(rule_id)
        if entry is None or next(self._fed(Topics((), (topic,))), None) is None:
            return ""
        way = self._way_back(rule_id, Topics(entry.topics.read, (topic,)))
        if not way and topic not in entry.topics.published:
            topics = Topics(entry.topics.read, (*entry.topics.published, topic))
            self._entries[rule_id] = _Entry(entry.rule, topics)
        return way

    def in_order(self, rule_ids: Iterable[str]) -> list[list[str]]:
        """Group rules so that those which feed others come before them."""
        left = dict.fromkeys(rule_ids, 0)
        fed: dict[str, list[str]] = {}
        for rule_id in left:
            entry = self._entries.get(rule_id)
            names = () if entry is None else {name for name, _ in self._fed(entry.topics)}
            fed[rule_id] = [name for name in names if name in left and name != rule_id]
            for name in fed[rule_id]:
                left[name] += 1
        groups = []
        while left:
            # without a beginning they feed each other, which computed topics may have brought about
            group = [rule_id for rule_id, feeders in left.items() if not feeders] or list(left)
            for rule_id in group:
                del left[rule_id]
            for name in (name for rule_id in group for name in fed[rule_id] if name in left):
                left[name] -= 1
            groups.append(group)
        return groups

    def _add(self, rule_id: str, entry: _Entry) -> None:
        self._leave(rule_id)
        self.changes += 1
        self._entries[rule_id] = entry
        for topic_filter in map(plain_filter, entry.topics.read):
            self._readers.setdefault(topic_filter, {})[rule_id] = None
            if "+" in topic_filter or "#" in topic_filter:
                self._wildcards[topic_filter] = None

    def _gone(self, rule_id: str, rule: weakref.ref[Rule]) -> None:
        """Nobody has a rule any more; another one may have its id by now."""
        entry = self._entries.get(rule_id)
        if entry is not None and entry.rule is rule:
            self._leave(rule_id)

    def _leave(self, rule_id: str) -> None:
        entry = self._entries.pop(rule_id, None)
        for topic_filter in map(plain_filter, () if entry is None else entry.topics.read):
            readers = self._readers.get(topic_filter, {})
            readers.pop(rule_id, None)
            if not readers:
                self._readers.pop(topic_filter, None)
                self._wildcards.pop(topic_filter, None)

    def _way_back(self, rule_id: str, topics: Topics) -> str:
        """Return the shortest way of a rule's results back to it, in words; "" if there is none."""
        reached = {rule_id}
        ways = deque([(topics, rule_id)])
        while ways:
            at, way = ways.popleft()
            if topic := at.feeding(topics):
                return f"{way} → topic {topic} → {rule_id}"
            for name, topic in self._fed(at):
                if name not in reached:
                    reached.add(name)
                    further = self._entries[name].topics
                    ways.append((further, f"{way} → topic {topic} → {name}"))
        return ""

    def _fed(self, topics: Topics) -> Iterator[tuple[str, str]]:
        """Yield the running rules that read what a rule publishes, with the topic."""
        for topic in topics.published:
            plain = _ACTION.sub(_ANY, topic)
            for topic_filter in self._taking(plain):
                for name in self._readers[topic_filter]:
                    if self._entries[name].is_running():
                        yield name, topic

    def _taking(self, topic: str) -> Iterator[str]:
        if topic in self._readers:
            yield topic
        yield from (wildcard for wildcard in self._wildcards if matches(wildcard, topic))


@dataclass(frozen=True, slots=True)
class _Entry:
    rule: weakref.ref[Rule] | None
    """None: it is only planned."""
    topics: Topics

    def is_running(self) -> bool:
        """Tell whether results come of it, or will."""
        if self.rule is None:
            return True
        rule = self.rule()
        return rule is not None and not rule.status.state.is_final
