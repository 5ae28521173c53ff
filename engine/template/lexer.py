"""Template text to tokens: plain text, and what stands between ``{{`` and ``}}``."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from enum import Enum, auto
from typing import NamedTuple

from engine.config.positions import line_and_column
from engine.template.problem import TemplateError

_TOKEN = re.compile(
    r"""
      (?P<field>    \.[^\W\d]\w*)
    | (?P<number>   [+-]?(?:0[xX][\da-fA-F_]+|0[bB][01_]+|0[oO][0-7_]+
                    |(?:\d[\d_]*(?:\.[\d_]*)?|\.\d[\d_]*)(?:[eE][+-]?\d+)?)(?![\w.]))
    | (?P<variable> \$\w*)
    | (?P<name>     [^\W\d]\w*)
    | (?P<string>   "(?:\\.|[^"\\\n])*")
    | (?P<raw>      `[^`]*`)
    | (?P<rune>     '(?:\\[^'\n]+|\\'|[^'\\\n])')
    | (?P<sign>     :=|[().,|=])
    """,
    re.VERBOSE,
)
_SPACE = re.compile(r"\s*")
_CLOSING = re.compile(r"(?:\s+-)?\}\}")
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_ESCAPE = re.compile(r"\\(x[\da-fA-F]{2}|u[\da-fA-F]{4}|U[\da-fA-F]{8}|[0-7]{3}|.)", re.DOTALL)
_ESCAPES = dict(zip("abfnrtv\\'\"", "\a\b\f\n\r\t\v\\'\"", strict=True))


class Kind(Enum):
    """What a token is."""

    TEXT = auto()
    """Plain text between actions."""
    OPEN = auto()
    """``{{``"""
    CLOSE = auto()
    """``}}``"""
    FIELD = auto()
    """``.name``; the value is the name."""
    VARIABLE = auto()
    """``$name``; the value includes the dollar sign."""
    NAME = auto()
    CONSTANT = auto()
    """A number, text or character; the value is the value."""
    SIGN = auto()
    """One of ``. ( ) | , = :=``."""
    END = auto()


class Token(NamedTuple):
    """A token with its place in the text; ``glued`` if no space stands before it."""

    kind: Kind
    value: str | int | float
    at: int
    glued: bool = False


class Source:
    """The text of a template, for saying where something is wrong with it."""

    def __init__(self, text: str) -> None:
        self.text = text

    def place(self, at: int) -> str:
        """Return line and column of an offset, as in ``2:5``."""
        line, column = line_and_column(self.text, at)
        return f"{line}:{column}"

    def error(self, problem: str, at: int, hint: str = "") -> TemplateError:
        """Return the error for what stands at an offset."""
        line, column = line_and_column(self.text, at)
        return TemplateError(problem, line=line, column=column, hint=hint)


def tokens(source: Source) -> Iterator[Token]:
    """Yield the tokens of a template; comments and trimmed spaces are gone.

    Raises:
        TemplateError: something isn't a token.
    """
    text = source.text
    position = 0
    trims = False
    while True:
        start = text.find("{{", position)
        plain = text[position:] if start < 0 else text[position:start]
        if trims:
            plain = plain.lstrip()
        if start < 0:
            if plain:
                yield Token(Kind.TEXT, plain, position)
            yield Token(Kind.END, "", len(text))
            return
        inside = start + 2
        if text.startswith("-", inside) and text[inside + 1 : inside + 2].isspace():
            plain = plain.rstrip()
            inside += 1
        if plain:
            yield Token(Kind.TEXT, plain, position)
        position, trims = yield from _action(source, start, inside)


def _action(source: Source, start: int, inside: int) -> Generator[Token, None, tuple[int, bool]]:
    """Yield the tokens of one action; returns where it ends and whether it trims what follows."""
    text = source.text
    if text.startswith("/*", _after_spaces(text, inside)):
        return _comment_end(source, start, _after_spaces(text, inside))
    yield Token(Kind.OPEN, "{{", start)
    position = inside
    while True:
        at = _after_spaces(text, position)
        closing = _CLOSING.match(text, position) or _CLOSING.match(text, at)
        if closing is not None:
            yield Token(Kind.CLOSE, "}}", closing.start())
            return closing.end(), closing[0] != "}}"
        if at == len(text):
            raise source.error("'{{' without '}}'", start)
        found = _TOKEN.match(text, at)
        if found is None:
            raise _no_token(source, start, at)
        yield _token(source, found, glued=at == position)
        position = found.end()


def _after_spaces(text: str, position: int) -> int:
    found = _SPACE.match(text, position)
    return found.end() if found else position


def _comment_end(source: Source, start: int, at: int) -> tuple[int, bool]:
    comment = _COMMENT.match(source.text, at)
    if comment is None:
        raise source.error("the comment isn't closed", start, "comments end with */}}")
    closing = _CLOSING.match(source.text, comment.end())
    if closing is None:
        raise source.error("a comment must be alone between '{{' and '}}'", start)
    return closing.end(), closing[0] != "}}"


def _no_token(source: Source, start: int, at: int) -> TemplateError:
    character = source.text[at]
    if "}}" not in source.text[at:]:
        return source.error("'{{' without '}}'", start)
    if character in "\"`'":
        return source.error(f"the text that begins with {character} isn't closed", at)
    if character.isdigit() or (character in "+-." and source.text[at + 1 : at + 2].isdigit()):
        return source.error("malformed number", at)
    if character in "+-*/%<>!&":
        hint = "operators are functions here: add 1 2, eq .a .b, not .a, and .a .b"
        return source.error(f"unexpected {character!r}", at, hint)
    return source.error(f"unexpected {character!r}", at)


def _token(source: Source, found: re.Match[str], *, glued: bool) -> Token:
    group, text, at = found.lastgroup, found[0], found.start()
    if group == "field":
        return Token(Kind.FIELD, text[1:], at, glued)
    if group == "variable":
        return Token(Kind.VARIABLE, text, at, glued)
    if group == "name":
        return Token(Kind.NAME, text, at, glued)
    if group == "sign":
        return Token(Kind.SIGN, text, at, glued)
    return Token(Kind.CONSTANT, _constant(source, group or "", text, at), at, glued)


def _constant(source: Source, group: str, text: str, at: int) -> str | int | float:
    if group == "raw":
        return text[1:-1]
    if group == "number":
        return _number(source, text, at)
    value = _unescaped(source, text[1:-1], at + 1)
    if group == "string":
        return value
    if len(value) != 1:
        raise source.error("a character constant holds one character", at)
    return ord(value)


def _number(source: Source, text: str, at: int) -> int | float:
    try:
        if text.lstrip("+-")[:2].lower() in ("0x", "0b", "0o"):
            return int(text, 0)
        if text.lstrip("+-").replace("_", "").isdecimal():
            return int(text)
        return float(text)
    except ValueError:
        raise source.error("malformed number", at) from None


def _unescaped(source: Source, text: str, at: int) -> str:
    def replace(found: re.Match[str]) -> str:
        code = found[1]
        if code in _ESCAPES:
            return _ESCAPES[code]
        try:
            if code[0] in "xuU" and len(code) > 1:
                return chr(int(code[1:], 16))
            if len(code) > 1:
                return chr(int(code, 8))
        except (ValueError, OverflowError):
            pass
        raise source.error(f"unknown escape \\{code}", at + found.start(), "write \\\\ for \\")

    return _ESCAPE.sub(replace, text)
