"""The cache of a lookup table."""

from __future__ import annotations

from collections import OrderedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.api import Row
from engine.errors import ConfigError
from engine.lookup.cache import LookupCache
from engine.lookup.options import LookupOptions, lookup_options

ROWS: list[Row] = [{"a": 1}]


def test_an_answer_is_good_until_its_time_is_up() -> None:
    cache = LookupCache(100, keeps_missing=False, max_entries=10)
    cache.put((1,), ROWS, 1000)
    assert cache.get((1,), 1099) == ROWS
    assert cache.get((1,), 1100) is None
    assert cache.statistics() == (0, 1, 1, 0)


def test_without_a_time_an_answer_is_good_for_ever() -> None:
    cache = LookupCache(None, keeps_missing=False, max_entries=10)
    cache.put((1,), ROWS, 0)
    assert cache.get((1,), 10**15) == ROWS


def test_a_clock_that_was_set_back_does_not_make_answers_live_longer() -> None:
    cache = LookupCache(100, keeps_missing=False, max_entries=10)
    cache.put((1,), ROWS, 1000)
    assert cache.get((1,), 500) is None


@pytest.mark.parametrize(("keeps", "found"), [(True, []), (False, None)])
def test_missing_keys_are_kept_if_asked_for(keeps: bool, found: list[Row] | None) -> None:
    cache = LookupCache(None, keeps_missing=keeps, max_entries=10)
    cache.put((1,), [], 0)
    assert cache.get((1,), 0) == found


def test_a_key_that_has_gone_takes_its_rows_along() -> None:
    cache = LookupCache(None, keeps_missing=False, max_entries=10)
    cache.put((1,), ROWS, 0)
    cache.put((1,), [], 1)
    assert cache.get((1,), 2) is None


def test_the_least_recently_used_key_makes_room() -> None:
    cache = LookupCache(100, keeps_missing=False, max_entries=2)
    cache.put((1,), ROWS, 0)
    cache.put((2,), ROWS, 0)
    cache.get((1,), 1)
    cache.put((3,), ROWS, 2)
    assert [cache.get((key,), 3) is not None for key in (1, 2, 3)] == [True, False, True]
    assert cache.statistics().evicted == 1
    cache.put((4,), ROWS, 500)  # what is too old isn't a loss
    assert cache.statistics().evicted == 1


EVENTS = st.lists(
    st.tuples(st.booleans(), st.integers(0, 5), st.integers(0, 3), st.integers(0, 40)), max_size=60
)


@given(EVENTS, st.one_of(st.none(), st.integers(1, 60)), st.booleans(), st.integers(1, 4))
def test_it_behaves_like_a_bounded_dictionary_with_times(
    events: list[tuple[bool, int, int, int]], ttl: int | None, keeps: bool, size: int
) -> None:
    cache = LookupCache(ttl, keeps_missing=keeps, max_entries=size)
    model: OrderedDict[int, tuple[int, list[Row]]] = OrderedDict()
    now = gets = 0
    for is_put, key, count, passed in events:
        now += passed
        rows: list[Row] = [{"n": n} for n in range(count)]
        if is_put:
            cache.put((key,), rows, now)
            model.pop(key, None)
            if rows or keeps:
                model[key] = now, rows
                if len(model) > size:
                    model.popitem(last=False)
            continue
        gets += 1
        stored_at, kept = model.get(key, (0, None))
        if kept is not None and ttl is not None and now - stored_at >= ttl:
            del model[key]
            kept = None
        if kept is not None:
            model.move_to_end(key)
        assert cache.get((key,), now) == kept
    statistics = cache.statistics()
    assert statistics.hits + statistics.misses == gets
    assert statistics.size == len(model) <= size


def test_options_are_those_of_the_reference_with_their_defaults() -> None:
    properties = {
        "url": "x",
        "lookup": {"cache": True, "cacheTtl": "10m", "cacheMissingKey": "true"},
    }
    options = lookup_options(properties, where="source sql of table t")
    assert properties == {"url": "x"}
    assert (options.cache, options.cache_ttl, options.cache_missing_key) == (True, 600.0, True)
    assert lookup_options({}, where="t") == LookupOptions()
    assert LookupOptions().make_cache() is None


def test_a_time_of_zero_is_for_ever_and_a_number_is_milliseconds() -> None:
    for ttl, found in ((0, ROWS), (600, None)):
        made = lookup_options({"lookup": {"cache": True, "cacheTtl": ttl}}, where="t").make_cache()
        assert made is not None
        made.put((1,), ROWS, 0)
        assert made.get((1,), 600) == found


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"cacheTTL": 1}, "unknown key 'cacheTTL' in source sql of table t.lookup; did you mean"),
        ({"cacheTtl": "-1s"}, "negative"),
        ({"cacheSize": 0}, "cacheSize"),
        (True, "lookup: expected a mapping, found true"),
    ],
)
def test_wrong_options_are_refused(value: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        lookup_options({"lookup": value}, where="source sql of table t")
