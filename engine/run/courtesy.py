"""Time for threads while the event loop has none to spare.

CPython takes its lock from the loop for a thread that has waited 5 ms in vain. But a loop lets go
of it with each look at its sockets, and has it back before the thread is awake; the 5 ms begin
anew, and while the loop is never idle a thread may wait for seconds each time that it needs the
lock. Checkpoints, files, look-ups of names and blocking plugins are the work of threads.
"""

from __future__ import annotations

import threading
import time

_EVERY = 5_000_000
"""Nanoseconds between two moments for threads: those after which CPython means to switch."""
_MOMENT = 50e-6
"""Seconds; a thread is awake after about as many."""


class Courtesy:
    """Lets threads go first, now and then."""

    def __init__(self) -> None:
        self._due = 0

    def give_way(self, now: int) -> None:
        """Stand aside for a moment if the last one is long ago; ``now`` is ``perf_counter_ns()``.

        Called by whatever keeps the loop busy. It does block the loop, without which no thread
        would get the lock; who is idle gives threads all the time they need, and need not call.
        """
        if now >= self._due:
            if threading.active_count() > 1:
                time.sleep(_MOMENT)
            self._due = time.perf_counter_ns() + _EVERY


COURTESY = Courtesy()
"""One for the process, which has one lock."""
