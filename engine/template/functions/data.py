"""Lists and objects. New ones are made, except by ``set``, ``unset`` and ``merge``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from engine.template.values import (
    argument_text,
    checked_length,
    elements,
    is_same,
    mapping,
    text_of,
    weigh,
    whole,
)

_MOST_COMPARED = 1000
"""Elements of a list in which each is compared with each."""


def _list(*values: Any) -> list[Any]:
    return list(values)


def _first(values: Any) -> Any:
    items = elements(values)
    return items[0] if items else None


def _last(values: Any) -> Any:
    items = elements(values)
    return items[-1] if items else None


def _rest(values: Any) -> list[Any]:
    return elements(values)[1:]


def _initial(values: Any) -> list[Any]:
    return elements(values)[:-1]


def _append(values: Any, value: Any) -> list[Any]:
    return _concat(values, [value])


def _prepend(values: Any, value: Any) -> list[Any]:
    return _concat([value], values)


def _concat(*lists: Any) -> list[Any]:
    checked_length(sum(len(elements(values)) for values in lists), "elements")
    return [item for values in lists for item in values]


def _reverse(values: Any) -> list[Any]:
    return elements(values)[::-1]


def _compact(values: Any) -> list[Any]:
    """A list without its empty elements."""
    return [item for item in elements(values) if item]


def _uniq(values: Any) -> list[Any]:
    found: list[Any] = []
    for item in _comparable(values):
        if not _is_in(item, found):
            found.append(item)
    return found


def _without(values: Any, *unwanted: Any) -> list[Any]:
    return [item for item in _comparable(values) if not _is_in(item, unwanted)]


def _has(value: Any, values: Any) -> bool:
    return _is_in(value, _comparable(values))


def _comparable(values: Any) -> list[Any]:
    items = elements(values)
    if len(items) > _MOST_COMPARED:
        raise ValueError(f"more than {_MOST_COMPARED} elements to compare")
    return items


def _is_in(value: Any, values: Sequence[Any]) -> bool:
    return any(is_same(value, other) for other in values)


def _sort_alpha(values: Any) -> list[str]:
    weigh(values)
    return sorted(text_of(value) for value in elements(values))


def _dict(*pairs: Any) -> dict[str, Any]:
    """An object of names and values in turn; a last name without value has an empty text."""
    padded = (*pairs, "") if len(pairs) % 2 else pairs
    return {
        argument_text(name): value for name, value in zip(padded[::2], padded[1::2], strict=True)
    }


def _get(owner: Any, name: Any) -> Any:
    """A field of an object, an empty text if it is missing."""
    return mapping(owner).get(argument_text(name), "")


def _set(owner: Any, name: Any, value: Any) -> dict[str, Any]:
    target = mapping(owner)
    target[argument_text(name)] = value
    return target


def _unset(owner: Any, name: Any) -> dict[str, Any]:
    target = mapping(owner)
    target.pop(argument_text(name), None)
    return target


def _merge(target: Any, *others: Any) -> dict[str, Any]:
    """An object with the fields of others that it doesn't have."""
    merged = mapping(target)
    for other in others:
        for name, value in mapping(other).items():
            merged.setdefault(name, value)
    return merged


def _has_key(owner: Any, name: Any) -> bool:
    return argument_text(name) in mapping(owner)


def _pluck(name: Any, *owners: Any) -> list[Any]:
    """The field of that name of each object that has it."""
    key = argument_text(name)
    return [owner[key] for owner in map(mapping, owners) if key in owner]


def _keys(*owners: Any) -> list[str]:
    return [name for owner in owners for name in sorted(mapping(owner))]


def _values(owner: Any) -> list[Any]:
    fields = mapping(owner)
    return [fields[name] for name in sorted(fields)]


def _pick(owner: Any, *names: Any) -> dict[str, Any]:
    fields = mapping(owner)
    return {name: fields[name] for name in map(argument_text, names) if name in fields}


def _omit(owner: Any, *names: Any) -> dict[str, Any]:
    unwanted = set(map(argument_text, names))
    return {name: value for name, value in mapping(owner).items() if name not in unwanted}


def _dig(*path: Any) -> Any:
    """The value below some names of an object, which comes last; before it, what if it's missing.

    ``dig "a" "b" "nothing" .`` is ``.a.b``, or "nothing".
    """
    if len(path) < 3:
        raise ValueError("dig takes names, a default and an object")
    *names, fallback, value = path
    for name in map(argument_text, names):
        if not isinstance(value, dict) or name not in value:
            return fallback
        value = value[name]
    return value


def _chunk(size: Any, values: Any) -> list[list[Any]]:
    width, items = whole(size), elements(values)
    if width < 1:
        raise ValueError("a part needs one element at least")
    return [items[start : start + width] for start in range(0, len(items), width)]


DATA: dict[str, Callable[..., Any]] = {
    "list": _list,
    "tuple": _list,
    "first": _first,
    "last": _last,
    "rest": _rest,
    "initial": _initial,
    "append": _append,
    "push": _append,
    "prepend": _prepend,
    "concat": _concat,
    "reverse": _reverse,
    "compact": _compact,
    "uniq": _uniq,
    "without": _without,
    "has": _has,
    "sortAlpha": _sort_alpha,
    "chunk": _chunk,
    "dict": _dict,
    "get": _get,
    "set": _set,
    "unset": _unset,
    "merge": _merge,
    "hasKey": _has_key,
    "pluck": _pluck,
    "keys": _keys,
    "values": _values,
    "pick": _pick,
    "omit": _omit,
    "dig": _dig,
}
