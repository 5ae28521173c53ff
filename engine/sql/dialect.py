"""The dialect for sqlglot: statements that read streams, as sqlglot's trees."""

from __future__ import annotations

from sqlglot import TokenType
from sqlglot import expressions as exp
from sqlglot.dialects.dialect import Dialect

from engine.sql.cursor import placed
from engine.sql.grammar import OPERATORS, Expressions
from engine.sql.lexer import Tokenizer, shown
from engine.suggest import did_you_mean

_JOIN_KINDS = {
    TokenType.INNER: "INNER",
    TokenType.LEFT: "LEFT",
    TokenType.RIGHT: "RIGHT",
    TokenType.FULL: "FULL",
    TokenType.CROSS: "CROSS",
}
_AFTER_ITEM = (TokenType.FROM, TokenType.COMMA, TokenType.ALIAS, TokenType.DOT)
_CLAUSES = ("WHERE", "GROUP BY", "HAVING", "ORDER BY", "LIMIT", "INNER", "LEFT", "JOIN")
_PATH_SYMBOLS = (TokenType.SLASH, TokenType.HASH, TokenType.PLUS)


class Invisible(exp.Expression):
    """An item of SELECT that others may use and that isn't part of the output."""


class Parser(Expressions):
    """Statements and expressions; the productions have the names of the specification."""

    def _parse_statement(self) -> exp.Expr:
        return self.parse_query()

    def parse_query(self) -> exp.Select:
        """Read a SELECT up to the end of the tokens."""
        self._nesting = 0
        start = self._expect(TokenType.SELECT, "SELECT")
        if self._is_word("DISTINCT") and self._next.token_type not in _AFTER_ITEM:
            self._refuse("there is no SELECT DISTINCT", hint=self._hint(self._curr))
        query = placed(exp.Select(expressions=self._list(self._item)), start)
        self._expect_from()
        query.set("from_", exp.From(this=self._source()))
        while join := self._join():
            query.append("joins", join)
        self._clauses(query)
        self._expect_end()
        return query

    def parse_expression(self) -> exp.Expr:
        """Parse the tokens as one expression that may stand as an item of SELECT."""
        tree = self._argument()
        self._expect_end()
        return tree

    def _item(self) -> exp.Expr:
        if self._match(TokenType.STAR):
            return self._star_item()
        item = self._parse_expression()
        if self._match(TokenType.ALIAS):
            if exp.Star in (type(item), type(item.this)):
                self._refuse("* can't have an alias", self._prev, "name the columns to rename them")
            name = self._name("a name after AS")
            item = exp.Alias(this=item, alias=name)
        return Invisible(this=item) if self._match_word("INVISIBLE") else item

    def _star_item(self) -> exp.Expr:
        star = self._star()
        if self._match(TokenType.ALIAS, advance=False):
            self._refuse("* can't have an alias", hint="use * REPLACE(expression AS name)")
        return star

    def _expect_from(self) -> None:
        if self._match(TokenType.FROM):
            return
        if self._at_name() and not self._prev_is_operator():
            self._refuse(
                f"expected FROM or a comma, found {shown(self._curr)}",
                hint=did_you_mean(self._curr.text, ("FROM",))
                or self._hint(self._curr)
                or f"write AS {self._curr.text} to name the item",
            )
        self._refuse_next("FROM or a comma")

    def _prev_is_operator(self) -> bool:
        return self._prev.token_type in OPERATORS

    def _source(self) -> exp.Table:
        start = self._curr
        if start.token_type is TokenType.L_PAREN:
            hint = "let one rule write to a memory topic and another read it"
            self._refuse("there are no subqueries", hint=hint)
        if not (self._at_name() or start.token_type in _PATH_SYMBOLS):
            self._refuse_next("the name of a stream")
        parts: list[str] = []
        while self._at_name() or self._curr.token_type in _PATH_SYMBOLS:
            if parts and self._prev.end + 1 != self._curr.start:
                break
            parts.append(self._curr.text)
            self._advance()
        table = placed(exp.Table(this=exp.Identifier(this="".join(parts))), start)
        if self._match(TokenType.ALIAS):
            table.set("alias", exp.TableAlias(this=self._name("a name after AS")))
        elif self._at_name() and not self._is_word("OUTER"):
            self._refuse(
                f"unexpected {shown(self._curr)} after the stream",
                hint=did_you_mean(self._curr.text, _CLAUSES)
                or self._hint(self._curr)
                or f"write AS {self._curr.text} to give it an alias",
            )
        elif self._match(TokenType.COMMA, advance=False):
            self._refuse("FROM takes one stream", hint="add others by JOIN")
        return table

    def _join(self) -> exp.Join | None:
        start = self._curr
        kind = _JOIN_KINDS.get(start.token_type)
        if kind:
            self._advance()
            self._match_word("OUTER")
            self._expect(TokenType.JOIN, "JOIN")
        elif not self._match(TokenType.JOIN):
            return None
        join = placed(exp.Join(this=self._source(), kind=kind or "INNER"), start)
        if self._match(TokenType.ON):
            if kind == "CROSS":
                hint = "use INNER JOIN, or filter by WHERE"
                self._refuse("CROSS JOIN takes no ON", self._prev, hint)
            join.set("on", self._parse_expression())
        return join

    def _clauses(self, query: exp.Select) -> None:
        if self._match(TokenType.WHERE):
            query.set("where", exp.Where(this=self._parse_expression()))
        if self._match(TokenType.GROUP_BY):
            self._expect_by()
            query.set("group", exp.Group(expressions=self._list(self._parse_expression)))
        if self._match(TokenType.HAVING):
            query.set("having", exp.Having(this=self._parse_expression()))
        if self._match(TokenType.ORDER_BY):
            query.set("order", self._order())
        if self._match(TokenType.LIMIT):
            query.set("limit", self._limit())
        later = (TokenType.WHERE, TokenType.GROUP_BY, TokenType.HAVING, TokenType.ORDER_BY)
        if self._curr.token_type in later:
            order = "the order is WHERE, GROUP BY, HAVING, ORDER BY, LIMIT, each once"
            self._refuse(f"{self._curr.text.upper()} can't stand here", hint=order)

    def _limit(self) -> exp.Limit:
        is_negative = self._match(TokenType.DASH)
        number = self._expect(TokenType.NUMBER, "a whole number")
        if not number.text.isdigit():
            self._refuse("LIMIT takes a whole number", number)
        literal = placed(exp.Literal(this=number.text, is_string=False), number)
        return exp.Limit(expression=exp.Neg(this=literal) if is_negative else literal)


class Headrace(Dialect):
    """What sqlglot needs to know of the dialect."""

    Tokenizer = Tokenizer
    Parser = Parser


DIALECT = Headrace()
