"""What can go wrong with durable state; one class for each reaction."""

from __future__ import annotations

from engine.errors import EngineError, PluginError


class Unstorable(PluginError):
    """A plugin puts a value that can't be stored; raised by the put, which changes nothing."""


class UnreadableState(EngineError):
    """Stored state is damaged or doesn't fit the code that reads it; it is left aside."""


class StoreFailed(EngineError):
    """The disk doesn't take or give data now (full, locked, no rights); try again later."""


class MissingParts(StoreFailed):
    """A checkpoint refers to parts of an older one that the store no longer has.

    Nothing was written; the next checkpoint must be written in full.
    """
