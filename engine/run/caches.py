"""Where the caches of sinks are: ``data/cache/<rule>/<sink>`` below the root folder."""

from __future__ import annotations

import logging
from collections.abc import Collection, Set
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

import anyio.to_thread

from engine.run.metrics import RuleMetrics
from engine.state.errors import StoreFailed
from engine.state.options import CacheOptions

logger = logging.getLogger(__name__)

DESTINATION = "resendDestination"
"""The property under which a computed destination is stored with a message."""


@dataclass(frozen=True, slots=True)
class Cache:
    """Where and how a sink keeps what it can't deliver now."""

    folder: Path
    options: CacheOptions
    account: RuleMetrics
    """Where its rows are counted."""
    is_durable: bool
    """Whether their source hears that rows are safe only once they would survive the death of the
    process and a loss of power (``qos`` 1 and 2); else being in memory is enough."""


def cache_folder(root: Path, rule_id: str, sink: str) -> Path:
    """Return the folder of the cache of one sink, such as ``mqtt_0``."""
    return _rule_folder(root, rule_id) / _safe(sink)


def remove_caches(root: Path, rule_id: str) -> None:
    """Delete the caches of a rule that is deleted; what can't be is logged."""
    folder = _rule_folder(root, rule_id)
    if not folder.is_dir():
        return
    from engine.state.ring import remove_ring  # few rules have a cache

    try:
        for each in folder.iterdir():
            remove_ring(each)
        folder.rmdir()
    except (StoreFailed, OSError) as error:
        logger.error("rule=%s its caches can't be deleted: %s", rule_id, error)


def warn_of_orphans(root: Path, rule_id: str, used: Set[Path]) -> None:
    """Say what is in the folders of a rule that no sink uses, for nobody will send it."""
    folder = _rule_folder(root, rule_id)
    if not folder.is_dir():
        return
    for each in sorted(folder.iterdir()):
        if each not in used and any(each.glob("*.seg")):
            logger.warning(
                "rule=%s has no sink with a cache %s any more; what it left is in %s",
                rule_id,
                each.name,
                each,
            )


async def warn_of_strangers(root: Path, known: Collection[str]) -> None:
    """Say what rules have left that aren't defined, such as one that has another name now."""
    home = root / "data" / "cache"
    if not home.is_dir():
        return
    expected = {_safe(rule_id) for rule_id in known}
    folders = [each for each in home.iterdir() if each.name not in expected]
    for folder in sorted(folders):
        rows = await anyio.to_thread.run_sync(_rows_of, folder)
        if rows:
            logger.warning(
                "%s rows of a rule %s that isn't defined are in %s; they are sent once it is",
                rows,
                unquote(folder.name),
                folder,
            )


def _rows_of(folder: Path) -> int:
    """Count what is in the caches of a rule, except where another engine uses them."""
    from engine.state.ring import rows_left

    rows = 0
    for each in folder.iterdir():
        with suppress(StoreFailed, OSError):  # it is in use, or not for this user
            rows += rows_left(each)
    return rows


def _rule_folder(root: Path, rule_id: str) -> Path:
    return root / "data" / "cache" / _safe(rule_id)


def _safe(name: str) -> str:
    """Return a name as that of a folder, whatever an application has called its rule."""
    return quote(name, safe="").replace(".", "%2E")
