"""From the window of a query to its operator."""

from __future__ import annotations

from typing import TypeVar

from engine.ops.fold import Fold
from engine.ops.windows.count import CountWindow
from engine.ops.windows.hopping import HoppingWindow
from engine.ops.windows.operator import Timing, WindowOperator
from engine.ops.windows.session import SessionWindow
from engine.ops.windows.settable import SettableWindow
from engine.ops.windows.sliding import SlidingWindow
from engine.ops.windows.state import StateWindow
from engine.ops.windows.tumbling import TumblingWindow
from engine.sql import ast

S = TypeVar("S")
R = TypeVar("R")


_BY_CLOCK = frozenset({"TUMBLING", "HOPPING", "SLIDING", "SESSION"})


def build(
    window: ast.Window, fold: Fold[S, R], timing: Timing, *, most_open: int | None = None
) -> WindowOperator[S, R]:
    """Return an operator; ``most_open`` bounds the open windows of a partitioned state window.

    ``FILTER``, ``WHEN``, the conditions of a state window and ``PARTITION BY`` are evaluated by the
    caller, who passes what they gave in the columns of ``Arrivals``.
    """
    if window.kind not in _BY_CLOCK or timing.is_event_time:
        return _plain(window, fold, timing, most_open)
    longest = 2 * sum(window.lengths)  # a session may last twice as long as it should
    return SettableWindow(lambda t: _plain(window, fold, t, most_open), timing, longest)


def _plain(
    window: ast.Window, fold: Fold[S, R], timing: Timing, most_open: int | None
) -> WindowOperator[S, R]:
    match window.kind, window.lengths:
        case "TUMBLING", (length,):
            return TumblingWindow(fold, length, window.unit, timing)
        case "HOPPING", (length, hop):
            return HoppingWindow(fold, length, hop, window.unit, timing)
        case "SLIDING", (length, delay):
            return SlidingWindow(fold, length, delay, timing)
        case "SESSION", (longest, timeout):
            return SessionWindow(fold, longest, timeout, window.unit, timing)
        case "COUNT", (size, step):
            return CountWindow(fold, size, step)
        case "STATE", ():
            return StateWindow(fold, most_open)
    raise ValueError(f"there is no window {window.kind}{window.lengths}")
