"""Statements with ``{{.column}}`` in them, whose values are bound rather than pasted."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from engine.api import ConfigError, RowError

_PART = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_NAME = re.compile(r"\s*\.([A-Za-z_]\w*)\s*")


class SqlTemplate:
    """The texts around the values of a statement, and the names of the values."""

    def __init__(self, text: str) -> None:
        """Take a statement apart.

        Raises:
            ConfigError: there is something else than ``{{.name}}``, or it stands in quotes.
        """
        self.texts: list[str] = []
        self.names: list[str] = []
        end = 0
        for part in _PART.finditer(text):
            name = _NAME.fullmatch(part[1])
            if name is None:
                hint = "write {{.column}}, where the column is one that the join compares"
                raise ConfigError(f"templateSql: {part[0]} is not supported", hint=hint)
            if text.count("'", 0, part.start()) % 2:
                hint = "write it without quotes: values are bound, not pasted"
                raise ConfigError(f"templateSql: {part[0]} stands in quotes", hint=hint)
            self.texts.append(text[end : part.start()])
            self.names.append(name[1])
            end = part.end()
        self.texts.append(text[end:])

    def arguments(self, values: Mapping[str, Any]) -> list[Any]:
        """Return the values in the order in which they stand in the statement.

        Raises:
            RowError: the join has no value for one of the names.
        """
        missing = [name for name in self.names if name not in values]
        if missing:
            there = ", ".join(values)
            raise RowError(f"templateSql needs {missing[0]}, but the join compares {there}")
        return [values[name] for name in self.names]
