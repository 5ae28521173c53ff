"""The syntax tree of a template to functions that write a row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from engine.errors import RowError
from engine.suggest import did_you_mean
from engine.template import values
from engine.template.functions import LAZY, Callee, Library
from engine.template.lexer import Source
from engine.template.scope import Names, State
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

Eval = Callable[[State], Any]
Run = Callable[[State], "Leave | None"]
"""Writes a node; a ``Leave`` says that the loop around it is to be left."""

_FAILURES = (ArithmeticError, LookupError, RecursionError, TypeError, ValueError)
"""What a function may raise for values that it can't work with."""
_LONGEST_MESSAGE = 300


class Compiler:
    """Compiles one template; ``lenient`` writes ``<no value>`` for what is missing or null."""

    def __init__(self, source: Source, library: Library, *, lenient: bool) -> None:
        self._source = source
        self._library = library
        self._lenient = lenient
        self._names = Names()

    @property
    def slots(self) -> int:
        """How many variables a run needs room for."""
        return self._names.most

    # -- nodes ---------------------------------------------------------------------------------

    def block(self, nodes: Sequence[Node]) -> Run:
        """Return what writes some nodes, whose variables end with them."""
        with self._names.scope():
            runs = [self._node(node) for node in nodes]
        if len(runs) == 1:
            return runs[0]

        def run(state: State) -> Leave | None:
            for step in runs:
                leave = step(state)
                if leave is not None:
                    return leave
            return None

        return run

    def _node(self, node: Node) -> Run:
        match node:
            case Text(text=text):
                return lambda state: state.write(text)
            case Action():
                return self._action(node)
            case Branch():
                return self._branch(node)
            case Range():
                return self._range(node)
            case Leave():
                return lambda state: node

    def _action(self, node: Action) -> Run:
        pipe = node.pipe
        evaluate = self._pipe(pipe)
        if pipe.variables:
            return _silent(evaluate)
        place = self._source.place(pipe.at)
        missing = _missing(pipe)
        lenient = self._lenient

        def run(state: State) -> None:
            value = evaluate(state)
            if type(value) is str:
                state.write(value)
            elif value is not None:
                try:
                    state.write(values.text_of(value))
                except _FAILURES as error:
                    raise failure(place, "", error) from None
            elif lenient:
                state.write("<no value>")
            else:
                raise RowError(f"template {place}: {missing}", kind="template")

        return run

    def _branch(self, node: Branch) -> Run:
        with self._names.scope():
            condition = self._pipe(node.pipe)
            body = self.block(node.body)
            otherwise = self.block(node.otherwise)
        if not node.sets_dot:
            return lambda state: (body if condition(state) else otherwise)(state)

        def run(state: State) -> Leave | None:
            value = condition(state)
            if not value:
                return otherwise(state)
            outer, state.dot = state.dot, value
            leave = body(state)
            state.dot = outer
            return leave

        return run

    def _range(self, node: Range) -> Run:
        with self._names.scope():
            items = self._pipe(Pipe(node.pipe.at, node.pipe.commands))
            slots = self._slots(node.pipe)
            body = self.block(node.body)
        with self._names.scope():
            otherwise = self.block(node.otherwise)
        place = self._source.place(node.pipe.at)
        key_slot = slots[0] if len(slots) == 2 else None
        value_slot = slots[-1] if slots else None

        def run(state: State) -> Leave | None:
            outer = state.dot
            is_empty = True
            try:
                for key, value in values.each(items(state)):
                    is_empty = False
                    state.spend(1)
                    if key_slot is not None:
                        state.slots[key_slot] = key
                    if value_slot is not None:
                        state.slots[value_slot] = value
                    state.dot = value
                    leave = body(state)
                    if leave is not None and leave.ends:
                        break
            except _FAILURES as error:
                raise failure(place, "range", error) from None
            state.dot = outer
            return otherwise(state) if is_empty else None

        return run

    # -- values --------------------------------------------------------------------------------

    def _pipe(self, pipe: Pipe) -> Eval:
        evaluate = self._operand(pipe.commands[0])
        for command in pipe.commands[1:]:
            assert isinstance(command, Call)
            evaluate = self._call(command, evaluate)
        if not pipe.variables:
            return evaluate
        (slot,) = self._slots(pipe)

        def assign(state: State) -> Any:
            value = state.slots[slot] = evaluate(state)
            return value

        return assign

    def _slots(self, pipe: Pipe) -> list[int]:
        if pipe.declares:
            return [self._names.declare(name) for name in pipe.variables]
        return [self._slot(name, pipe.at) for name in pipe.variables]

    def _slot(self, name: str, at: int) -> int:
        slot = self._names.find(name)
        if slot is None:
            guess = did_you_mean(name, self._names.known())
            hint = guess or f"declare it before: {name} := …"
            raise self._source.error(f"there is no variable {name} here", at, hint)
        return slot

    def _operand(self, node: Operand) -> Eval:
        match node:
            case Constant(value=value):
                return lambda state: value
            case Path(names=names):
                return self._path(node, names)
            case Variable(name="$", names=names):
                return self._fields(lambda state: state.root, names, node.at, of_root=True)
            case Variable(name=name, names=names):
                slot = self._slot(name, node.at)
                return self._fields(lambda state: state.slots[slot], names, node.at)
            case Chain(inner=inner, names=names):
                return self._fields(self._pipe(inner), names, node.at)
            case Call():
                return self._call(node, None)
            case Pipe():
                return self._pipe(node)

    def _path(self, node: Path, names: tuple[str, ...]) -> Eval:
        general = self._fields(lambda state: state.dot, names, node.at, of_root=True)
        if len(names) != 1:
            return general
        name = names[0]

        def run(state: State) -> Any:
            dot = state.dot
            return dot.get(name) if type(dot) is dict else general(state)

        return run

    def _fields(
        self, owner: Eval, names: tuple[str, ...], at: int, *, of_root: bool = False
    ) -> Eval:
        """Return fields below a value; those of a list of one row, if it's the input, are its."""
        if not names:
            return owner
        place = self._source.place(at)

        def run(state: State) -> Any:
            value = owner(state)
            if of_root and value is state.root:
                value = only_row(value)
            try:
                for name in names:
                    value = values.field(value, name)
            except ValueError as error:
                raise failure(place, "", error) from None
            return value

        return run

    # -- calls ---------------------------------------------------------------------------------

    def _call(self, node: Call, piped: Eval | None) -> Eval:
        arguments = [self._operand(argument) for argument in node.arguments]
        if piped is not None:
            arguments.append(piped)
        if node.name in LAZY:
            return self._lazy(node, arguments)
        callee = self._callee(node, len(arguments))
        call, name, place = callee.call, node.name, self._source.place(node.at)

        def run(state: State) -> Any:
            given = [argument(state) for argument in arguments]
            state.spend(_cost(given))
            try:
                result = call(*given)
                if type(result) is str:
                    values.checked_text(result)
            except (RowError, *_FAILURES) as error:
                raise failure(place, name, error) from None
            if type(result) is str:
                state.spend(len(result) >> 6)
            return result

        return run

    def _lazy(self, node: Call, arguments: Sequence[Eval]) -> Eval:
        """Return ``and`` or ``or``: the first argument that decides, else the last one."""
        if not arguments:
            raise self._source.error(f"{node.name} takes at least 1 argument", node.at)
        decisive = node.name == "or"

        def run(state: State) -> Any:
            value = None
            for argument in arguments:
                value = argument(state)
                if bool(value) is decisive:
                    return value
            return value

        return run

    def _callee(self, node: Call, count: int) -> Callee:
        callee = self._library.get(node.name)
        if callee is None:
            guess = did_you_mean(node.name, self._library.names())
            hint = f"{guess} a field would be .{node.name}".strip()
            raise self._source.error(f"there is no function {node.name}", node.at, hint)
        if count < callee.least or (callee.most is not None and count > callee.most):
            plural = "" if callee.arity == "1" else "s"
            raise self._source.error(
                f"{node.name} takes {callee.arity} argument{plural}, not {count}", node.at
            )
        return callee


def only_row(value: Any) -> Any:
    """Return the only row of a list, any other value as it is."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def no_field(names: Sequence[str]) -> str:
    """Return what to say where a field is needed that is missing or null."""
    return f"there is no {'.'.join(names)}"


def _missing(pipe: Pipe) -> str:
    command = pipe.commands[-1]
    if isinstance(command, (Path, Variable)) and command.names:
        return no_field(command.names)
    return "the value is missing or null"


def _silent(evaluate: Eval) -> Run:
    def run(state: State) -> None:
        evaluate(state)

    return run


def _cost(arguments: Sequence[Any]) -> int:
    """Return what a call with these arguments takes of the work that a run may do."""
    return 1 + sum(len(value) >> 6 for value in arguments if isinstance(value, (str, list, dict)))


def failure(place: str, name: str, error: Exception) -> RowError:
    """Return the error of a row for what went wrong at a place of the template."""
    message = error.message if isinstance(error, RowError) else str(error)
    if isinstance(error, RecursionError):
        message = "nested too deep"
    if isinstance(error, ZeroDivisionError):
        message = "division by zero"
    if len(message) > _LONGEST_MESSAGE:
        message = f"{message[:_LONGEST_MESSAGE]}…"
    prefix = f"{name}: " if name else ""
    return RowError(f"template {place}: {prefix}{message}", kind="template")
