"""Places in a source, by partition, as its plugin tells them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.api import Offset
from engine.errors import PluginError

Offsets = Mapping[str, Offset]
"""By the name of the partition."""


def checked_offsets(found: Any, source: str, method: str) -> Offsets:
    """Return a copy of what a source says, which may go on changing its own.

    ``source`` and ``method`` name what said it in messages.

    Raises:
        PluginError: these are no offsets.
    """
    if isinstance(found, Mapping) and all(
        isinstance(name, str) and isinstance(offset, (int, str)) for name, offset in found.items()
    ):
        return dict(found)
    raise PluginError(
        f"{source}: {method}() gives {found!r}"[:200],
        hint="return a dict with an offset, a number or a text, for the name of each partition",
    )
