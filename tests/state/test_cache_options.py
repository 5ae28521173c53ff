"""The options of a sink's cache: eKuiper's names, defaults and checks."""

from __future__ import annotations

from typing import Any

import pytest

from engine.config.convert import config_from
from engine.errors import ConfigError
from engine.state.options import CacheOptions


def read(**properties: Any) -> CacheOptions:
    return config_from(properties, CacheOptions, where="sink mqtt")


def test_defaults_are_those_of_the_specification() -> None:
    found = read(enableCache=True)
    assert (found.memory_cache_threshold, found.max_disk_cache) == (1024, 1_024_000)
    assert (found.buffer_page_size, float(found.resend_interval)) == (256, 0.0)
    assert (found.pause, found.resend_priority) == (0.1, 0)
    assert (found.resend_indicator_field, found.resend_destination) == ("", "")
    assert not found.clean_cache_at_stop
    assert not found.resend_alter_queue
    assert not CacheOptions().enable_cache


def test_all_options_are_read() -> None:
    found = read(
        enableCache=True,
        memoryCacheThreshold=20,
        memoryCacheSize="1MiB",
        maxDiskCache=100,
        maxDiskCacheSize="10MB",
        bufferPageSize=10,
        resendInterval="2s",
        cleanCacheAtStop=True,
        resendAlterQueue=True,
        resendPriority=-1,
        resendIndicatorField="resent",
        resendDestination="late",
    )
    assert (found.memory_cache_size, found.max_disk_cache_size) == (1 << 20, 10_000_000)
    assert float(found.resend_interval) == found.pause == 2.0
    assert read(resendInterval=500).pause == 0.5
    assert found.resend_destination == "late"


@pytest.mark.parametrize(
    ("properties", "words"),
    [
        ({"memoryCacheThreshold": 100}, "memoryCacheThreshold (100) must be a multiple"),
        ({"memoryCacheThreshold": 0}, "such as 256"),
        ({"maxDiskCache": 300}, "such as 256"),
        ({"maxDiskCache": -1}, "maxDiskCache"),
        ({"bufferPageSize": 0}, "bufferPageSize must be at least 1"),
        ({"maxDiskCacheSize": 0}, "maxDiskCacheSize"),
        ({"resendPriority": 2}, "resendPriority"),
        ({"resendInterval": "-1s"}, "negative"),
        ({"maxDiskCach": 256}, "did you mean 'maxDiskCache'?"),
    ],
)
def test_wrong_options_are_refused_in_plain_words(properties: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as error:
        read(enableCache=True, **properties)
    assert words in str(error.value)


def test_limits_do_not_matter_without_a_cache() -> None:
    assert read(bufferPageSize=0, maxDiskCache=7).max_disk_cache == 7
