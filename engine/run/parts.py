"""What one run of a rule consists of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.run.checkpoints import Checkpoints
from engine.run.dead_letters import DeadLetters
from engine.run.metrics import OperatorMetrics
from engine.run.relief import Relief
from engine.run.sink import SinkRunner
from engine.run.source import StreamReader
from engine.run.tables import JoinedTable
from engine.run.tokens import Start
from engine.sql.pipeline import Pipeline
from engine.state.scope import RuleState


@dataclass(frozen=True, slots=True)
class RuleInput:
    """One stream or table that a rule reads; ``label`` is its name in the query.

    A rule ends when all its streams have; tables end with it.
    """

    label: str
    reader: StreamReader
    is_table: bool = False


@dataclass(slots=True)
class RuleParts:
    """What one run of a rule consists of, made new for each start."""

    pipeline: Pipeline
    inputs: list[RuleInput]
    sinks: list[SinkRunner]
    start: Start
    """From where results are counted."""
    letters: DeadLetters | None = None
    """Where what is given up goes; None: it is only counted."""
    checkpoints: Checkpoints | None = None
    """None: nothing is remembered over a restart."""
    plugins: RuleState | None = None
    """The state of the rule's plugins, where there are checkpoints."""
    relief: Relief | None = None
    """Has gathered rows sent on which sources wait; None: no sink gathers any."""
    covers: bool = False
    """Batches are done with when a checkpoint has them, not when the sinks have the results."""
    positions: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """By input, where its source goes on; it may give nothing before the next checkpoint."""
    saved_at: int = 0
    """When the state was saved that it goes on from (epoch milliseconds), 0 if there is none."""
    tables: list[JoinedTable] = field(default_factory=list)
    """The lookup tables that are joined."""
    holds_rows: bool = False
    """Whether rows may lead to results later, in windows or event time."""
    streams: frozenset[str] = frozenset()
    """The names of all streams and tables that are read or looked up in."""
    metrics: OperatorMetrics = field(default_factory=OperatorMetrics)
    """Of the query."""

    @property
    def all_sinks(self) -> list[SinkRunner]:
        """The sinks with that of the dead letters."""
        return self.sinks if self.letters is None else [*self.sinks, self.letters.sink]
