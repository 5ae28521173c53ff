"""Trying a definition: all parts of a rule are made, none is opened, none that runs is touched."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from engine.api import Config
from engine.catalog import Catalog, Stream
from engine.clock import Clock
from engine.config.rule import RuleDef
from engine.run.build import Builder
from engine.run.parts import RuleParts
from engine.run.properties import Properties
from engine.run.reports import Report
from engine.run.rule import Rule
from engine.run.source import SourceRunner, StreamReader
from engine.run.tables import LookupTables
from engine.state.store import CheckpointStore


class Trial:
    """Builds rules as they would run with some streams and properties, for the errors only."""

    def __init__(
        self, builder: Builder, clock: Clock, catalog: Catalog, properties: Properties
    ) -> None:
        """``builder`` is the one that makes the rules that run."""
        self._clock = clock
        self._builder = builder.beside(
            catalog=catalog, properties=properties, shared=self, checkpoints=_no_checkpoints
        )
        for stream in catalog:
            if stream.is_lookup:
                self.tables.prepare(stream)

    @property
    def tables(self) -> LookupTables:
        """The lookup tables, none of them open."""
        return self._builder.tables

    def build(self, definition: RuleDef) -> RuleParts:
        """Return the parts of a rule that will never run.

        Raises:
            EngineError: the definition can't work.
        """
        # what a checkpoint holds is no part of the definition
        options = msgspec.structs.replace(definition.options, qos=0)
        tried = msgspec.structs.replace(definition, options=options)
        return self._builder.build(Rule(tried, self._clock, self._builder.build))

    def shared_source(
        self, stream: Stream, config: Config, make: Callable[[Report], SourceRunner]
    ) -> StreamReader:
        """Return a source of its own: the one that runs must not learn of a trial."""
        return make(_unheard)


def _unheard(operator: str, connected: bool, message: str) -> None:
    """What is never opened has nothing to report."""


def _no_checkpoints() -> CheckpointStore:
    raise AssertionError("a trial has no checkpoints")
