"""The results of running rules, for those who watch."""

from __future__ import annotations

from collections.abc import AsyncIterator

from engine.engine import Engine
from engine.run.rule import Rule
from engine.server.feed import Sample
from engine.server.problems import Problem

MOST_RATE = 1000
"""Results in a second that a watcher may ask for."""
_MOST_WATCHERS = 100
_BREATH = 1.0
"""Seconds after which a silent rule is looked at again: it may have been replaced."""


class Live:
    """Watchers of rules."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._samples: list[Sample] = []

    def end(self) -> None:
        """Let all who watch go."""
        for sample in self._samples:
            sample.end()

    async def watch(self, rule_id: str, rate: int) -> AsyncIterator[tuple[list[bytes], int]]:
        """Yield results as JSON, with how many were left out since; often it's nothing at all.

        At most ``rate`` results come in a second. It goes on over stops and updates of the rule and
        ends with its deletion.

        Raises:
            Problem: too many are watching.
        """
        if len(self._samples) >= _MOST_WATCHERS:
            raise Problem("too many are watching already", status=429)
        sample = Sample(max(1, min(rate, MOST_RATE)))
        self._samples.append(sample)
        tapped: Rule | None = None
        try:
            while not sample.is_over:
                rule = self._engine.rules.get(rule_id)
                if rule is not tapped:
                    _untap(tapped, sample)
                    if rule is None:
                        return
                    rule.taps.append(sample.tap)
                    tapped = rule
                yield await sample.next(_BREATH), sample.take_skipped()
        finally:
            _untap(tapped, sample)
            self._samples.remove(sample)


def _untap(rule: Rule | None, sample: Sample) -> None:
    if rule is not None and sample.tap in rule.taps:
        rule.taps.remove(sample.tap)
