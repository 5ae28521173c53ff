"""Properties of a sink that are computed for each message."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from engine.api import Config, Template
from engine.clock import Clock
from engine.errors import ConfigError
from engine.template import Render, compile_template, is_template

Compute = Callable[[Any], Any]
"""Takes a row or a list of rows and returns a text, or texts by name; raises ``RowError``."""


def templates_of(config: Config) -> Iterator[tuple[tuple[str, ...], Template]]:
    """Yield the templates of a configuration and their path in the file.

    These are the values with ``{{…}}`` in fields of type ``Template`` or ``dict[str, Template]``.
    """
    fields = zip(config.__struct_fields__, config.__struct_encode_fields__, strict=True)
    for name, key in fields:
        value = getattr(config, name)
        if isinstance(value, Mapping):
            for item_key, item in value.items():
                if _is_dynamic(item):
                    yield (key, str(item_key)), item
        elif _is_dynamic(value):
            yield (key,), value


def dynamic_properties(config: Config, clock: Clock) -> dict[str, Compute]:
    """Return what computes a property for each message, by its name in the file.

    Raises:
        ConfigError: a template is malformed.
    """
    names = dict(zip(config.__struct_encode_fields__, config.__struct_fields__, strict=True))
    found: dict[str, Compute] = {}
    members: dict[str, dict[str, Render]] = {}
    for path, text in templates_of(config):
        render = _compiled(path, text, clock)
        if len(path) == 1:
            found[path[0]] = render
        else:
            members.setdefault(path[0], {})[path[1]] = render
    for key, renders in members.items():
        found[key] = _mapping(getattr(config, names[key]), renders)
    return found


def _is_dynamic(value: Any) -> bool:
    return isinstance(value, Template) and is_template(value)


def _mapping(fixed: Mapping[str, Any], renders: Mapping[str, Render]) -> Compute:
    return lambda item: {**fixed, **{name: render(item) for name, render in renders.items()}}


def _compiled(path: tuple[str, ...], text: str, clock: Clock) -> Render:
    try:
        return compile_template(text, clock=clock)
    except ConfigError as error:
        error.message = f"{'.'.join(path)}: {error.message}"
        raise
