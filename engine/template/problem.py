"""The error of a template that can't be compiled, placed within the template."""

from __future__ import annotations

from engine.config.positions import Positions
from engine.errors import ConfigError


class TemplateError(ConfigError):
    """A template is malformed. ``line`` and ``column`` count in its text, from 1."""

    def __init__(self, problem: str, *, line: int, column: int, hint: str = "") -> None:
        super().__init__(f"template {line}:{column}: {problem}", hint=hint)
        self.line = line
        self.column = column

    def place(self, text: Positions) -> None:
        """Say where in a file this is, if ``text`` knows the place of the template there."""
        self.at = self.at or text.inside(self.line, self.column)
