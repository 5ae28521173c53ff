"""The words of the dialect: sqlglot's tokenizer, cut down to them, and checks on what it yields."""

from __future__ import annotations

import re
from typing import ClassVar, NoReturn

from sqlglot import Token, TokenType
from sqlglot.errors import ParseError, TokenError
from sqlglot.tokens import Tokenizer as SqlglotTokenizer

from engine.sql.names import is_reserved, is_simple_name

_UNCLOSED = re.compile(
    r"""--[^\r\n]*|/\*.*?\*/|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`[^`]*`|(?P<open>/\*|["'`])""",
    re.DOTALL,
)
_OPENERS = {"/*": "comment", "`": "name in backticks", '"': "string", "'": "string"}
_NUMBER = re.compile(r"(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_ESCAPE = re.compile(
    rb"\\(?:x([0-9A-Fa-f]{2})|([0-7]{3})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|([abfnrtv\\'\"])|)"
)
_SIMPLE_ESCAPES = dict(zip(b"abfnrtv\\'\"", b"\a\b\f\n\r\t\v\\'\"", strict=True))
_LAST_CODE_POINT = 0x10FFFF
_SPACED_OPERATORS = {
    (">", "="): TokenType.GTE,
    ("<", "="): TokenType.LTE,
    ("!", "="): TokenType.NEQ,
    ("<", ">"): TokenType.NEQ,
    ("-", ">"): TokenType.ARROW,
}


class Refused(ParseError):
    """Text that is no statement of the dialect: what is wrong, at which offset, what to do."""

    def __init__(self, message: str, offset: int, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.offset = offset
        self.hint = hint


class Tokenizer(SqlglotTokenizer):
    """Yields only tokens the dialect knows: checked names and numbers, strings decoded."""

    QUOTES: ClassVar[list[tuple[str, str] | str]] = ['"', "'"]
    IDENTIFIERS: ClassVar[list[str | tuple[str, str]]] = ["`"]
    STRING_ESCAPES: ClassVar[list[str]] = ["\\"]
    NESTED_COMMENTS = False
    COMMANDS: ClassVar[set[TokenType]] = set()
    SINGLE_TOKENS: ClassVar[dict[str, TokenType]] = {
        **dict.fromkeys("!{}\\~?@$\"'`", TokenType.UNKNOWN),
        "(": TokenType.L_PAREN,
        ")": TokenType.R_PAREN,
        "[": TokenType.L_BRACKET,
        "]": TokenType.R_BRACKET,
        ",": TokenType.COMMA,
        ".": TokenType.DOT,
        ":": TokenType.COLON,
        ";": TokenType.SEMICOLON,
        "=": TokenType.EQ,
        "<": TokenType.LT,
        ">": TokenType.GT,
        "+": TokenType.PLUS,
        "-": TokenType.DASH,
        "*": TokenType.STAR,
        "/": TokenType.SLASH,
        "%": TokenType.MOD,
        "&": TokenType.AMP,
        "|": TokenType.PIPE,
        "^": TokenType.CARET,
        "#": TokenType.HASH,
    }
    KEYWORDS: ClassVar[dict[str, TokenType]] = {
        "->": TokenType.ARROW,
        "!=": TokenType.NEQ,
        "<>": TokenType.NEQ,
        "<=": TokenType.LTE,
        ">=": TokenType.GTE,
        "AND": TokenType.AND,
        "AS": TokenType.ALIAS,
        "ASC": TokenType.ASC,
        "BETWEEN": TokenType.BETWEEN,
        "CASE": TokenType.CASE,
        "CROSS": TokenType.CROSS,
        "DEFAULT": TokenType.DEFAULT,
        "DESC": TokenType.DESC,
        "ELSE": TokenType.ELSE,
        "END": TokenType.END,
        "EXCEPT": TokenType.EXCEPT,
        "FALSE": TokenType.FALSE,
        "FILTER": TokenType.FILTER,
        "FROM": TokenType.FROM,
        "FULL": TokenType.FULL,
        "GROUP": TokenType.GROUP_BY,
        "HAVING": TokenType.HAVING,
        "IN": TokenType.IN,
        "INNER": TokenType.INNER,
        "JOIN": TokenType.JOIN,
        "LEFT": TokenType.LEFT,
        "LIKE": TokenType.LIKE,
        "LIMIT": TokenType.LIMIT,
        "NOT": TokenType.NOT,
        "ON": TokenType.ON,
        "OR": TokenType.OR,
        "ORDER": TokenType.ORDER_BY,
        "OVER": TokenType.OVER,
        "PARTITION": TokenType.PARTITION_BY,
        "REPLACE": TokenType.REPLACE,
        "RIGHT": TokenType.RIGHT,
        "SELECT": TokenType.SELECT,
        "THEN": TokenType.THEN,
        "TRUE": TokenType.TRUE,
        "WHEN": TokenType.WHEN,
        "WHERE": TokenType.WHERE,
    }

    def tokenize(self, sql: str) -> list[Token]:
        """Return the tokens of ``sql``, or raise Refused at the first that the dialect lacks."""
        for match in _UNCLOSED.finditer(sql):
            if opener := match["open"]:
                raise Refused(f"this {_OPENERS[opener]} is never closed", match.start())
        try:
            tokens = super().tokenize(sql)
        except TokenError as error:
            raise Refused("this text can't be split into words", error.start or 0) from error
        return _checked(tokens, sql)


# The tokenizer takes {# … #} of a template language for a comment in every dialect.
Tokenizer._COMMENTS.pop("{#", None)


def _checked(tokens: list[Token], sql: str) -> list[Token]:
    checked: list[Token] = []
    for token in tokens:
        kind = token.token_type
        if kind is TokenType.STRING:
            token = _decoded(token, sql)
        elif kind is TokenType.VAR:
            _check_word(token, checked)
        elif kind is TokenType.NUMBER:
            _check_number(token, checked)
        elif kind is TokenType.IDENTIFIER:
            if not token.text:
                raise Refused("a name can't be empty", token.start)
        elif checked and token.text in "=>" and _joins(checked[-1], token, sql):
            token = _merged(checked.pop(), token)
        checked.append(token)
    for token in checked:
        if token.token_type is TokenType.UNKNOWN or token.token_type is TokenType.NATIONAL_STRING:
            _refuse_character(token, sql)
    return checked


def _joins(first: Token, second: Token, sql: str) -> bool:
    """Tell whether two tokens are one operator written with spaces inside, as in ``> =``."""
    between = sql[first.end + 1 : second.start]
    return (first.text, second.text) in _SPACED_OPERATORS and (not between or between.isspace())


def _merged(first: Token, second: Token) -> Token:
    kind = _SPACED_OPERATORS[first.text, second.text]
    text = first.text + second.text
    return Token(kind, text, first.line, first.col, first.start, second.end)


def _touches(previous: list[Token], token: Token, *kinds: TokenType) -> bool:
    return bool(
        previous and previous[-1].token_type in kinds and previous[-1].end + 1 == token.start
    )


def _check_word(token: Token, previous: list[Token]) -> None:
    if _touches(previous, token, TokenType.NUMBER):
        _refuse_number(previous[-1], previous[-1].text + token.text)
    if is_simple_name(token.text):
        return
    text = token.text
    bad = next(i for i, char in enumerate(text) if not is_simple_name(f"a{char}" if i else char))
    raise Refused(
        f"unexpected character {text[bad]!r}",
        token.start + bad,
        hint="names with more than A-Z, digits and _ (not in front) stand in `backticks`",
    )


def _check_number(token: Token, previous: list[Token]) -> None:
    if not _NUMBER.fullmatch(token.text):
        _refuse_number(token, token.text)
    if _touches(previous, token, TokenType.NUMBER):
        _refuse_number(previous[-1], previous[-1].text + token.text)
    if len(previous) > 1 and _touches(previous, token, TokenType.DOT):
        *_, number, dot = previous
        if _touches([number], dot, TokenType.NUMBER):
            _refuse_number(number, f"{number.text}.{token.text}")


def _refuse_number(token: Token, text: str) -> NoReturn:
    hint = "write a name that starts with a digit in backticks"
    if re.search(r"[eE]\d+[-+]", text):
        hint = "put spaces around the operator"
    elif text.count(".") > 1:
        hint = "a number has one point"
    raise Refused(f"{text!r} is not a number", token.start, hint=hint)


def _refuse_character(token: Token, sql: str) -> NoReturn:
    hints = {"!": "write != for inequality, NOT to negate"}
    raise Refused(
        f"unexpected character {sql[token.start]!r}", token.start, hint=hints.get(token.text, "")
    )


def _decoded(token: Token, sql: str) -> Token:
    raw = sql[token.start + 1 : token.end]
    for char in "\r\n":
        if char in raw:
            raise Refused(
                "a string can't go on in the next line",
                token.start,
                hint="write \\n for a new line inside a string",
            )
    text = _unescaped(raw, token.start + 1) if "\\" in raw else raw
    return Token(token.token_type, text, token.line, token.col, token.start, token.end)


def _unescaped(raw: str, offset: int) -> str:
    """Decode the escapes of Go string literals; ``\\x`` and octal ones are bytes of UTF-8."""
    data = raw.encode("utf-8", "surrogatepass")

    def replace(match: re.Match[bytes]) -> bytes:
        byte, octal, short, long, simple = match.groups()
        if simple:
            return bytes((_SIMPLE_ESCAPES[simple[0]],))
        if byte or octal:
            value = int(byte, 16) if byte else int(octal, 8)
            if value < 256:
                return bytes((value,))
        elif short or long:
            value = int(short or long, 16)
            if value <= _LAST_CODE_POINT and not 0xD800 <= value < 0xE000:
                return chr(value).encode()
        place = len(data[: match.start()].decode("utf-8", "surrogatepass"))
        raise Refused(
            f"unknown escape {raw[place : place + max(2, len(match[0]))]} in a string",
            offset + place,
            hint="write \\\\ for a backslash",
        )

    decoded = _ESCAPE.sub(replace, data)
    try:
        return decoded.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        raise Refused("the escaped bytes of this string are not UTF-8", offset - 1) from None


def shown(token: Token) -> str:
    """Return how a message names a token."""
    if not token:
        return "the end of the statement"
    if token.token_type is TokenType.STRING:
        return f"the string {token.text!r}"
    if token.token_type is not TokenType.IDENTIFIER and is_reserved(token.text):
        return token.text.upper()
    return repr(token.text)
