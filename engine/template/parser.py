"""Tokens of a template to its syntax tree."""

from __future__ import annotations

from collections.abc import Sequence

from engine.template.lexer import Kind, Source, Token, tokens
from engine.template.problem import TemplateError
from engine.template.tree import (
    Action,
    Branch,
    Call,
    Chain,
    Constant,
    Leave,
    Node,
    Operand,
    Path,
    Pipe,
    Range,
    Text,
    Variable,
)

_DEEPEST = 60
"""Blocks or parentheses inside of each other."""
_LITERALS = {"true": True, "false": False, "nil": None}
_NOT_SUPPORTED = {"define", "template", "block"}
_KEYWORDS = {"if", "with", "range", "else", "end", "break", "continue"} | _NOT_SUPPORTED


def parse(source: Source) -> tuple[Node, ...]:
    """Return the nodes of a template.

    Raises:
        TemplateError: it is malformed.
    """
    return _Parser(source).template()


class _Parser:
    def __init__(self, source: Source) -> None:
        self._source = source
        self._tokens = tokens(source)
        self._token = next(self._tokens)
        self._depth = 0
        self._loops = 0

    def template(self) -> tuple[Node, ...]:
        nodes, keyword = self._nodes()
        if keyword is not None:
            raise self._error(f"{{{{{keyword.value}}}}} without {{{{if}}}} before it", keyword)
        return nodes

    # -- blocks --------------------------------------------------------------------------------

    def _nodes(self) -> tuple[tuple[Node, ...], Token | None]:
        """Return nodes up to ``else`` or ``end``, which is returned as well, or up to the end."""
        nodes: list[Node] = []
        while self._token.kind is not Kind.END:
            token = self._advance()
            if token.kind is Kind.TEXT:
                nodes.append(Text(token.at, str(token.value)))
                continue
            if self._is_name("else") or self._is_name("end"):
                return tuple(nodes), self._advance()
            nodes.append(self._action(token))
        return tuple(nodes), None

    def _action(self, opening: Token) -> Node:
        token = self._token
        word = token.value if token.kind is Kind.NAME else ""
        if word == "if" or word == "with":
            self._advance()
            return self._branch(opening, sets_dot=word == "with")
        if word == "range":
            self._advance()
            return self._range(opening)
        if word == "break" or word == "continue":
            self._advance()
            if not self._loops:
                raise self._error(f"{{{{{word}}}}} outside of {{{{range}}}}", token)
            self._close()
            return Leave(opening.at, word == "break")
        if word in _NOT_SUPPORTED:
            raise self._error(f"{word} is not supported", token, "repeat the text where it is used")
        pipe = self._pipe()
        self._close()
        return Action(opening.at, pipe)

    def _branch(self, opening: Token, *, sets_dot: bool) -> Branch:
        pipe = self._pipe()
        self._close()
        self._enter(opening)
        body, keyword = self._nodes()
        otherwise = self._otherwise(opening, keyword)
        self._depth -= 1
        return Branch(opening.at, pipe, body, otherwise, sets_dot)

    def _otherwise(self, opening: Token, keyword: Token | None) -> tuple[Node, ...]:
        """Return what follows ``else``, up to and with the ``end`` of the block."""
        if keyword is None:
            raise self._error("the block isn't closed", opening, "write {{end}} where it ends")
        if keyword.value == "end":
            self._close()
            return ()
        if self._is_name("if") or self._is_name("with"):
            word = self._advance()
            return (self._branch(keyword, sets_dot=word.value == "with"),)
        self._close()
        nodes, ending = self._nodes()
        if ending is None:
            raise self._error("the block isn't closed", opening, "write {{end}} where it ends")
        if ending.value == "else":
            raise self._error("a second {{else}} in one block", ending)
        self._close()
        return nodes

    def _range(self, opening: Token) -> Range:
        pipe = self._pipe(most_variables=2)
        self._close()
        self._enter(opening)
        self._loops += 1
        body, keyword = self._nodes()
        self._loops -= 1
        if keyword is not None and keyword.value == "else" and self._token.kind is Kind.NAME:
            raise self._error("{{range}} takes a plain {{else}} only", self._token)
        otherwise = self._otherwise(opening, keyword)
        self._depth -= 1
        return Range(opening.at, pipe, body, otherwise)

    def _enter(self, token: Token) -> None:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise self._error(f"nested deeper than {_DEEPEST} levels", token)

    # -- pipelines -----------------------------------------------------------------------------

    def _pipe(self, most_variables: int = 1) -> Pipe:
        """Return a pipeline with the variables that it fills; what ends it comes next."""
        start = self._token
        if start.kind is not Kind.VARIABLE:
            return Pipe(start.at, self._commands())
        variable = self._advance()
        if self._is_sign(":=") or self._is_sign("="):
            return self._assignment(start, [str(variable.value)])
        if self._is_sign(",") and most_variables > 1:
            self._advance()
            second = self._advance()
            if second.kind is not Kind.VARIABLE:
                raise self._unexpected(second, "a variable")
            if not (self._is_sign(":=") or self._is_sign("=")):
                raise self._unexpected(self._token, "':='")
            return self._assignment(start, [str(variable.value), str(second.value)])
        return Pipe(start.at, self._commands(self._fields_of(variable)))

    def _assignment(self, start: Token, names: list[str]) -> Pipe:
        declares = self._advance().value == ":="
        if "$" in names:
            raise self._error("$ is the whole input and can't be changed", start)
        return Pipe(start.at, self._commands(), tuple(names), declares)

    def _commands(self, first: Operand | None = None) -> tuple[Operand, ...]:
        commands = [self._command(first)]
        while self._is_sign("|"):
            bar = self._advance()
            commands.append(self._command())
            if len(commands) > _DEEPEST:
                raise self._error(f"more than {_DEEPEST} functions in one pipe", bar)
        for command in commands[1:]:
            if not isinstance(command, Call):
                raise self._source.error(
                    "only a function can follow '|'", command.at, "write a function such as json"
                )
        return tuple(commands)

    def _command(self, first: Operand | None = None) -> Operand:
        operands = [] if first is None else [first]
        while not (self._token.kind is Kind.CLOSE or self._is_sign("|") or self._is_sign(")")):
            is_value = self._token.kind is not Kind.SIGN or self._is_sign(".")
            if operands and self._token.glued and is_value:
                raise self._unexpected(self._token, "a space")
            operands.append(self._operand())
        if not operands:
            raise self._error("a value is missing", self._token)
        head = operands[0]
        if len(operands) == 1:
            return head
        if not isinstance(head, Call):
            raise self._source.error(
                "only a function takes arguments", head.at, "write the function first: eq .a 1"
            )
        return Call(head.at, head.name, tuple(operands[1:]))

    def _operand(self) -> Operand:
        token = self._advance()
        if token.kind is Kind.CONSTANT:
            return Constant(token.at, token.value)
        if token.kind is Kind.FIELD:
            return Path(token.at, (str(token.value), *self._names()))
        if token.kind is Kind.VARIABLE:
            return self._fields_of(token)
        if token.kind is Kind.NAME:
            word = str(token.value)
            if word in _KEYWORDS:
                raise self._error(f"unexpected {word}", token)
            if word in _LITERALS:
                return Constant(token.at, _LITERALS[word])
            return Call(token.at, word)
        if token.kind is Kind.SIGN and token.value == ".":
            return Path(token.at)
        if token.kind is Kind.SIGN and token.value == "(":
            return self._parenthesis(token)
        raise self._unexpected(token, "a value")

    def _parenthesis(self, opening: Token) -> Operand:
        self._enter(opening)
        pipe = self._pipe()
        if not self._is_sign(")"):
            raise self._error("'(' without ')'", opening)
        self._advance()
        self._depth -= 1
        names = self._names()
        return Chain(opening.at, pipe, names) if names else pipe

    def _fields_of(self, variable: Token) -> Variable:
        return Variable(variable.at, str(variable.value), self._names())

    def _names(self) -> tuple[str, ...]:
        """Return the fields that follow without a space."""
        names = []
        while self._token.kind is Kind.FIELD and self._token.glued:
            names.append(str(self._advance().value))
        return tuple(names)

    # -- tokens --------------------------------------------------------------------------------

    def _advance(self) -> Token:
        token = self._token
        if token.kind is not Kind.END:
            self._token = next(self._tokens)
        return token

    def _close(self) -> None:
        if self._token.kind is not Kind.CLOSE:
            raise self._unexpected(self._token, "'}}'")
        self._advance()

    def _is_name(self, word: str) -> bool:
        return self._token.kind is Kind.NAME and self._token.value == word

    def _is_sign(self, sign: str) -> bool:
        return self._token.kind is Kind.SIGN and self._token.value == sign

    def _unexpected(self, token: Token, wanted: str) -> TemplateError:
        if token.kind in (Kind.CLOSE, Kind.END):
            found = "the end"
        else:
            length = len(str(token.value)) + (token.kind is Kind.FIELD)
            found = repr(self._source.text[token.at : token.at + length])
        return self._error(f"expected {wanted}, found {found}", token)

    def _error(self, problem: str, token: Token, hint: str = "") -> TemplateError:
        return self._source.error(problem, token.at, hint)


def functions_in(nodes: Sequence[Node | Operand]) -> set[str]:
    """Return the names of all functions that are called."""
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, Call):
            names |= {node.name} | functions_in(node.arguments)
        elif isinstance(node, Pipe):
            names |= functions_in(node.commands)
        elif isinstance(node, Chain):
            names |= functions_in((node.inner,))
        elif isinstance(node, Action):
            names |= functions_in((node.pipe,))
        elif isinstance(node, (Branch, Range)):
            names |= functions_in((node.pipe, *node.body, *node.otherwise))
    return names
