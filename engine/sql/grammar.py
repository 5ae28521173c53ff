"""The grammar of expressions: tokens to sqlglot's trees, with the precedence of the dialect.

The grammar of sqlglot takes far more than the dialect has, binds operators otherwise and keeps few
positions; so every production used here is one of our own. The trees are sqlglot's, with the
place of each node in its ``meta``.
"""

from __future__ import annotations

from typing import ClassVar, NoReturn

from sqlglot import Token, TokenType
from sqlglot import expressions as exp

from engine.sql.cursor import Cursor, placed
from engine.sql.names import UNIT_MILLIS, WINDOW_KINDS, is_reserved
from engine.suggest import did_you_mean

MAX_NESTING = 64
"""How deep brackets and NOT may nest; rules written by people stay below ten."""

_OR, _AND, _COMPARISON, _SUM, _PRODUCT = 1, 2, 3, 4, 5
OPERATORS: dict[TokenType, tuple[int, type[exp.Expr]]] = {
    TokenType.OR: (_OR, exp.Or),
    TokenType.AND: (_AND, exp.And),
    TokenType.EQ: (_COMPARISON, exp.EQ),
    TokenType.NEQ: (_COMPARISON, exp.NEQ),
    TokenType.LT: (_COMPARISON, exp.LT),
    TokenType.LTE: (_COMPARISON, exp.LTE),
    TokenType.GT: (_COMPARISON, exp.GT),
    TokenType.GTE: (_COMPARISON, exp.GTE),
    TokenType.PLUS: (_SUM, exp.Add),
    TokenType.DASH: (_SUM, exp.Sub),
    TokenType.PIPE: (_SUM, exp.BitwiseOr),
    TokenType.CARET: (_SUM, exp.BitwiseXor),
    TokenType.STAR: (_PRODUCT, exp.Mul),
    TokenType.SLASH: (_PRODUCT, exp.Div),
    TokenType.MOD: (_PRODUCT, exp.Mod),
    TokenType.AMP: (_PRODUCT, exp.BitwiseAnd),
}
_NEGATABLE = (TokenType.IN, TokenType.BETWEEN, TokenType.LIKE)


class Over(exp.Window):
    """sqlglot's OVER with the condition that the dialect adds."""

    arg_types: ClassVar[dict[str, bool]] = {**exp.Window.arg_types, "when": False}


class Expressions(Cursor):
    """Productions of expressions; each returns the tree of what it has read."""

    def _parse_expression(self) -> exp.Expr:
        return self._nested(_OR)

    def _nested(self, floor: int) -> exp.Expr:
        self._nesting += 1
        if self._nesting > MAX_NESTING:
            self._refuse(f"brackets and NOT nest more than {MAX_NESTING} deep")
        tree = self._binary(floor)
        self._nesting -= 1
        return tree

    def _binary(self, floor: int) -> exp.Expr:
        left = self._prefixed()
        while True:
            token = self._curr
            rank, node = OPERATORS.get(token.token_type, (0, exp.Paren))
            if rank >= floor:
                self._advance()
                right = self._binary(rank + 1)
                left = placed(node(this=left, expression=right), token)
            elif floor <= _COMPARISON and (predicate := self._predicate(left)):
                left = predicate
            else:
                return left

    def _predicate(self, value: exp.Expr) -> exp.Expr | None:
        start = self._curr
        if self._match_word("IS"):
            is_negated = self._match(TokenType.NOT)
            if not self._match_word("NULL"):
                self._refuse_next("NULL")
            tree: exp.Expr = exp.Is(this=value, expression=exp.Null())
        else:
            is_negated = start.token_type is TokenType.NOT and self._next.token_type in _NEGATABLE
            if is_negated:
                self._advance()
            if self._match(TokenType.BETWEEN):
                tree = self._between(value)
            elif self._match(TokenType.IN):
                tree = self._in(value)
            elif self._match(TokenType.LIKE):
                tree = exp.Like(this=value, expression=self._binary(_SUM))
            else:
                return None
        placed(tree, start)
        return placed(exp.Not(this=tree), start) if is_negated else tree

    def _between(self, value: exp.Expr) -> exp.Between:
        low = self._binary(_SUM)
        self._expect(TokenType.AND, "AND between the two bounds")
        return exp.Between(this=value, low=low, high=self._binary(_SUM))

    def _in(self, value: exp.Expr) -> exp.In:
        if not self._match(TokenType.L_PAREN):
            return exp.In(this=value, field=self._path())
        if self._match(TokenType.R_PAREN, advance=False):
            self._refuse("the list after IN is empty", hint="give at least one value")
        members = self._list(self._parse_expression)
        self._expect(TokenType.R_PAREN, "a comma or )")
        return exp.In(this=value, expressions=members)

    def _prefixed(self) -> exp.Expr:
        start = self._curr
        if self._match(TokenType.NOT):
            operand = self._nested(_COMPARISON)
            # Without brackets this would read as the fused form, which treats null otherwise.
            if isinstance(operand, (exp.Between, exp.In, exp.Like, exp.Is)):
                operand = placed(exp.Paren(this=operand), start)
            return placed(exp.Not(this=operand), start)
        signs: list[Token] = []
        while self._match(TokenType.DASH):
            signs.append(self._prev)
        tree = self._path()
        for sign in reversed(signs):
            tree = placed(exp.Neg(this=tree), sign)
        return tree

    def _path(self) -> exp.Expr:
        start = self._curr
        tree = self._operand()
        while True:
            token = self._curr
            if self._match(TokenType.DOT):
                if isinstance(tree, exp.Column) and "table" not in tree.args:
                    tree = placed(self._qualified(tree), start)
                else:
                    tree = placed(exp.Dot(this=tree, expression=self._name("a field")), self._prev)
            elif self._match(TokenType.ARROW):
                field = exp.Literal(this=self._name("a field after ->").name, is_string=True)
                tree = placed(exp.JSONExtract(this=tree, expression=field), self._prev)
            elif self._match(TokenType.L_BRACKET):
                tree = placed(exp.Bracket(this=tree, expressions=[self._subscript()]), token)
            else:
                return tree

    def _qualified(self, stream: exp.Column) -> exp.Column:
        if self._match(TokenType.STAR):
            return exp.Column(this=self._star(), table=stream.this)
        return exp.Column(this=self._name("a column or * after the point"), table=stream.this)

    def _subscript(self) -> exp.Expr:
        ends = (TokenType.COLON, TokenType.R_BRACKET)
        start = self._curr
        first = None if start.token_type in ends else self._parse_expression()
        if self._match(TokenType.R_BRACKET):
            return first or placed(exp.Slice(), start)
        self._expect(TokenType.COLON, "] or :")
        last = None if self._curr.token_type in ends else self._parse_expression()
        self._expect(TokenType.R_BRACKET, "]")
        return placed(exp.Slice(this=first, expression=last), start)

    def _operand(self) -> exp.Expr:
        token = self._curr
        kind = token.token_type
        if kind is TokenType.REPLACE and self._next.token_type is TokenType.L_PAREN:
            return self._call()  # the function; the clause stands behind a * only
        if self._at_name():
            if self._next.token_type is TokenType.L_PAREN:
                return self._call()
            if kind is TokenType.VAR and token.text.upper() == "NULL":
                self._advance()
                return placed(exp.Null(), token)
            name = self._name("a column")
            return placed(exp.Column(this=name), token)
        if kind in (TokenType.NUMBER, TokenType.STRING):
            self._advance()
            return placed(exp.Literal(this=token.text, is_string=kind is TokenType.STRING), token)
        if kind in (TokenType.TRUE, TokenType.FALSE):
            self._advance()
            return placed(exp.Boolean(this=kind is TokenType.TRUE), token)
        if self._match(TokenType.L_PAREN):
            return self._bracketed(token)
        if self._match(TokenType.CASE):
            return placed(self._case(), token)
        if self._match_pair(TokenType.DOT, TokenType.NUMBER) and "." not in self._prev.text:
            return placed(exp.Literal(this=f"0.{self._prev.text}", is_string=False), token)
        return self._refuse_operand()

    def _refuse_operand(self) -> NoReturn:
        word = self._curr.text.upper()
        if self._curr.token_type is TokenType.VAR and word in UNIT_MILLIS:
            hint = f"write `{self._curr.text}` for a column; units stand first in a time window"
            self._refuse(f"{word} is a unit of time, not a value", hint=hint)
        if self._curr.token_type is TokenType.STAR:
            hint = "* is an item of SELECT or an argument of its own"
            self._refuse("* is no value to compute with", hint=hint)
        if self._curr.token_type is TokenType.EQ and self._prev.token_type is TokenType.EQ:
            self._refuse("there is no operator ==", self._prev, "write = once")
        self._refuse_next("an expression")

    def _bracketed(self, start: Token) -> exp.Expr:
        if self._match(TokenType.SELECT):
            hint = "let one rule write to a memory topic and another read it"
            self._refuse("there are no subqueries", self._prev, hint)
        tree = placed(exp.Paren(this=self._parse_expression()), start)
        self._expect(TokenType.R_PAREN, ")")
        return tree

    def _case(self) -> exp.Case:
        operand = None
        if not self._match(TokenType.WHEN, advance=False):
            if self._curr.token_type in (TokenType.ELSE, TokenType.END):
                self._refuse_next("WHEN")
            operand = self._parse_expression()
        branches: list[exp.If] = []
        while self._match(TokenType.WHEN):
            start = self._prev
            condition = self._parse_expression()
            self._expect(TokenType.THEN, "THEN")
            branches.append(placed(exp.If(this=condition, true=self._parse_expression()), start))
        if not branches:
            self._refuse_next("WHEN")
        default = self._parse_expression() if self._match(TokenType.ELSE) else None
        self._expect(TokenType.END, "WHEN, ELSE or END")
        return exp.Case(this=operand, ifs=branches, default=default)

    def _star(self) -> exp.Star:
        star = placed(exp.Star(), self._prev)
        while self._curr.token_type in (TokenType.EXCEPT, TokenType.REPLACE):
            self._advance()
            clause = self._prev
            key = "except_" if clause.token_type is TokenType.EXCEPT else "replace"
            if key in star.args:
                self._refuse(f"{clause.text.upper()} stands here twice", clause)
            self._expect(TokenType.L_PAREN, f"( after {clause.text.upper()}")
            star.set(key, self._list(self._excluded if key == "except_" else self._replacement))
            self._expect(TokenType.R_PAREN, "a comma or )")
        return star

    def _excluded(self) -> exp.Expr:
        return self._name("a column")

    def _replacement(self) -> exp.Expr:
        start = self._curr
        tree = self._parse_expression()
        self._expect(TokenType.ALIAS, "AS and the column to replace")
        return placed(exp.Alias(this=tree, alias=self._name("a column after AS")), start)

    def _call(self) -> exp.Expr:
        token = self._curr
        self._advance(2)
        arguments: list[exp.Expr] = []
        if not self._match(TokenType.R_PAREN):
            is_window = token.text.lower() in WINDOW_KINDS
            arguments = self._list(lambda: self._unit(token, is_window) or self._argument())
            self._expect(TokenType.R_PAREN, "a comma or )")
        call: exp.Expr = placed(exp.Anonymous(this=token.text, expressions=arguments), token)
        seen: list[TokenType] = []
        while self._curr.token_type in (TokenType.FILTER, TokenType.OVER):
            self._advance()
            clause = self._prev
            if clause.token_type in seen:
                self._refuse(f"{clause.text.upper()} stands here twice", clause)
            seen.append(clause.token_type)
            self._expect(TokenType.L_PAREN, f"( after {clause.text.upper()}")
            is_filter = clause.token_type is TokenType.FILTER
            call = placed(self._filter(call) if is_filter else self._over(call), clause)
            self._expect(TokenType.R_PAREN, ")")
        return call

    def _argument(self) -> exp.Expr:
        if self._match(TokenType.STAR):
            return self._star()
        return self._parse_expression()

    def _unit(self, function: Token, is_window: bool) -> exp.Expr | None:
        unit = self._curr
        ends = (TokenType.COMMA, TokenType.R_PAREN)
        if unit.token_type is not TokenType.VAR or self._next.token_type not in ends:
            return None
        if unit.text.upper() in UNIT_MILLIS and not is_window:
            if function.text.lower().endswith("window"):
                hint = did_you_mean(function.text, [name.upper() for name in WINDOW_KINDS])
                self._refuse(f"there is no window {function.text}", function, hint)
            return None
        if not is_window or is_reserved(unit.text) is False:
            return None
        self._advance()
        return placed(exp.Var(this=unit.text.upper()), unit)

    def _filter(self, call: exp.Expr) -> exp.Filter:
        self._expect(TokenType.WHERE, "WHERE")
        return exp.Filter(this=call, expression=exp.Where(this=self._parse_expression()))

    def _over(self, call: exp.Expr) -> Over:
        over = Over(this=call)
        while True:
            clause = self._curr
            if self._match(TokenType.PARTITION_BY):
                self._expect_by()
                key = "partition_by"
                value: exp.Expr | list[exp.Expr] = self._list(self._parse_expression)
            elif self._match(TokenType.ORDER_BY):
                key, value = "order", self._order()
            elif self._match(TokenType.WHEN):
                key, value = "when", self._parse_expression()
            elif self._match(TokenType.R_PAREN, advance=False):
                return over
            else:
                self._refuse_next("PARTITION BY, ORDER BY, WHEN or )")
            if over.args.get(key):
                self._refuse(f"{clause.text.upper()} stands here twice", clause)
            over.set(key, value)

    def _order(self) -> exp.Order:
        self._expect_by()
        keys = [self._sort_key()]
        # Between keys the comma is optional, as in the reference; only ASC or DESC make it clear.
        while self._match(TokenType.COMMA) or (
            self._prev.token_type in (TokenType.ASC, TokenType.DESC) and self._at_name()
        ):
            keys.append(self._sort_key())
        return exp.Order(expressions=keys)

    def _sort_key(self) -> exp.Ordered:
        start = self._curr
        key = placed(exp.Ordered(this=self._parse_expression(), nulls_first=False), start)
        key.set("desc", self._match(TokenType.DESC))
        if not key.args["desc"]:
            self._match(TokenType.ASC)
        return key
