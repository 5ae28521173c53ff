"""Answers of a lookup source, kept for a while."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import NamedTuple

from engine.batch import Row


class CacheStatistics(NamedTuple):
    """What a cache has done since it was made."""

    size: int
    """Keys that it holds now, those that are too old included."""
    hits: int
    misses: int
    evicted: int
    """Keys that had to make room for others although they weren't too old."""


class LookupCache:
    """Rows by key, the least recently used of which go first; knows no clock.

    Args:
        ttl_ms: milliseconds after which an answer is too old; None: never.
        keeps_missing: whether it is remembered that a key has no rows.
        max_entries: keys that may be held at the same time.
    """

    def __init__(self, ttl_ms: int | None, *, keeps_missing: bool, max_entries: int) -> None:
        if max_entries < 1:
            raise ValueError("a cache holds one key at least")
        self._ttl = ttl_ms
        self._keeps_missing = keeps_missing
        self._max_entries = max_entries
        self._entries: OrderedDict[Hashable, tuple[int, list[Row]]] = OrderedDict()
        self._hits = self._misses = self._evicted = 0

    def get(self, key: Hashable, now: int) -> list[Row] | None:
        """Return the rows of a key (see ``typed_key``), None if they must be asked for.

        ``now`` is the time in epoch milliseconds.
        """
        found = self._entries.get(key)
        if found is not None and self._is_fresh(found[0], now):
            self._entries.move_to_end(key)
            self._hits += 1
            return found[1]
        if found is not None:
            del self._entries[key]
        self._misses += 1
        return None

    def put(self, key: Hashable, rows: list[Row], now: int) -> None:
        """Keep the rows that a source has just given for a key."""
        if not rows and not self._keeps_missing:
            self._entries.pop(key, None)
            return
        self._entries[key] = now, rows
        self._entries.move_to_end(key)
        if len(self._entries) > self._max_entries:
            _, (stored_at, _) = self._entries.popitem(last=False)
            self._evicted += self._is_fresh(stored_at, now)

    def statistics(self) -> CacheStatistics:
        """Return the counts so far."""
        return CacheStatistics(len(self._entries), self._hits, self._misses, self._evicted)

    def _is_fresh(self, stored_at: int, now: int) -> bool:
        # a wall clock that was set back must not make an answer live longer
        return self._ttl is None or 0 <= now - stored_at < self._ttl
