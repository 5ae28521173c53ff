"""Statements about streams and tables: CREATE, SHOW, DESCRIBE, EXPLAIN and DROP."""

from __future__ import annotations

import re

from sqlglot import Token, TokenType
from sqlglot import expressions as exp

from engine.sql import ast
from engine.sql.convert import number
from engine.sql.cursor import Cursor, placed
from engine.sql.dialect import DIALECT
from engine.sql.names import is_reserved
from engine.sql.source import SourceText
from engine.suggest import did_you_mean

MANAGE_VERBS = ("SHOW", "DESCRIBE", "EXPLAIN", "DROP")

_SCALARS = ("BIGINT", "FLOAT", "STRING", "DATETIME", "BOOLEAN", "BYTEA")
_TYPES = (*_SCALARS, "ARRAY", "STRUCT")
_TEXT_OPTIONS = (
    "DATASOURCE",
    "FORMAT",
    "SCHEMAID",
    "DELIMITER",
    "TYPE",
    "CONF_KEY",
    "EXTRA",
    "KEY",
    "TIMESTAMP",
    "TIMESTAMP_FORMAT",
    "RETAIN_SIZE",
    "KIND",
    "VERSION",
    "OVERFLOW",
)
_SWITCHES = ("STRICT_VALIDATION", "SHARED", "TEMP")
_OPTIONS = (*_TEXT_OPTIONS, *_SWITCHES)
_STREAM_NAME = re.compile(r"[A-Za-z0-9_-]+")
_MAX_TYPE_DEPTH = 64


class DdlParser(Cursor):
    """Reads one statement from its tokens, straight into the syntax tree."""

    def __init__(self, tokens: list[Token], source: SourceText) -> None:
        super().__init__(dialect=DIALECT)
        self._source = source
        self._type_depth = 0
        self.enter(tokens)

    def create(self) -> ast.CreateStream:
        """Read CREATE STREAM or CREATE TABLE."""
        start = self._keyword(("CREATE",))
        kind = self._keyword(("STREAM", "TABLE"))
        name = self._stream_name()
        fields = self._fields()
        if not self._match_word("WITH"):
            self._refuse_next('WITH ( and options such as DATASOURCE="topic"')
        options = self._options()
        self._expect_statement_end()
        return ast.CreateStream(
            kind=kind.text.upper(),
            name=name,
            fields=fields,
            options=options,
            at=self._source.position(start.start),
        )

    def manage(self) -> ast.Manage:
        """Read SHOW, DESCRIBE, EXPLAIN or DROP."""
        start = self._keyword(MANAGE_VERBS)
        verb = start.text.upper()
        if verb == "SHOW":
            kind, name = self._keyword(("STREAMS", "TABLES")).text.upper()[:-1], ""
        else:
            kind = self._keyword(("STREAM", "TABLE")).text.upper()
            name = self._stream_name()
        self._expect_statement_end()
        at = self._source.position(start.start)
        return ast.Manage(verb=verb, kind=kind, name=name, at=at)

    def _keyword(self, words: tuple[str, ...]) -> Token:
        if self._curr.token_type is not TokenType.VAR or self._curr.text.upper() not in words:
            self._refuse_next(" or ".join(words))
        self._advance()
        return self._prev

    def _expect_statement_end(self) -> None:
        self._match(TokenType.SEMICOLON)
        self._expect_end()

    def _stream_name(self) -> str:
        token = self._curr
        name: str = self._name("a name").name
        if not _STREAM_NAME.fullmatch(name):
            hint = "letters, digits, _ and - can stand in it"
            self._refuse(f"{name!r} can't name a stream or table", token, hint)
        if self._curr.token_type in (TokenType.DASH, TokenType.SLASH):
            hint = "letters, digits, _ and - can stand in it; write one with - in backticks"
            self._refuse(f"{self._curr.text!r} can't stand in a name", hint=hint)
        return name

    def _fields(self) -> tuple[ast.FieldDef, ...]:
        hint = "write () for a stream without a schema"
        if not self._match(TokenType.L_PAREN):
            self._refuse("expected ( and the columns", hint=hint)
        fields: dict[str, ast.FieldDef] = {}
        while not self._match(TokenType.R_PAREN):
            field = self._field()
            # The last declaration of a column wins, as in the reference.
            fields[field.name] = field
            if not self._match(TokenType.COMMA) and self._curr.token_type is not TokenType.R_PAREN:
                self._refuse_next("a comma or )")
        return tuple(fields.values())

    def _field(self) -> ast.FieldDef:
        at = self._source.position(self._curr.start) if self._curr else None
        name: str = self._name("a column or )").name
        type_ = self._field_type()
        if not self._match(TokenType.DEFAULT):
            return ast.FieldDef(name=name, type=type_, at=at)
        value = self._default(type_)
        return ast.FieldDef(name=name, type=type_, default=value, has_default=True, at=at)

    def _field_type(self) -> ast.Type:
        token = self._curr
        word = token.text.upper() if token.token_type is TokenType.VAR else ""
        if word not in _TYPES:
            if not word or is_reserved(word):
                self._refuse_next(f"a type ({', '.join(_TYPES)})")
            message = f"there is no type {token.text}"
            self._refuse(message, hint=_choices(token.text, _TYPES))
        self._advance()
        at = self._source.position(token.start)
        if word in _SCALARS:
            return ast.ScalarType(name=word, at=at)
        self._type_depth += 1
        if self._type_depth > _MAX_TYPE_DEPTH:
            self._refuse(f"types nest more than {_MAX_TYPE_DEPTH} deep", token)
        self._expect(TokenType.L_PAREN, f"( after {word}")
        if word == "ARRAY":
            type_: ast.Type = ast.ArrayType(element=self._field_type(), at=at)
        else:
            members = {field.name: field for field in self._list(self._field)}
            type_ = ast.StructType(fields=tuple(members.values()), at=at)
        self._expect(TokenType.R_PAREN, ")")
        self._type_depth -= 1
        return type_

    def _default(self, type_: ast.Type) -> int | float | str | bool:
        token = self._curr
        type_name = type_.name if isinstance(type_, ast.ScalarType) else type(type_).__name__
        if type_name not in ("BIGINT", "FLOAT", "STRING", "BOOLEAN"):
            hint = "DEFAULT goes with BIGINT, FLOAT, STRING and BOOLEAN"
            self._refuse("a column of this type has no DEFAULT", self._prev, hint)
        value = self._literal()
        if type_name == "FLOAT" and type(value) is int:
            return float(value)
        if type(value) is not {"BIGINT": int, "FLOAT": float, "STRING": str}.get(type_name, bool):
            self._refuse(f"this DEFAULT is not a {type_name}", token)
        return value

    def _literal(self) -> int | float | str | bool:
        sign = -1 if self._match(TokenType.DASH) else 1
        token = self._curr
        self._advance()
        if token.token_type is TokenType.NUMBER:
            return number(placed(exp.Literal(this=token.text, is_string=False), token), sign)
        if sign > 0 and token.token_type is TokenType.STRING:
            return token.text
        if sign > 0 and token.token_type in (TokenType.TRUE, TokenType.FALSE):
            return token.token_type is TokenType.TRUE
        return self._refuse("DEFAULT takes a number, a string, TRUE or FALSE", token)

    def _options(self) -> dict[str, str]:
        self._expect(TokenType.L_PAREN, "( after WITH")
        options: dict[str, str] = {}
        while not self._match(TokenType.R_PAREN):
            name = self._option_name()
            self._expect(TokenType.EQ, f"= after {name}")
            options[name] = self._option_value(name)
            self._match(TokenType.COMMA)
        return options

    def _option_name(self) -> str:
        token = self._curr
        if token.token_type is not TokenType.VAR:
            self._refuse_next("an option or )")
        name = token.text.upper()
        if name not in _OPTIONS:
            message = f"there is no option {token.text}"
            self._refuse(message, hint=_choices(token.text, _OPTIONS))
        self._advance()
        return name

    def _option_value(self, name: str) -> str:
        token = self._curr
        self._advance()
        is_text = token.token_type is TokenType.STRING
        if name in _SWITCHES:
            word = token.text.lower()
            if word not in ("true", "false") or token.token_type is TokenType.IDENTIFIER:
                self._refuse(f"{name} is TRUE or FALSE", token)
            return word
        if not is_text:
            example = token.text if token else "…"
            self._refuse(f"{name} takes a string", token, f'write {name}="{example}"')
        if name == "RETAIN_SIZE" and not (token.text.isascii() and token.text.isdigit()):
            self._refuse(f"{name} takes a whole number in quotes", token, f'write {name}="10"')
        return token.text


def _choices(word: str, accepted: tuple[str, ...]) -> str:
    guess = did_you_mean(word, accepted)
    return f"{guess}{' ' if guess else ''}accepted: {', '.join(accepted)}"
