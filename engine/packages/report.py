"""What operations on packages give back, ready for JSON."""

from __future__ import annotations

from typing import Any

import msgspec

from engine.packages.record import Record
from engine.packages.users import User
from engine.plugin.describe import PluginDescription


class Installed(msgspec.Struct, frozen=True, rename="camel"):
    """A plugin that was installed or updated."""

    kind: str
    name: str
    version: str
    file: str
    functions: tuple[str, ...] = ()
    replaced: str | None = None
    """The version that took effect before, None if there was none."""
    kept: tuple[str, ...] = ()
    """Files that were changed by somebody, so that the new ones are beside them (``.new``)."""
    hides: str = ""
    """The plugin of the same name, from elsewhere, that no longer counts."""


class Removed(msgspec.Struct, frozen=True, rename="camel"):
    """A plugin that was removed."""

    kind: str
    name: str
    files: tuple[str, ...] = ()
    """From the root on."""
    kept: tuple[str, ...] = ()
    """Files of the package that were changed by somebody, so that they are left."""
    used_by: tuple[User, ...] = ()


class PluginReport(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A plugin, the package that it came in and its users."""

    plugin: PluginDescription
    package: Record | None = None
    metadata: dict[str, Any] | None = None
    """What ``etc/<kind>/<plugin>.json`` says."""
    used_by: tuple[User, ...] = ()

    def json(self) -> dict[str, Any]:
        """Return it as plain data: the description, with the rest beside it."""
        found: dict[str, Any] = msgspec.to_builtins(self.plugin)
        rest: dict[str, Any] = msgspec.to_builtins(self)
        del rest["plugin"]
        return {**found, **rest}
