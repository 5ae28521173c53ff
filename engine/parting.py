"""The end of a process in which code of plugins goes on: Python by itself would wait for it."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from contextlib import suppress

from engine.guard import GRACE, left_alone


def leave_tasks(code: int) -> None:
    """End the process with ``code`` if tasks of plugins don't end although they were cancelled.

    Called at the end of what runs in the loop, which waits for all tasks when it is closed.
    """
    if left_alone():
        _leave("parts of plugins don't end", code)


def leave_threads(code: int) -> None:
    """End the process with ``code`` if threads go on that Python would wait for.

    Called after the loop; they have ``GRACE`` seconds to end by themselves.
    """
    patience = time.monotonic() + GRACE
    for thread in _awaited():
        thread.join(max(0.0, patience - time.monotonic()))
    if alive := _awaited():
        names = ", ".join(sorted(thread.name for thread in alive))
        _leave(f"threads of plugins don't end: {names}", code)


def _awaited() -> list[threading.Thread]:
    own = (threading.main_thread(), threading.current_thread())
    return [one for one in threading.enumerate() if not one.daemon and one not in own]


def _leave(what: str, code: int) -> None:
    with suppress(OSError):  # a terminal that was closed
        sys.stderr.write(f"error: {what}; the process ends without them\n")
        sys.stdout.flush()
        sys.stderr.flush()
    logging.shutdown()
    os._exit(code)
