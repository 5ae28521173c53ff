"""The values of a query's expressions, for a row or for a group of rows."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any

from engine.sql import ast
from engine.sql.functions import builtins
from engine.sql.infer import StaticKinds
from engine.sql.kinds import Kind
from engine.sql.operators import truth
from tests.conformance.model.rows import Unsupported
from tests.interpreter import Interpreter

WINDOW_VALUES = {"window_start": 0, "window_end": 1, "window_trigger": 1}
"""Functions of the window, by the place of their value in (start, end)."""


class Scope(Interpreter):
    """Evaluates expressions in which names are not bound yet."""

    def __init__(
        self,
        select: ast.Select,
        kinds: Mapping[tuple[str, str], Kind],
        row: Mapping[str, Any],
        *,
        window: tuple[int, int] | None = None,
        time: int | None = None,
        calls: Mapping[int, Callable[[], Any]] | None = None,
    ) -> None:
        """``calls`` computes those calls, by their ``id``, that need more than this row."""
        super().__init__(select.items, dict(row))
        self._kinds = StaticKinds(kinds, select.items, builtins())
        self._aliases = {item.alias: item.expr for item in select.items if item.alias}
        self._window = window
        self._time = time
        self._calls = calls or {}
        self._defining: list[str] = []

    def item(self, item: ast.Item) -> Any:
        """Return the value of an item of SELECT; its own name in it is the column."""
        return self.value_in(item.alias, item.expr)

    def value_in(self, alias: str, node: ast.Expr) -> Any:
        """Return the value of a node in the item that defines an alias, if any."""
        self._defining.append(alias)
        try:
            return self.value(node)
        finally:
            self._defining.pop()

    def value(self, node: Any) -> Any:
        match node:
            case ast.Column(name=name, stream=""):
                if name not in self._aliases or name in self._defining:
                    return self._row.get(name)
                return self.item(ast.Item(expr=self._aliases[name], name=name, alias=name))
            case ast.Call():
                return self._call(node)
            case ast.Star(excluded=excluded, replaced=replaced):
                kept = {name: value for name, value in self._row.items() if name not in excluded}
                return {**kept, **{entry.name: self.value(entry.expr) for entry in replaced}}
        return super().value(node)

    def is_true(self, condition: ast.Expr | None) -> bool:
        """Tell whether a condition holds; null is false, none at all is true.

        Raises:
            RowError: it is no boolean.
        """
        return condition is None or bool(truth(self.value(condition)))

    def provide(self, call: ast.Call, value: Any) -> None:
        """Let a call have a value."""
        self._calls = {**self._calls, id(call): lambda: value}

    def has_null(self, node: ast.Expr) -> bool:
        """Tell whether a node is a column that is there and is null."""
        return isinstance(node, ast.Column) and self._row.get(node.name, 0) is None

    def _call(self, node: ast.Call) -> Any:
        known = self._calls.get(id(node))
        if known is not None:
            return known()
        name = node.name.lower()
        if name in WINDOW_VALUES:
            return None if self._window is None else self._window[WINDOW_VALUES[name]]
        if name == "event_time" and self._time is not None:
            return self._time
        spec = builtins().get(node.name)
        if spec is None or spec.kind != "scalar" or not spec.stateless or spec.wants_context:
            raise Unsupported(node.name)
        if name in ("meta", "mqtt") or spec.category == "datetime":  # they need more than the row
            raise Unsupported(node.name)
        return super().value(node)


def key_of(value: Any) -> Hashable:
    """Return what a value is grouped by: 1 and 1.0 are the same, "1" and true are not."""
    if isinstance(value, dict):
        return ("object", tuple(sorted((name, key_of(item)) for name, item in value.items())))
    if isinstance(value, (list, tuple)):
        return ("list", tuple(map(key_of, value)))
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return ("number" if is_number else type(value).__name__, value)
