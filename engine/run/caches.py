"""Where the caches of sinks are: ``data/cache/<rule>/<sink>`` below the root folder."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from urllib.parse import quote, unquote

import anyio.to_thread

from engine.run.metrics import RuleMetrics
from engine.state.errors import StoreFailed
from engine.state.options import CacheOptions
from engine.state.owner import holds_rows, owner_of
from engine.state.stored import DATA

logger = logging.getLogger(__name__)

DESTINATION = "resendDestination"
"""The property under which a computed destination is stored with a message."""


@dataclass(slots=True)
class Cache:
    """Where and how a sink keeps what it can't deliver now."""

    sink: str
    """The name of the sink in its rule, such as ``mqtt_0``."""
    destination: str
    """Where it sends to: rows that were meant for another place are never sent there."""
    folder: Path
    """Where the rows are; see `find_folders`."""
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


def find_folders(root: Path, rule_id: str, caches: Collection[Cache]) -> None:
    """Give each cache of a rule its folder, and say what is in folders that no sink uses.

    What was left for a destination goes to the sink that has it now, whatever its name. A folder
    that doesn't say whose it is, of an older version, belongs to the sink of its name. Nothing on
    the disk is changed.
    """
    home = _rule_folder(root, rule_id)
    left = {each: owner_of(each) for each in _with_rows(home)}
    missing = list(caches)

    def settle(wanted: Callable[[Cache, Path], bool]) -> None:
        for cache in tuple(missing):
            found = next((folder for folder in left if wanted(cache, folder)), None)
            if found is not None:
                cache.folder = found
                missing.remove(cache)
                del left[found]

    def is_own(cache: Cache, folder: Path) -> bool:
        return folder.name == _safe(cache.sink)

    settle(lambda cache, folder: left[folder] == cache.destination and is_own(cache, folder))
    settle(lambda cache, folder: left[folder] == cache.destination)
    settle(lambda cache, folder: left[folder] is None and is_own(cache, folder))
    taken = {*left, *(cache.folder for cache in caches if cache not in missing)}
    for cache in missing:
        cache.folder = next(each for each in _free_names(home, cache.sink) if each not in taken)
        taken.add(cache.folder)
    _warn_of_orphans(rule_id, left, caches)


def _with_rows(home: Path) -> list[Path]:
    return sorted(each for each in home.iterdir() if holds_rows(each)) if home.is_dir() else []


def _free_names(home: Path, sink: str) -> Iterator[Path]:
    """Yield names for a folder: that of the sink, then others that no sink can have."""
    yield home / _safe(sink)
    yield from (home / f"{_safe(sink)}+{number}" for number in count(2))


def _warn_of_orphans(rule_id: str, left: Iterable[Path], caches: Collection[Cache]) -> None:
    """Say what nobody will send."""
    names = {_safe(cache.sink) for cache in caches}
    for folder in left:
        if folder.name.partition("+")[0] in names:
            logger.warning(
                "rule=%s %s sends to another place now, so that what it left isn't sent: it is in "
                "%s until an action has the old properties again; delete it if you don't need it",
                rule_id,
                unquote(folder.name.partition("+")[0]),
                folder,
            )
        else:
            logger.warning(
                "rule=%s has no sink with a cache %s any more; what it left is in %s until an "
                "action has its properties again",
                rule_id,
                unquote(folder.name.partition("+")[0]),
                folder,
            )


async def warn_of_strangers(root: Path, known: Collection[str]) -> None:
    """Say what rules have left that aren't defined, such as one that has another name now."""
    home = _home(root)
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
    return _home(root) / _safe(rule_id)


def _home(root: Path) -> Path:
    return root / DATA / "cache"


def _safe(name: str) -> str:
    """Return a name as that of a folder, whatever an application has called its rule."""
    return quote(name, safe="").replace(".", "%2E")
