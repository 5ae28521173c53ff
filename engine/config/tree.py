"""Parse events to plain values, with a place for every key and value."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple, TypeAlias

from engine.config.positions import Origin, Positions, Span
from engine.errors import ConfigError

DEEPEST = 100
MOST_ALIASED = 100_000


class Event(NamedTuple):
    """One step of a parser; line and column count from 1.

    ``text`` is a scalar's text as a key, or the name of an alias; ``value`` its value otherwise.
    """

    kind: Literal["scalar", "mapping", "sequence", "end", "alias"]
    line: int
    column: int
    value: Any = None
    text: str = ""
    span: Span | None = None
    anchor: str | None = None


class _Branch(NamedTuple):
    value: Any
    places: Positions
    size: int  # values in it, those behind aliases counted each time


_Anchor: TypeAlias = _Branch | None  # None while the anchored value is still open


def build(events: Iterable[Event], origin: Origin) -> tuple[Any, Positions]:
    """Return the value that the events describe, and its places; None for no events.

    Raises:
        ConfigError: a key is given twice or isn't a scalar, values are nested more than 100 deep,
            or aliases are unknown, circular or multiply the document beyond reason.
    """
    builder = _Builder(origin)
    for event in events:
        builder.feed(event)
    root = builder.root or _Branch(None, Positions(origin, 1, 1), 0)
    return root.value, root.places


class _Open:
    """A mapping or sequence whose end hasn't come yet."""

    def __init__(self, event: Event, origin: Origin) -> None:
        self.event = event
        self.is_mapping = event.kind == "mapping"
        self.items: list[Any] = []
        self.entries: dict[str, Any] = {}
        self.merged: list[_Branch] = []
        self.places = Positions(origin, event.line, event.column)
        self.key: str | None = None
        self.is_merge = False
        self.size = 1


class _Builder:
    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self.open: list[_Open] = []
        self.anchors: dict[str, _Anchor] = {}
        self.aliased = 0
        self.root: _Branch | None = None

    def feed(self, event: Event) -> None:
        top = self.open[-1] if self.open else None
        if event.kind == "end":
            self.close()
        elif top and top.is_mapping and top.key is None:
            self.start_entry(top, event)
        elif event.kind in ("mapping", "sequence"):
            self.start_collection(event)
        else:
            self.add(self.resolve_alias(event) if event.kind == "alias" else self.leaf(event))

    def leaf(self, event: Event) -> _Branch:
        branch = _Branch(
            event.value, Positions(self.origin, event.line, event.column, event.span), 1
        )
        if event.anchor:
            self.anchors[event.anchor] = branch
        return branch

    def resolve_alias(self, event: Event) -> _Branch:
        if event.text not in self.anchors:
            raise self.error(f"the alias *{event.text} has no &{event.text} before it", event)
        branch = self.anchors[event.text]
        if branch is None:
            raise self.error(f"the alias *{event.text} is inside the value it stands for", event)
        self.aliased += branch.size
        if self.aliased > MOST_ALIASED:
            raise self.error("the aliases in this file multiply to too many values", event)
        return branch

    def start_collection(self, event: Event) -> None:
        if len(self.open) >= DEEPEST:
            raise self.error(f"values are nested more than {DEEPEST} deep", event)
        if event.anchor:
            self.anchors[event.anchor] = None
        self.open.append(_Open(event, self.origin))

    def start_entry(self, top: _Open, event: Event) -> None:
        key = self.key_text(event)
        top.is_merge = key == "<<" and event.span is not None and event.span.style == ""
        if key in top.places.keys:
            first = self.origin.position(*top.places.keys[key])
            raise self.error(f"the key {key!r} is given twice; first at {first}", event)
        top.key = key
        top.places.keys[key] = (event.line, event.column)

    def key_text(self, event: Event) -> str:
        if event.kind == "alias":
            value = self.resolve_alias(event).value
            if isinstance(value, str):
                return value
        elif event.kind == "scalar":
            self.leaf(event)
            return event.text
        raise self.error("a key must be a single word or text", event)

    def close(self) -> None:
        done = self.open.pop()
        value: Any = done.items
        if done.is_mapping:
            value = self.merge(done) if done.merged else done.entries
        branch = _Branch(value, done.places, done.size)
        if done.event.anchor:
            self.anchors[done.event.anchor] = branch
        self.add(branch)

    def add(self, branch: _Branch) -> None:
        if not self.open:
            self.root = branch
            return
        top = self.open[-1]
        top.size += branch.size
        if not top.is_mapping:
            top.places.children[len(top.items)] = branch.places
            top.items.append(branch.value)
        elif top.is_merge:
            top.merged.extend(self.merge_sources(top, branch))
        else:
            assert top.key is not None
            top.entries[top.key] = branch.value
            top.places.children[top.key] = branch.places
        top.key = None

    def merge_sources(self, top: _Open, branch: _Branch) -> list[_Branch]:
        items = [branch]
        if isinstance(branch.value, list):
            items = [
                _Branch(item, branch.places.children[index], 0)
                for index, item in enumerate(branch.value)
            ]
        if not all(isinstance(item.value, dict) for item in items):
            line, column = top.places.keys["<<"]
            at = self.origin.position(line, column)
            raise ConfigError("'<<' takes a mapping or a list of mappings", at=at)
        del top.places.keys["<<"]
        return items

    def merge(self, done: _Open) -> dict[str, Any]:
        value: dict[str, Any] = {}
        keys: dict[str, tuple[int, int]] = {}
        children: dict[str | int, Positions] = {}
        for item in reversed(done.merged):
            value.update(item.value)
            keys.update(item.places.keys)
            children.update(item.places.children)
        done.places.keys = {**keys, **done.places.keys}
        done.places.children = {**children, **done.places.children}
        return {**value, **done.entries}

    def error(self, message: str, event: Event) -> ConfigError:
        return ConfigError(message, at=self.origin.position(event.line, event.column))
