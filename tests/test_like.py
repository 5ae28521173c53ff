"""LIKE patterns against what they stand for, a regular expression."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.sql.like import LikePattern


def expression(pattern: str) -> re.Pattern[str]:
    """Return the expression that a pattern without escapes stands for; ``.`` is no line feed."""
    wild = {"%": ".*", "_": "."}
    return re.compile("".join(wild.get(character, re.escape(character)) for character in pattern))


@pytest.mark.parametrize("pattern", ["%", "a%", "%a", "%a%", "_", "_%", "%a%b%", "a"])
def test_a_wildcard_takes_no_line_feed(pattern: str) -> None:
    like = LikePattern(pattern)
    for text in ("\n", "a\n", "\na", "a\nb", "aa\nab"):
        assert like.fullmatch(text) is None


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("a\n%", "a\nbc"),
        ("%\n%", "a\nb"),
        ("%a%\n_", "bab\nc"),
        ("\\\n", "\n"),
    ],
)
def test_a_line_feed_in_the_pattern_is_one_in_the_text(pattern: str, text: str) -> None:
    assert LikePattern(pattern).fullmatch(text)
    assert not LikePattern(pattern).fullmatch(text.replace("\n", " "))
    assert not LikePattern(pattern).fullmatch(text + "\n")


@given(st.text("ab\n%_", max_size=8), st.text("ab\n", max_size=8))
def test_a_pattern_matches_what_its_expression_does(pattern: str, text: str) -> None:
    expected = expression(pattern).fullmatch(text) is not None
    assert bool(LikePattern(pattern).fullmatch(text)) == expected
