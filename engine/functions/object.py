"""Functions of objects (function catalogue, section 7); keys keep the order that they came in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from engine.errors import ConfigError, RowError
from engine.sql.functions import Nulls, scalar
from engine.sql.kinds import kind_of
from engine.sql.text import to_text

# -- parts of an object --------------------------------------------------------------------------


@scalar(example="keys(object_construct('a', 1, 'b', 2)) = array_create('a', 'b')")
def keys(value: dict[str, Any]) -> list[Any]:
    """Return the keys of an object."""
    return list(value)


@scalar(example="values(object_construct('a', 1, 'b', 2)) = array_create(1, 2)")
def values(value: dict[str, Any]) -> list[Any]:
    """Return the values of an object, in the order of its keys."""
    return list(value.values())


@scalar(example="items(object_construct('a', 1)) = array_create(array_create('a', 1))")
def items(value: dict[str, Any]) -> list[Any]:
    """Return a list ``[key, value]`` for each key of an object."""
    return [list(item) for item in value.items()]


@scalar(example="obj_to_kvpair_array(object_construct('a', 1))")
def obj_to_kvpair_array(value: dict[str, Any]) -> list[Any]:
    """Return an object with ``key`` and ``value`` for each key of an object."""
    return [{"key": key, "value": item} for key, item in value.items()]


@scalar(example="object_size(object_construct('a', 1)) = 1", nulls=Nulls.PASS)
def object_size(value: dict[str, Any] | None) -> int:
    """Return the number of keys, 0 for null."""
    return 0 if value is None else len(value)


# -- making objects ------------------------------------------------------------------------------


@scalar(
    example="object(array_create('a', 'b'), array_create(1, 2)) = object_construct('a', 1, 'b', 2)"
)
def object_(keys: list[Any], values: list[Any]) -> dict[str, Any]:
    """Return an object of a list of keys and a list of as many values."""
    if len(keys) != len(values):
        raise RowError(f"object: {len(keys)} keys don't go with {len(values)} values")
    return _from_pairs("object", zip(keys, values, strict=True))


@scalar(name="zip", example="zip(items(object_construct('a', 1))) = object_construct('a', 1)")
def zip_entries(entries: list[Any]) -> dict[str, Any]:
    """Return an object of a list of lists ``[key, value]``; nulls among them are left out."""
    present = [entry for entry in entries if entry is not None]
    if not all(isinstance(entry, (list, tuple)) and len(entry) == 2 for entry in present):
        raise RowError("zip: each entry must be a list of a key and a value")
    return _from_pairs("zip", present)


def _from_pairs(function: str, pairs: Iterable[Sequence[Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        result[_key(function, key)] = value
    return result


def _key(function: str, key: Any) -> str:
    if isinstance(key, str):
        return key
    if isinstance(key, bytes):
        return to_text(key)
    raise RowError(f"{function}: a key must be a string, not {kind_of(key)}")


def _check_pairs(args: Sequence[object]) -> None:
    if len(args) % 2:
        raise ConfigError("the last key has no value", hint="write object_construct(key, value, …)")
    for key in args[::2]:
        if not (key is ... or key is None or isinstance(key, str)):
            raise ConfigError(f"a key must be a string, not {kind_of(key)}")


@scalar(
    example="object_construct('a', 1)->a = 1",
    nulls=Nulls.PASS,
    validate=_check_pairs,
)
def object_construct(*pairs: Any) -> dict[str, Any]:
    """Return an object of keys, each with its value; a null key is left out with its value."""
    present = zip(pairs[::2], pairs[1::2], strict=True)
    return _from_pairs(
        "object_construct", [(key, value) for key, value in present if key is not None]
    )


@scalar(
    example="object_concat(object_construct('a', 1), object_construct('a', 2))->a = 2",
    nulls=Nulls.PASS,
)
def object_concat(
    first: dict[str, Any], second: dict[str, Any], *others: dict[str, Any]
) -> dict[str, Any]:
    """Return an object with the keys of all; later ones win, null adds nothing."""
    result: dict[str, Any] = {}
    for value in (first, second, *others):
        result.update(value or {})
    return result


# -- choosing keys -------------------------------------------------------------------------------


@scalar(example="keys(erase(object_construct('a', 1, 'b', 2), 'a')) = array_create('b')")
def erase(value: dict[str, Any], keys: Any) -> dict[str, Any]:
    """Return an object without a key, or without all keys in a list."""
    if isinstance(keys, str):
        unwanted = {keys}
    elif isinstance(keys, (list, tuple)):
        unwanted = set(map(to_text, keys))
    else:
        raise RowError(f"erase: keys must be a string or a list, not {kind_of(keys)}")
    return {key: item for key, item in value.items() if key not in unwanted}


@scalar(
    example="keys(object_pick(object_construct('a', 1, 'b', 2), 'a')) = array_create('a')",
    nulls=Nulls.PASS,
    may_be_null=True,
)
def object_pick(value: dict[str, Any], keys: Any, *more: Any) -> dict[str, Any] | None:
    """Return an object with only the given keys, or only those in a list.

    A key with dots is a path: ``'a.b'`` gives an object ``a`` with only its ``b``.
    """
    if value is None:
        return None
    names: Sequence[Any] = (keys, *more)
    if not more and isinstance(keys, (list, tuple)):
        names = keys
    elif any(isinstance(name, (list, tuple)) for name in names):
        raise RowError("object_pick: keys must be strings or one list")
    return dict(_picked(value, _tree(name for name in names if isinstance(name, str))))


_Tree = dict[str, "_Tree | None"]
"""What to pick by key: None for all of it, else what to pick inside."""


def _tree(paths: Iterable[str]) -> _Tree:
    tree: _Tree = {}
    for path in paths:
        *parents, last = path.split(".")
        node: _Tree | None = tree
        for name in parents:
            if node is not None:
                node = node.setdefault(name, {})
        if node is not None:
            node[last] = None
    return tree


def _picked(value: Mapping[str, Any], tree: _Tree) -> Iterator[tuple[str, Any]]:
    for name, inner in tree.items():
        if name not in value:
            continue
        if inner is None:
            yield name, value[name]
        elif isinstance(value[name], dict) and (found := dict(_picked(value[name], inner))):
            yield name, found
