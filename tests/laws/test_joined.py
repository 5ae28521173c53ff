"""Joins by key equal nested loops over all pairs of rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.batch import Row
from tests.laws.pipelines import Feed, Run, Setting, shown
from tests.laws.queries import gaps, rows

Joined = dict[str, Row]
"""One row of each stream by its name; a stream without a row has an empty one."""


class On(NamedTuple):
    """A join condition in SQL, and the same in Python; {0} and {1} are the streams."""

    sql: str
    holds: Callable[[Row, Row], bool]


def equal(one: Any, other: Any) -> bool:
    """Tell whether two values are equal and of one kind."""
    if one is None or other is None:
        return False
    numbers = type(one) in (int, float) and type(other) in (int, float)
    return (numbers or type(one) is type(other)) and one == other


def less(one: Any, other: Any) -> bool:
    return one is not None and other is not None and one < other


def _v(row: Row) -> Any:
    return row.get("v")


def _same(*names: str) -> Callable[[Row, Row], bool]:
    return lambda a, b: all(equal(a.get(name), b.get(name)) for name in names)


ALWAYS = On("", lambda a, b: True)
CONDITIONS = (
    ALWAYS,
    On("{0}.k = {1}.k", _same("k")),
    On("{1}.g = {0}.g", _same("g")),
    On("{0}.k = {1}.k AND {1}.g = {0}.g", _same("k", "g")),
    On("{0}.g = {1}.g AND {0}.v < {1}.v", lambda a, b: _same("g")(a, b) and less(_v(a), _v(b))),
    On("{0}.k = {1}.k AND {1}.v > 1", lambda a, b: _same("k")(a, b) and less(1, _v(b))),
    On("{0}.k = {1}.k AND {0}.v > 1", lambda a, b: _same("k")(a, b) and less(1, _v(a))),
    On("{0}.v < {1}.v", lambda a, b: less(_v(a), _v(b))),
    On(
        "{0}.v + 1 = {1}.v",
        lambda a, b: _v(a) is not None and equal(_v(a) + 1, _v(b)),
    ),
    On("{0}.g = {1}.g OR {0}.v > {1}.v", lambda a, b: _same("g")(a, b) or less(_v(b), _v(a))),
    On("{1}.v > 1", lambda a, b: less(1, _v(b))),
)


class Side(NamedTuple):
    kind: str
    on: On


def nested(
    left: Sequence[Joined], right: Sequence[Row], stream: str, before: str, side: Side
) -> list[Joined]:
    """Join by looking at every pair."""

    def matches(combination: Joined, row: Row) -> bool:
        return side.on.holds(combination[before], row)

    def with_row(combination: Joined, row: Row) -> Joined:
        return {**combination, stream: row}

    nothing: Joined = {name: {} for name in (*(left[0] if left else ()), before, stream)}
    if side.kind == "RIGHT":
        return [
            joined
            for row in right
            for joined in [with_row(each, row) for each in left if matches(each, row)]
            or [with_row(nothing, row)]
        ]
    found: list[Joined] = []
    for combination in left:
        pairs = [with_row(combination, row) for row in right if matches(combination, row)]
        if not pairs and side.kind in ("LEFT", "FULL"):
            pairs = [with_row(combination, {})]
        found += pairs
    if side.kind == "FULL":
        found += [
            with_row(nothing, row) for row in right if not any(matches(each, row) for each in left)
        ]
    return found


@st.composite
def sides(draw: st.DrawFn) -> Side:
    kind = draw(st.sampled_from(["INNER", "LEFT", "RIGHT", "FULL", "CROSS"]))
    return Side(kind, ALWAYS if kind == "CROSS" else draw(st.sampled_from(CONDITIONS)))


def clause(side: Side, stream: str, before: str) -> str:
    on = f" ON {side.on.sql.format(before, stream)}" if side.on.sql else ""
    return f"{side.kind} JOIN {stream}{on}"


def numbers(joined: Joined) -> Row:
    """Return the result of ``SELECT a.i AS a, b.i AS b …``."""
    return {name: row["i"] for name, row in joined.items() if row}


streams_of_rows = st.lists(rows(wild=False, most=6), min_size=3, max_size=3)
some = settings(max_examples=150, deadline=None)


@some
@given(
    first=sides(), second=st.none() | sides(), found=streams_of_rows, before=st.sampled_from("ab")
)
def test_a_window_joins_every_pair_of_its_rows_that_belongs_together(
    first: Side, second: Side | None, found: list[list[Row]], before: str
) -> None:
    names = ["a", "b", "c"] if second else ["a", "b"]
    joins = [clause(first, "b", "a")] + ([clause(second, "c", before)] if second else [])
    items = ", ".join(f"{name}.i AS {name}" for name in names)
    sql = f"SELECT {items} FROM a {' '.join(joins)} GROUP BY TUMBLINGWINDOW(ss, 1)"
    run = Run(Setting(sql, tuple(names)))
    feeds: list[Feed] = [(0, name, found[at]) for at, name in enumerate(names)]
    run.feed(feeds)
    run.wait_until(1_000)
    expected = nested([{"a": row} for row in found[0]], found[1], "b", "a", first)
    if second is not None:
        expected = nested(expected, found[2], "c", before, second)
    assert shown(run.emissions) == shown(
        [(1_000, list(map(numbers, expected)))] if expected else []
    )
    assert not run.errors


@some
@given(side=sides(), found=rows(wild=False), kept=st.integers(1, 4), data=st.data())
def test_a_row_is_joined_with_what_the_table_holds_when_it_comes(
    side: Side, found: list[Row], kept: int, data: st.DataObject
) -> None:
    sql = f"SELECT a.i AS a, t.i AS t FROM a {clause(side, 't', 'a')}"
    run = Run(Setting(sql, ("a",), {"t": kept}))
    table: list[Row] = []
    expected: list[tuple[int, list[Row]]] = []
    at = 0
    for row in found:
        at += data.draw(gaps)
        if data.draw(st.booleans()):
            table = [*table, row][-kept:]
            run.feed([(at, "t", [row])])
            continue
        run.feed([(at, "a", [row])])
        if joined := nested([{"a": row}], table, "t", "a", side):
            expected.append((at, list(map(numbers, joined))))
    assert shown(run.emissions) == shown(expected)
    assert not run.errors


@some
@given(
    side=sides(),
    found=st.lists(rows(wild=False, most=8), min_size=2, max_size=2),
    as_json=st.booleans(),
)
def test_aggregates_of_a_join_are_those_of_its_rows(
    side: Side, found: list[list[Row]], as_json: bool
) -> None:
    sql = (
        f"SELECT a.g AS g, count(*) AS n, collect(b.i) AS js FROM a {clause(side, 'b', 'a')} "
        "WHERE a.v IS NULL OR a.v < 3 GROUP BY a.g, TUMBLINGWINDOW(ss, 1)"
    )
    run = Run(Setting(sql, ("a", "b"), as_json=as_json))
    run.feed([(0, "a", found[0]), (0, "b", found[1])])
    run.wait_until(1_000)
    groups: dict[Any, list[Joined]] = {}
    for joined in nested([{"a": row} for row in found[0]], found[1], "b", "a", side):
        if _v(joined["a"]) is None or _v(joined["a"]) < 3:
            groups.setdefault(joined["a"].get("g"), []).append(joined)
    results = [
        {
            **({} if key is None else {"g": group[0]["a"]["g"]}),
            "n": len(group),
            "js": [joined["b"].get("i") for joined in group],
        }
        for key, group in groups.items()
    ]
    assert shown(run.emissions) == shown([(1_000, results)] if results else [])
    assert not run.errors
