"""Functions that are called once for all rows of a batch instead of once for each row."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from engine.errors import RowError
from engine.sql.ast import Alias, Call
from engine.sql.functions import FunctionSpec
from engine.sql.walk import walk

logger = logging.getLogger(__name__)


class BatchCall(NamedTuple):
    """A call that is made for all rows: the local for its values, and the text of its arguments."""

    name: str
    function: str
    args: tuple[str, ...]


class BatchCalls:
    """The calls that a stage of a query can make for all rows before it looks at each of them."""

    def __init__(self) -> None:
        self._pending: list[BatchCall] = []
        self._count = 0

    def suits(self, node: Call, spec: FunctionSpec) -> bool:
        """Tell whether a call can be made ahead; its arguments must be there by then."""
        return spec.has_batch_form and not any(
            isinstance(inner, Alias) for arg in node.args for inner in walk(arg)
        )

    def add(self, function: str, args: Sequence[str]) -> str:
        """Note a call; return the name of the local that holds its value for a row."""
        name = f"b{self._count}"
        self._count += 1
        self._pending.append(BatchCall(name, function, tuple(args)))
        return name

    def taken(self) -> list[BatchCall]:
        """Return the calls noted since the last time."""
        taken, self._pending = self._pending, []
        return taken


class BatchForm:
    """The whole-batch form of a function at one call site, distrusted as far as it can be.

    Whatever goes wrong is raised, so that the rows are computed one by one; it is logged once.
    """

    def __init__(
        self, function: Callable[..., Any], context: Any, spec: FunctionSpec, unsure: Sequence[int]
    ) -> None:
        """``function`` is the method for one row; ``unsure`` are the arguments that may be of a
        kind which the function doesn't take."""
        self._exec_batch: Callable[..., Any] = function.__self__.exec_batch  # type: ignore[attr-defined]
        self._context = context
        self._spec = spec
        self._unsure = unsure
        self._is_told = False

    def __call__(self, rows: int, *columns: list[Any]) -> Sequence[Any]:
        for index in self._unsure:
            accepts = self._spec.parameter(index).accepts
            if not all(value is None or accepts(value) for value in columns[index]):
                raise RowError(f"{self._spec.name}: an argument is of a wrong kind")
        try:
            found = self._exec_batch(self._context, *columns)
            values: list[Any] = found if type(found) is list else _listed(found)
            if len(values) != rows:
                raise RowError(f"{len(values)} values for {rows} rows")
        except Exception as error:
            self._tell(error)
            raise
        return values

    def _tell(self, error: Exception) -> None:
        if not self._is_told:
            self._is_told = True
            log = getattr(self._context, "logger", logger)
            log.warning(
                "%s: exec_batch failed, so exec is called row by row: %s: %s",
                self._spec.name,
                type(error).__name__,
                error,
            )


def _listed(found: Any) -> list[Any]:
    """Return an array or a sequence as a list of plain Python values."""
    return found.tolist() if hasattr(found, "tolist") else list(found)
