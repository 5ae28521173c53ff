"""Plugins of installed distributions, announced by entry points such as ``headrace.sinks``."""

from __future__ import annotations

import os
import sys
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from engine.errors import EngineError, PluginError
from engine.plugin.files import is_fresh, plugin_name
from engine.plugin.kind import PluginKind
from engine.plugin.plugin import Plugin


class Distributions:
    """The entry points of one kind, listed again when something was installed or removed."""

    def __init__(self, kind: PluginKind) -> None:
        self._kind = kind
        self._stamp: object = None
        self._points: dict[str, list[EntryPoint]] = {}
        self._loaded: dict[EntryPoint, Plugin] = {}

    def names(self) -> list[str]:
        """Return the names of the plugins."""
        return list(self._read())

    def all(self, name: str) -> list[EntryPoint]:
        """Return the entry points of a plugin; more than one is a clash."""
        return self._read().get(name, [])

    def find(self, name: str) -> EntryPoint | None:
        """Return the entry point of a plugin, None if no distribution has it.

        Raises:
            PluginError: several have it.
        """
        points = self.all(name)
        if len(points) > 1:
            owners = " and ".join(sorted(origin_of(point) for point in points))
            raise PluginError(
                f"{self._kind.singular} {name} is in {owners}",
                hint="uninstall all of these distributions but one",
            )
        return points[0] if points else None

    def load(self, point: EntryPoint) -> Plugin:
        """Return the plugin of an entry point, imported when first used.

        Raises:
            PluginError: it can't be imported, or breaks the contract.
        """
        if point not in self._loaded:
            origin = origin_of(point)
            try:
                export = point.load()
            except (Exception, SystemExit) as error:
                what = error.message if isinstance(error, EngineError) else str(error)
                raise PluginError(f"{origin}: {type(error).__name__}: {what}") from error
            plugin = Plugin(
                self._kind,
                plugin_name(point.name),
                version_of(point),
                origin,
                export,
                symbol=point.attr,
            )
            plugin.check()
            self._loaded[point] = plugin
        return self._loaded[point]

    def _read(self) -> dict[str, list[EntryPoint]]:
        stamp = _installed_stamp()
        if stamp is None or stamp != self._stamp:
            self._stamp, self._points = stamp, {}
            for point in entry_points(group=f"headrace.{self._kind}"):
                self._points.setdefault(plugin_name(point.name), []).append(point)
        return self._points


def origin_of(point: EntryPoint) -> str:
    """Return the distribution of an entry point, and what it names there."""
    dist: Any = point.dist
    return f"{dist.name if dist else 'entry point'} ({point.value})"


def version_of(point: EntryPoint) -> str:
    """Return the version of the distribution of an entry point."""
    return point.dist.version if point.dist else ""


def _installed_stamp() -> object:
    """Return what changes when a distribution comes or goes, None just after such a change."""
    found: list[tuple[str, int]] = []
    for path in sys.path:
        try:
            found.append((path, os.stat(path or ".").st_mtime_ns))
        except OSError:
            continue
    return None if any(is_fresh(changed) for _, changed in found) else tuple(found)
