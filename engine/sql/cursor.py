"""Stepping through the tokens of a statement, and how the grammar refuses what it finds."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn, TypeVar

from sqlglot import Token, TokenType
from sqlglot import expressions as exp
from sqlglot.parser import Parser as SqlglotParser

from engine.sql.lexer import Refused, shown
from engine.sql.names import is_reserved

_NOT_OFFERED = {
    "DISTINCT": "use deduplicate() or a GROUP BY with a window",
    "UNION": "let two rules write to the same sink",
    "OFFSET": "only LIMIT is there",
    "||": "use concat() for strings",
    "&&": "write AND",
    "==": "write = once",
}

_OPERANDS = (
    TokenType.VAR,
    TokenType.IDENTIFIER,
    TokenType.NUMBER,
    TokenType.STRING,
    TokenType.L_PAREN,
)

N = TypeVar("N", bound=exp.Expr)
T = TypeVar("T")


def placed(node: N, token: Token) -> N:
    """Give a node the place of the token that stands for it."""
    node.meta["start"] = token.start
    return node


class Cursor(SqlglotParser):
    """Steps through tokens; what every part of the grammar needs and how it refuses."""

    def enter(self, tokens: list[Token]) -> None:
        """Start at the first of ``tokens``."""
        self.reset()
        self._nesting = 0
        self._chunks = [tokens]
        self._chunk_index = 0
        self._advance_chunk()

    def _is_word(self, word: str) -> bool:
        return self._curr.token_type is TokenType.VAR and self._curr.text.upper() == word

    def _match_word(self, word: str) -> bool:
        if not self._is_word(word):
            return False
        self._advance()
        return True

    def _expect(self, kind: TokenType, what: str) -> Token:
        if not self._match(kind):
            self._refuse_next(what)
        return self._prev

    def _expect_by(self) -> None:
        if not self._match_word("BY"):
            self._refuse_next("BY")

    def _at_name(self) -> bool:
        kind = self._curr.token_type
        if kind is TokenType.IDENTIFIER:
            return True
        return kind is TokenType.VAR and not is_reserved(self._curr.text)

    def _name(self, what: str) -> exp.Identifier:
        if not self._at_name():
            self._refuse_next(what)
        self._advance()
        token = self._prev
        is_quoted = token.token_type is TokenType.IDENTIFIER
        return placed(exp.Identifier(this=token.text, quoted=is_quoted), token)

    def _list(self, member: Callable[[], T]) -> list[T]:
        members = [member()]
        while self._match(TokenType.COMMA):
            members.append(member())
        return members

    def _expect_end(self) -> None:
        if self._curr:
            text = shown(self._curr)
            self._refuse(f"unexpected {text}", hint=self._hint(self._curr))

    def _refuse(self, message: str, token: Token | None = None, hint: str = "") -> NoReturn:
        place = token or self._curr
        if not place:
            end = self._tokens[-1].end + 1 if self._tokens else 0
            raise Refused(message, end, hint)
        raise Refused(message, place.start, hint)

    def _refuse_next(self, what: str) -> NoReturn:
        hint = self._hint(self._curr)
        self._refuse(f"expected {what}, found {shown(self._curr)}", hint=hint)

    def _hint(self, token: Token) -> str:
        if token.token_type in (TokenType.STRING, TokenType.IDENTIFIER):
            return ""
        before = self._prev.text if self._prev else ""
        word = token.text.upper()
        for text in (word, before.upper(), before + word):
            if text in _NOT_OFFERED:
                return f"there is no {text} here; {_NOT_OFFERED[text]}"
        if before == "," and token.token_type is not TokenType.COMMA and not self._is_name_like():
            return "remove the comma in front of it or complete the list"
        if is_reserved(word) and self._is_name_like():
            return f"{word} is a reserved word; to use it as a name write `{token.text}`"
        return ""

    def _is_name_like(self) -> bool:
        """Tell whether the next word seems meant as a name: no operand follows it."""
        return is_reserved(self._curr.text) and self._next.token_type not in _OPERANDS
