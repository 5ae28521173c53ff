"""Taking join conditions apart: what must be equal, and what else must hold."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass

from engine.sql.ast import Binary, Expr
from engine.sql.inputs import streams_of
from engine.sql.walk import conjuncts


@dataclass(frozen=True, slots=True)
class Equations:
    """``left[i] = right[i]`` for all i and ``rest``; ``right`` reads the joined stream only."""

    left: tuple[Expr, ...]
    right: tuple[Expr, ...]
    rest: Expr | None


def equations(on: Expr, joined: str, before: Container[str], items: Sequence[Expr]) -> Equations:
    """Return a condition as equations between the ``joined`` stream and those ``before`` it.

    A term becomes an equation if one side of its ``=`` reads nothing but the joined stream and the
    other nothing but streams before it, or nothing at all.
    """
    left: list[Expr] = []
    right: list[Expr] = []
    rest: Expr | None = None
    for term in conjuncts(on):
        if isinstance(term, Binary) and term.op == "=":
            sides = [(term.left, term.right), (term.right, term.left)]
            for one, other in sides:
                read = streams_of(one, items)
                if streams_of(other, items) == {joined} and all(name in before for name in read):
                    left.append(one)
                    right.append(other)
                    break
            else:
                rest = _and(rest, term)
        else:
            rest = _and(rest, term)
    return Equations(tuple(left), tuple(right), rest)


def _and(left: Expr | None, right: Expr) -> Expr:
    return right if left is None else Binary(op="AND", left=left, right=right)
