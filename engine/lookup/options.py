"""The ``lookup`` group among a table's properties."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from engine.config.convert import config_from, expected
from engine.config.fields import Duration
from engine.config.positions import NOWHERE, Positions
from engine.lookup.cache import LookupCache

_Positive = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]


class LookupOptions(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"
):
    """How a table is asked (runtime specification, section 2.6), whatever its source.

    The first three are eKuiper's. A number is milliseconds, as in every duration: its manual means
    seconds by ``cacheTtl: 600``, its code doesn't.
    """

    cache: bool = False
    cache_ttl: Duration = Duration(0)
    """How long an answer is good; 0: for ever."""
    cache_missing_key: bool = False
    """Remember keys without rows, too."""
    cache_size: _Positive = 10_000
    """Keys that the cache of one rule holds."""
    concurrency: _Positive = 8
    """Requests under way at the same time, for sources that take one key in each."""
    retry_for: Duration = Duration(10)
    """How long rows wait for a source that isn't connected before they fail."""

    def make_cache(self) -> LookupCache | None:
        """Return a new cache, None if answers aren't kept."""
        if not self.cache:
            return None
        ttl_ms = max(1, round(self.cache_ttl * 1000)) if self.cache_ttl else None
        return LookupCache(
            ttl_ms, keeps_missing=self.cache_missing_key, max_entries=self.cache_size
        )


def lookup_options(
    properties: dict[str, Any], *, where: str, positions: Positions = NOWHERE
) -> LookupOptions:
    """Take the group ``lookup`` out of a table's properties.

    ``where`` names their owner in messages; ``positions`` are the places of ``properties``.

    Raises:
        ConfigError: an option is unknown or doesn't fit.
    """
    value = properties.pop("lookup", None)
    if value is None:
        return LookupOptions()
    places, owner = positions.below("lookup"), f"{where}.lookup"
    if not isinstance(value, dict):
        raise expected("a mapping", value, owner, places)
    return config_from(value, LookupOptions, where=owner, positions=places)
