"""Pieces of generated code and what is known of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from engine.sql.ast import Supplied
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


_SUPPLIED = {"analytic": "xn", "aggregate": "xg", "window": "xw"}


def supplied_name(node: Supplied) -> str:
    """Return the local that holds a value from an earlier stage."""
    return f"{_SUPPLIED[node.place]}{node.index}"


class Columns:
    """How compiled code reads the columns of a row ``r``."""

    def __init__(self, slot: Callable[[str], str] | None) -> None:
        self._slot = slot

    def raw(self, name: str, constant: Callable[[Any], str]) -> str:
        """Return the text of a column's value, UNSET where it is missing."""
        if self._slot is not None:
            return f"r.{self._slot(name)}"
        return f"r.get({constant(name)}, UNSET)"

    def value(self, name: str, constant: Callable[[Any], str]) -> Code:
        """Return a column as an operand."""
        if self._slot is not None:
            return Code(self.raw(name, constant), repeatable=True, maybe_unset=True)
        return Code(f"r.get({constant(name)})")
