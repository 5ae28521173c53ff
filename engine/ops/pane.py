"""One window instance with what it accumulated."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

S = TypeVar("S")


@dataclass(slots=True)  # frozen ones take three times as long to make
class Pane(Generic[S]):
    """A window that has fired; all times are epoch milliseconds.

    ``state`` belongs to whoever gets the pane: no operator touches it again.
    """

    start: int
    """What ``window_start()`` tells."""
    end: int
    """What ``window_end()`` tells: the nominal end, however late the window fired."""
    trigger: int
    """What ``window_trigger()`` tells, and ``event_time()`` beside aggregates."""
    state: S
    is_empty: bool = False
    """No row fell into it; ``state`` is what the fold calls empty."""
    key: Hashable = None
    """The partition of a state window."""
