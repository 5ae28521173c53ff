"""The streams and tables of a query, and what the names of columns in it mean."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from engine.errors import SqlError
from engine.sql.ast import Alias, Column, Expr, Input, MetaValue, Node, Star
from engine.sql.schema import Schema
from engine.sql.source import SourceText
from engine.sql.walk import children
from engine.suggest import did_you_mean


@dataclass(frozen=True, slots=True)
class Relation:
    """One stream or table in FROM or JOIN."""

    label: str
    """Its name in the query, which is what bound columns carry."""
    stream: str
    schema: Schema
    role: str
    """"stream", "scan" (a table whose rows are kept) or "lookup" (one that is asked)."""

    def may_have(self, column: str) -> bool:
        """Tell whether it can have a column; without a schema it can have any."""
        return not self.schema or column in self.schema


class Relations:
    """All streams and tables of one query, in the order of the text."""

    def __init__(
        self,
        source: SourceText,
        inputs: Sequence[Input],
        schemas: Mapping[str, Schema],
        tables: Mapping[str, str],
    ) -> None:
        """``tables`` are the roles of those among ``schemas`` that are no streams.

        Raises:
            SqlError: a stream is unknown or two have the same name.
        """
        self._source = source
        self._all: list[Relation] = []
        for node in inputs:
            if node.name not in schemas:
                known = ", ".join(sorted(schemas)) or "none"
                hint = did_you_mean(node.name, schemas) or f"streams defined: {known}"
                self._fail(node, f"unknown stream {node.name}", hint)
            label = node.alias or node.name
            if any(label == other.label for other in self._all):
                hint = "give each a name of its own with AS"
                self._fail(node, f"{label} stands twice in FROM and JOIN", hint)
            role = tables.get(node.name, "stream")
            self._all.append(Relation(label, node.name, schemas[node.name], role))

    def __iter__(self) -> Iterator[Relation]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    @property
    def first(self) -> Relation:
        return self._all[0]

    @property
    def has_schema(self) -> bool:
        """Whether all columns are declared."""
        return all(relation.schema for relation in self._all)

    def labelled(self, label: str) -> Relation:
        """Return the relation that bound columns call ``label``."""
        return next(relation for relation in self._all if relation.label == label)

    def qualified(self, node: Node, name: str) -> Relation:
        """Return what a qualifier means: a name given by AS, else that of the stream.

        Raises:
            SqlError: there is no such stream in the query, or it stands in it twice.
        """
        found = [r for r in self._all if r.label == name] or [
            r for r in self._all if r.stream == name
        ]
        if len(found) == 1:
            return found[0]
        labels = [relation.label for relation in self._all]
        if found:
            self._fail(node, f"{name} can mean {' or '.join(r.label for r in found)}")
        hint = did_you_mean(name, labels) or f"there are {', '.join(labels)}"
        raise self.error(node, f"stream {name} not found in FROM", hint)

    def column(self, column: Column) -> Column:
        """Return a column with the label of its stream, "" if only the rows can tell.

        Raises:
            SqlError: no stream has it, or several declare it.
        """
        if column.stream:
            relation = self.qualified(column, column.stream)
            if not relation.may_have(column.name):
                self._unknown(column, relation.schema.names)
            return Column(name=column.name, stream=relation.label, at=column.at)
        possible = [relation for relation in self._all if relation.may_have(column.name)]
        declaring = [relation for relation in possible if relation.schema]
        if not possible:
            names = [name for relation in self._all for name in relation.schema.names]
            self._unknown(column, names)
        if len(declaring) > 1:
            hint = f"write {declaring[0].label}.{column.name}"
            self._fail(column, f"several streams have a field {column.name}", hint)
        label = possible[0].label if len(possible) == 1 else ""
        return Column(name=column.name, stream=label, at=column.at)

    def _unknown(self, column: Column, names: Sequence[str]) -> NoReturn:
        self._fail(column, f"unknown field {column.name}", did_you_mean(column.name, names))

    def _fail(self, node: Node, message: str, hint: str = "") -> NoReturn:
        raise self.error(node, message, hint)

    def error(self, node: Node, message: str, hint: str = "") -> SqlError:
        """Return an error at the place of a node."""
        at = node.at or next((child.at for child in children(node) if child.at), None)
        return self._source.error(message, at, hint)


def streams_of(node: Node, items: Sequence[Expr]) -> frozenset[str]:
    """Return the labels of the streams whose columns an expression reads, also by aliases.

    ``items`` are the expressions of SELECT.
    """
    found: set[str] = set()
    pending: list[Node] = [node]
    while pending:
        part = pending.pop()
        if isinstance(part, (Column, MetaValue, Star)):
            found.add(part.stream)
        elif isinstance(part, Alias):
            pending.append(items[part.index])
        pending.extend(children(part))
    return frozenset(found)
