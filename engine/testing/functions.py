"""What a function must do, tried out as the engine will use it."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from engine.api import AggregateFunction, ConfigError, Context, Function, RowError, Use
from engine.errors import EngineError
from engine.plugin.plugin import PythonFunction
from engine.registry import PluginKind
from engine.state.codec import CODEC
from engine.state.scope import StateScope
from engine.testing.stand import ContractBroken, Problems, Stand, Trial, text_of


@dataclass
class SeenFunction:
    """What a function gave for each of the calls; of an aggregate, after each row of the group."""

    results: list[Any] = field(default_factory=list)


def check_function(
    plugin: Any,
    root: Path | str = ".",
    calls: Sequence[Sequence[Any]] = (),
    *,
    literals: Sequence[int] = (),
    wrong: Sequence[Sequence[Any]] = (),
) -> SeenFunction:
    """Check a function, or an aggregate function, against the contract; return its results.

    A function is called with each of ``calls``, with nulls in the place of each argument, as a
    whole batch if it has ``exec_batch``, twice if it says that it is stateless; its state is stored
    and read again. An aggregate is given the ``calls`` as the rows of one group, whole, in two
    halves that are merged, and over a restart; with ``remove`` it must forget its oldest rows.

    Args:
        plugin: its name in SQL, for a plugin that a rule with this root finds, or the class itself.
        root: the folder with ``plugins/`` and ``etc/``.
        calls: the arguments of some calls, each a tuple.
        literals: the places, from 0, of arguments that must be literals in SQL.
        wrong: the literal arguments (``...`` for others) of calls that ``validate`` must refuse.

    Raises:
        ContractBroken: something is wrong.
        PluginError: the plugin can't be loaded.
    """
    problems = Problems()
    stand = Stand(PluginKind.FUNCTION, plugin, root, problems, seconds=5)
    name = stand.plugin.name
    instance = stand.plugin.instance()
    _check_validation(instance, calls, literals, wrong, problems)
    if isinstance(instance, AggregateFunction):
        results = _AggregateCheck(stand, problems).all(calls)
    else:
        results = _ScalarCheck(stand, problems, literals).all(calls)
    if problems.found:
        raise ContractBroken(f"function {name}", problems.found)
    return SeenFunction(results)


def _check_validation(
    instance: Any,
    calls: Sequence[Sequence[Any]],
    literals: Sequence[int],
    wrong: Sequence[Sequence[Any]],
    problems: Problems,
) -> None:
    for call in calls:
        columns: list[Any] = [arg if place in literals else ... for place, arg in enumerate(call)]
        for good in [[*call], columns]:
            try:
                instance.validate(good)
            except Exception as error:
                problems.note(f"validate({_shown(good)}) refuses a good call: {text_of(error)}")
    for args in wrong:
        try:
            instance.validate([*args])
        except ConfigError:
            continue
        except Exception as error:
            problems.note(f"validate({_shown(args)}) raises {text_of(error)}, no ConfigError")
        else:
            problems.note(f"validate({_shown(args)}) doesn't refuse the call")


class _ScalarCheck:
    def __init__(self, stand: Stand, problems: Problems, literals: Sequence[int]) -> None:
        self._stand = stand
        self._problems = problems
        self._literals = literals

    def all(self, calls: Sequence[Sequence[Any]]) -> list[Any]:
        trial = self._trial()
        self._stand.check_apart(trial.instance, self._trial().instance)
        results = [self._called(trial, call) for call in calls]
        for result in results:
            _check_result(result, self._problems)
        self._check_pure(calls)
        self._check_nulls(calls)
        self._check_batch(calls, results)
        self._check_same(calls, results)
        self._stand.check_state(trial)
        return results

    def _trial(self) -> Trial:
        instance: Function = self._stand.plugin.instance()
        ctx = self._stand.context(StateScope())
        return Trial(instance, Use(None, ctx), ctx, ctx.state)

    def _called(self, trial: Trial, call: Sequence[Any]) -> Any:
        ctx: Context = trial.ctx
        try:
            return trial.instance.exec(ctx, *call)
        except RowError as error:
            return error
        except Exception as error:
            self._problems.note(
                f"exec({_shown(call)}) raises {text_of(error)}; "
                "raise RowError for a row that can't be computed"
            )
        return None

    def _check_pure(self, calls: Sequence[Sequence[Any]]) -> None:
        """Values belong to the rule: they must not be changed."""
        for call in calls:
            given = copy.deepcopy([*call])
            self._called(self._trial(), given)
            if given != [*call]:
                self._problems.note(f"exec({_shown(call)}) changes its arguments; copy them first")

    def _check_nulls(self, calls: Sequence[Sequence[Any]]) -> None:
        """Missing columns arrive as None, at any place."""
        if isinstance(self._stand.plugin.export, PythonFunction):
            return
        for call in calls[:1]:
            for place in set(range(len(call))) - {*self._literals}:
                args = [*call]
                args[place] = None
                self._called(self._trial(), args)

    def _check_same(self, calls: Sequence[Sequence[Any]], results: Sequence[Any]) -> None:
        """What says that it is stateless gives the same again, in any order."""
        trial = self._trial()
        if not trial.instance.stateless:
            return
        again = [self._called(trial, call) for call in reversed(calls)][::-1]
        if _comparable(again) != _comparable(results):
            self._problems.note(f"it is stateless, but gives {results!r} and then {again!r}")
        if len(trial.state):
            self._problems.note("it is stateless, but puts something into its state")

    def _check_batch(self, calls: Sequence[Sequence[Any]], results: Sequence[Any]) -> None:
        trial = self._trial()
        batch = getattr(trial.instance, "exec_batch", None)
        shapes = {len(call) for call in calls}
        if batch is None or len(shapes) != 1 or any(isinstance(r, RowError) for r in results):
            return
        columns = [list(column) for column in zip(*calls, strict=True)]
        try:
            found = batch(trial.ctx, *columns)
        except Exception as error:
            self._problems.note(f"exec_batch() raises {text_of(error)}")
            return
        found = found.tolist() if hasattr(found, "tolist") else list(found)
        for result in found:
            _check_result(result, self._problems)
        if _comparable(found) != _comparable(results):
            self._problems.note(f"exec_batch() gives {found!r}, exec() row by row {results!r}")


class _AggregateCheck:
    def __init__(self, stand: Stand, problems: Problems) -> None:
        self._stand = stand
        self._problems = problems

    def all(self, calls: Sequence[Sequence[Any]]) -> list[Any]:
        try:
            return self._all(calls)
        except Exception as error:
            self._problems.note(f"it raises {text_of(error)}")
            return []

    def _all(self, calls: Sequence[Sequence[Any]]) -> list[Any]:
        whole = self._made()
        _check_result(whole.result(), self._problems)
        results = []
        for call in calls:
            whole.add(*call)
            results.append(copy.deepcopy(whole.result()))
            _check_result(results[-1], self._problems)
        if calls and _comparable([whole.result()]) != _comparable(results[-1:]):
            self._problems.note("result() gives something else when it is called again")
        for cut in range(len(calls) + 1):
            self._check_merge(calls, cut, whole.result())
        self._check_restart(calls, whole)
        if hasattr(whole, "remove") and calls:
            self._check_remove(calls)
        return results

    def _made(self, calls: Sequence[Sequence[Any]] = ()) -> Any:
        made = self._stand.plugin.instance()
        for call in calls:
            made.add(*call)
        return made

    def _check_merge(self, calls: Sequence[Sequence[Any]], cut: int, expected: Any) -> None:
        older, newer = self._made(calls[:cut]), self._made(calls[cut:])
        untouched = newer.result()
        older.merge(newer)
        if _comparable([older.result()]) != _comparable([expected]):
            self._problems.note(
                f"merge() of {cut} and {len(calls) - cut} rows gives {older.result()!r}, "
                f"all rows together {expected!r}"
            )
        if calls:
            older.add(*calls[0])
        if _comparable([newer.result()]) != _comparable([untouched]):
            self._problems.note("merge() lets the two objects share something: copy it")

    def _check_restart(self, calls: Sequence[Sequence[Any]], whole: Any) -> None:
        half = self._made(calls[: len(calls) // 2])
        try:
            stored = CODEC.encode(half.snapshot())
        except EngineError as error:
            self._problems.note(f"snapshot(): {text_of(error)}; override snapshot and restore")
            return
        again = self._made()
        again.restore(CODEC.decode(stored))
        for call in calls[len(calls) // 2 :]:
            again.add(*call)
        if _comparable([again.result()]) != _comparable([whole.result()]):
            self._problems.note(
                f"after snapshot() and restore() it gives {again.result()!r}, "
                f"without {whole.result()!r}"
            )

    def _check_remove(self, calls: Sequence[Sequence[Any]]) -> None:
        for first in range(1, len(calls)):
            moved, fresh = self._made(calls), self._made(calls[first:])
            for call in calls[:first]:
                moved.remove(*call)
            if _comparable([moved.result()]) != _comparable([fresh.result()]):
                self._problems.note(
                    f"without its first {first} rows it gives {moved.result()!r}, "
                    f"the other rows alone {fresh.result()!r}"
                )


def _check_result(result: Any, problems: Problems) -> None:
    """Results become columns: they must be data that sinks can write."""
    if isinstance(result, RowError):
        return
    if inspect.isawaitable(result):
        problems.note("it returns something to await: write a plain method")
        return
    try:
        msgspec.json.encode(result)
        CODEC.encode(result)
    except (TypeError, EngineError, OverflowError) as error:
        problems.note(f"the result {result!r} is no plain data: {text_of(error)}")


def _comparable(results: Sequence[Any]) -> list[Any]:
    """Return results so that errors and NaN equal each other, and floats may differ a little."""
    return [
        "error" if isinstance(r, RowError) else float(f"{r:.12g}") if _is_sum(r) else repr(r)
        for r in results
    ]


def _is_sum(value: Any) -> bool:
    return type(value) is float and value == value and abs(value) != float("inf")


def _shown(args: Sequence[Any]) -> str:
    return ", ".join("..." if arg is ... else repr(arg) for arg in args)
