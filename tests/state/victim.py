"""A process that writes durable state until it is killed; it tells a log what was promised.

Run as ``python victim.py (store|ring) FOLDER LOG``. Each line of the log was written after the
call whose promise it tells had returned.
"""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

from engine.state.checkpoint import write_checkpoint
from engine.state.options import CacheOptions
from engine.state.ring import Ring
from engine.state.scope import RuleState
from engine.state.store import CheckpointStore

RING = CacheOptions(
    enable_cache=True, memory_cache_threshold=64, buffer_page_size=16, max_disk_cache=1 << 20
)


def store(folder: Path, log: int) -> None:
    """Save checkpoints whose every part tells the number of the checkpoint."""
    checkpoints = CheckpointStore(folder / "checkpoint.db")
    state = RuleState()
    found = checkpoints.load("rule").checkpoint
    if found is not None:
        state.restore(found.parts, found.number)
    scope, still = state.scope("function[f]", 0), state.scope("function[still]", 0)
    if "x" not in still.values:
        still.values["x"] = ["still"]
    number = checkpoints.newest("rule")
    while True:
        number += 1
        for key in range(random.randrange(1, 400)):
            scope.values[f"k{key}"] = [number, "x" * random.randrange(200)]
        scope.counters["n"] = number
        scope.values["keys"] = [key for key in scope.values if key != "keys"]
        other = b"%d " % number * random.randrange(1, 20000)
        write_checkpoint(checkpoints, "rule", number, state.snapshot(), {"window": other})
        os.write(log, b"%d\n" % number)


def ring(folder: Path, log: int) -> None:
    """Append numbers, deliver some of them, make some durable."""
    queue = Ring(folder / "ring", RING)
    number = int((folder / "next").read_text()) if (folder / "next").exists() else 0
    while True:
        size = random.randrange(1, 40)
        queue.append([b"%d" % n for n in range(number, number + size)])
        number += size
        if random.random() < 0.3:
            queue.flush()
            os.write(log, b"durable %d\n" % number)
        if random.random() < 0.4 and (page := queue.peek()) is not None:
            os.write(log, b"sent %d %d\n" % (int(page.records[0]), int(page.records[-1])))
            queue.commit(page)
        assert not queue.losses()


if __name__ == "__main__":
    what, where, log_path = sys.argv[1:]
    descriptor = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, b"start\n")
    {"store": store, "ring": ring}[what](Path(where), descriptor)
