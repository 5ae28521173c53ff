"""Types for configuration fields that plain types can't tell: durations, sizes, templates."""

from __future__ import annotations

import math
import re

from engine.duration import parse_duration
from engine.errors import ConfigError

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([kmgt])(i?))?b?", re.IGNORECASE)
_POWERS = " kmgt"
_LONGEST_NUMBER = 100


class Duration(float):
    """Seconds, never negative; in files whole milliseconds or text such as ``1m30s``."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> Duration:
        """Return the duration that a user wrote.

        Raises:
            ValueError: it isn't one, or is negative or infinite.
        """
        if not isinstance(value, (str, int, float)):
            raise ValueError("expected a duration such as '10s' or a number of milliseconds")
        if isinstance(value, Duration):
            return value
        try:
            seconds = parse_duration(value)
        except ConfigError as error:
            raise ValueError(f"{error.message}; {error.hint}") from None
        except OverflowError:
            seconds = math.inf
        if not math.isfinite(seconds):
            raise ValueError(f"{_short(value)} is too long for a duration")
        if seconds < 0:
            raise ValueError(f"{_short(value)} is negative; a duration can't be")
        return cls(seconds)


class Size(int):
    """Bytes, never negative; in files a number of bytes or text such as ``64KiB`` or ``10MB``.

    ``k``, ``M``, ``G`` and ``T`` are powers of 1000; with an ``i`` they are powers of 1024.
    """

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> Size:
        """Return the size that a user wrote.

        Raises:
            ValueError: it isn't one, or is negative.
        """
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return cls(value)
        match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
        if match is None or len(match[1]) > _LONGEST_NUMBER:
            raise ValueError(
                f"{_short(value)} is not a size; write bytes or text such as '64KiB', '10MB'"
            )
        number = float(match[1]) if "." in match[1] else int(match[1])
        power = _POWERS.index((match[2] or " ").lower())
        return cls(number * (1024 if match[3] else 1000) ** power)


class Template(str):
    """Text that may hold ``{{.field}}`` and is then computed for each message."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> Template:
        """Return the text as a template.

        Raises:
            ValueError: it isn't text.
        """
        if not isinstance(value, str):
            # msgspec's own words: a template is text to the user
            raise ValueError(f"Expected `str`, got `{type(value).__name__}`")
        return cls(value)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "…"
