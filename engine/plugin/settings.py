"""Whether a plugin's configuration is declared as it will be used, told before it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from engine.api import Config, Duration, Size, Template
from engine.errors import PluginError

_WRITTEN = {
    Duration: "Duration(1) is a second",
    Size: "Size(1024) is a kilobyte",
    Template: 'write Template("…")',
}


def check_settings(config: type[Config], place: Callable[[object], str]) -> None:
    """Check that each property has a type, and a default of that type if it has one.

    ``place`` gives the file and line of a class.

    Raises:
        PluginError: one hasn't.
    """
    for name, value in vars(config).items():
        if _is_forgotten(config, name, value):
            kind = type(value).__name__
            raise PluginError(
                f"{place(config)}: {config.__name__}.{name} has no type, so it is no property",
                hint=f"write {name}: {kind} = {value!r}",
            )
    for field in msgspec.structs.fields(config):
        if field.default is not msgspec.NODEFAULT:
            _check_default(config, field.name, field.type, field.default, place)


def _is_forgotten(config: type[Config], name: str, value: Any) -> bool:
    """Tell whether something in a class looks like a property without a type."""
    if name.startswith("_") or not isinstance(value, (bool, int, float, str, list, tuple, dict)):
        return False
    return name not in getattr(config, "__annotations__", {})  # those in there are ClassVars


def _check_default(
    config: type[Config], name: str, kind: Any, default: Any, place: Callable[[object], str]
) -> None:
    try:
        msgspec.convert(default, kind, strict=True, dec_hook=_own)
    except msgspec.ValidationError as error:
        hint = _WRITTEN.get(kind, "give the property another type, or another default")
        if default is None:
            hint = f"write {name}: {getattr(kind, '__name__', kind)} | None = None"
        raise PluginError(
            f"{place(config)}: the default {default!r} of {config.__name__}.{name} doesn't fit: "
            f"{error}",
            hint=hint,
        ) from None
    except (TypeError, NotImplementedError):
        return  # a type that only the plugin itself knows


def _own(kind: type[Any], value: Any) -> Any:
    if kind in _WRITTEN:
        if isinstance(value, kind):
            return value
        raise ValueError(f"Expected `{kind.__name__}`, got `{type(value).__name__}`")
    raise NotImplementedError(kind)
