"""A compiled query at work on the frames of one rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from engine.batch import JoinedMetadata, Row
from engine.errors import EngineError, RowError
from engine.layout import Frame, Layout
from engine.sql.batching import BatchForm
from engine.sql.code import CallSite, Columns, DictColumns, SlotColumns, supplied_name
from engine.sql.compile import Compiler, Program, QueryOptions, has_state
from engine.sql.functions import FunctionRegistry
from engine.sql.plan import Plan, Scan
from engine.sql.stage import Stage, final_stage
from engine.tracing.rows import Step

Bind = Callable[[CallSite], tuple[Callable[..., Any], Any]]
"""Gives the function and the context of a call site in one rule."""


_MOST_SKIPPED = 63
"""Batches that are not even tried as clean ones, after many that weren't."""


class Result:
    """What a query made of one frame.

    ``rows`` are the results, or ``payloads`` the messages of the rows that passed, unchanged, where
    the query only filters. ``errors`` are the errors of single rows, ``surplus`` counts the results
    beyond the first of a row (``unnest``) and all results of windows, ``absorbed`` the rows that
    went into windows. ``sizes``, where rows form lists that were emitted together, are their
    lengths. ``dropped`` counts rows that were given up, by reason; ``late`` are those among them
    that came after their time. ``traces`` has the last step of the results that are traced, by
    their place; None: none is.
    """

    __slots__ = (
        "absorbed",
        "dropped",
        "errors",
        "late",
        "payloads",
        "rows",
        "sizes",
        "surplus",
        "traces",
    )

    def __init__(
        self,
        rows: list[Row] | None,
        errors: list[RowError],
        payloads: list[bytes] | None = None,
        surplus: int = 0,
        *,
        sizes: list[int] | None = None,
        absorbed: int = 0,
        dropped: Mapping[str, int] = MappingProxyType({}),
        late: Sequence[Row] = (),
    ) -> None:
        self.late = list(late)
        self.traces: Mapping[int, Step] | None = None
        self.dropped = dropped
        self.sizes = sizes
        self.absorbed = absorbed
        self.surplus = surplus
        self.rows = rows
        self.payloads = payloads
        self.errors = errors

    def __len__(self) -> int:
        items: Sequence[object] = (self.payloads if self.rows is None else self.rows) or ()
        return len(items)

    def count(self, other: Result) -> None:
        """Add what came of other rows beside results."""
        self.errors += other.errors
        self.surplus += other.surplus
        self.absorbed += other.absorbed
        self.late += other.late
        if other.dropped:
            counts = dict(self.dropped)
            for reason, count in other.dropped.items():
                counts[reason] = counts.get(reason, 0) + count
            self.dropped = counts


class RowForm(Protocol):
    """How the rows of a query's frames are read; see ``engine.layout.Layout``."""

    @property
    def whole(self) -> bool:
        """Whether rows are dicts unless their frame says otherwise."""

    def columns(self, *, whole: bool) -> Columns:
        """Return how compiled code reads rows that are dicts (``whole``) or not."""

    def verifies(self, scans: Sequence[Scan]) -> bool:
        """Tell whether typed frames have the kinds that the readers of ``scans`` rely on."""


class LayoutForm:
    """Rows of one stream."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    @property
    def whole(self) -> bool:
        return self._layout.whole

    def columns(self, *, whole: bool) -> Columns:
        return DictColumns() if whole else SlotColumns(self._layout.slot)

    def verifies(self, scans: Sequence[Scan]) -> bool:
        return all(self._layout.verifies(scan.columns) for scan in scans)


class Query:
    """One stage of a query of one rule, bound to its plugin instances and state.

    ``forwards_payloads`` asks for results as the messages that came in, which is possible only
    where the plan's projection is the identity.
    """

    def __init__(
        self,
        plan: Plan,
        rows: Layout | RowForm,
        functions: FunctionRegistry,
        options: QueryOptions,
        bind: Bind | Bindings,
        stage: Stage | None = None,
        *,
        scans: Sequence[Scan] = (),
        forwards_payloads: bool = False,
    ) -> None:
        """``stage`` is by default the only one of a query without groups; ``scans`` tell which
        streams its rows are of, by default that in FROM."""
        self._plan = plan
        self._form: RowForm = LayoutForm(rows) if isinstance(rows, Layout) else rows
        self._scans = scans or (plan.scan,)
        self._functions = functions
        self._options = options
        self._stage = stage or final_stage(
            plan, plan.condition, with_metadata=options.send_meta_to_sink
        )
        self._forwards = forwards_payloads
        self.bindings = bind if isinstance(bind, Bindings) else Bindings(bind)
        self._surplus: list[int] = []
        self._emits_nothing = self._stage.parts is None and plan.root.limit == 0
        self._variants: dict[tuple[bool, bool], _Variant] = {}
        self._variant(self._form.whole, forwards_payloads)  # what is wrong with it shows now

    @property
    def sends_errors(self) -> bool:
        """Whether errors are results, too."""
        return self._options.send_error

    def __call__(self, frame: Frame) -> Result:
        """Return the results for the rows of a frame, in their order."""
        errors: list[RowError] = []
        if self._emits_nothing:
            return Result([], errors)
        columns: list[Sequence[Any]] = [
            *(metadata_column(frame, stream, key) for stream, key in self._stage.metadata),
            *(frame.supplied[supplied_name(node)] for node in self._stage.supplied),
        ]
        forwards = self._forwards and frame.payloads is not None
        if forwards and frame.payloads is not None:
            columns.append(frame.payloads)
        variant = self._variant(frame.whole, forwards)
        is_verified = variant.loop is not None and frame.typed and self._form.verifies(self._scans)
        out: list[Any] = variant.run(frame.rows, columns, errors, is_verified=is_verified)
        surplus = sum(self._surplus)
        self._surplus.clear()
        return Result(None, errors, out) if forwards else Result(out, errors, None, surplus)

    def texts(self) -> list[str]:
        """Return the Python text that is generated, for people."""
        programs = self._programs(self._form.whole, self._forwards)
        return [program.text for program in programs if program is not None]

    def records(self, frame: Frame, errors: list[RowError]) -> list[tuple[Any, ...]]:
        """Return the records of a stage that makes such; what has an error is left out."""
        result = self(frame)
        errors += result.errors
        made: list[Any] = result.rows or []
        return made

    def _variant(self, whole: bool, forwards: bool) -> _Variant:
        """Return the functions for dicts (``whole``) or Structs, made when first needed."""
        key = whole, forwards
        if key not in self._variants:
            self._variants[key] = self._compile(whole, forwards)
        return self._variants[key]

    def _programs(self, whole: bool, forwards: bool) -> _Programs:
        compiler = Compiler(
            self._plan,
            self._stage,
            self._form.columns(whole=whole),
            self._functions,
            self._options,
            kinds={key: kind for scan in self._scans for key, kind in scan.kinds.items()},
            is_declared=all(scan.declared for scan in self._scans),
            forwards_payloads=forwards,
        )
        if has_state(self._plan, self._functions):
            return _Programs(compiler.one())
        return _Programs(
            compiler.one(),
            loop=None if whole else compiler.loop(),
            clean=None if whole else compiler.clean(),
            batched=compiler.clean(verified=False),
        )

    def _compile(self, whole: bool, forwards: bool) -> _Variant:
        programs = self._programs(whole, forwards)

        def defined(program: Program | None, name: str, **more: Any) -> Any:
            if program is None:
                return None
            return program.define(name, **more, **self.bindings.names(program))

        fail = _reporting(self._options.send_error)
        one = defined(programs.one, "one", fail=fail, surplus=self._surplus)
        return _Variant(
            one,
            loop=defined(programs.loop, "loop", one=one, surplus=self._surplus),
            clean=defined(programs.clean, "clean"),
            batched=defined(programs.batched, "clean"),
        )


def metadata_column(frame: Frame, stream: str, key: str) -> Sequence[Any]:
    """Return one key of the metadata for all rows of a frame, or with "" all of it.

    ``stream`` matters only where the rows are joined ones.
    """
    meta = frame.meta.of(stream) if isinstance(frame.meta, JoinedMetadata) else frame.meta
    if key:
        column: Sequence[Any] = meta.column(key)
        return column
    return [meta.row(index) for index in range(len(frame))]


class _Programs(NamedTuple):
    """The texts of a query's functions for one form of rows; see ``_Variant``."""

    one: Program
    loop: Program | None = None
    clean: Program | None = None
    batched: Program | None = None


@dataclass(slots=True)
class _Variant:
    """The functions of a query for one form of rows."""

    one: Callable[..., None]
    loop: Callable[..., list[Any]] | None
    clean: Callable[..., list[Any]] | None
    batched: Callable[..., list[Any]] | None
    """The same as ``clean`` for rows of any kinds, where it makes calls for all rows at once."""
    _failures: int = 0
    _skipped: int = 0

    def run(
        self,
        rows: list[Any],
        columns: Sequence[Sequence[Any]],
        errors: list[RowError],
        *,
        is_verified: bool,
    ) -> list[Any]:
        """Compute rows, as clean ones while they mostly are."""
        together = self.clean if is_verified else self.batched
        if together is not None and self._skipped >= self._failures:
            try:
                out = together(rows, *columns)
            except Exception:
                self._failures = min(2 * self._failures + 1, _MOST_SKIPPED)
            else:
                self._failures = 0
                return out
            finally:
                self._skipped = 0
        self._skipped += 1
        if is_verified:
            assert self.loop is not None
            return self.loop(rows, *columns, errors)
        results: list[Any] = []
        for values in zip(rows, *columns, strict=True):
            self.one(*values, results.append, errors)
        return results


class Bindings:
    """The functions and contexts of the call sites, one each however often code is generated.

    The stages of one query share them.
    """

    def __init__(self, bind: Bind, remembered: Mapping[str, Any] = MappingProxyType({})) -> None:
        """``remembered`` are the states of a query's own call sites, by the names in its code."""
        self._bind = bind
        self.remembered = remembered
        self._bound: dict[int, tuple[Callable[..., Any], Any]] = {}

    def snapshot(self) -> Any:
        """Return the states of the query's own call sites, as a value."""
        return {name: state.snapshot() for name, state in self.remembered.items()}

    def restore(self, value: Any) -> None:
        """Go on from a snapshot."""
        for name, state in self.remembered.items():
            state.restore(value[name])

    def names(self, program: Program) -> dict[str, Any]:
        names = dict(self.remembered)
        for site in program.call_sites:
            if site.number not in self._bound:
                self._bound[site.number] = self._bind(site)
            function, context = self._bound[site.number]
            if site.unsure is not None:
                names[site.function] = BatchForm(function, context, site.spec, site.unsure)
                continue
            names[site.function] = site.spec.checked(function) if site.checked else function
            names[site.context] = context
        return names


def _reporting(send_error: bool) -> Callable[..., None]:
    """Return what happens to a row with an error."""

    def fail(
        error: Exception, row: Any, emit: Callable[[Any], None], errors: list[RowError]
    ) -> None:
        if isinstance(error, ZeroDivisionError):
            error = RowError("division by zero")
        elif not isinstance(error, EngineError):
            error = RowError(f"{type(error).__name__}: {error}")
        elif not isinstance(error, RowError):
            error = RowError(error.message, kind=error.kind)
        error.row = row
        errors.append(error)
        if send_error:
            emit({"error": error.message})

    return fail
