"""Writing what a rule's snapshot holds: the slow half of a checkpoint, for another thread."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.state.errors import MissingParts
from engine.state.scope import StateSnapshot
from engine.state.store import CheckpointStore


def write_checkpoint(
    store: CheckpointStore,
    rule_id: str,
    number: int,
    snapshot: StateSnapshot,
    others: Mapping[str, bytes | None] | None = None,
    meta: Mapping[str, Any] | None = None,
    *,
    at: int = 0,
) -> None:
    """Encode a snapshot and save it with ``others``, the parts that aren't plugin state.

    Call it in a worker thread, one checkpoint of a rule at a time, in the order of the snapshots.
    Parameters are those of `CheckpointStore.save`. After an error the same state is in the next
    snapshot.

    Raises:
        StoreFailed: nothing was saved.
    """
    try:
        parts = {**snapshot.parts(), **(others or {})}
        store.save(rule_id, number, parts, meta, at=at, base=snapshot.base)
    except MissingParts:
        snapshot.missing()
        raise
    snapshot.saved(number)
