"""Formats besides JSON: what messages become rows and what rows become messages."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.api import Batch, RowMetadata
from engine.codec import decoder, encoder
from engine.errors import ConfigError
from engine.layout import Layout
from engine.sql.parse import parse_create
from engine.sql.schema import Schema

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.text('a,|"\n\r ')
DELIMITERS = st.sampled_from([",", ";", "\\t", "|", "||", "aa", " ", "."])


def schema(columns: str, *, strict: bool = False) -> Schema:
    return Schema(parse_create(f"CREATE STREAM s ({columns}) WITH ()").fields, strict=strict)


def decoded(
    format_: str, *payloads: bytes, declared: Schema | None = None, **options: Any
) -> tuple[list[dict[str, Any]], list[tuple[int, str]]]:
    """Return the rows of some messages, and the places and errors of the others."""
    decode = decoder(format_, Layout(), declared or Schema(), **options)
    frame, failures = decode.decode(Batch(payloads=list(payloads)))
    return frame.rows, [(place, error.message) for place, error in failures]


# -- delimited -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "options", "rows"),
    [
        (b"a,b", {}, [{"col0": "a", "col1": "b"}]),
        (b"a,,", {}, [{"col0": "a", "col1": "", "col2": ""}]),
        (
            b"1;2\r\n3;4\r\n",
            {"delimiter": ";"},
            [{"col0": "1", "col1": "2"}, {"col0": "3", "col1": "4"}],
        ),
        (b"1\t2", {"delimiter": "\\t"}, [{"col0": "1", "col1": "2"}]),
        (b"1::2", {"delimiter": "::"}, [{"col0": "1", "col1": "2"}]),
        (b"1,2,3", {"fields": ("a", "b")}, [{"a": "1", "b": "2"}]),
        (b"1", {"fields": ("a", "b")}, [{"a": "1"}]),
        (b'"a,b",c', {}, [{"col0": "a,b", "col1": "c"}]),
        (b'"say ""hi""\n",c\nd', {}, [{"col0": 'say "hi"\n', "col1": "c"}, {"col0": "d"}]),
        (b'5" pipe,"x"y', {}, [{"col0": '5" pipe', "col1": '"x"y'}]),
        (b'"open,b', {}, [{"col0": '"open', "col1": "b"}]),
        ("é,ü".encode(), {}, [{"col0": "é", "col1": "ü"}]),
    ],
)
def test_delimited_columns(
    payload: bytes, options: dict[str, Any], rows: list[dict[str, Any]]
) -> None:
    assert decoded("DELIMITED", payload, **options) == (rows, [])


def test_a_schema_casts_columns_but_doesnt_name_them() -> None:
    declared = schema(
        "col0 bigint, col1 float, col2 boolean, col3 string, col4 array(bigint), col5 bytea, "
        "x bigint"
    )
    row = b'7,1.5,true,8,"[1,2]",aGk=,9'
    assert decoded("delimited", row, declared=declared) == (
        [
            {
                "col0": 7,
                "col1": 1.5,
                "col2": True,
                "col3": "8",
                "col4": [1, 2],
                "col5": b"hi",
            }
        ],
        [],
    )


def test_an_empty_number_is_null_and_an_empty_text_a_text() -> None:
    declared = schema("col0 bigint, col1 string, col2 float, col3 boolean")
    assert decoded("delimited", b",,,", declared=declared) == (
        [{"col0": None, "col1": "", "col2": None, "col3": None}],
        [],
    )
    strict = schema("col0 bigint", strict=True)
    assert decoded("delimited", b",", declared=strict)[1] == [(0, "column col0: must not be null")]


@pytest.mark.parametrize(
    ("column", "text", "problem"),
    [
        ("bigint", "1.5", "a bigint can't be made of string '1.5'"),
        ("bigint", "1_0", "a bigint can't be made of string '1_0'"),
        ("float", "warm", "a float can't be made of string 'warm'"),
        ("float", "inf", "a float can't be made of string 'inf'"),
        ("boolean", "perhaps", "a boolean can't be made of string 'perhaps'"),
        ("array(bigint)", "[1", "'[1' isn't the JSON of an array or struct"),
        ("bigint", "9" * 30, "a bigint can't be made of bigint"),
    ],
)
def test_a_text_that_isnt_of_the_declared_type_fails_alone(
    column: str, text: str, problem: str
) -> None:
    rows, failures = decoded(
        "delimited", b"", text.encode(), b"", declared=schema(f"col0 {column}"), delimiter="|"
    )
    assert rows == []
    assert [place for place, _ in failures] == [0, 1, 2]
    assert failures[1][1].startswith(f"column col0: {problem}")


def test_what_isnt_text_fails_alone_and_others_keep_their_metadata() -> None:
    meta = RowMetadata([{"topic": "a"}, {"topic": "b"}, {"topic": "c"}])
    decode = decoder("delimited", Layout(), Schema())
    frame, failures = decode.decode(Batch(payloads=[b"1\n2", b"\xff", b"3"], meta=meta))
    assert frame.rows == [{"col0": "1"}, {"col0": "2"}, {"col0": "3"}]
    assert frame.meta.column("topic") == ["a", "a", "c"]
    assert [(place, error.message) for place, error in failures] == [
        (1, "the payload is not UTF-8 text")
    ]


@pytest.mark.parametrize("delimiter", ["", '"', "a\nb"])
def test_a_delimiter_that_would_be_mistaken_is_refused(delimiter: str) -> None:
    with pytest.raises(ConfigError, match="can't be the delimiter"):
        decoder("delimited", Layout(), Schema(), delimiter=delimiter)
    with pytest.raises(ConfigError, match="can't be the delimiter"):
        encoder("delimited", delimiter=delimiter)


@given(
    rows=st.lists(st.lists(TEXT, min_size=3, max_size=3), min_size=1, max_size=4),
    delimiter=DELIMITERS,
)
@example(rows=[["a", "", ""]], delimiter="aa")
def test_delimited_rows_come_back_as_they_went(rows: list[list[str]], delimiter: str) -> None:
    written = [{f"col{n}": text for n, text in enumerate(row)} for row in rows]
    (payload,) = encoder("delimited", delimiter=delimiter).encode([written])
    assert decoded("delimited", payload, delimiter=delimiter) == (written, [])


@given(text=TEXT, delimiter=DELIMITERS)
def test_a_single_column_comes_back(text: str, delimiter: str) -> None:
    (payload,) = encoder("delimited", delimiter=delimiter).encode([{"col0": text}])
    assert decoded("delimited", payload, delimiter=delimiter) == ([{"col0": text}], [])


@given(payload=st.binary(max_size=60), delimiter=DELIMITERS)
def test_any_message_gives_rows_or_one_failure(payload: bytes, delimiter: str) -> None:
    for format_ in ("delimited", "urlencoded"):
        rows, failures = decoded(format_, payload, delimiter=delimiter)
        assert bool(rows) != bool(failures)


def test_columns_are_those_of_all_rows_by_name_unless_fields_order_them() -> None:
    rows = [{"b": 1, "a": None}, {"c": [1, {"x": None}], "b": 2.0}]
    assert encoder("delimited").encode([rows]) == [b',1,\n,2,"[1,{""x"":null}]"']
    ordered = encoder("delimited", has_header=True, fields=("c", "b"))
    assert ordered.encode([rows[0], []]) == [b"c,b\n,1", b"c,b"]


# -- urlencoded ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "row"),
    [
        (b"a=1&b=two+words&c=%C3%A9%26", {"a": "1", "b": "two words", "c": "é&"}),
        (b"a=1&a=2&a=3", {"a": ["1", "2", "3"]}),
        (b"a&b=", {"a": "", "b": ""}),
        (b"a=x=y&&", {"a": "x=y"}),
    ],
)
def test_urlencoded_fields(payload: bytes, row: dict[str, Any]) -> None:
    assert decoded("urlencoded", payload) == ([row], [])


def test_a_schema_casts_form_data() -> None:
    declared = schema("n bigint, l array(float), s string")
    assert decoded("urlencoded", b"n=5&l=1&l=2.5&s=7&other=1", declared=declared) == (
        [{"n": 5, "l": [1.0, 2.5], "s": "7"}],
        [],
    )


@pytest.mark.parametrize("payload", [b"", b"a=%zz", b"a=%F", b"a=1;b=2", b"a=%ff"])
def test_malformed_form_data_fails(payload: bytes) -> None:
    rows, ((place, _),) = decoded("urlencoded", payload)
    assert (rows, place) == ([], 0)


@given(row=st.dictionaries(TEXT, TEXT | st.lists(TEXT, min_size=2, max_size=3), min_size=1))
def test_form_data_comes_back_as_it_went(row: dict[str, Any]) -> None:
    (payload,) = encoder("urlencoded").encode([row])
    assert decoded("urlencoded", payload) == ([row], [])
    lists = {name: [value] if isinstance(value, str) else value for name, value in row.items()}
    assert parse_qs(payload.decode(), keep_blank_values=True) == lists


# -- binary and unknown ----------------------------------------------------------------------------


@given(data=st.binary(min_size=1, max_size=50))
def test_bytes_come_back_as_they_went(data: bytes) -> None:
    (payload,) = encoder("binary").encode([{"self": data}])
    assert decoded("binary", payload) == ([{"self": data}], [])


@pytest.mark.parametrize("make", [encoder, lambda name: decoder(name, Layout(), Schema())])
def test_an_unknown_format_is_refused_with_the_nearest_name(make: Any) -> None:
    with pytest.raises(ConfigError, match="unknown format 'delimted'") as caught:
        make("delimted")
    assert caught.value.hint == "did you mean 'delimited'?"
