"""What a source says about its partitions and offsets, and hears of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.plugin.contract import Capability
from engine.testing.stand import Stand, Trial


async def check_offsets(stand: Stand, trial: Trial) -> None:
    """Ask an open source for what it offers of ``partitions``, ``head`` and ``position``.

    Call it when it has given something. What it says must fit together; then it is told by ``ack``
    that all of it is done with.
    """
    can = stand.plugin.capabilities
    instance, note = trial.instance, stand.problems.note
    partitions: set[str] | None = None
    if Capability.PARTITIONS in can:
        found: Any = await stand.within("partitions()", instance.partitions())
        if not _is_names(found):
            note(f"partitions() gives {found!r}, no list of different texts")
        else:
            partitions = set(found)
    if Capability.HEAD in can:
        _check("head()", await stand.within("head()", instance.head()), partitions, stand)
    if Capability.POSITION in can:
        position = instance.position()
        _check("position()", position, partitions, stand)
        if Capability.ACK in can:
            await stand.within("ack()", instance.ack(position))
            await stand.within("ack() for a second time", instance.ack(position))


def _is_names(found: Any) -> bool:
    if not isinstance(found, (list, tuple)) or not all(isinstance(one, str) for one in found):
        return False
    return len(set(found)) == len(found)


def _check(what: str, found: Any, partitions: set[str] | None, stand: Stand) -> None:
    if not isinstance(found, Mapping) or not all(
        isinstance(name, str) and isinstance(offset, (int, str)) for name, offset in found.items()
    ):
        stand.problems.note(
            f"{what} gives {found!r}, no dict with a number or text for each partition"
        )
    elif partitions is not None and not set(found) <= partitions:
        others = ", ".join(sorted(set(found) - partitions))
        stand.problems.note(f"{what} names {others}, which partitions() doesn't have")
