"""Headrace: sources, streaming SQL and sinks in one asyncio process.

``async with Engine() as engine:`` is the whole API for embedding; plugins import ``engine.api``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.engine import Engine as Engine
    from engine.errors import ConfigError as ConfigError
    from engine.errors import EngineError as EngineError
    from engine.errors import PluginError as PluginError
    from engine.errors import SqlError as SqlError
    from engine.run.rule import Rule as Rule

__version__ = "0.1.0"
__all__ = (
    "ConfigError",
    "Engine",
    "EngineError",
    "PluginError",
    "Rule",
    "SqlError",
    "__version__",
)

_HOMES = {
    "Engine": "engine.engine",
    "Rule": "engine.run.rule",
    "ConfigError": "engine.errors",
    "EngineError": "engine.errors",
    "PluginError": "engine.errors",
    "SqlError": "engine.errors",
}


def __getattr__(name: str) -> Any:
    """Import what is used, when it is used: plugins and the command line start faster so."""
    if name not in _HOMES:
        raise AttributeError(f"module 'engine' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
