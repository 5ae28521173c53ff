"""Compiling one expression to Python text.

The text consists of generated identifiers, operators and slots only: every name and literal of the
query becomes a constant in the namespace of the compiled code. What is known of an operand (its
kind, whether it can be null) decides between a plain Python operator and the careful one of
``engine.sql.operators``; both give the same result.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, ClassVar

from engine.sql import operators
from engine.sql.ast import (
    Alias,
    Between,
    Binary,
    Call,
    Case,
    ChangedColumns,
    Column,
    Expr,
    Field,
    Hit,
    In,
    Index,
    IsNull,
    Item,
    Like,
    Literal,
    MetaValue,
    Slice,
    Star,
    Supplied,
    Unary,
)
from engine.sql.batching import BatchCalls
from engine.sql.code import TIME_OF_ROW, CallSite, Code, Columns, supplied_name
from engine.sql.functions import FunctionRegistry, FunctionSpec, Nulls
from engine.sql.infer import StaticKinds
from engine.sql.kinds import Kind, are_alike
from engine.sql.nulls import BOTH, FIRST, ColumnKey, proven_not_null, trusted_places
from engine.sql.stage import MetadataKey
from engine.sql.walk import walk

_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "+": operators.add,
    "-": operators.subtract,
    "*": operators.multiply,
    "/": operators.divide,
    "%": operators.modulo,
}
_INT_ARITHMETIC = _ARITHMETIC | {"/": operators.divide_ints, "%": operators.modulo_ints}
_DIVISION: dict[tuple[str, bool], Callable[[Any, Any], Any]] = {
    ("/", True): operators.int_quotient,
    ("%", True): operators.int_remainder,
    ("%", False): operators.float_remainder,
}
_BITWISE = {"&": operators.bit_and, "|": operators.bit_or, "^": operators.bit_xor}
_COMPARISON = {
    "=": ("==", operators.equal),
    "!=": ("!=", operators.unequal),
    "<": ("<", operators.less),
    "<=": ("<=", operators.less_equal),
    ">": (">", operators.greater),
    ">=": (">=", operators.greater_equal),
}
_INT64 = 1 << 63
_PLAIN_KEYS = frozenset({Kind.STRING, Kind.NUMBER, Kind.BIGINT, Kind.FLOAT})
"""Kinds whose values, and null, are keys as they are."""


class ExpressionCompiler:
    """Compiles the expressions of one query; keeps their constants and call sites."""

    def __init__(
        self,
        columns: Columns,
        kinds: StaticKinds,
        items: Sequence[Item],
        metadata_keys: Sequence[MetadataKey],
        functions: FunctionRegistry,
        call_numbers: Mapping[int, int],
        *,
        trusting: bool = False,
        careful: bool = False,
        batches: BatchCalls | None = None,
    ) -> None:
        """Start on a query.

        ``trusting``: where a null would raise anyway or gives the same, don't look for one.
        ``careful``: call functions so that their errors are well told, and never inline.
        ``batches``: gets the calls that are sure to be made for each row and can be made together.
        """
        self._batches = batches
        self._trusting = trusting
        self._is_careful = careful
        self._columns = columns
        self._call_numbers = call_numbers
        self._kinds = kinds
        self._items = items
        self._metadata_keys = metadata_keys
        self._functions = functions
        self.namespace: dict[str, Any] = {}
        self.call_sites: list[CallSite] = []
        self.lazy_aliases: set[int] = set()
        """Aliases that are computed where first needed and must be reset for each row."""
        self._computed: dict[int, Code] = {}
        self._not_null: frozenset[ColumnKey] = frozenset()
        self._temporaries = 0
        self._helpers: dict[int, str] = {}

    # -- bookkeeping ---------------------------------------------------------------------------

    def constant(self, value: Any, prefix: str = "k") -> str:
        """Return the name of a constant with this value."""
        name = f"{prefix}{len(self.namespace)}"
        self.namespace[name] = value
        return name

    def _temporary(self) -> str:
        self._temporaries += 1
        return f"t{self._temporaries}"

    @contextmanager
    def _maybe(self, not_null: frozenset[ColumnKey] = frozenset()) -> Iterator[None]:
        """Compile something that runs only sometimes, with some columns known not to be null."""
        computed, known, batches = dict(self._computed), self._not_null, self._batches
        self._not_null, self._batches = known | not_null, None
        try:
            yield
        finally:
            self._computed, self._not_null, self._batches = computed, known, batches

    def assume_true(self, condition: Expr) -> None:
        """Take it that ``condition`` holds for all that is compiled from now on."""
        self._not_null |= proven_not_null(condition)

    # -- entry points --------------------------------------------------------------------------

    def condition(self, node: Expr) -> str:
        """Return the text of a condition: null counts as false, no boolean is a row error."""
        code = self.compile(node)
        if self._is_certain(node, code):
            return code.text
        return f"{self._helper(operators.truth)}({self._settled(code).text})"

    def counted_condition(self, node: Expr) -> str:
        """Return the text of a condition that tells its hit counters when it is true."""
        text = self.condition(node)
        hits = sorted(
            {part.index for part in walk(node) if isinstance(part, Hit) and part.when == "met"}
        )
        time = supplied_name(TIME_OF_ROW)
        return " and ".join([f"({text})" if hits else text, *(f"h{n}.met({time})" for n in hits)])

    def _is_certain(self, node: Expr, code: Code) -> bool:
        """Tell whether a value is a boolean, never null."""
        return not code.nullable and self._kinds.of(node) == Kind.BOOLEAN

    def value(self, node: Expr) -> Code:
        """Return an expression whose value is never UNSET."""
        return self._settled(self.compile(node))

    def key(self, node: Expr) -> str:
        """Return the text of a value as a key of groups; see ``engine.sql.keys``."""
        code = self.value(node)
        if self._kinds.of(node) in _PLAIN_KEYS:
            return code.text
        name = self._temporary()
        text = f"{name} if ({name} := {code.text}).__class__ is str else frozen({name})"
        return f"({text})"

    def item(self, index: int) -> Code:
        """Return the value of SELECT item ``index``, computed once for each row."""
        if index in self.lazy_aliases:
            return self.compile(Alias(index=index))
        return self.value(self._items[index].expr)

    def define_alias(self, index: int, name: str, code: Code) -> None:
        """Let item ``index`` be read from the local ``name`` from now on."""
        self._computed[index] = replace(code, text=name, repeatable=True, maybe_unset=False)

    def kind(self, node: Expr) -> Kind:
        return self._kinds.of(node)

    def is_present(self, column: Column) -> bool:
        """Tell whether a column is known to be there and not null."""
        return (column.stream, column.name) in self._not_null

    def raw_column(self, column: Column) -> str:
        """Return a column as it came, UNSET where missing."""
        return self._columns.raw(column, self.constant)

    def compile(self, node: Expr) -> Code:
        """Return the code of an expression; its value may be UNSET where the code says so."""
        return self._METHODS[type(node)](self, node)

    def changed_columns(self, node: ChangedColumns) -> str:
        """Return the text of the fields of ``changed_cols`` that have changed, as a dict."""
        pairs = []
        for column in node.columns:
            value = self.value(column.value).text
            if isinstance(column.value, Star):
                pairs.append(f"*({value}).items()")
            else:
                pairs.append(f"({self.constant(column.name)}, {value})")
        prefix, ignore = self.value(node.prefix).text, self.value(node.ignore_null).text
        return f"c{node.index}.step({prefix}, {ignore}, ({', '.join(pairs)},))"

    # -- leaves --------------------------------------------------------------------------------

    def _literal(self, node: Literal) -> Code:
        return Code(self.constant(node.value), node.value is None, repeatable=True)

    def _column(self, node: Column) -> Code:
        code = self._columns.value(node, self.constant)
        if (node.stream, node.name) in self._not_null:
            return replace(code, nullable=False, maybe_unset=False)
        return code

    def _alias(self, node: Alias) -> Code:
        if (known := self._computed.get(node.index)) is not None:
            return known
        name = f"a{node.index}"
        with self._maybe():
            code = self.value(self._items[node.index].expr)
        text = f"({name} if {name} is not PENDING else ({name} := {code.text}))"
        self.lazy_aliases.add(node.index)
        self._computed[node.index] = replace(code, text=name, repeatable=True)
        return replace(code, text=text, repeatable=False)

    def _meta(self, node: MetaValue) -> Code:
        place = self._metadata_keys.index((node.stream, node.key))
        return Code(f"m{place}", repeatable=True)

    def _supplied(self, node: Supplied) -> Code:
        return Code(supplied_name(node), repeatable=True)

    def _hit(self, node: Hit) -> Code:
        """Read how often a condition was met, or in SELECT count the row in as well."""
        if node.when == "evaluated":
            return Code(f"h{node.index}.take({supplied_name(TIME_OF_ROW)})", nullable=False)
        return Code(f"h{node.index}.value()", nullable=False)

    # -- guards --------------------------------------------------------------------------------

    def _helper(self, function: Callable[..., Any]) -> str:
        name = self._helpers.get(id(function))
        if name is None:
            name = self._helpers[id(function)] = self.constant(function, "op")
        return name

    def _settled(self, code: Code) -> Code:
        """Return code whose value is None rather than UNSET."""
        if not code.maybe_unset:
            return code
        text = f"(None if {code.text} is UNSET else {code.text})"
        return replace(code, text=text, repeatable=False, maybe_unset=False)

    def _guarded(
        self,
        operands: list[Code],
        otherwise: str,
        build: Callable[..., str],
        *,
        repeated: Container[int] = (),
    ) -> str:
        """Return ``build(operands)`` for operands that aren't null, else ``otherwise``.

        All operands are computed before any is tested: an error in one of them wins over a null in
        another, as it does in the careful operators. ``repeated``: places of the operands that
        ``build`` uses more than once.
        """
        is_tested = any(code.nullable for code in operands)
        computed: list[str] = []
        tests: list[str] = []
        names: list[str] = []
        for index, code in enumerate(operands):
            name = code.text
            if not code.repeatable and (is_tested or index in repeated):
                name = self._temporary()
                null = "None" if code.nullable else "PENDING"  # which it never is
                computed.append(f"(({name} := {code.text}) is not {null})")
            elif code.nullable:
                tests.append(f"{name} is not None")
            if code.maybe_unset:
                tests.append(f"{name} is not UNSET")
            names.append(name)
        result = build(*names)
        tests = [*([" & ".join(computed)] if computed else []), *tests]
        if not tests:
            return f"({result})"
        if otherwise == "False":
            return f"({' and '.join(tests)} and ({result}))"
        return f"({result} if {' and '.join(tests)} else {otherwise})"

    def _all(self, *nodes: Expr, trusted: Container[int] = ()) -> list[Code]:
        """Compile operands; at the places ``trusted`` plain Python treats a null as it should be.

        That is: it raises (and the row is computed with more care), or the result is the same.
        """
        return [
            self._trusted(node) if self._trusting and place in trusted else self.compile(node)
            for place, node in enumerate(nodes)
        ]

    def _trusted(self, node: Expr) -> Code:
        code = self.compile(node)
        is_checked = self._kinds.of(node).is_numeric or self._kinds.of(node) == Kind.STRING
        if isinstance(node, Column) and is_checked:
            return replace(code, nullable=False, maybe_unset=False)
        return code

    def _careful(self, function: Callable[..., Any], *nodes: Expr, flag: bool | None = None) -> str:
        """Return a call of an operator that knows all kinds and nulls."""
        texts = [self.value(node).text for node in nodes]
        if flag is not None:
            texts.append(str(flag))
        return f"{self._helper(function)}({', '.join(texts)})"

    # -- operators -----------------------------------------------------------------------------

    def _binary(self, node: Binary) -> Code:
        if node.op == "AND":
            return self._and(node)
        if node.op == "OR":
            return self._or(node)
        if node.op in _COMPARISON:
            return self._comparison(node)
        if node.op in _BITWISE:
            return Code(self._careful(_BITWISE[node.op], node.left, node.right))
        return self._arithmetic(node)

    def _and(self, node: Binary) -> Code:
        left = self.condition(node.left)
        with self._maybe(proven_not_null(node.left)):
            right = self.condition(node.right)
        return Code(f"({left} and {right})", nullable=False)

    def _or(self, node: Binary) -> Code:
        left = self.compile(node.left)
        with self._maybe():
            right = self.condition(node.right)
        if self._is_certain(node.left, left):
            return Code(f"({left.text} or {right})", nullable=False)
        text = self._guarded(
            [self._settled(left)],
            "False",
            lambda value: f"{self._helper(operators.truth)}({value}) or {right}",
        )
        return Code(text, nullable=False)

    def _comparison(self, node: Binary) -> Code:
        symbol, careful = _COMPARISON[node.op]
        kinds = [self._kinds.of(node.left), self._kinds.of(node.right)]
        if are_alike(kinds) or (kinds == [Kind.BOOLEAN] * 2 and node.op in ("=", "!=")):
            operands = self._all(node.left, node.right, trusted=trusted_places(node))
            text = self._guarded(operands, "False", lambda a, b: f"{a} {symbol} {b}")
        else:
            text = self._careful(careful, node.left, node.right)
        return Code(text, nullable=False)

    def _arithmetic(self, node: Binary) -> Code:
        left, right = self._kinds.of(node.left), self._kinds.of(node.right)
        ints = left == right == Kind.BIGINT
        if not (left.is_numeric and right.is_numeric):
            careful = (_INT_ARITHMETIC if ints else _ARITHMETIC)[node.op]
            return Code(self._careful(careful, node.left, node.right))
        operands = self._all(node.left, node.right, trusted=BOTH)
        function = _DIVISION.get((node.op, ints))
        if function is not None:
            helper = self._helper(function)
            text = self._guarded(operands, "None", lambda a, b: f"{helper}({a}, {b})")
        elif ints:
            text = self._guarded(operands, "None", self._wrapping(node.op))
        else:
            text = self._guarded(operands, "None", lambda a, b: f"{a} {node.op} {b}")
        return Code(text, any(code.nullable for code in operands))

    def _wrapping(self, op: str) -> Callable[[str, str], str]:
        low = self.constant(-_INT64)
        high = self.constant(_INT64 - 1)
        wrap = self._helper(operators.wrap)
        name = self._temporary()
        return lambda a, b: (
            f"({name} if {low} <= ({name} := {a} {op} {b}) <= {high} else {wrap}({name}))"
        )

    def _unary(self, node: Unary) -> Code:
        (operand,) = self._all(node.operand, trusted=FIRST if node.op == "-" else ())
        if node.op == "NOT":
            if self._is_certain(node.operand, operand):
                return Code(f"(not {operand.text})", nullable=False)
            text = f"{self._helper(operators.negated)}({self._settled(operand).text})"
            return Code(text, nullable=False)
        if not self._kinds.of(node.operand).is_numeric:
            return Code(f"{self._helper(operators.negate)}({self._settled(operand).text})")
        return Code(self._guarded([operand], "None", lambda a: f"-{a}"), operand.nullable)

    def _between(self, node: Between) -> Code:
        parts = (node.value, node.low, node.high)
        if not are_alike([self._kinds.of(part) for part in parts]):
            return Code(self._careful(operators.between, *parts, flag=node.negated), nullable=False)
        negation = "not " if node.negated else ""
        text = self._guarded(
            self._all(*parts, trusted=range(3)),
            "False",
            lambda value, low, high: f"{negation}({value} >= {low} and {value} <= {high})",
            repeated=FIRST,
        )
        return Code(text, nullable=False)

    def _in(self, node: In) -> Code:
        if node.source is not None:
            text = self._careful(operators.within, node.value, node.source, flag=node.negated)
        elif self._is_plain_list(node):
            values = self.constant(
                frozenset(item.value for item in node.items if isinstance(item, Literal))
            )
            negation = "not " if node.negated else ""
            operands = self._all(node.value, trusted=() if node.negated else FIRST)
            text = self._guarded(operands, "False", lambda v: f"{v} {negation}in {values}")
        else:
            value = self.value(node.value).text
            items = ", ".join(self.value(item).text for item in node.items)
            text = f"{self._helper(operators.within)}({value}, ({items},), {node.negated})"
        return Code(text, nullable=False)

    def _is_plain_list(self, node: In) -> bool:
        """Tell whether all items are literals that compare with the value without surprise."""
        return all(isinstance(item, Literal) for item in node.items) and are_alike(
            [self._kinds.of(part) for part in (node.value, *node.items)]
        )

    def _like(self, node: Like) -> Code:
        pattern = node.pattern
        if (
            not isinstance(pattern, Literal)
            or not isinstance(pattern.value, str)
            or self._kinds.of(node.value) != Kind.STRING
        ):
            text = self._careful(operators.like, node.value, pattern, flag=node.negated)
            return Code(text, nullable=False)
        matches = self.constant(operators.like_pattern(pattern.value).fullmatch)
        test = "is None" if node.negated else "is not None"
        # a pattern without % is compared as a whole, which doesn't raise for null
        operands = self._all(node.value, trusted=() if node.negated else FIRST)
        text = self._guarded(operands, "False", lambda v: f"{matches}({v}) {test}")
        return Code(text, nullable=False)

    def _is_null(self, node: IsNull) -> Code:
        test = "is not None" if node.negated else "is None"
        return Code(f"({self.value(node.value).text} {test})", nullable=False)

    # -- structure -----------------------------------------------------------------------------

    def _case(self, node: Case) -> Code:
        if node.operand is None:
            text, nullable = self._branches(node, "", "", 0)
        else:
            operand = self.value(node.operand)
            name = operand.text if operand.repeatable else self._temporary()
            first = name if operand.repeatable else f"({name} := {operand.text})"
            text, nullable = self._branches(node, first, name, 0)
        return Code(f"({text})", nullable)

    def _branches(self, node: Case, operand: str, again: str, index: int) -> tuple[str, bool]:
        """Return the branches from ``index`` on; ``operand`` reads what is compared, if anything,
        ``again`` reads it once more."""
        if index == len(node.branches):
            default = Code("None") if node.default is None else self.value(node.default)
            return default.text, default.nullable
        branch = node.branches[index]
        known: frozenset[ColumnKey] = frozenset()
        if node.operand is None:
            test = self.condition(branch.condition)
            known = proven_not_null(branch.condition)
        else:
            candidate = self.value(branch.condition)
            kinds = [self._kinds.of(node.operand), self._kinds.of(branch.condition)]
            if are_alike(kinds) and not candidate.nullable:
                test = f"{operand} == {candidate.text}"
            else:
                test = f"{self._helper(operators.equal)}({operand}, {candidate.text})"
        with self._maybe(known):
            result = self.value(branch.result)
        with self._maybe():
            rest, rest_nullable = self._branches(node, again, again, index + 1)
        return f"{result.text} if {test} else {rest}", result.nullable or rest_nullable

    def _field(self, node: Field) -> Code:
        base = self.value(node.base)
        return Code(f"{self._helper(operators.field)}({base.text}, {self.constant(node.name)})")

    def _index(self, node: Index) -> Code:
        return Code(self._careful(operators.element, node.base, node.index))

    def _slice(self, node: Slice) -> Code:
        texts = [
            "None" if part is None else self.value(part).text
            for part in (node.base, node.start, node.stop)
        ]
        return Code(f"{self._helper(operators.part)}({', '.join(texts)})")

    def _star(self, node: Star) -> Code:
        """The whole row as an object, for functions that take ``*``."""
        text = self._columns.everything(node.stream)
        if node.excluded:
            text = f"without({text}, {self.constant(frozenset(node.excluded))})"
        if node.replaced:
            entries = ", ".join(
                f"{self.constant(entry.name)}: {self.value(entry.expr).text}"
                for entry in node.replaced
            )
            text = f"replaced({text}, {{{entries}}})"
        return Code(text, nullable=False)

    # -- calls ---------------------------------------------------------------------------------

    def _call(self, node: Call) -> Code:
        spec = self._functions.get(node.name)
        assert spec is not None, "the analyser lets no unknown function through"
        unsure = [
            parameter
            for index, argument in enumerate(node.args)
            if not (parameter := spec.parameter(index)).takes_kind(self._kinds.of(argument))
        ]
        if self._batches is not None and self._batches.suits(node, spec):
            return self._batched(node, spec, self._batches)
        exact = not self._is_careful and not unsure
        function, lead = self._function(node, spec, checked=not exact)
        # what may be empty is left to the function by the expression, which looks for texts first
        is_inline = not self._is_careful and not any(p.takes_empty for p in unsure)
        inline = spec.inline if is_inline else None
        repeated = inline.repeated(len(node.args)) if inline else frozenset()

        def build(*arguments: str) -> str:
            if inline is None:
                return f"{function}({', '.join([*lead, *arguments])})"
            names = {name: self.constant(value) for name, value in inline.names.items()}
            return inline.text(arguments, call=function, **names)

        propagates = spec.nulls is Nulls.PROPAGATE
        if not (exact or inline) or spec.nulls is Nulls.PASS:
            operands = [replace(self.value(arg), nullable=False) for arg in node.args]
            text = self._guarded(operands, "None", build, repeated=repeated)
            return Code(text, spec.may_be_null or propagates)
        numeric = [n for n in range(len(node.args)) if spec.parameter(n).kind.is_numeric]
        operands = self._all(*node.args, trusted=numeric if inline else ())
        nullable = propagates and (not exact or any(code.nullable for code in operands))
        text = self._guarded(operands, repr(spec.nulls.result), build, repeated=repeated)
        return Code(text, spec.may_be_null or nullable)

    def _batched(self, node: Call, spec: FunctionSpec, batches: BatchCalls) -> Code:
        with self._maybe():  # arguments are computed row by row
            args = [self.value(arg).text for arg in node.args]
        kinds = [self._kinds.of(arg) for arg in node.args]
        unsure = (n for n, kind in enumerate(kinds) if not spec.parameter(n).takes_kind(kind))
        number = self._call_numbers[id(node)]
        site = CallSite(spec, f"p{number}b", f"ctx{number}", number, False, tuple(unsure))
        self.call_sites.append(site)
        return Code(batches.add(site.function, args), repeatable=True)

    def _function(self, node: Call, spec: FunctionSpec, *, checked: bool) -> tuple[str, list[str]]:
        """Return the name of a function and what it takes before its arguments."""
        if spec.make is None and not spec.wants_context:
            return self.constant(spec.checked() if checked else spec.call, "f"), []
        number = self._call_numbers[id(node)]
        site = CallSite(spec, f"p{number}", f"ctx{number}", number, checked)
        if site not in self.call_sites:
            self.call_sites.append(site)
        return site.function, [site.context]

    _METHODS: ClassVar[dict[type[Any], Callable[[ExpressionCompiler, Any], Code]]] = {
        Literal: _literal,
        Column: _column,
        Alias: _alias,
        MetaValue: _meta,
        Supplied: _supplied,
        Hit: _hit,
        Binary: _binary,
        Unary: _unary,
        Between: _between,
        In: _in,
        Like: _like,
        IsNull: _is_null,
        Case: _case,
        Field: _field,
        Index: _index,
        Slice: _slice,
        Star: _star,
        Call: _call,
    }
