"""What somebody may have meant by a name that isn't known."""

from __future__ import annotations

from collections.abc import Iterable


def nearest(word: str, choices: Iterable[str]) -> str:
    """Return the choice that looks most like ``word``, whatever its case, or an empty text."""
    from difflib import get_close_matches  # only errors need it

    folded: dict[str, str] = {}
    for choice in choices:
        folded.setdefault(choice.lower(), choice)
    near = get_close_matches(word.lower(), folded, n=1)
    return folded[near[0]] if near else ""


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Return "did you mean 'x'?" for the nearest choice, or an empty text."""
    near = nearest(word, choices)
    return f"did you mean {near!r}?" if near else ""
