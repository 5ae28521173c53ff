"""Looking rows up in SQL databases: SQLite files, by themselves and through SQLAlchemy."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.api import ConfigError, NotConnected, RowError
from engine.lookup.table import LookupTable
from plugins.sources.sql import Sql, SqlConfig, TemplateQuery
from tests.lookup.support import PlainContext, link_to, opened

SCRIPT = """
CREATE TABLE devices (id INTEGER PRIMARY KEY, name TEXT, site TEXT, "odd "" name" REAL, born DATE);
INSERT INTO devices VALUES (1, 'one', 'x', 1.5, '2024-01-02'), (2, 'two', 'x', NULL, NULL),
                           (3, 'three', 'y', 3.5, '2024-01-03');
CREATE VIEW of_x AS SELECT id, name FROM devices WHERE site = 'x';
CREATE TABLE "a.b" (id TEXT, v INTEGER);
INSERT INTO "a.b" VALUES ('1', 10), ('x', 20);
"""
ONE = {"id": 1, "name": "one"}
TWO = {"id": 2, "name": "two"}
Open = Callable[..., Any]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "devices.db"
    with closing(sqlite3.connect(path)) as database:
        database.executescript(SCRIPT)
    return path


@pytest.fixture(params=["sqlite://", "sqlite+pysqlite:///"])
def url(request: pytest.FixtureRequest, path: Path) -> str:
    return f"{request.param}{path}"


@pytest.fixture
async def source(tmp_path: Path) -> AsyncIterator[Open]:
    """What opens a source; all are closed in the end."""
    made: list[Sql] = []

    async def open_(url: str, datasource: str = "devices", **properties: Any) -> Sql:
        made.append(Sql())
        config = SqlConfig(dburl=url, datasource=datasource, **properties)
        await opened(made[-1], config, PlainContext(tmp_path))
        return made[-1]

    yield open_
    for each in made:
        await each.close()


async def test_many_keys_are_found_in_one_question(source: Open, url: str) -> None:
    table = await source(url)
    found = await table.lookup_many(["id", "name"], ["id"], [(2,), (9,), (1,), (2,)])
    assert found == [[TWO], [], [ONE], [TWO]]
    assert await table.lookup(["name"], ["site"], ["x"]) == [{"name": "one"}, {"name": "two"}]


async def test_more_keys_than_fit_in_a_statement(source: Open, url: str) -> None:
    table = await source(url)
    found = await table.lookup_many(["id"], ["id", "site"], [(n % 4, "x") for n in range(2500)])
    assert found == [[{"id": n % 4}] if n % 4 in (1, 2) else [] for n in range(2500)]
    assert await table.lookup_many([], ["id"], []) == []


async def test_keys_of_several_columns_match_together(source: Open, url: str) -> None:
    table = await source(url)
    keys = [("x", 1), ("y", 1), ("x", 2.0)]
    found = await table.lookup_many(["id", "name"], ["site", "id"], keys)
    assert found == [[ONE], [], [TWO]]


async def test_all_columns_with_their_nulls_unless_fields_are_named(source: Open, url: str) -> None:
    table = await source(url)
    (row,) = await table.lookup([], ["id"], [2])
    assert row == {**TWO, "site": "x", 'odd " name': None, "born": None}
    (row,) = await table.lookup(['odd " name', "born"], ["id"], [1])
    assert row == {'odd " name': 1.5, "born": "2024-01-02"}


async def test_a_field_of_another_stream_is_left_out(
    source: Open, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    table = await source(url)
    for _ in range(2):
        assert await table.lookup(["name", "temperature"], ["id"], [1]) == [{"name": "one"}]
    assert await table.lookup(["temperature"], ["id"], [1]) == [{"id": 1}]
    assert "table devices has no column temperature" in caplog.text
    assert len([r for r in caplog.records if r.levelno == logging.WARNING]) == 1


async def test_views_and_names_with_points_are_tables_too(source: Open, url: str) -> None:
    view = await source(url, "of_x")
    assert await view.lookup_many([], ["id"], [(1,), (3,)]) == [[ONE], []]
    pointed = await source(url, "a.b")
    assert await pointed.lookup(["v"], ["id"], ["x"]) == [{"v": 20}]
    with_schema = await source(url, "main.devices")
    assert await with_schema.lookup(["id", "name"], ["id"], [1]) == [ONE]


async def test_the_database_decides_what_equals_what_and_always_the_same(
    source: Open, url: str
) -> None:
    """The column is text: SQLite compares it with the text of a number."""
    table = await source(url, "a.b")
    keys: list[tuple[Any]] = [(1,), ("1",), (1.0,), (True,), ("x",)]
    together = await table.lookup_many(["v"], ["id"], keys)
    assert together[:2] == [[{"v": 10}], [{"v": 10}]]
    assert together == [await table.lookup(["v"], ["id"], key) for key in keys]


INJECTIONS = [
    "' OR 1=1 --",
    '" OR ""="',
    "x'; DROP TABLE devices; --",
    ":p0",
    "?",
    "{{.id}}",
    "\0",
    "",
]


async def test_values_are_never_part_of_the_statement(source: Open, url: str, path: Path) -> None:
    table = await source(url)
    found = await table.lookup_many([], ["name"], [(text,) for text in INJECTIONS])
    assert found == [[] for _ in INJECTIONS]
    for name in ["id = id OR 1", '"', "id\0"]:
        with pytest.raises(RowError, match="has no column"):
            await table.lookup([], [name], [1])
    for name in ["devices WHERE 1=1 --", 'devices" --', "x.y.devices", '".devices']:
        with pytest.raises(ConfigError, match="there is no table"):
            await source(url, name)
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT count(*) FROM devices").fetchone() == (3,)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None
)
@given(
    st.lists(
        st.one_of(
            st.text(st.characters(codec="utf-8")),
            st.integers(-(2**63), 2**63 - 1),
            st.floats(allow_nan=False),
            st.binary(),
        ),
        max_size=8,
        unique_by=lambda value: (isinstance(value, (int, float)), value),
    )
)
async def test_every_kind_of_value_finds_the_row_that_has_it(
    tmp_path: Path, values: list[Any]
) -> None:
    path = tmp_path / "values.db"
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE t (k, n INTEGER)")
        database.executemany("INSERT INTO t VALUES (?, ?)", [(v, n) for n, v in enumerate(values)])
        database.commit()
    table = Sql()
    await opened(table, SqlConfig(dburl=f"sqlite://{path}", datasource="t"), PlainContext(tmp_path))
    found = await table.lookup_many(["n"], ["k"], [(value,) for value in values])
    await table.close()
    assert found == [[{"n": number}] for number in range(len(values))]


@pytest.mark.parametrize("value", [[1], {"a": 1}, 2**63, object()])
async def test_a_value_without_counterpart_is_an_error_of_its_row_alone(
    source: Open, path: Path, value: Any
) -> None:
    sql = await source(f"sqlite://{path}")
    ctx = PlainContext(path.parent)
    table = LookupTable(link_to(sql, ctx.clock), ["id"], ["name"], cache=None, clock=ctx.clock)
    keys = [(1,), (value,), (2,)] if isinstance(value, (list, dict, int)) else [(1,), (2,)]
    first, *bad, last = await table.find(keys)
    assert (first, last) == ([{"name": "one"}], [{"name": "two"}])
    assert all(isinstance(answer, RowError) for answer in bad)


async def test_dates_are_compared_as_sqlite_writes_them(source: Open, path: Path) -> None:
    table = await source(f"sqlite://{path}")
    assert await table.lookup(["id"], ["born"], [date(2024, 1, 3)]) == [{"id": 3}]
    assert await table.lookup(["id"], ["born"], [datetime(2024, 1, 3, tzinfo=UTC)]) == []


# -- templates -------------------------------------------------------------------------------------


def template(text: str) -> TemplateQuery:
    return TemplateQuery(template_sql=text)


async def test_a_template_is_a_statement_with_bound_values(source: Open, url: str) -> None:
    text = (
        "SELECT name, site, ':x ?' AS note FROM devices WHERE id >= {{.id}} AND id < {{ .id }} + 2"
    )
    table = await source(url, "", template_sql_query_cfg=template(text))
    rows = [{"name": n, "site": s, "note": ":x ?"} for n, s in (("one", "x"), ("two", "x"))]
    assert await table.lookup_many([], ["id"], [(1,), (9,)]) == [rows, []]
    # a key that the statement doesn't name is compared with what it gives
    assert await table.lookup([], ["id", "name"], [1, "two"]) == rows[1:]
    with pytest.raises(RowError, match="templateSql needs id, but the join compares name"):
        await table.lookup([], ["name"], ["one"])


async def test_a_wrong_statement_is_an_error_of_the_row(source: Open, url: str) -> None:
    table = await source(url, "", template_sql_query_cfg=template("SELEC {{.id}}"))
    with pytest.raises((RowError, NotConnected), match="syntax error"):
        await table.lookup([], ["id"], [1])


@pytest.mark.parametrize("statement", ["VACUUM INTO '{}'", "ATTACH '{}' AS other"])
async def test_a_template_reaches_no_other_file(source: Open, path: Path, statement: str) -> None:
    other = path.with_name("other.db")
    text = statement.format(other)
    table = await source(f"sqlite://{path}", "", template_sql_query_cfg=template(text))
    with pytest.raises(RowError, match="authoriz"):
        await table.lookup_many([], ["id"], [[1]])
    assert not other.exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SELECT * FROM t WHERE id = '{{.id}}'", "stands in quotes"),
        ("SELECT * FROM {{table}}", r"\{\{table\}\} is not supported"),
        ("SELECT * FROM t WHERE id = {{.a.b}}", "is not supported"),
    ],
)
def test_wrong_templates_are_refused(tmp_path: Path, text: str, message: str) -> None:
    source = Sql()
    source.config = SqlConfig(dburl="sqlite://x.db", template_sql_query_cfg=template(text))
    source.ctx = PlainContext(tmp_path)
    with pytest.raises(ConfigError, match=message):
        source.validate()


# -- what can go wrong -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        ({"datasource": "t"}, "dburl is missing"),
        ({"dburl": "sqlite://x.db"}, "there is no table"),
        ({"dburl": "sqlite://x.db", "url": "sqlite://y.db", "datasource": "t"}, "not both"),
        ({"dburl": "devices.db", "datasource": "t"}, "is no URL"),
        ({"dburl": "sqlite://:memory:", "datasource": "t"}, "in memory has no tables"),
        ({"dburl": "nosuch://u:secret@h/db", "datasource": "t"}, "unknown database 'nosuch'"),
        ({"dburl": "postgres://u:secret@h/db", "datasource": "t"}, "driver .* is missing"),
        ({"dburl": "mysql+pymysql://u:secret@h:x/db", "datasource": "t"}, "no address"),
    ],
)
def test_wrong_configurations_are_refused_without_showing_secrets(
    tmp_path: Path, properties: dict[str, Any], message: str
) -> None:
    source = Sql()
    source.config = SqlConfig(**properties)
    source.ctx = PlainContext(tmp_path)
    with pytest.raises(ConfigError, match=message) as caught:
        source.validate()
    assert "secret" not in str(caught.value)


async def test_an_unknown_table_is_refused_with_those_that_are_there(
    source: Open, url: str
) -> None:
    with pytest.raises(ConfigError, match=r"no table device\n.*a\.b, devices, of_x"):
        await source(url, "device")


async def test_a_file_that_is_not_there_yet_is_tried_again_and_never_made(
    source: Open, tmp_path: Path
) -> None:
    with pytest.raises(NotConnected, match="unable to open"):
        await source("sqlite://none.db")
    assert not (tmp_path / "none.db").exists()


async def test_a_file_that_is_no_database_is_refused(source: Open, tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("not a database at all, but long enough to be looked at" * 20)
    with pytest.raises(ConfigError, match="is no SQLite database"):
        await source("sqlite://text.db")


@pytest.fixture
def writer(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


async def test_a_table_that_somebody_locks_is_asked_again(
    source: Open, path: Path, writer: sqlite3.Connection
) -> None:
    table = await source(f"sqlite://{path}", timeout=0.05)
    writer.execute("BEGIN EXCLUSIVE")
    with pytest.raises(NotConnected, match="locked"):
        await table.lookup([], ["id"], [1])
    writer.execute("UPDATE devices SET name = 'uno' WHERE id = 1")
    writer.execute("COMMIT")
    assert await table.lookup(["name"], ["id"], [1]) == [{"name": "uno"}]


async def test_a_query_that_takes_too_long_is_stopped(source: Open, path: Path) -> None:
    text = """WITH RECURSIVE n(i) AS (SELECT {{.id}} UNION ALL SELECT i + 1 FROM n)
              SELECT max(i) AS i FROM n"""
    table = await source(
        f"sqlite://{path}", "", timeout=0.05, template_sql_query_cfg=template(text)
    )
    with pytest.raises(RowError, match=r"took longer than 0\.05 s"):
        await table.lookup([], ["id"], [1])


async def test_a_file_that_was_replaced_is_opened_again(source: Open, path: Path) -> None:
    table = await source(f"sqlite://{path}")
    newer = path.with_name("newer.db")
    with closing(sqlite3.connect(newer)) as database:
        database.executescript(SCRIPT.replace("'one'", "'uno'"))
    newer.replace(path)
    with pytest.raises(NotConnected, match="is another file now"):
        await table.lookup([], ["id"], [1])
    await table.close()
    await table.open()
    assert await table.lookup(["name"], ["id"], [1]) == [{"name": "uno"}]


async def test_the_database_is_only_read(source: Open, path: Path) -> None:
    text = "DELETE FROM devices WHERE id = {{.id}}"
    table = await source(f"sqlite://{path}", "", template_sql_query_cfg=template(text))
    with pytest.raises(RowError, match="readonly"):
        await table.lookup([], ["id"], [1])
