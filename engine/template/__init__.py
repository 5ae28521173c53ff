"""Templates in the language of Go's ``text/template``, with the functions that eKuiper adds.

A template is compiled once to plain functions; it sees data and nothing else, and how much it may
write and do is bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from engine.clock import Clock, SystemClock
from engine.errors import RowError
from engine.template import values
from engine.template.compiler import Compiler, failure, no_field, only_row
from engine.template.functions import MUTATING, Library
from engine.template.lexer import Source
from engine.template.parser import functions_in, parse
from engine.template.problem import TemplateError
from engine.template.scope import State
from engine.template.tree import Action, Node, Path, Pipe, Text

__all__ = ("Render", "TemplateError", "compile_template", "is_template")

Render = Callable[[Any], str]
"""Takes a row, or a list of rows, and returns text; raises ``RowError``.

``.field`` of a list with one row is the field of that row.
"""


def is_template(text: str) -> bool:
    """Tell whether a property is computed for each message."""
    return "{{" in text


def compile_template(text: str, *, clock: Clock | None = None, lenient: bool = False) -> Render:
    """Return a function that fills a template in.

    ``lenient`` writes ``<no value>`` for what is missing or null, as Go does; otherwise that is an
    error of the row: a message to a made-up topic helps nobody. ``clock`` tells the time of
    ``now``.

    Raises:
        TemplateError: the template is malformed.
    """
    source = Source(text)
    nodes = parse(source)
    if (fields := _plain_fields(nodes)) is not None:
        return _filler(source, fields, lenient=lenient)
    compiler = Compiler(source, Library(clock or SystemClock()), lenient=lenient)
    run = compiler.block(nodes)
    slots = compiler.slots
    changes_input = not MUTATING.isdisjoint(functions_in(nodes))

    def render(item: Any) -> str:
        try:
            state = State(values.copied(item) if changes_input else item, slots)
            run(state)
        except RecursionError:
            raise RowError("template: the row is nested too deep") from None
        return state.output

    return render


def _plain_fields(nodes: Sequence[Node]) -> list[str | Path] | None:
    """Return the parts of a template that has only text and fields, None for any other."""
    parts: list[str | Path] = []
    for node in nodes:
        match node:
            case Text(text=text):
                parts.append(text)
            case Action(pipe=Pipe(commands=(Path(names=(_, *_)) as path,), variables=())):
                parts.append(path)
            case _:
                return None
    return parts


def _filler(source: Source, parts: Sequence[str | Path], *, lenient: bool) -> Render:
    """Return what fills in fields: the usual case, done directly."""

    def field(path: Path, row: Any) -> str:
        try:
            value = row
            for name in path.names:
                value = value.get(name) if type(value) is dict else values.field(value, name)
            if type(value) is str:
                return value
            if value is not None:
                return values.text_of(value)
        except (RecursionError, ValueError) as error:
            raise failure(source.place(path.at), "", error) from None
        if lenient:
            return "<no value>"
        raise RowError(f"template {source.place(path.at)}: {no_field(path.names)}", kind="template")

    def render(item: Any) -> str:
        row = item if type(item) is dict else only_row(item)
        return "".join([part if isinstance(part, str) else field(part, row) for part in parts])

    return render
