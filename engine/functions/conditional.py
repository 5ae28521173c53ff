"""Functions that choose among their arguments."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

from engine.sql import operators
from engine.sql.functions import Nulls, scalar
from engine.sql.kinds import Kind, common_kind


def _common(kinds: Sequence[Kind]) -> Kind:
    return reduce(common_kind, kinds, Kind.NULL)


def _common_of_branches(kinds: Sequence[Kind]) -> Kind:
    return _common(kinds[1:])


@scalar(example="greatest(1, 2.5, 2) = 2.5", result=_common)
def greatest(first: Any, *others: Any) -> Any:
    """Return the largest of its arguments, numbers or texts; null if one of them is null."""
    return reduce(
        lambda best, value: value if operators.greater(value, best) else best, others, first
    )


@scalar(example="least(1, 2.5, 2) = 1", result=_common)
def least(first: Any, *others: Any) -> Any:
    """Return the smallest of its arguments, numbers or texts; null if one of them is null."""
    return reduce(lambda best, value: value if operators.less(value, best) else best, others, first)


@scalar(
    example="if(2 > 1, 'yes', 'no') = 'yes'",
    nulls=Nulls.PASS,
    result=_common_of_branches,
)
def if_(condition: bool, then: Any, otherwise: Any) -> Any:
    """Return the second argument where the condition is true, else (null included) the third."""
    return then if condition else otherwise
