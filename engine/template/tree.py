"""The syntax tree of a template. ``at`` is the offset of a node in the text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias


@dataclass(frozen=True, slots=True)
class Constant:
    """A literal; ``nil`` is None."""

    at: int
    value: Any


@dataclass(frozen=True, slots=True)
class Path:
    """Fields below the dot: ``.a.b``, or the dot itself."""

    at: int
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Variable:
    """``$name`` and fields below it; the name includes the dollar sign."""

    at: int
    name: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Chain:
    """Fields below a value in parentheses."""

    at: int
    inner: Pipe
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Call:
    """A function with its arguments, apart from the one that a pipe adds."""

    at: int
    name: str
    arguments: tuple[Operand, ...] = ()


@dataclass(frozen=True, slots=True)
class Pipe:
    """Commands whose values go on as the last argument of the next, perhaps into variables."""

    at: int
    commands: tuple[Operand, ...]
    variables: tuple[str, ...] = ()
    declares: bool = False
    """The variables are new (``:=``)."""


Operand: TypeAlias = "Constant | Path | Variable | Chain | Call | Pipe"


@dataclass(frozen=True, slots=True)
class Text:
    at: int
    text: str


@dataclass(frozen=True, slots=True)
class Action:
    """The value of a pipe is written, unless it goes into a variable."""

    at: int
    pipe: Pipe


@dataclass(frozen=True, slots=True)
class Branch:
    """``if``, or ``with`` where ``sets_dot``."""

    at: int
    pipe: Pipe
    body: tuple[Node, ...]
    otherwise: tuple[Node, ...]
    sets_dot: bool


@dataclass(frozen=True, slots=True)
class Range:
    at: int
    pipe: Pipe
    body: tuple[Node, ...]
    otherwise: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Leave:
    """``break``, or ``continue`` if not ``ends``."""

    at: int
    ends: bool


Node: TypeAlias = "Text | Action | Branch | Range | Leave"
