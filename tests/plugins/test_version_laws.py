"""The order of versions: one for all of them, and semver's where that says something."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from semver import Version

from engine.plugin.version import shown_version, version_key

NUMBER = st.integers(0, 12).map(str)
LABEL = st.sampled_from(["alpha", "beta", "rc", "1", "2", "10", "x-y"])
LABELS = st.lists(LABEL, min_size=1, max_size=3).map(".".join)
SEMANTIC = st.builds(
    lambda numbers, pre, build: ".".join(numbers) + pre + build,
    st.tuples(NUMBER, NUMBER, NUMBER),
    st.one_of(st.just(""), LABELS.map("-{}".format)),
    st.one_of(st.just(""), LABELS.map("+{}".format)),
)
DATE = st.dates().map(lambda date: date.strftime("%Y%m%d"))
WORD = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="/\0"), max_size=6)
ANY = st.one_of(SEMANTIC, DATE, WORD, st.sampled_from(["1.10", "1.9", "01.2.3", "v", "V1", "vv1"]))


@given(st.lists(ANY, max_size=8), st.randoms())
def test_versions_have_one_order_whatever_the_order_in_which_they_come(
    versions: list[str], random: object
) -> None:
    in_order = sorted(versions, key=version_key)
    shuffled = versions.copy()
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert sorted(shuffled, key=version_key) == in_order
    for earlier, later in pairwise(in_order):
        assert version_key(earlier) <= version_key(later)
        assert (version_key(earlier) == version_key(later)) == (earlier == later)


@given(ANY, ANY, ANY)
def test_the_order_is_total_and_transitive(one: str, two: str, three: str) -> None:
    a, b, c = map(version_key, (one, two, three))
    assert (a < b) + (b < a) + (a == b) == 1
    if a <= b <= c:
        assert a <= c


@given(SEMANTIC, SEMANTIC)
def test_semantic_versions_are_ordered_by_semver(one: str, other: str) -> None:
    rank = Version.parse(one).compare(other)
    if rank:
        assert (version_key(one) < version_key(other)) == (rank < 0)


@given(SEMANTIC, st.one_of(DATE, WORD))
def test_semantic_versions_come_after_all_others(semantic: str, other: str) -> None:
    if not Version.is_valid(other):
        assert version_key(other) < version_key(semantic)


@given(ANY)
def test_one_leading_v_is_dropped_and_no_more(version: str) -> None:
    assert shown_version(f"v{version}") == shown_version(f"V{version}") == version
    if version[:1] not in ("v", "V"):
        assert shown_version(version) == version
