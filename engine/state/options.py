"""The options of a sink's store-and-forward queue, under eKuiper's names."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from engine.config.fields import Duration, Size

_SHORTEST_PAUSE = 0.1

Rows = Annotated[int, msgspec.Meta(ge=0)]


class CacheOptions(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"
):
    """What a sink does with results that it can't deliver (runtime specification, section 6.5).

    The limits are checked when the cache is enabled.
    """

    enable_cache: bool = False
    memory_cache_threshold: Rows = 1024
    """Rows kept in memory; older ones go to the disk."""
    memory_cache_size: Size = Size(16 << 20)
    """Bytes kept in memory, whichever limit is reached first."""
    max_disk_cache: Rows = 1_024_000
    """Rows kept on the disk; beyond it the oldest are dropped, counted."""
    max_disk_cache_size: Size = Size(1 << 30)
    """Bytes of the files on the disk, whichever limit is reached first."""
    buffer_page_size: Rows = 256
    """Rows that are written, read and sent again together."""
    resend_interval: Duration = Duration(0)
    """Pause between two attempts to send again; see `pause`."""
    clean_cache_at_stop: bool = False
    """Delete what is left when the rule stops."""
    resend_alter_queue: bool = False
    """Let new results pass those that are sent again, which gives up their order."""
    resend_priority: Literal[-1, 0, 1] = 0
    """With an own queue for resending: new results first (-1), alike (0), or last (1)."""
    resend_indicator_field: str = ""
    """A field that is set to true in rows that are sent again; "" for none."""
    resend_destination: str = ""
    """Where rows go that are sent again, such as another topic; "" for the same place."""

    def __post_init__(self) -> None:
        if not self.enable_cache:
            return
        page = self.buffer_page_size
        if page < 1:
            raise ValueError("bufferPageSize must be at least 1")
        for name, rows in (
            ("memoryCacheThreshold", self.memory_cache_threshold),
            ("maxDiskCache", self.max_disk_cache),
        ):
            if rows < page or rows % page:
                raise ValueError(
                    f"{name} ({rows}) must be a multiple of bufferPageSize ({page}), "
                    f"such as {max(1, round(rows / page)) * page}"
                )
        for name, size in (
            ("memoryCacheSize", self.memory_cache_size),
            ("maxDiskCacheSize", self.max_disk_cache_size),
        ):
            if size < 1:
                raise ValueError(f"{name} must be at least 1 byte")

    @property
    def unused(self) -> list[str]:
        """Names of options that were given and mean nothing, for there is no cache."""
        if self.enable_cache:
            return []
        names = zip(
            CacheOptions.__struct_fields__, CacheOptions.__struct_encode_fields__, strict=True
        )
        default = CacheOptions()
        return [
            key
            for name, key in names
            if name != "resend_interval" and getattr(self, name) != getattr(default, name)
        ]

    @property
    def pause(self) -> float:
        """Seconds between two attempts: ``resendInterval``, 0.1 where that is 0."""
        return float(self.resend_interval) or _SHORTEST_PAUSE
