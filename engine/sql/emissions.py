"""What the windows of a query give out: lists of rows, each emitted by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, tzinfo

from engine.batch import Row
from engine.errors import RowError
from engine.ops.analytic import MAX_PARTITIONS
from engine.sql.ast import Supplied
from engine.sql.code import supplied_name
from engine.sql.query import Result

WINDOW_VALUES = [supplied_name(Supplied(place="window", index=index)) for index in range(3)]
"""Names of the start, end and trigger of the window."""


@dataclass(frozen=True, slots=True)
class WindowOptions:
    """How a rule wants its windows."""

    opened_at: int
    """When the rule began, in epoch milliseconds."""
    zone: tzinfo = UTC
    max_partitions: int = MAX_PARTITIONS


class Emissions:
    """Collects what the panes of one step give, each a list of rows."""

    def __init__(self, *, send_error: bool) -> None:
        self.errors: list[RowError] = []
        self._rows: list[Row] = []
        self._sizes: list[int] = []
        self._send_error = send_error
        self._made = 0

    def add(self, rows: list[Row]) -> None:
        """Add the rows of one emission, perhaps none."""
        self._rows += rows
        self._sizes.append(len(rows))

    def made(self, count: int) -> None:
        """Count rows that came into being: results and groups that failed."""
        self._made += count

    def result(self, *, absorbed: int = 0, dropped: Mapping[str, int] | None = None) -> Result:
        """Return all of it; errors come first, each as an emission of its own if they are sent."""
        rows, sizes = self._rows, self._sizes
        if self._send_error and self.errors:
            rows = [*({"error": error.message} for error in self.errors), *rows]
            sizes = [*[1] * len(self.errors), *sizes]
        return Result(
            rows,
            self.errors,
            surplus=self._made,
            sizes=sizes,
            absorbed=absorbed,
            dropped=dropped or {},
        )
