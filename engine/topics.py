"""Topics of MQTT and of the memory bus: what is legal, and which filter takes which topic."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from engine.errors import ConfigError

_LONGEST = 65_535


def check_filter(pattern: str) -> None:
    """Refuse what the specification doesn't allow as a topic filter.

    Raises:
        ConfigError: the filter is illegal; says why.
    """
    levels = pattern.split("/")
    if levels[0] == "$share":
        if len(levels) < 3 or not levels[1] or set("+#") & set(levels[1]) or not any(levels[2:]):
            raise _illegal(pattern, "a shared subscription reads $share/group/filter")
        levels = levels[2:]
    if not pattern or "\0" in pattern or len(pattern.encode()) > _LONGEST:
        raise _illegal(pattern, "it is empty, too long or holds a NUL")
    if any("#" in level and level != "#" for level in levels) or "#" in levels[:-1]:
        raise _illegal(pattern, "# must be the whole last level")
    if any("+" in level and level != "+" for level in levels):
        raise _illegal(pattern, "+ must be a whole level")


def _illegal(pattern: str, why: str) -> ConfigError:
    return ConfigError(f"{pattern!r} is not a topic filter: {why}")


_UNFIT = re.compile(
    "[\x00-\x1f\x7f-\x9f\ufdd0-\ufdef"
    + "".join(
        f"{chr(plane + 0xFFFE)}{chr(plane + 0xFFFF)}" for plane in range(0, 0x110000, 0x10000)
    )
    + "]"
)
"""Control characters and code points that never will be characters."""


def has_unfit_character(text: str) -> bool:
    """Say whether MQTT lets a broker close the connection on a text (MQTT 5, section 1.5.4)."""
    return _UNFIT.search(text) is not None


@lru_cache(4096)
def flaw_of_destination(topic: str) -> str:
    """Return why nothing can be published to a topic of a broker, or an empty text."""
    if flaw := flaw_of_topic(topic):
        return flaw
    return "the topic holds a control character" if has_unfit_character(topic) else ""


@lru_cache(4096)
def flaw_of_topic(topic: str) -> str:
    """Return why there can be no such topic, or an empty text."""
    if not topic:
        return "the topic is empty"
    if "+" in topic or "#" in topic:
        return "the topic holds a wildcard"
    if "\0" in topic:
        return "the topic holds a NUL"
    try:
        size = len(topic.encode())
    except UnicodeEncodeError:
        return "the topic is not valid text"
    return "the topic is longer than 65535 bytes" if size > _LONGEST else ""


def plain_filter(pattern: str) -> str:
    """Return the part of a filter that is matched: without ``$share/group/`` and the like."""
    if pattern.startswith("$share/"):
        return pattern.split("/", 2)[2]
    return pattern.removeprefix("$queue/").removeprefix("$exclusive/")


def matches(pattern: str, topic: str) -> bool:
    """Say whether a filter takes a topic, by the rules of MQTT."""
    pattern = plain_filter(pattern)
    if topic.startswith("$") and pattern[:1] in {"+", "#"}:
        return False
    wanted, given = pattern.split("/"), topic.split("/")
    for level, want in enumerate(wanted):
        if want == "#":
            return True
        if level == len(given) or want not in ("+", given[level]):
            return False
    return len(wanted) == len(given)


def matches_any(patterns: Iterable[str], topic: str) -> bool:
    return any(matches(pattern, topic) for pattern in patterns)
