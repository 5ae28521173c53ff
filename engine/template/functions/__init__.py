"""The functions that templates may call, by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from engine.clock import Clock
from engine.template.functions.data import DATA
from engine.template.functions.encoding import ENCODING
from engine.template.functions.logic import LOGIC
from engine.template.functions.math import MATH
from engine.template.functions.text import TEXT
from engine.template.functions.time import TIME, clock_functions

LAZY = frozenset({"and", "or"})
"""These look at an argument only if those before it don't decide; the compiler has them."""
MUTATING = frozenset({"set", "unset", "merge"})
"""These change an object; a template that calls one works on a copy of its input."""

_FIXED: Mapping[str, Callable[..., Any]] = {**LOGIC, **TEXT, **MATH, **DATA, **ENCODING, **TIME}


@dataclass(frozen=True, slots=True)
class Callee:
    """A function and how many arguments it takes; ``most`` is None where there is no limit."""

    name: str
    call: Callable[..., Any]
    least: int
    most: int | None

    @property
    def arity(self) -> str:
        """The number of arguments in words."""
        if self.most is None:
            return f"at least {self.least}"
        return str(self.least) if self.most == self.least else f"{self.least} to {self.most}"


class Library:
    """All functions; those that ask for the time ask ``clock``."""

    def __init__(self, clock: Clock) -> None:
        self._bound = clock_functions(clock)

    def get(self, name: str) -> Callee | None:
        """Return a function, None if there is no such."""
        call = self._bound.get(name) or _FIXED.get(name)
        return None if call is None else _callee(name, call)

    def names(self) -> list[str]:
        """Return the names of all functions."""
        return sorted({*self._bound, *_FIXED, *LAZY})


def _callee(name: str, call: Callable[..., Any]) -> Callee:
    parameters = inspect.signature(call).parameters.values()
    single = [one for one in parameters if one.kind is not inspect.Parameter.VAR_POSITIONAL]
    least = sum(1 for one in single if one.default is inspect.Parameter.empty)
    return Callee(name, call, least, len(single) if len(single) == len(parameters) else None)
