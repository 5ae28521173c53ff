"""Text to syntax tree; each error is a SqlError with the place and, where possible, a remedy."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import TypeVar

from sqlglot import Token, TokenType

from engine.errors import SqlError
from engine.sql.ast import CreateStream, Expr, Select, Statement
from engine.sql.convert import Converter
from engine.sql.ddl import MANAGE_VERBS, DdlParser
from engine.sql.dialect import DIALECT, Parser
from engine.sql.lexer import Refused, shown
from engine.sql.select import to_select
from engine.sql.source import SourceText
from engine.suggest import did_you_mean

T = TypeVar("T")


def parse(text: str, *, file: str = "", line: int = 1, column: int = 1) -> Statement:
    """Return the statement in ``text``.

    Args:
        text: one statement, with or without ``;`` behind it.
        file: the name of the file that holds the text, for messages.
        line: where in the file the text starts.
        column: the column of its first character.

    Raises:
        SqlError: the text is no statement of the dialect.
    """
    source = SourceText(text, file=file, line=line, column=column)
    return _refusing_with_place(source, _statement)


def parse_select(text: str, *, file: str = "", line: int = 1, column: int = 1) -> Select:
    """Return the query in ``text``; see ``parse``."""
    return _query_in(text, file, line, column)


@lru_cache(maxsize=64)
def _query_in(text: str, file: str, line: int, column: int) -> Select:
    """Parse once what is tried first and built then, and built again for each start."""
    source = SourceText(text, file=file, line=line, column=column)
    return _refusing_with_place(source, _select)


def parse_create(text: str, *, file: str = "", line: int = 1, column: int = 1) -> CreateStream:
    """Return the CREATE STREAM or CREATE TABLE in ``text``; see ``parse``."""
    source = SourceText(text, file=file, line=line, column=column)
    return _refusing_with_place(source, _create)


def parse_expression(
    text: str, *, streams: Iterable[str] = (), file: str = "", line: int = 1, column: int = 1
) -> Expr:
    """Return the expression in ``text``; ``streams`` are the names that may qualify a column."""
    source = SourceText(text, file=file, line=line, column=column)
    return _refusing_with_place(source, lambda source: _expression(source, streams))


def _refusing_with_place(source: SourceText, read: Callable[[SourceText], T]) -> T:
    try:
        return read(source)
    except Refused as refused:
        at = source.position(refused.offset)
        raise source.error(refused.message, at, refused.hint) from None
    except RecursionError:
        # The limits on nesting come first, unless the caller's own stack is already deep.
        raise SqlError("the statement nests too deep", at=source.position(0)) from None


def _statement(source: SourceText) -> Statement:
    tokens = _tokens(source)
    first = tokens[0]
    word = first.text.upper() if first.token_type is not TokenType.IDENTIFIER else ""
    if word == "CREATE":
        return DdlParser(tokens, source).create()
    if word in MANAGE_VERBS:
        return DdlParser(tokens, source).manage()
    if first.token_type is TokenType.SELECT:
        return _query(tokens, source)
    verbs = ("SELECT", "CREATE", *MANAGE_VERBS)
    guess = did_you_mean(word, verbs)
    hint = guess or f"statements start with {', '.join(verbs)}"
    raise Refused(f"no statement starts with {shown(first)}", first.start, hint)


def _select(source: SourceText) -> Select:
    return _query(_tokens(source), source)


def _create(source: SourceText) -> CreateStream:
    return DdlParser(_tokens(source), source).create()


def _expression(source: SourceText, streams: Iterable[str]) -> Expr:
    parser = Parser(dialect=DIALECT)
    parser.enter(_tokens(source))
    return Converter(source, streams).argument(parser.parse_expression())


def _query(tokens: list[Token], source: SourceText) -> Select:
    kinds = [token.token_type for token in tokens]
    if TokenType.SEMICOLON in kinds:
        # What follows a semicolon is ignored, as in the reference.
        tokens = tokens[: kinds.index(TokenType.SEMICOLON)]
    parser = Parser(dialect=DIALECT)
    parser.enter(tokens)
    return to_select(parser.parse_query(), source)


def _tokens(source: SourceText) -> list[Token]:
    tokens = DIALECT.tokenize(source.text)
    if not tokens or tokens[0].token_type is TokenType.SEMICOLON:
        raise Refused("there is no statement", 0, hint="write SELECT … FROM …")
    return tokens
