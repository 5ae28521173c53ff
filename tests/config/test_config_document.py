from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config.document import parse, read
from engine.config.scalar import resolve
from engine.errors import ConfigError, Position


def place(at: Position | None) -> tuple[int, int]:
    assert at is not None
    return at.line, at.column


def test_every_key_and_value_knows_its_place() -> None:
    document = parse("a:\n  b: [1, two]\n  'c': x\n", file="r.yaml")

    assert document.value == {"a": {"b": [1, "two"], "c": "x"}}
    assert place(document.key_at("a", "b")) == (2, 3)
    assert place(document.at("a", "b")) == (2, 6)
    assert place(document.at("a", "b", 1)) == (2, 10)
    assert place(document.key_at("a", "c")) == (3, 3)
    assert str(document.at("a", "c")) == "r.yaml:3:8"


def test_an_unknown_path_answers_with_the_nearest_place_above() -> None:
    document = parse("a:\n  b: {c: 1}\n")

    assert document.at("a", "b", "nothing", "here") == document.at("a", "b")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),
        ("yes", "yes"),
        ("No", "No"),
        ("12:30:00", "12:30:00"),
        ("2026-01-31", "2026-01-31"),
        ("true", True),
        ("FALSE", False),
        ("", None),
        ("~", None),
        ("null", None),
        ("017", 17),
        ("0o17", 15),
        ("0x1F", 31),
        ("-5", -5),
        ("1_000", "1_000"),
        ("1.5e3", 1500.0),
        (".5", 0.5),
        ("-.inf", float("-inf")),
        ("=", "="),
    ],
)
def test_scalars_mean_what_yaml_1_2_says(text: str, value: Any) -> None:
    assert parse(f"a: {text}").value == {"a": value}
    assert type(resolve(text)) is type(value)


def test_quotes_and_tags_decide_the_type() -> None:
    text = "a: '1'\nb: !!str 2\nc: ! 3\nd: !!float 4\ne: !!int '5'\nf: !!null ''\ng: !!map {}\n"

    value = parse(text).value

    assert value == {"a": "1", "b": "2", "c": "3", "d": 4.0, "e": 5, "f": None, "g": {}}
    assert isinstance(value["d"], float)


def test_keys_are_always_text() -> None:
    assert parse("on: 1\n1: 2\ntrue: 3\n~: 4\n").value == {"on": 1, "1": 2, "true": 3, "~": 4}


def test_aliases_and_merge_keys_keep_the_places_of_their_source() -> None:
    document = parse("x-base: &b {qos: 1, topic: t}\na:\n  <<: *b\n  qos: 2\nb: [*b]\n&k k: *k\n")

    assert document.value["a"] == {"qos": 2, "topic": "t"}
    assert document.value["b"] == [{"qos": 1, "topic": "t"}]
    assert document.value["k"] == "k"
    assert place(document.key_at("a", "topic")) == (1, 21)
    assert place(document.key_at("a", "qos")) == (4, 3)


def test_of_several_merged_mappings_the_first_wins() -> None:
    assert parse("x: &x {a: 1}\ny: &y {a: 2, b: 2}\nz: {<<: [*x, *y]}\n").value["z"] == {
        "a": 1,
        "b": 2,
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1,2", "r:2:1: not valid YAML: a comma or a closing bracket is missing"),
        ("a: b: c", "r:1:5: not valid YAML: unexpected ':'; put quotes around text that has ': '"),
        ("a:\n\t- b", "r:2:1: not valid YAML: a tab can't indent; use spaces"),
        ('a: "x', "r:1:4: not valid YAML: the quotes that open here are never closed"),
        ("a: @b", "r:1:4: not valid YAML: '@' can't begin a value here; put quotes around it"),
        ('a: "\\q"', "r:1:5: not valid YAML: unknown escape; in double quotes write '\\\\' for"),
        ("- a\nb: 1", "r:2:1: not valid YAML: expected a list item with '-'"),
        ("a: 1\nb: 2\na: 3", "r:3:1: the key 'a' is given twice; first at r:1:1"),
        ("a: *x", "r:1:4: the alias *x has no &x before it"),
        ("a: &a [*a]", "r:1:8: the alias *a is inside the value it stands for"),
        ("[" * 300, "r:1:101: values are nested more than 100 deep"),
        ("- " * 300, "r:1:201: values are nested more than 100 deep"),
        ("a: \x00", "r:1:4: the character U+0000 isn't allowed in YAML"),
        ("a: \ud800", "r:1:4: the character U+D800 isn't allowed in YAML"),
        ("a: 1\n---\nb: 2", "r:2:1: a file holds one document, but '---' starts another"),
        ("a: !!python/name:os.system", "r:1:4: the tag !!python/name:os.system isn't supported"),
        ("a: !!int x", "r:1:4: the tag !!int isn't supported or doesn't fit its value"),
        ("a: !set {}", "r:1:4: the tag !set isn't supported"),
        ("? [a]\n: 1", "r:1:3: a key must be a single word or text"),
        ("x: &x {}\n*x : 1", "r:2:1: a key must be a single word or text"),
        ("b: {<<: 5}", "r:1:5: '<<' takes a mapping or a list of mappings"),
        ("a: " + "9" * 200, "r:1:4: a number of 200 characters is too long"),
    ],
)
def test_malformed_yaml_is_refused_at_its_place(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text, file="r")

    shown = str(caught.value).replace("that contains ': '", "that has ': '")
    assert shown.startswith(message)


def test_aliases_that_multiply_are_refused() -> None:
    lines = ["a: &a [1,1,1,1,1,1,1,1,1,1]"]
    for name, before in zip("bcdefgh", "abcdefg", strict=True):
        lines.append(f"{name}: &{name} [{','.join([f'*{before}'] * 10)}]")

    with pytest.raises(ConfigError, match=r"5:.*multiply to too many values"):
        parse("\n".join(lines))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a":1,}', "r:1:8: not valid JSON: trailing comma"),
        ('{"a"', "r:1:5: not valid JSON: the text ends too early"),
        ('{\n"é": 1 "b": 2}', "r:2:8: not valid JSON: expected ',' or '}'"),
        ("[1e999]", "r:1:2: not valid JSON: number out of range"),
        ('["\\ud800"]', "r:1:"),
        ('["\ud800"]', "r:1:3: not valid JSON: a lone surrogate"),
        ("{'a': 1}", "r:1:2: not valid JSON"),
        ("[" * 100_000, "r:1:1: not valid JSON: values are nested too deep"),
        ("[" * 150 + "]" * 150, "r:1:101: values are nested more than 100 deep"),
        ('{"a": 1,\n\t"a": 2}', "r:2:2: the key 'a' is given twice; first at r:1:2"),
    ],
)
def test_malformed_json_is_refused_at_its_place(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text, file="r", is_json=True)

    assert str(caught.value).startswith(message)


def test_json_with_tabs_escapes_and_no_spaces_keeps_its_places() -> None:
    document = parse('{\n\t"a":"\\u00e9\\ud83d\\ude00x",\r\n\t"b":[-1.5,true,null]}', is_json=True)

    assert document.value == {"a": "é😀x", "b": [-1.5, True, None]}
    assert place(document.at("a")) == (2, 6)
    assert place(document.positions.below("a").inside(1, 3)) == (2, 25)
    assert place(document.at("b", 1)) == (3, 12)


@pytest.mark.parametrize(
    ("text", "at", "expected"),
    [
        ("a: SELECT x", (1, 8), (1, 11)),
        ("a: SELECT\n   x FROM y", (1, 8), (2, 4)),
        ("a: 'it''s x'", (1, 6), (1, 11)),
        ('a: "b\\tc \\"d"', (1, 5), (1, 10)),
        ('a: "b\\nc"', (2, 1), (1, 8)),
        ('a: "b\n\n  c"', (2, 1), (3, 3)),
        ('a: "b \\\n  c"', (1, 3), (2, 3)),
        ("a: |\n  SELECT\n    x", (1, 1), (2, 3)),
        ("a: |\n  SELECT\n    x", (2, 3), (3, 5)),
        ("a: | # why\n\n  x", (2, 1), (3, 3)),
        ("a: |2\n   x\n  y", (1, 2), (2, 4)),
        ("a: |-\n  x", (1, 1), (2, 3)),
        ("a: >\n  SELECT x\n  FROM y", (1, 10), (3, 3)),
        ("a: !!str |\n  x", (1, 1), (2, 3)),
        ("a: &n 'xy'", (1, 2), (1, 9)),
        ("a: xy", (1, 3), (1, 6)),
        ("a: xy", (9, 9), (1, 4)),
        ("a: |\n  x", (9, 9), (2, 3)),
        ("a: ''", (1, 1), (1, 5)),
    ],
)
def test_a_character_of_a_text_is_found_in_the_file(
    text: str, at: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert place(parse(text).positions.below("a").inside(*at)) == expected


@given(st.text(st.sampled_from("ab \"'\\\n\té😀"), min_size=1, max_size=12), st.data())
def test_each_character_of_a_json_text_is_found(text: str, data: st.DataObject) -> None:
    import json

    source = '{"a": ' + json.dumps(text) + "}"
    index = data.draw(st.integers(0, len(text) - 1))
    line = text.count("\n", 0, index) + 1
    column = index - text.rfind("\n", 0, index)

    at = parse(source, is_json=True).positions.below("a").inside(line, column)

    assert at is not None
    assert json.loads('"' + source[at.column - 1 : -1])[0] == text[index]


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n")

    document = read(path)

    assert document.value == {"a": 1, "b": 2}
    assert str(document.key_at("b")) == f"{path}:2:1"


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    latin = tmp_path / "latin.yaml"
    latin.write_bytes("a: x\nb: ä".encode("latin-1"))

    with pytest.raises(ConfigError, match=r"latin\.yaml:2:4: the file isn't UTF-8 text"):
        read(latin)
    with pytest.raises(ConfigError, match=r"can't read .*none: no such file or directory"):
        read(tmp_path / "none")
    with pytest.raises(ConfigError, match=r"can't read .*: is a directory"):
        read(tmp_path)
    with pytest.raises(ConfigError, match="not a file name"):
        read("a\x00b")


def test_an_empty_document_is_nothing() -> None:
    assert parse("# only a comment\n").value is None
    assert parse(" \n", is_json=True).value is None


@given(st.text(), st.booleans())
def test_any_text_is_a_document_or_an_error(text: str, is_json: bool) -> None:
    with suppress(ConfigError):
        parse(text, is_json=is_json)


@given(st.text(st.sampled_from("ab:-[]{}&*<!|>'\"#? \n\\\t,%1"), max_size=40), st.booleans())
def test_any_punctuation_is_a_document_or_an_error(text: str, is_json: bool) -> None:
    with suppress(ConfigError):
        document = parse(text, is_json=is_json)
        document.positions.below("a").inside(1, 2)
