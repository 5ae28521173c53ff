"""The functions of one engine: built-in ones, registered Python functions, plugins."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from engine.api import Function
from engine.errors import ConfigError, PluginError
from engine.registry import Plugin, PluginKind, PluginRegistry
from engine.sql.functions import (
    FunctionRegistry,
    FunctionSpec,
    Nulls,
    builtins,
    read_parameters,
)


class EngineFunctions(FunctionRegistry):
    """Looks a name up among the built-in functions, then the registered ones, then the plugins."""

    def __init__(self, plugins: PluginRegistry) -> None:
        super().__init__(builtins())
        self._plugins = plugins

    def get(self, name: str) -> FunctionSpec | None:
        known = super().get(name)
        if known is None and self._plugins.has(PluginKind.FUNCTION, name):
            plugin = self._plugins.get(PluginKind.FUNCTION, name)
            if plugin.name == name:
                known = spec_of_plugin(plugin)
                self.add(known)
        return known

    def names(self) -> list[str]:
        return sorted({*super().names(), *self._plugins.names(PluginKind.FUNCTION)})

    def register(self, function: Callable[..., Any], name: str) -> None:
        """Make a Python function callable from SQL.

        Raises:
            ConfigError: a built-in function has that name.
        """
        if builtins().get(name) is not None:
            raise ConfigError(
                f"{name} is a built-in function", hint="register it under another name"
            )
        self.add(spec_of_callable(function, name))


def spec_of_callable(function: Callable[..., Any], name: str) -> FunctionSpec:
    """Return the description of a plain Python function.

    A call with a null argument gives null, unless some parameter is annotated as taking None.
    """
    parameters, wants_context = read_parameters(function)
    annotations = getattr(function, "__annotations__", {})
    takes_none = any("None" in str(a) for key, a in annotations.items() if key != "return")
    return FunctionSpec(
        name=name,
        call=function,
        parameters=parameters,
        nulls=Nulls.PASS if takes_none else Nulls.PROPAGATE,
        category="registered",
        doc=inspect.getdoc(function) or "",
        wants_context=wants_context,
        stateless=False,
    )


def spec_of_plugin(plugin: Plugin) -> FunctionSpec:
    """Return the description of a function plugin.

    Raises:
        PluginError: its ``exec`` doesn't take the context first.
    """
    example: Function = plugin.instance()
    parameters, wants_context = read_parameters(example.exec)
    if not wants_context:
        raise PluginError(
            f"{plugin.origin}: exec must take the context first",
            hint="write def exec(self, ctx, …)",
        )
    return FunctionSpec(
        name=plugin.name,
        call=example.exec,
        parameters=parameters,
        nulls=Nulls.PASS,
        doc=inspect.getdoc(example) or "",
        wants_context=True,
        stateless=example.stateless,
        make=plugin.instance,
        validate=example.validate,
    )
