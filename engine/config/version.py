"""The guard of definitions against updates by somebody who doesn't know the latest one."""

from __future__ import annotations

from engine.errors import ConfigError, Position


def check_version(old: str, new: str, what: str, at: Position | None = None) -> None:
    """Check that a definition with version ``new`` may replace one with ``old``; "" is none.

    Without versions on either side anything may replace anything. Otherwise the new text must be
    greater, character by character; timestamps do that.

    Raises:
        ConfigError: it isn't.
    """
    if (old or new) and new <= old:
        given = f"version {new!r}" if new else "no version"
        raise ConfigError(
            f"{what} has version {old!r} already, the update has {given}",
            at=at,
            hint="give it a greater one; versions are compared as text",
        )
