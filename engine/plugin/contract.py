"""Whether a class keeps the contract of `engine.api`, told before it is used."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, get_args, get_origin

from engine.api import AggregateFunction, Config, Function, LookupSource, Sink, Source
from engine.errors import PluginError
from engine.plugin.kind import PluginKind
from engine.plugin.settings import check_settings


@dataclass(frozen=True, slots=True)
class _Method:
    """How a method is called: with how many arguments, and whether it may be ``async``."""

    usage: str
    arguments: int
    may_wait: bool = True


_CONFIGURED = {
    "open": _Method("def open(self)", 0),
    "close": _Method("def close(self)", 0),
    "validate": _Method("def validate(self)", 0, may_wait=False),
}
_METHODS: dict[type[Any], dict[str, _Method]] = {
    Source: _CONFIGURED
    | {
        "run": _Method("async def run(self, emit)", 1),
        "partitions": _Method("async def partitions(self)", 0),
        "head": _Method("async def head(self)", 0),
        "seek": _Method("async def seek(self, offsets)", 1),
        "ack": _Method("async def ack(self, offsets)", 1),
        "position": _Method("def position(self)", 0, may_wait=False),
    },
    LookupSource: _CONFIGURED
    | {
        "lookup": _Method("async def lookup(self, fields, keys, values)", 3),
        "lookup_many": _Method("async def lookup_many(self, fields, keys, rows_of_values)", 3),
    },
    Sink: _CONFIGURED
    | {"collect": _Method("async def collect(self, batch) or collect(self, batch, token=None)", 1)},
    Function: {
        "exec": _Method("def exec(self, ctx, …)", 0, may_wait=False),
        "exec_batch": _Method("def exec_batch(self, ctx, …)", 0, may_wait=False),
        "validate": _Method("def validate(self, args)", 1, may_wait=False),
    },
    AggregateFunction: {
        "add": _Method("def add(self, …)", 0, may_wait=False),
        "remove": _Method("def remove(self, …)", 0, may_wait=False),
        "merge": _Method("def merge(self, newer)", 1, may_wait=False),
        "result": _Method("def result(self)", 0, may_wait=False),
        "snapshot": _Method("def snapshot(self)", 0, may_wait=False),
        "restore": _Method("def restore(self, value)", 1, may_wait=False),
        "validate": _Method("def validate(self, args)", 1, may_wait=False),
    },
}
_ANY_ARGUMENTS = ("exec", "exec_batch", "add", "remove")
"""Methods whose arguments are those of the call in SQL."""


class Capability(StrEnum):
    """What a plugin offers beyond the minimum."""

    LOOKUP = "lookup"
    PARTITIONS = "partitions"
    HEAD = "head"
    POSITION = "position"
    SEEK = "seek"
    ACK = "ack"
    TOKEN = "token"
    BATCH = "exec_batch"
    REMOVE = "remove"


def capabilities(plugin: object) -> frozenset[Capability]:
    """Return what a plugin, its class or an instance of it, can do beyond the minimum.

    Look it up once, when a rule is built.
    """
    found: set[Capability] = {one for one in Capability if callable(getattr(plugin, one, None))}
    found.discard(Capability.TOKEN)  # it is an argument, no method
    collect = getattr(plugin, "collect", None)
    if collect is not None and takes_token(collect):
        found.add(Capability.TOKEN)
    return frozenset(found)


def takes_token(collect: Callable[..., Any]) -> bool:
    """Tell whether a sink wants to be told the names of its batches."""
    return Capability.TOKEN in _parameters(collect)


def check_class(made: type[Any], kind: PluginKind, place: Callable[[object], str]) -> None:
    """Check what can be told without running a plugin.

    ``place`` gives the file and line of a class or method.

    Raises:
        PluginError: the class breaks the contract.
    """
    if not issubclass(made, kind.bases):
        raise _other_kind(made, kind, place(made))
    for base in kind.bases:
        if issubclass(made, base):
            for name, method in _METHODS[base].items():
                if (found := getattr(made, name, None)) is not None:
                    _check_method(made, name, found, method, place)
    if issubclass(made, Source):
        _check_offsets(made, place)
    if missing := sorted(getattr(made, "__abstractmethods__", ())):
        usages = {name: method for base in kind.bases for name, method in _METHODS[base].items()}
        usage = ", ".join(usages[name].usage if name in usages else name for name in missing)
        raise PluginError(
            f"{place(made)}: {made.__name__} has no {' and no '.join(missing)}",
            hint=f"write {usage}",
        )
    if not issubclass(made, (Function, AggregateFunction)):
        _check_config(made, place)


def check_constructor(
    make: Callable[..., Any], symbol: str, place: Callable[[object], str]
) -> None:
    """Check that a class or factory can be called without arguments.

    Raises:
        PluginError: it can't.
    """
    try:
        signature = inspect.signature(make)
    except (TypeError, ValueError):  # written in C: calling it will tell
        return
    needed = [
        parameter.name
        for parameter in signature.parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    if needed:
        raise PluginError(
            f"{place(make)}: {symbol}() needs {', '.join(needed)}",
            hint="a plugin is made without arguments; its settings are in self.config",
        )


def _other_kind(made: type[Any], kind: PluginKind, place: str) -> PluginError:
    other = PluginKind.of(made)
    if other is not None:
        return PluginError(
            f"{place}: {made.__name__} is a {other.singular}, no {kind.singular}",
            hint=f"move the file to plugins/{other}",
        )
    return PluginError(
        f"{place}: {made.__name__} is no {kind.base_names}",
        hint=f"derive it from engine.api.{kind.bases[0].__name__}",
    )


def _check_method(
    made: type[Any], name: str, found: Any, method: _Method, place: Callable[[object], str]
) -> None:
    if not callable(found):
        raise PluginError(
            f"{place(made)}: {made.__name__}.{name} is no method", hint=f"write {method.usage}"
        )
    owner = f"{made.__name__}.{name}"
    if inspect.isgeneratorfunction(found) or inspect.isasyncgenfunction(found):
        hint = "call await emit(batch) instead" if name == "run" else "return the result instead"
        raise PluginError(f"{place(found)}: {owner} must not yield", hint=hint)
    if inspect.iscoroutinefunction(found) and not method.may_wait:
        raise PluginError(
            f"{place(found)}: {owner} must not be async", hint=f"write {method.usage}"
        )
    if name in ("exec", "exec_batch"):
        if _positional(made, name)[:1] != ["ctx"]:
            raise PluginError(
                f"{place(found)}: {owner} must take the context first", hint=f"write {method.usage}"
            )
    elif name not in _ANY_ARGUMENTS and not _takes(
        made, name, method.arguments, token=name == "collect" and takes_token(found)
    ):
        raise PluginError(
            f"{place(found)}: {owner} doesn't take the arguments that it is given",
            hint=f"write {method.usage}",
        )


_OFFSET_METHODS = {"position": ("seek",), "seek": ("position",), "ack": ("position", "seek")}
"""Methods of sources about offsets, and those that they don't make sense without."""


def _check_offsets(made: type[Source[Any]], place: Callable[[object], str]) -> None:
    for name, others in _OFFSET_METHODS.items():
        missing = [other for other in others if getattr(made, other, None) is None]
        if getattr(made, name, None) is not None and missing:
            usage = " and ".join(_METHODS[Source][other].usage for other in missing)
            raise PluginError(
                f"{place(getattr(made, name))}: {made.__name__}.{name} is of no use without "
                f"{' and '.join(missing)}",
                hint=f"write {usage}",
            )


def _check_config(made: type[Any], place: Callable[[object], str]) -> None:
    """Check that the configuration of a source or sink is a ``Config``."""
    wrong = [found for found in _settings(made) if not _is_config(found)]
    if wrong:
        name = getattr(wrong[0], "__name__", repr(wrong[0]))
        raise PluginError(
            f"{place(made)}: the configuration of {made.__name__} is {name}, no Config",
            hint=f"write class {made.__name__}Config(Config) with a field for each property",
        )
    check_settings(made.config_type, place)


def _settings(made: type[Any]) -> Iterable[Any]:
    yield made.config_type
    for base in getattr(made, "__orig_bases__", ()):
        origin = get_origin(base)
        if isinstance(origin, type) and issubclass(origin, (Source, LookupSource, Sink)):
            yield from get_args(base)


def _is_config(found: Any) -> bool:
    if isinstance(found, type):
        return issubclass(found, Config)
    return hasattr(found, "__bound__") or get_origin(found) is not None or found is Any


def _bare(made: type[Any], name: str) -> tuple[Any, int]:
    """Return a method as the class has it, and how many arguments the call itself fills in."""
    static = inspect.getattr_static(made, name)
    return getattr(made, name), int(inspect.isfunction(static))


def _takes(made: type[Any], name: str, arguments: int, *, token: bool) -> bool:
    found, filled = _bare(made, name)
    named = {"token": None} if token else {}
    try:
        inspect.signature(found).bind(*[None] * (arguments + filled), **named)
    except TypeError:
        return False
    except ValueError:  # written in C: no signature
        return True
    return True


def _positional(made: type[Any], name: str) -> list[str]:
    found, filled = _bare(made, name)
    return _parameters(found)[filled:]


def _parameters(method: Callable[..., Any]) -> list[str]:
    try:
        return list(inspect.signature(method).parameters)
    except (TypeError, ValueError):
        return []
