"""Versions of plugins: how they are shown and ordered, and which the engine's contract satisfies.

A version is any text. Those of the form ``1.2.3`` (with an optional ``-pre`` and ``+build``) are
semantic and come after all others, which are compared as texts. So ``1.10.0`` is later than
``1.9.0`` and than ``20200331``, but ``1.10``, no semantic version, is earlier than ``1.9``.
"""

from __future__ import annotations

import re
from typing import Any

from semver import Version

_SEPARATOR = re.compile(r"\s*,\s*|\s+(?=[<>=!~^])")
_COMPARISON = re.compile(r"(>=|<=|==|!=|~=|[<>=^~])\s*(\d+(?:\.\d+){0,2}(?:[-+][\w.+-]+)?)")


def shown_version(text: str) -> str:
    """Return what stands after the ``@`` of a file name, without one leading ``v``."""
    return text[1:] if text[:1] in ("v", "V") else text


def version_key(version: str) -> tuple[bool, Any, str]:
    """Return what versions sort by.

    Semantic versions that differ in their build only have the same rank; text decides then.
    """
    try:
        return True, Version.parse(version), version
    except ValueError:
        return False, version, version


def satisfies(version: str, wanted: str) -> bool:
    """Tell whether a semantic version lies in a range such as ``>=1.2, <2`` or ``^1.2``.

    The parts are separated by commas or spaces and must all hold. Missing numbers are zeros.
    ``^1.2`` allows all of 1 from 1.2 on, ``~1.2`` all of 1.2, ``~=1.2`` is Python's way to write
    ``^1.2``; ``<2`` excludes the pre-releases of 2.

    Raises:
        ValueError: the range can't be read.
    """
    found = Version.parse(version)
    verdicts = []
    for part in _SEPARATOR.split(wanted.strip()):
        match = _COMPARISON.fullmatch(part)
        if match is None:
            raise ValueError(f"{part!r} is no comparison such as '>=1.0'")
        verdicts.append(_holds(found, match[1], match[2]))
    return all(verdicts)


def _holds(found: Version, operator: str, text: str) -> bool:
    bound = Version.parse(text, optional_minor_and_patch=True)
    if operator in ("^", "~", "~="):
        return found >= bound and _is_below(found, _ceiling(bound, operator, text))
    return {
        ">=": found >= bound,
        "<=": found <= bound,
        ">": found > bound,
        "<": _is_below(found, bound),
        "=": found == bound,
        "==": found == bound,
        "!=": found != bound,
    }[operator]


def _ceiling(bound: Version, operator: str, text: str) -> Version:
    """Return the first version that ``^``, ``~`` or ``~=`` excludes."""
    parts = re.split(r"[-+]", text)[0].count(".") + 1
    if operator != "^":
        fixed = parts - 1 if operator == "~=" else min(parts, 2)
        return bound.bump_major() if fixed <= 1 else bound.bump_minor()
    if bound.major or parts == 1:
        return bound.bump_major()
    return bound.bump_minor() if bound.minor or parts == 2 else bound.bump_patch()


def _is_below(found: Version, bound: Version) -> bool:
    return found < bound and (bool(bound.prerelease) or found.finalize_version() < bound)
