"""The functions of one engine: built-in ones, registered Python functions, plugins."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from engine.api import AggregateFunction, Function
from engine.blame import told
from engine.errors import ConfigError, EngineError, PluginError
from engine.plugin.contract import Capability
from engine.plugin.plugin import PythonFunction
from engine.registry import Plugin, PluginKind, PluginRegistry
from engine.run.accumulators import accumulator_of
from engine.sql.functions import (
    FunctionRegistry,
    FunctionSpec,
    Nulls,
    builtins,
    read_parameters,
)

logger = logging.getLogger(__name__)


class FunctionProvider(Protocol):
    """Where further functions come from; what it gives may change at any time."""

    def get(self, name: str) -> FunctionSpec | None:
        """Return the function of exactly this name, None if there is none."""

    def names(self) -> list[str]:
        """Return the names of all functions."""


class EngineFunctions(FunctionRegistry):
    """Looks a name up among the built-in functions, then the registered ones, then the plugins.

    Those of added providers come last.

    A plugin whose file changes gives a new description, for rules that are planned afterwards.
    """

    def __init__(self, plugins: PluginRegistry) -> None:
        super().__init__(builtins())
        self._plugins = plugins
        self._described: dict[str, tuple[Plugin, FunctionSpec]] = {}
        self._providers: list[FunctionProvider] = []
        for name in plugins.names(PluginKind.FUNCTION):
            if super().get(name) is None:
                continue
            try:
                plugins.get(PluginKind.FUNCTION, name)
            except PluginError as error:
                logger.error("plugin %s isn't used: %s", name, error)

    def get(self, name: str) -> FunctionSpec | None:
        """Return the function called ``name`` in SQL, None if there is none.

        Raises:
            PluginError: a plugin has that name, but can't be used.
        """
        if (known := super().get(name)) is not None:
            return known
        plugin = self.plugin(name)
        if plugin is None:
            found = (provider.get(name) for provider in self._providers)
            return next((spec for spec in found if spec is not None), None)
        made, spec = self._described.get(name, (None, None))
        if spec is None or made is not plugin:
            spec = spec_of_plugin(plugin)
            self._described[name] = plugin, spec
        return spec

    def plugin(self, name: str) -> Plugin | None:
        """Return the plugin behind a function, None for a built-in one or none at all.

        Raises:
            PluginError: it can't be used.
        """
        if super().get(name) is not None or not self._plugins.has(PluginKind.FUNCTION, name):
            return None
        plugin = self._plugins.get(PluginKind.FUNCTION, name)
        return plugin if plugin.name == name else None  # names of plugins are exact

    def names(self) -> list[str]:
        provided = (name for provider in self._providers for name in provider.names())
        return sorted({*super().names(), *self._plugins.names(PluginKind.FUNCTION), *provided})

    def remedy(self, name: str) -> str:
        # it may well be in a folder that can't be read
        return "; ".join([super().remedy(name), *self._plugins.problems(PluginKind.FUNCTION)])

    def provide(self, provider: FunctionProvider, *, first: bool = False) -> None:
        """Take further functions from somewhere, before or after those of other providers."""
        self._providers.insert(0 if first else len(self._providers), provider)

    def __iter__(self) -> Iterator[FunctionSpec]:
        """Yield all functions that can be used; what is wrong with others is logged."""
        for name in self.names():
            try:
                spec = self.get(name)
            except EngineError as error:
                logger.warning("function %s can't be used: %s", name, error)
                continue
            if spec is not None and spec.name == name:
                yield spec

    def register(self, function: Callable[..., Any], name: str) -> None:
        """Make a Python function callable from SQL; it is a plugin like any other.

        Raises:
            ConfigError: a built-in function has that name, or this is no function, or has no name.
        """
        if not callable(function):
            raise ConfigError(f"{name or 'this'} is of type {type(function).__name__}, no function")
        if not name:
            raise ConfigError("a function has no name", hint="give it one: name='…'")
        if builtins().get(name) is not None:
            raise ConfigError(
                f"{name} is a built-in function", hint="register it under another name"
            )
        _, wants_context = read_parameters(function)
        plugin = PythonFunction(function, wants_context=wants_context)
        self._plugins.register(PluginKind.FUNCTION, name, plugin)


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
        PluginError: it can't be made, or breaks the contract.
    """
    if isinstance(plugin.export, PythonFunction):
        return spec_of_callable(plugin.export.function, plugin.name)
    if plugin.is_aggregate:
        return _spec_of_aggregate(plugin)
    example: Function = plugin.instance()
    parameters, _ = read_parameters(example.exec)
    return FunctionSpec(
        name=plugin.name,
        call=example.exec,
        parameters=parameters,
        nulls=Nulls.PASS,
        doc=inspect.getdoc(example) or "",
        wants_context=True,
        stateless=example.stateless,
        is_blocking=example.blocking,
        has_batch_form=example.stateless and Capability.BATCH in plugin.capabilities,
        make=plugin.instance,
        validate=_explained(example.validate, plugin),
    )


def _explained(
    validate: Callable[[Sequence[object]], None], plugin: Plugin
) -> Callable[[Sequence[object]], None]:
    """Return a validation whose own failures are told as such."""

    def explained(args: Sequence[object]) -> None:
        try:
            validate(args)
        except EngineError:
            raise
        except (Exception, SystemExit) as error:
            raise ConfigError(
                f"validate() failed: {told(error)}",
                hint="it should raise ConfigError for what can't be right",
            ) from error

    return explained


# -- aggregates --------------------------------------------------------------------------------


def _spec_of_aggregate(plugin: Plugin) -> FunctionSpec:
    example: AggregateFunction = plugin.instance()
    parameters, wants_context = read_parameters(example.add)
    if wants_context:
        raise PluginError(
            f"{plugin.place(plugin.export.add)}: add gets no context",
            hint="an aggregate keeps what it remembers in its own attributes",
        )
    wants_row = bool(parameters) and parameters[0].name == "row"
    return FunctionSpec(
        name=plugin.name,
        call=plugin.export,
        parameters=parameters[wants_row:],
        nulls=Nulls.PASS,
        doc=inspect.getdoc(example) or "",
        stateless=False,
        kind="aggregate",
        accumulator=accumulator_of(plugin.export, plugin.name),
        wants_row=wants_row,
        make=plugin.instance,
        validate=_explained(example.validate, plugin),
    )
