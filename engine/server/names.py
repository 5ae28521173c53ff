"""The names that clients may give (runtime specification, section 0)."""

from __future__ import annotations

import re

from engine.server.problems import Problem

_NAME = re.compile(r"[A-Za-z0-9_-]{1,200}")


def checked_name(name: str, what: str) -> str:
    """Return a name if it is one.

    Raises:
        Problem: it has characters that names don't have.
    """
    if not _NAME.fullmatch(name):
        raise Problem(
            f"{name[:40]!r} can't be the {what}",
            hint="use letters, digits, '_' and '-', at most 200",
        )
    return name
