"""A loaded plugin, which makes the instances that rules use."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any

from engine.api import AggregateFunction, Config, Context, Function, LookupSource, Source
from engine.errors import EngineError, PluginError
from engine.plugin.adapt import adapted
from engine.plugin.contract import Capability, capabilities, check_class, check_constructor
from engine.plugin.exports import line_of
from engine.plugin.files import PluginFile, symbol_of
from engine.plugin.kind import PluginKind
from engine.plugin.module import place_in
from engine.plugin.script import Script


class PythonFunction(Function):
    """A plain Python function that an application has registered, as a plugin."""

    def __init__(self, function: Callable[..., Any], *, wants_context: bool) -> None:
        self.function = function
        self._wants_context = wants_context

    def exec(self, ctx: Context, *args: Any) -> Any:
        return self.function(ctx, *args) if self._wants_context else self.function(*args)


@dataclass(eq=False)
class Plugin:
    """A loaded plugin: makes instances, or is one shared by all."""

    kind: PluginKind
    name: str
    version: str
    origin: str
    """The file or distribution that it comes from."""
    export: Any
    symbol: str = ""
    file: PluginFile | None = None
    script: Script = field(default_factory=Script)
    """The inline metadata of the file."""
    _is_checked: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.symbol = self.symbol or symbol_of(self.name)

    @property
    def is_shared(self) -> bool:
        """Whether the symbol is an instance, shared by all rules."""
        return isinstance(self.export, self.kind.bases)

    @property
    def is_stream_source(self) -> bool:
        """Whether it can be the source of a stream."""
        return issubclass(self.instance_type, Source)

    @property
    def is_lookup_source(self) -> bool:
        """Whether it can be a lookup table."""
        return issubclass(self.instance_type, LookupSource)

    @property
    def is_aggregate(self) -> bool:
        """Whether it is a function over the rows of a group."""
        return issubclass(self.instance_type, AggregateFunction)

    @property
    def data_path(self) -> PurePath:
        """The plugin's own folder, from the root on; functions of one file share it."""
        return PurePath("etc", self.kind, self.file.name if self.file else self.name)

    @cached_property
    def instance_type(self) -> type[Any]:
        """The class of the instances; a factory is asked for one to know it.

        Raises:
            PluginError: the factory fails or makes something else.
        """
        if inspect.isclass(self.export):
            return self.export
        return type(self.export) if self.is_shared else type(self._made())

    @property
    def config_type(self) -> type[Config]:
        """The type of a source's or sink's configuration."""
        found: type[Config] = self.instance_type.config_type
        return found

    @property
    def doc(self) -> str:
        """The documentation of its class."""
        if isinstance(self.export, PythonFunction):
            return inspect.getdoc(self.export.function) or ""
        return inspect.cleandoc(self.instance_type.__doc__ or "")

    @cached_property
    def capabilities(self) -> frozenset[Capability]:
        """What it offers beyond the minimum."""
        return capabilities(self.instance_type)

    def factory_type(self) -> type[Any]:
        """Return the class of the instances; see ``instance_type``."""
        return self.instance_type

    def instance(self) -> Any:
        """Return the instance for one use; all methods that the engine awaits can be awaited.

        Raises:
            PluginError: the constructor fails or makes something else.
        """
        if self.is_shared:
            return self._shared
        made = self._made()
        return made if self.kind is PluginKind.FUNCTION else adapted(made)

    @cached_property
    def _shared(self) -> Any:
        return self.export if self.kind is PluginKind.FUNCTION else adapted(self.export)

    def check(self) -> None:
        """Check all that can be told without making an instance.

        Raises:
            PluginError: it breaks the contract; the message has file and line.
        """
        export = self.export
        if inspect.isclass(export):
            check_class(export, self.kind, self.place)
            check_constructor(export, self.symbol, self.place)
        elif self.is_shared:
            check_class(type(export), self.kind, self.place)
            if isinstance(export, AggregateFunction):
                raise self._no_class("an instance")
        elif callable(export):
            check_constructor(export, self.symbol, self.place)
        else:
            raise PluginError(
                f"{self.place(export)}: {self.symbol} is of type {type(export).__name__}",
                hint=f"export a subclass or an instance of engine.api.{self.kind.base_names}",
            )

    def place(self, part: object = None) -> str:
        """Return ``file:line`` of a class, a method or (by default) the symbol itself."""
        if self.file is None:
            return self.origin
        code = getattr(inspect.unwrap(part), "__code__", None) if callable(part) else None
        if code is not None and self._holds(code.co_filename):
            return f"{code.co_filename}:{code.co_firstlineno}"
        if inspect.isclass(part):
            try:
                where = inspect.getsourcefile(part)
                if where is not None and self._holds(where):
                    return f"{where}:{inspect.getsourcelines(part)[1]}"
            except (OSError, TypeError):  # made by hand: the line of the symbol must do
                pass
        return f"{self.file.source}:{line_of(self.file.read(), self.symbol)}"

    def _holds(self, path: str) -> bool:
        assert self.file is not None
        return self.file.path == Path(path) or self.file.path in Path(path).parents

    def _made(self) -> Any:
        try:
            made = self.export()
        except EngineError:
            raise
        except (Exception, SystemExit) as error:
            where = place_in(self.file.path, error.__traceback__) if self.file else self.origin
            raise PluginError(
                f"{where}: {self.symbol}() failed: {type(error).__name__}: {error}",
                hint="keep constructors simple; prepare in open()",
            ) from error
        if not isinstance(made, self.kind.bases):
            raise PluginError(
                f"{self.place(self.export)}: {self.symbol}() made {type(made).__name__}",
                hint=f"it must return an engine.api.{self.kind.base_names}",
            )
        if not (inspect.isclass(self.export) or self._is_checked):
            self._check_made(type(made))
        return made

    def _check_made(self, made: type[Any]) -> None:
        check_class(made, self.kind, self.place)
        if issubclass(made, AggregateFunction):
            raise self._no_class("a factory")
        self._is_checked = True

    def _no_class(self, what: str) -> PluginError:
        return PluginError(
            f"{self.place(self.export)}: {self.symbol} is {what}",
            hint="export the class itself: each group needs an object of its own",
        )
