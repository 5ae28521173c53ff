"""Pieces of generated code and what is known of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from engine.sql.ast import Column, Supplied
from engine.sql.functions import FunctionSpec


@dataclass(frozen=True, slots=True)
class Code:
    """The text of an expression and what is known of its value.

    ``repeatable``: the text is a name or slot that may be written twice. ``maybe_unset``: the value
    may be UNSET, a column missing in its row, which counts as null.
    """

    text: str
    nullable: bool = True
    repeatable: bool = False
    maybe_unset: bool = False


@dataclass(frozen=True, slots=True)
class CallSite:
    """A function call that needs something of the rule: a context, a plugin instance.

    ``function`` and ``context`` are names that the namespace must define; ``number`` tells the
    call sites of one query apart.
    """

    spec: FunctionSpec
    function: str
    context: str
    number: int
    checked: bool
    unsure: tuple[int, ...] | None = None
    """For the whole-batch form: the arguments that may be of a wrong kind; None: it is called for
    one row."""


_SUPPLIED = {
    "analytic": "xn",
    "aggregate": "xg",
    "ranking": "xr",
    "window": "xw",
    "time": "xt",
}


def supplied_name(node: Supplied) -> str:
    """Return the local that holds a value from an earlier stage."""
    return f"{_SUPPLIED[node.place]}{node.index}"


TIME_OF_ROW = Supplied(place="time", index=0)
"""When a row happened, in epoch milliseconds."""

Constant = Callable[[Any], str]
"""Gives the name of a constant with a value."""


class Columns(Protocol):
    """How compiled code reads the columns of a row ``r``."""

    def raw(self, column: Column, constant: Constant) -> str:
        """Return the text of a column's value, UNSET where it is missing."""

    def value(self, column: Column, constant: Constant) -> Code:
        """Return a column as an operand."""

    def everything(self, stream: str) -> str:
        """Return the text of all columns as a dict, or of those of one of several streams."""


class SlotColumns:
    """Rows are Structs with a slot for each column."""

    def __init__(self, slot: Callable[[str], str]) -> None:
        self._slot = slot

    def raw(self, column: Column, constant: Constant) -> str:
        return f"r.{self._slot(column.name)}"

    def value(self, column: Column, constant: Constant) -> Code:
        return Code(self.raw(column, constant), repeatable=True, maybe_unset=True)

    def everything(self, stream: str) -> str:
        raise AssertionError("a query of all columns reads dicts")


class DictColumns:
    """Rows are dicts."""

    def raw(self, column: Column, constant: Constant) -> str:
        return f"r.get({constant(column.name)}, UNSET)"

    def value(self, column: Column, constant: Constant) -> Code:
        return Code(f"r.get({constant(column.name)})")

    def everything(self, stream: str) -> str:
        return "r"
