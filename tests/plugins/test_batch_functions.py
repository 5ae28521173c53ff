"""Functions with a whole-batch form: when it is used, and that nobody can tell but by the time."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.batch import Batch
from engine.codec import decoder
from engine.layout import Layout
from engine.registry import PluginRegistry
from engine.run.functions import EngineFunctions
from engine.sql.analyse import analyse
from engine.sql.compile import QueryOptions
from engine.sql.parse import parse_select
from engine.sql.query import Query
from engine.sql.schema import Schema
from engine.sql.source import SourceText

DOUBLED = """\
from engine.api import Function, RowError
LOG = []
class Doubled(Function):
    stateless = {stateless}
    def exec(self, ctx, value{annotation}):
        LOG.append("row")
        if value == 13:
            raise RowError("unlucky")
        return None if value is None else value * 2
    def exec_batch(self, ctx, values):
        LOG.append(("batch", len(values)))
        {body}
"""
GOOD = "return [None if value is None else self.exec(ctx, value) for value in values]"
OWN = """if 13 in values:
            raise ValueError("unlucky")
        return [None if value is None else value * 2 for value in values]"""
Seen = tuple[list[Any], list[str]]


class Doubling:
    """A query with a function that notes how it is called."""

    def __init__(
        self, root: Path, body: str = OWN, *, stateless: bool = True, annotation: str = ""
    ) -> None:
        folder = root / "plugins" / "functions"
        folder.mkdir(parents=True, exist_ok=True)
        text = DOUBLED.format(body=body, stateless=stateless, annotation=annotation)
        (folder / "doubled.py").write_text(text)
        self._functions = EngineFunctions(PluginRegistry(root))
        spec = self._functions.get("doubled")
        assert spec is not None
        assert spec.make is not None
        self.instance = spec.make()
        self.log: list[Any] = self.instance.exec.__func__.__globals__["LOG"]

    def query(self, sql: str) -> tuple[Query, Layout]:
        plan = analyse(parse_select(sql), SourceText(sql), {"demo": Schema()}, self._functions)
        layout = Layout()
        layout.require(plan.scan.columns, whole=plan.scan.whole)
        bind = lambda site: (self.instance.exec, None)  # noqa: E731
        return Query(plan, layout, self._functions, QueryOptions(), bind), layout

    def run(self, sql: str, rows: list[dict[str, Any]]) -> Seen:
        """Return the results and the errors; ``log`` has the calls."""
        query, layout = self.query(sql)
        payloads = [json.dumps(row).encode() for row in rows]
        frame, _ = decoder("json", layout, Schema()).decode(Batch(payloads=payloads))
        self.log.clear()
        result = query(frame)
        return result.rows or [], [error.message for error in result.errors]


def rows_of(*values: Any) -> list[dict[str, Any]]:
    return [{"a": value} for value in values]


@pytest.mark.parametrize(
    ("sql", "expected", "calls"),
    [
        ("SELECT doubled(a) AS d FROM demo", [2, 4, 6], [("batch", 3)]),
        ("SELECT doubled(a) + 1 AS d FROM demo", [3, 5, 7], [("batch", 3)]),
        ("SELECT doubled(a * 10) AS d FROM demo", [20, 40, 60], [("batch", 3)]),
        ("SELECT doubled(a) AS d FROM demo WHERE a > 1", [4, 6], [("batch", 2)]),
        ("SELECT a AS d FROM demo WHERE doubled(a) > 2", [2, 3], [("batch", 3)]),
        (
            "SELECT doubled(a) AS d FROM demo WHERE doubled(a) > 2",
            [4, 6],
            [("batch", 3), ("batch", 2)],
        ),
        ("SELECT *, doubled(a) AS d FROM demo", [2, 4, 6], [("batch", 3)]),
        ("SELECT *, doubled(a) AS d FROM demo WHERE doubled(a) > 2", [4, 6], None),
        # what isn't needed for each row is asked for row by row
        ("SELECT a AS d FROM demo WHERE a > 1 AND doubled(a) > 5", [3], ["row", "row"]),
        ("SELECT CASE WHEN a > 2 THEN doubled(a) ELSE 0 END AS d FROM demo", [0, 0, 6], ["row"]),
    ],
)
def test_it_is_called_once_for_all_rows_that_need_it(
    tmp_path: Path, sql: str, expected: list[Any], calls: list[Any] | None
) -> None:
    doubling = Doubling(tmp_path)
    rows, errors = doubling.run(sql, rows_of(1, 2, 3))
    assert ([row["d"] for row in rows], errors) == (expected, [])
    if calls is not None:
        assert doubling.log == calls


def test_calls_in_arguments_are_made_too(tmp_path: Path) -> None:
    rows, _ = Doubling(tmp_path).run("SELECT doubled(doubled(a)) AS d FROM demo", rows_of(1, 2))
    assert rows == [{"d": 4}, {"d": 8}]


def test_an_alias_may_be_an_argument(tmp_path: Path) -> None:
    sql = "SELECT a + 1 AS b, doubled(b) AS d FROM demo"
    assert Doubling(tmp_path).run(sql, rows_of(1))[0] == [{"b": 2, "d": 4}]


def test_nulls_and_missing_columns_arrive_as_none(tmp_path: Path) -> None:
    doubling = Doubling(tmp_path)
    rows, errors = doubling.run("SELECT doubled(a) AS d FROM demo", [{"a": 1}, {"a": None}, {}])
    assert (rows, errors) == ([{"d": 2}, {}, {}], [])


@pytest.mark.parametrize("star", ["", "*, "])
@pytest.mark.parametrize(
    "body",
    [OWN, "raise ValueError('no')", "return [1]", "return None", "return 'abc'", "1/0"],
)
def test_when_it_fails_the_rows_are_computed_one_by_one(
    tmp_path: Path, body: str, star: str, caplog: pytest.LogCaptureFixture
) -> None:
    doubling = Doubling(tmp_path, body)
    with caplog.at_level(logging.WARNING):
        rows, errors = doubling.run(f"SELECT {star}doubled(a) AS d FROM demo", rows_of(1, 13))
    assert [row["d"] for row in rows] == [2]
    assert len(errors) == 1
    assert "unlucky" in errors[0]
    assert "doubled: exec_batch failed, so exec is called row by row" in caplog.text


def test_a_failing_one_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    query, layout = Doubling(tmp_path, "1/0").query("SELECT doubled(a) AS d FROM demo")
    frame, _ = decoder("json", layout, Schema()).decode(Batch(payloads=[b'{"a":1}']))
    for _ in range(100):
        assert query(frame).rows == [{"d": 2}]
    assert len([r for r in caplog.records if "exec_batch failed" in r.message]) == 1


def test_an_array_becomes_a_list_of_plain_values(tmp_path: Path) -> None:
    pytest.importorskip("numpy")
    body = "import numpy; return numpy.array(values) * 2"
    (row,), _ = Doubling(tmp_path, body).run("SELECT doubled(a) AS d FROM demo", rows_of(1.5))
    assert type(row["d"]) is float


@pytest.mark.parametrize("star", ["", "*, "])
def test_values_of_a_wrong_kind_are_errors_of_their_rows(tmp_path: Path, star: str) -> None:
    doubling = Doubling(tmp_path, annotation=": int | None")
    rows, errors = doubling.run(f"SELECT {star}doubled(a) AS d FROM demo", rows_of(1, "x", 3))
    assert [row["d"] for row in rows] == [2, 6]
    assert len(errors) == 1
    assert "must be" in errors[0]


def test_a_function_that_remembers_is_called_for_each_row(tmp_path: Path) -> None:
    doubling = Doubling(tmp_path, stateless=False)
    doubling.run("SELECT doubled(a) AS d FROM demo", rows_of(1, 2))
    assert doubling.log == ["row", "row"]


@given(
    values=st.lists(st.one_of(st.none(), st.integers(0, 20), st.text(max_size=2)), max_size=12),
    sql=st.sampled_from(
        [
            "SELECT doubled(a) AS d FROM demo",
            "SELECT a, doubled(a) AS d, doubled(a) AS e FROM demo WHERE doubled(a) > 4",
            "SELECT *, doubled(a) AS d FROM demo WHERE a > 3",
            "SELECT doubled(a) AS d FROM demo WHERE a IS NOT NULL AND doubled(a) != 8",
        ]
    ),
)
def test_results_are_those_of_row_by_row(
    tmp_path_factory: pytest.TempPathFactory, values: list[Any], sql: str
) -> None:
    rows = rows_of(*values)
    together = Doubling(tmp_path_factory.mktemp("together")).run(sql, rows)
    apart = Doubling(tmp_path_factory.mktemp("apart"), stateless=False).run(sql, rows)
    assert together == apart
