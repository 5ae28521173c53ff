"""Which span suits a fold."""

from __future__ import annotations

from typing import Any, TypeVar, cast

from engine.ops.fold import Fold, KeyedFold, remover
from engine.ops.spans.chunks import Chunks
from engine.ops.spans.keyed import KeyedSpan
from engine.ops.spans.running import Running
from engine.ops.spans.span import Span
from engine.ops.spans.stacks import TwoStacks

S = TypeVar("S")
R = TypeVar("R")


def span_for(fold: Fold[S, R], *, by_row: bool = False) -> Span[S, R]:
    """Return an empty span; ``by_row`` tells that slices are about as small as a row."""
    if by_row and hasattr(fold, "inner"):
        keyed = cast("KeyedFold[Any, R]", fold)
        return cast("Span[S, R]", KeyedSpan(keyed, lambda: span_for(keyed.inner)))
    remove = remover(fold)
    if remove is not None:
        return Running(fold, remove)
    return TwoStacks(fold) if fold.is_compact else Chunks(fold)
