"""Time zones by name."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from engine.errors import ConfigError


def named_zone(name: str) -> ZoneInfo:
    """Return a zone of the IANA database, such as ``Europe/Berlin`` or ``UTC``.

    Raises:
        ConfigError: there is none of that name.
    """
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ConfigError(
            f"unknown time zone {name!r}", hint="write a name such as Europe/Berlin"
        ) from None
