"""Groups of rows and their aggregates, as generated code that works on lists.

The state of a group is a list: the record of its first row, then the slots of each aggregate. An
aggregate that can be written inline has slots of numbers and the like, any other one its
accumulator. Records that an aggregate can't take are sorted out before they get here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from operator import itemgetter
from typing import Any

from engine.errors import RowError
from engine.functions.stateful import InlineAggregate
from engine.ops.fold import GroupFold
from engine.sql.functions import FunctionSpec, Parameter
from engine.sql.kinds import Kind, kind_of
from engine.sql.records import Record
from engine.state.frozen import Frozen

Group = list[Any]
_NOBODY: Hashable = ("no group",)
"""The key of rows that pass no condition, where a window wants a key for each row."""


@dataclass(frozen=True, slots=True)
class AggregateSite:
    """One aggregate of a query: where a record holds its arguments and whether it counts.

    ``kinds`` are the static kinds of the arguments where the decoder has verified the row;
    ``constant`` tells that the only argument is a literal number.
    """

    spec: FunctionSpec
    arguments: tuple[int, ...]
    kinds: tuple[Kind, ...]
    filter: int | None = None
    constant: bool = False

    def checks(self, *, verified: bool) -> Iterator[tuple[int, Parameter]]:
        """Yield the places of the arguments that may not fit, with what they must fit."""
        skipped = int(self.spec.wants_row)
        for index, place in enumerate(self.arguments[skipped:]):
            parameter = self.spec.parameter(index)
            kind = self.kinds[index + skipped] if verified else Kind.ANY
            if not self.constant and not parameter.takes_kind(kind):
                yield place, parameter


@dataclass(frozen=True, slots=True)
class GroupCode:
    """The generated functions of all aggregates of a query."""

    make: Callable[[Record | None], Group]
    fitting: Callable[[Sequence[Record], list[RowError]], list[Record]]
    fitting_verified: Callable[[Sequence[Record], list[RowError]], list[Record]]
    add_to_groups: Callable[[dict[Hashable, Group], Sequence[Record]], None]
    add_to_group: Callable[[Group, Sequence[Record]], None]
    merge: Callable[[Group, Group], Group]
    results: Callable[[Group], tuple[Any, ...]]
    text: str


def compile_groups(
    sites: Sequence[AggregateSite],
    *,
    key: int | None,
    passes: int | None,
) -> GroupCode:
    """Return the code for some aggregates over records.

    ``key`` and ``passes`` are the places of the group's key and of the condition to be in a group
    at all.
    """
    writer = _Writer(sites, key, passes)
    text = "\n".join(writer.lines())
    namespace = {
        "__builtins__": {"Exception": Exception, "int": int, "float": float, "bool": bool},
        "RowError": RowError,
        "refuse": _refuse,
        **writer.namespace,
    }
    exec(compile(text, "<groups>", "exec"), namespace)
    return GroupCode(
        make=namespace["make"],
        fitting=namespace["fitting"],
        fitting_verified=namespace["fitting_verified"],
        add_to_groups=namespace["add_to_groups"],
        add_to_group=namespace["add_to_group"],
        merge=namespace["merge"],
        results=namespace["results"],
        text=text,
    )


class _Writer:
    def __init__(self, sites: Sequence[AggregateSite], key: int | None, passes: int | None) -> None:
        self._sites = sites
        self._key = key
        self._passes = passes
        self.namespace: dict[str, Any] = {}
        self._slots: list[list[int]] = []
        following = 1
        for site in sites:
            inline = inline_of(site)
            width = len(inline.initial) if inline else 1
            self._slots.append(list(range(following, following + width)))
            following += width

    def lines(self) -> Iterator[str]:
        """Yield the text of all functions."""
        yield "def make(first):"
        yield f"    return {self._new('first')}"
        yield from self._fitting("fitting", verified=False)
        yield from self._fitting("fitting_verified", verified=True)
        yield "def add_to_groups(groups, records):"
        yield "    get = groups.get"
        yield from self._loop(grouped=True)
        yield "def add_to_group(g, records):"
        yield from self._loop(grouped=False)
        yield "def merge(older, newer):"
        yield f"    return {self._merged()}"
        yield "def results(g):"
        shown = [self._result(site, slots) for site, slots in self._each()]
        yield f"    return ({', '.join(shown)}{',' if shown else ''})"

    def _each(self) -> Iterator[tuple[AggregateSite, list[int]]]:
        return zip(self._sites, self._slots, strict=True)

    def _loop(self, *, grouped: bool) -> Iterator[str]:
        yield "    for rec in records:"
        if self._passes is not None:
            yield f"        if not rec[{self._passes}]: continue"
        for place in self._loaded():
            yield f"        a{place} = rec[{place}]"
        if grouped:
            key = "()" if self._key is None else f"rec[{self._key}]"
            yield f"        g = get(k := {key})"
            yield f"        if g is None: g = groups[k] = {self._new('rec')}"
        else:
            yield "        if g[0] is None: g[0] = rec"
        for site, slots in self._each():
            indent = "        "
            if site.filter is not None:
                yield f"        if rec[{site.filter}]:"
                indent += "    "
            yield from (f"{indent}{line}" for line in self._addition(site, slots))

    # -- arguments -----------------------------------------------------------------------------

    def _loaded(self) -> list[int]:
        """Return the places of the arguments that are read."""
        places = {
            place
            for site in self._sites
            if not (site.constant and inline_of(site) is not None)
            for place in site.arguments
        }
        return sorted(places)

    def _fitting(self, name: str, *, verified: bool) -> Iterator[str]:
        """The function that returns the records which all aggregates can take."""
        yield f"def {name}(records, errors):"
        body: list[str] = []
        place = self._passes
        # where rows that don't pass have their place in the window, so has one that doesn't fit
        failing = "" if place is None else f"(*rec[:{place}], False, *rec[{place + 1}:])"
        refused = f"kept.append({failing}); " if failing else ""
        for index, site in enumerate(self._sites):
            guard = "" if site.filter is None else f"rec[{site.filter}] and "
            for place, parameter in site.checks(verified=verified):
                known = self._constant(f"p{index}_{place}", (site.spec.name, parameter))
                body.append(f"        v = rec[{place}]")
                if parameter.kind.is_numeric:
                    test = "(c := v.__class__) is not float and c is not int and v is not None"
                    if parameter.kind is Kind.BIGINT:
                        test = f"v is not None and not {known}[1].accepts(v)"
                else:
                    test = f"v is not None and not {known}[1].accepts(v)"
                body.append(f"        if {guard}{test}:")
                body.append(f"            errors.append(refuse({known}, v))")
                body.append(f"            {refused}continue")
        if not body:
            yield "    return records"
            return
        if self._passes is not None:
            body.insert(0, f"        if not rec[{self._passes}]: kept.append(rec); continue")
        yield "    kept = []"
        yield "    for rec in records:"
        yield from body
        yield "        kept.append(rec)"
        yield "    return kept"

    def _addition(self, site: AggregateSite, slots: list[int]) -> Iterator[str]:
        inline = inline_of(site)
        if inline is None:
            arguments = ", ".join(f"a{place}" for place in site.arguments)
            yield f"g[{slots[0]}].add({arguments})"
            return
        if site.constant:
            yield from self._text(inline, "number", slots, f"rec[{site.arguments[0]}]")
            return
        value = f"a{site.arguments[0]}"
        number = list(self._text(inline, "number", slots, value))
        other = list(self._text(inline, "other", slots, value))
        if site.spec.parameter(0).kind.is_numeric or number == other:
            yield f"if {value} is not None:"
            yield from (f"    {line}" for line in number)
            return
        yield f"if (c := {value}.__class__) is float or c is int:"
        yield from (f"    {line}" for line in number)
        yield f"elif {value} is not None:"
        yield from (f"    {line}" for line in other)

    # -- states --------------------------------------------------------------------------------

    def _new(self, first: str) -> str:
        parts = [first]
        for site, slots in self._each():
            inline = inline_of(site)
            if inline is None:
                parts.append(f"{self._constant(f'new{slots[0]}', site.spec.accumulator)}()")
            else:
                parts.extend(inline.initial)
        return f"[{', '.join(parts)}]"

    def _merged(self) -> str:
        parts = ["newer[0] if older[0] is None else older[0]"]
        for site, slots in self._each():
            inline = inline_of(site)
            if inline is None:
                parts.append(f"older[{slots[0]}].merge(newer[{slots[0]}])")
                continue
            names = self._names(inline, slots)
            text = inline.text(
                inline.merge,
                [f"older[{slot}]" for slot in slots],
                newer=[f"newer[{slot}]" for slot in slots],
                **names,
            )
            parts.append(f"*{text}")
        return f"[{', '.join(parts)}]"

    def _result(self, site: AggregateSite, slots: list[int]) -> str:
        inline = inline_of(site)
        if inline is None:
            return f"g[{slots[0]}].result()"
        return "".join(self._text(inline, "result", slots, ""))

    def _text(
        self, inline: InlineAggregate, which: str, slots: list[int], value: str
    ) -> Iterator[str]:
        names = self._names(inline, slots)
        places = [f"g[{slot}]" for slot in slots]
        yield from inline.text(getattr(inline, which), places, value=value, **names).splitlines()

    def _names(self, inline: InlineAggregate, slots: list[int]) -> dict[str, str]:
        return {
            name: self._constant(f"{name}_{slots[0]}", value)
            for name, value in inline.names.items()
        }

    def _constant(self, name: str, value: Any) -> str:
        self.namespace[name] = value
        return name


def inline_of(site: AggregateSite) -> InlineAggregate | None:
    """Return an aggregate as text, None if it needs an accumulator."""
    accumulator = site.spec.accumulator
    assert accumulator is not None, f"{site.spec.name} is no aggregate"
    return accumulator.inline if len(site.arguments) == 1 else None


def _refuse(argument: tuple[str, Any], value: Any) -> RowError:
    function, parameter = argument
    return RowError(f"{function}: {parameter.name} must be {parameter.kind}, not {kind_of(value)}")


class AggregateFold:
    """All rows as one group; see ``engine.ops.fold.Fold``."""

    def __init__(self, code: GroupCode, sites: Sequence[AggregateSite], saver: GroupSaver) -> None:
        self._code = code
        self._saver = saver
        self._is_compact = all(
            site.spec.accumulator is not None and site.spec.accumulator.is_compact for site in sites
        )

    @property
    def is_compact(self) -> bool:
        return self._is_compact

    def empty(self) -> Group:
        return self._code.make(None)

    def add(self, state: Group, rows: Sequence[Record]) -> Group:
        self._code.add_to_group(state, rows)
        return state

    def merge(self, older: Group, newer: Group) -> Group:
        return self._code.merge(older, newer)

    def snapshot(self, state: Group) -> Any:
        return self._saver.dump(state)

    def restore(self, value: Any) -> Group:
        return self._saver.load(value)


class GroupsFold(GroupFold[Group, Record]):
    """Rows in groups by key; see ``engine.ops.fold.KeyedFold``."""

    def __init__(
        self,
        code: GroupCode,
        inner: AggregateFold,
        saver: GroupSaver,
        key: int,
        passes: int | None,
    ) -> None:
        super().__init__(inner, itemgetter(key))
        self._saver = saver
        self._add = code.add_to_groups
        self._passes = passes

    def key(self, row: Record) -> Hashable:
        if self._passes is not None and not row[self._passes]:
            return _NOBODY
        return super().key(row)

    def add(self, state: dict[Hashable, Group], rows: Sequence[Record]) -> dict[Hashable, Group]:
        self._add(state, rows)
        return state

    def snapshot(self, state: dict[Hashable, Group]) -> Any:
        groups = self._saver.freeze(state.values())
        return Frozen(len(state), partial(_pairs, list(state), groups))


def _pairs(keys: list[Hashable], groups: Frozen) -> Iterator[list[Any]]:
    return ([key, group] for key, group in zip(keys, groups, strict=True))


class GroupSaver:
    """Groups as values for snapshots and back."""

    def __init__(
        self,
        code: GroupCode,
        sites: Sequence[AggregateSite],
        dump: Callable[[Record], Any],
        load: Callable[[Any], Record],
    ) -> None:
        self._code = code
        self._accumulators: dict[int, Any] = {}
        slot = 1
        for site in sites:
            inline = inline_of(site)
            if inline is None:
                self._accumulators[slot] = site.spec.accumulator
            slot += len(inline.initial) if inline else 1
        self._dump = dump
        self._load = load

    def dump(self, group: Group) -> Any:
        """Return a group as a value that later rows don't change."""
        [value] = self.freeze([group])
        return value

    def freeze(self, groups: Collection[Group]) -> Frozen:
        """Return groups as values; what takes long is done when they are read.

        Only one list is made at once, of all slots of all groups, for it takes an instant.
        """
        count = len(groups)
        flat = list(chain.from_iterable(groups))
        width = len(flat) // count if count else 1
        for slot in range(1, width):
            column = flat[slot::width]
            if slot in self._accumulators:
                flat[slot::width] = [value.snapshot() for value in column]
            elif list in set(map(type, column)):  # of sums of whole numbers all are empty
                flat[slot::width] = map(_copied, column) if any(column) else [_NOTHING] * count
        return Frozen(count, partial(self._thaw, flat, width))

    def _thaw(self, flat: list[Any], width: int) -> Iterator[Any]:
        for start in range(0, len(flat), width):
            first = None if flat[start] is None else self._dump(flat[start])
            yield [first, flat[start + 1 : start + width]]

    def load(self, value: Any) -> Group:
        first, saved = value
        group = self._code.make(None if first is None else self._load(first))
        for slot, state in enumerate(saved, 1):
            if slot in self._accumulators:
                group[slot].restore(state)
            else:
                group[slot] = _copied(state)
        return group


_NOTHING: list[Any] = []


def _copied(value: Any) -> Any:
    """Return a slot that later rows of the original don't change."""
    return list(value) if isinstance(value, list) else value
