"""Durable state survives the death of its process at any instant: kill -9 of a real one."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.state.ring import Ring
from engine.state.scope import RuleState
from engine.state.store import CheckpointStore
from tests.state.victim import RING

CHECKOUT = Path(__file__).parent.parent.parent
ROUNDS = 8


def killed(what: str, folder: Path, seconds: float) -> list[str]:
    """Let a victim work for some time, kill it, and return the lines that it wrote."""
    log = folder / "log"
    log.write_bytes(b"")
    victim = subprocess.Popen(
        [sys.executable, Path(__file__).with_name("victim.py"), what, folder, log],
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        stderr=subprocess.PIPE,
    )
    try:
        while not log.stat().st_size and victim.poll() is None:
            time.sleep(0.005)
        time.sleep(seconds)
    finally:
        victim.send_signal(signal.SIGKILL)
        _, errors = victim.communicate()
    assert victim.returncode == -signal.SIGKILL, errors.decode()
    lines = log.read_text().splitlines()
    assert lines[0] == "start"
    return lines[1:]


@pytest.mark.timeout(120)
def test_a_saved_checkpoint_survives_kill_9_and_is_whole(tmp_path: Path) -> None:
    promised = 0
    for _ in range(ROUNDS):
        lines = killed("store", tmp_path, random.uniform(0.01, 0.4))
        promised = int(lines[-1]) if lines else promised
        store = CheckpointStore(tmp_path / "checkpoint.db")
        loaded = store.load("rule")
        store.close()
        assert not loaded.skipped
        found = loaded.checkpoint
        if found is None:
            assert promised == 0
            continue
        assert found.number >= promised
        assert set(found.parts["window"].split()) == {b"%d" % found.number}
        state = RuleState()
        state.restore(found.parts, found.number)
        scope = state.scope("function[f]", 0)
        assert scope.counters["n"] == found.number
        assert sorted(scope.values["keys"]) == sorted(k for k in scope.values if k != "keys")
        assert state.scope("function[still]", 0).values["x"] == ["still"]
        promised = max(promised, found.number)
    assert promised > ROUNDS


@pytest.mark.timeout(120)
def test_what_a_ring_has_on_disk_survives_kill_9_in_order(tmp_path: Path) -> None:
    sent_to = durable = 0  # numbers below these
    replayed = 0
    for _ in range(ROUNDS):
        for line in killed("ring", tmp_path, random.uniform(0.01, 0.4)):
            word, *numbers = line.split()
            if word == "durable":
                durable = int(numbers[0])
            else:
                first, last = map(int, numbers)
                assert first <= sent_to, "some were never sent"
                sent_to = max(sent_to, last + 1)
        left = drained(tmp_path / "ring")
        end = sent_to
        if left:
            assert left == list(range(left[0], left[-1] + 1))
            assert left[0] <= sent_to, "some were never sent"
            end = max(sent_to, left[-1] + 1)
            replayed += len(left)
        assert end >= durable, "some that were durable are gone"
        # what was in the victim's memory only went with it; the next one goes on behind the rest
        (tmp_path / "next").write_text(str(end))
    assert replayed


def drained(folder: Path) -> list[int]:
    """Return all that is in a ring, of which a copy is emptied."""
    copy = folder.with_name("copy")
    shutil.copytree(folder, copy)
    ring = Ring(copy, RING)
    left: list[int] = []
    while (page := ring.peek()) is not None:
        left += map(int, page.records)
        ring.commit(page)
    assert not ring.losses()
    ring.close()
    shutil.rmtree(copy)
    return left
