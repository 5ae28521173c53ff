"""The language of templates: what each construct writes, and what is said of a malformed one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engine.config.document import parse
from engine.errors import ConfigError, RowError
from engine.template import TemplateError, compile_template, is_template

ROW: dict[str, Any] = {
    "a": {"b": 1, "c": {"d": "deep"}},
    "s": "text",
    "t": 36.25,
    "f": 50.0,
    "no": False,
    "null": None,
    "l": [10, 20, 30],
    "empty": [],
    "rows": [{"v": 1}, {"v": 2}],
}
LIST = [{"ab": "hello1"}, {"ab": "hello2"}]
DEVICES = [
    {"device_id": "1", "t_av": 36.25, "t_count": 4, "t_max": 80, "t_min": 10},
    {"device_id": "2", "t_av": 27, "t_count": 4, "t_max": 45, "t_min": 12},
]


def filled(text: str, item: Any = ROW) -> str:
    return compile_template(text, lenient=True)(item)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        # fields
        ("plain", "plain"),
        ("", ""),
        ("{{.s}}", "text"),
        ("<{{ .a.b }}|{{.a.c.d}}>", "<1|deep>"),
        ("{{.t}} {{.f}} {{.no}}", "36.25 50 false"),
        ("{{.missing}} {{.null}} {{.missing.inner}}", "<no value> <no value> <no value>"),
        ("{{.l}} {{.a}}", "[10 20 30] map[b:1 c:map[d:deep]]"),
        ("{{(index .rows 1).v}}", "2"),
        ("{{$.a.b}}", "1"),
        # constants
        ('{{"a\\tb\\"\\u00e9\\x41\\101"}}', 'a\tb"éAA'),
        ("{{`raw \\n`}}", "raw \\n"),
        ("{{'a'}} {{'\\n'}} {{'\\''}}", "97 10 39"),
        ("{{0x1F}} {{-7}} {{+7}} {{1_000}} {{0b11}} {{0o17}}", "31 -7 7 1000 3 15"),
        ("{{1.5}} {{30.0}} {{.5}} {{1e3}} {{2.}}", "1.5 30 0.5 1000 2"),
        ("{{true}} {{false}} {{nil}}", "true false <no value>"),
        # pipes and calls
        ("{{.s | upper}}", "TEXT"),
        ('{{.s | printf "%s-%s" "x"}}', "x-text"),
        ("{{(len .l) | add 1 | print}}", "4"),
        ("{{len (index .rows 0)}}", "1"),
        # if
        ("{{if .s}}yes{{end}}", "yes"),
        ("{{if .empty}}yes{{else}}no{{end}}", "no"),
        ("{{if .no}}1{{else if .null}}2{{else if .t}}3{{else}}4{{end}}", "3"),
        ("{{if and .s (gt .t 30) (not .no)}}yes{{end}}", "yes"),
        ("{{if or .no .null}}yes{{end}}", ""),
        # with
        ("{{with .a}}{{.b}} {{$.s}}{{end}}", "1 text"),
        ("{{with .missing}}{{.b}}{{else}}{{.s}}{{end}}", "text"),
        ("{{with .missing}}1{{else with .a}}{{.b}}{{end}}", "1"),
        ("{{with $x := .t}}{{$x}} {{.}}{{end}}", "36.25 36.25"),
        # range
        ("{{range .l}}{{.}},{{end}}", "10,20,30,"),
        ("{{range $e := .l}}{{$e}},{{end}}", "10,20,30,"),
        ("{{range $i, $e := .l}}{{$i}}={{$e}} {{end}}", "0=10 1=20 2=30 "),
        ("{{range $k, $v := .a}}{{$k}} {{end}}", "b c "),
        ("{{range .empty}}x{{else}}none{{end}}", "none"),
        ("{{range .missing}}x{{else}}none{{end}}", "none"),
        ("{{range 3}}{{.}}{{end}}", "012"),
        ("{{range .rows}}{{.v}}{{$.s}} {{end}}{{.s}}", "1text 2text text"),
        ("{{range .l}}{{if eq . 20}}{{continue}}{{end}}{{.}} {{end}}", "10 30 "),
        ("{{range .l}}{{if eq . 20}}{{break}}{{end}}{{.}} {{end}}{{.s}}", "10 text"),
        (
            "{{range .rows}}{{range $.l}}{{if gt . 10}}{{break}}{{end}}{{.}}{{end}};{{end}}",
            "10;10;",
        ),
        # variables
        ("{{$x := 1}}{{$x}}", "1"),
        ("{{$x := 1}}{{if true}}{{$x = 2}}{{end}}{{$x}}", "2"),
        ("{{$x := 1}}{{if true}}{{$x := 2}}{{$x}}{{end}}{{$x}}", "21"),
        ("{{$x := 0}}{{range .l}}{{$x = add $x .}}{{end}}{{$x}}", "60"),
        ("{{$x := .a}}{{$x.c.d}}", "deep"),
        ("{{if $x := .s}}{{$x}}{{end}}{{with $x := 1}}{{$x}}{{end}}", "text1"),
        ("{{range $x := .rows}}{{range $y := $.l}}{{$x.v}}{{$y}} {{end}}{{end}}", None),
        # trim markers and comments
        ("a {{- .s -}} b", "atextb"),
        ("a\n {{- /* left out */ -}} \n b", "ab"),
        ("{{/* a comment\nof two lines */}}x", "x"),
        ("{{- 3}} {{ -3 -}} x", "3 -3x"),
        ("{{if true -}}  x  {{- end}}", "x"),
        # braces of JSON around actions
        ('{"a":{"b":{{.a.b}}}}', '{"a":{"b":1}}'),
        ('{{"}}"}}', "}}"),
    ],
)
def test_what_is_written(template: str, text: str | None) -> None:
    assert filled(template) == (text if text is not None else "110 120 130 210 220 230 ")


@pytest.mark.parametrize(
    ("template", "item", "text"),
    [
        ('{"content":{{json .}}}', LIST[0], '{"content":{"ab":"hello1"}}'),
        ('{"content":"{{.ab}}"}', LIST[0], '{"content":"hello1"}'),
        ('{"content":{{json .}}}', LIST, '{"content":[{"ab":"hello1"},{"ab":"hello2"}]}'),
        ('{"content":{{json (index . 0)}}}', LIST, '{"content":{"ab":"hello1"}}'),
        ('{"content":{{index . 0 "ab"}}}', LIST, '{"content":hello1}'),
        (
            "<ul>{{range .}}<li>{{.ab}}</li>{{end}}</ul>",
            LIST,
            "<ul><li>hello1</li><li>hello2</li></ul>",
        ),
        ("{{range $i,$e := .}}{{if $i}},{{end}}{{$e.ab}}{{end}}", LIST, "hello1,hello2"),
        ("{{toJson .a.c}} {{base64 .a}}", ROW, '{"d":"deep"} eyJiIjoxLCJjIjp7ImQiOiJkZWVwIn19'),
        ("dev/{{.a.b}}", ROW, "dev/1"),
    ],
)
def test_examples_of_ekuipers_users(template: str, item: Any, text: str) -> None:
    assert filled(template, item) == text


def test_text_by_temperature() -> None:
    template = (
        '{"device_id": {{.device_id}}, "description": "{{if lt .t_av 30.0}}Current temperature is '
        "{{.t_av}}, it's normal.\"{{else if ge .t_av 30.0}}Current temperature is {{.t_av}}, "
        "it's high.\"{{end}}}"
    )
    assert [json.loads(filled(template, row)) for row in DEVICES] == [
        {"device_id": 1, "description": "Current temperature is 36.25, it's high."},
        {"device_id": 2, "description": "Current temperature is 27, it's normal."},
    ]


def test_a_list_walked_with_commas_between() -> None:
    template = (
        '{{$len := len .values}} {{$loopsize := add $len -1}} {"device_id": "{{.device_id}}", '
        '"description": [{{range $index, $ele := .values}} {{if le .temperature 25.0}}"fine"'
        '{{else if gt .temperature 25.0}}"high"{{end}} {{if eq $loopsize $index}}]{{else}},'
        "{{end}}{{end}}}"
    )
    values = [{"temperature": 10.5}, {"temperature": 20.3}, {"temperature": 30.3}]
    text = filled(template, {"device_id": "1", "values": values})
    assert json.loads(text) == {"device_id": "1", "description": ["fine", "fine", "high"]}


def test_the_input_is_not_changed_by_functions_that_change_objects() -> None:
    row: dict[str, Any] = {"a": {"b": 1}}
    template = '{{$_ := set . "k" 2}}{{$_ := set .a "c" 3}}{{$_ := unset .a "b"}}{{json .}}'
    render = compile_template(template)
    assert render(row) == render(row) == '{"a":{"c":3},"k":2}'
    assert row == {"a": {"b": 1}}


# -- properties: what is missing is an error -------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "item", "message"),
    [
        ("alerts/{{.device}}", {}, "template 1:10: there is no device"),
        ("{{.a.x}}", ROW, "template 1:3: there is no a.x"),
        ("x/{{.null}}{{if true}}{{end}}", ROW, "template 1:5: there is no null"),
        ("{{if true}}{{$.gone}}{{end}}", ROW, "template 1:14: there is no gone"),
        ("\n {{index .a `x`}}", ROW, "template 2:4: the value is missing or null"),
        ("{{.s.inner}}", ROW, "template 1:3: string has no field inner"),
        ("{{.ab}}", LIST, "template 1:3: a list of 2 has no field ab; use {{range .}}"),
        ("{{.ab}}", [], "a list of 0 has no field ab"),
    ],
)
def test_a_property_needs_its_fields(template: str, item: Any, message: str) -> None:
    with pytest.raises(RowError) as caught:
        compile_template(template)(item)
    assert caught.value.message.startswith(message) or message in caught.value.message


@pytest.mark.parametrize("template", ["{{.ab}}", "{{$.ab}}", "{{if .ab}}{{.ab}}{{end}}"])
def test_fields_of_a_list_with_one_row_are_those_of_the_row(template: str) -> None:
    assert compile_template(template)([{"ab": "x"}]) == "x"


def test_a_default_makes_a_property_complete() -> None:
    assert compile_template('x/{{.device | default "none"}}')({}) == "x/none"


def test_what_is_a_template() -> None:
    assert is_template("a/{{.b}}")
    assert not is_template("a/{b}/}}")


# -- run time --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{index .l 3}}", "template 1:3: index: there is no element 3 among 3"),
        ("{{index .l -1}}", "there is no element -1"),
        ("{{index .s 9}}", "there is no element 9"),
        ("{{index .null 0}}", "a missing or null value has no elements"),
        ("{{slice .l 2 1}}", "2 to 1 is not within the 3"),
        ("{{len .t}}", "float has no length"),
        ("{{eq .s 5}}", "string can't be compared with bigint"),
        ("{{lt .a 5}}", "struct can't be compared"),
        ("{{lt true false}}", "can't be compared"),
        ("{{div 1 0}}", "div: division by zero"),
        ("{{range .s}}{{end}}", "template 1:9: range: range can't go over string"),
        ("{{(.s).x}}", "string has no field x"),
        ('{{fail "no device"}}', "fail: 'no device'"),
        ("line one\n{{if true}}\n  {{add .s 1}}{{end}}", "template 3:5: add: 'text' is no number"),
        ("{{.s | upper | atoi}}", "template 1:16: atoi: 'TEXT' is no number"),
    ],
)
def test_an_error_names_the_place(template: str, message: str) -> None:
    with pytest.raises(RowError) as caught:
        filled(template)
    assert message in caught.value.message


# -- malformed templates ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "line", "column", "problem", "hint"),
    [
        ("a{{.b", 1, 2, "'{{' without '}}'", ""),
        ("{{", 1, 1, "'{{' without '}}'", ""),
        ("{{}}", 1, 3, "a value is missing", ""),
        ("{{if}}{{end}}", 1, 5, "a value is missing", ""),
        ("{{.a |}}", 1, 7, "a value is missing", ""),
        ("x\n\n {{if .a}}y", 3, 2, "the block isn't closed", "{{end}}"),
        ("{{range .a}}{{else}}", 1, 1, "the block isn't closed", "{{end}}"),
        ("{{end}}", 1, 3, "{{end}} without {{if}}", ""),
        ("{{if .a}}{{else}}{{else}}{{end}}", 1, 20, "a second {{else}}", ""),
        ("{{range .a}}{{else if .b}}{{end}}", 1, 20, "{{range}} takes a plain {{else}}", ""),
        ("{{break}}", 1, 3, "{{break}} outside of {{range}}", ""),
        ("{{jsn .}}", 1, 3, "there is no function jsn", "did you mean 'json'?"),
        ("{{device}}", 1, 3, "there is no function device", "a field would be .device"),
        ("{{a.b}}", 1, 4, "expected a space, found '.b'", ""),
        ("{{upper}}", 1, 3, "upper takes 1 argument, not 0", ""),
        ("{{.a | eq}}", 1, 8, "eq takes at least 2 arguments, not 1", ""),
        ("{{trunc 1 2 3}}", 1, 3, "trunc takes 2 arguments, not 3", ""),
        ("{{and}}", 1, 3, "and takes at least 1 argument", ""),
        ("{{.a .b}}", 1, 3, "only a function takes arguments", "write the function first"),
        ("{{.a | .b}}", 1, 8, "only a function can follow '|'", "json"),
        ("{{.a + 1}}", 1, 6, "unexpected '+'", "add 1 2"),
        ("{{.a == 1}}", 1, 6, "expected a value, found '='", ""),
        ("{{.a && .b}}", 1, 6, "unexpected '&'", "and .a .b"),
        ("{{(.a}}", 1, 3, "'(' without ')'", ""),
        ("{{.a)}}", 1, 5, "expected '}}', found ')'", ""),
        ('{{"abc}}', 1, 3, "the text that begins with \" isn't closed", ""),
        ('{{"\\q"}}', 1, 4, "unknown escape \\q", ""),
        ("{{'ab'}}", 1, 3, "the text that begins with ' isn't closed", ""),
        ("{{1.2.3}}", 1, 3, "malformed number", ""),
        ("{{$x}}", 1, 3, "there is no variable $x", "$x :="),
        ("{{$size := 1}}{{$siz}}", 1, 17, "there is no variable $siz", "did you mean '$size'?"),
        ("{{if true}}{{$x := 1}}{{end}}{{$x}}", 1, 32, "there is no variable $x", ""),
        ("{{$x = 1}}", 1, 3, "there is no variable $x", ""),
        ("{{$ := 1}}", 1, 3, "$ is the whole input", ""),
        ("{{$a, $b := .l}}", 1, 5, "expected a value, found ','", ""),
        ("{{range $a, .l}}{{end}}", 1, 13, "expected a variable, found '.l'", ""),
        ('{{define "x"}}{{end}}', 1, 3, "define is not supported", "repeat the text"),
        ('{{template "x"}}', 1, 3, "template is not supported", ""),
        ("{{/* open }}", 1, 1, "the comment isn't closed", "*/}}"),
        ("{{/* c */ .a}}", 1, 1, "a comment must be alone", ""),
        ("{{.a.}}", 1, 5, "expected a space, found '.'", ""),
        ("{{else}}", 1, 3, "{{else}} without {{if}}", ""),
        ("{{if else}}{{end}}", 1, 6, "unexpected else", ""),
        ("{{" + "(" * 70 + ".a" + ")" * 70 + "}}", 1, 63, "nested deeper than 60", ""),
        ("{{.a" + "|not" * 70 + "}}", 1, 241, "more than 60 functions", ""),
    ],
)
def test_a_malformed_template_is_refused_with_its_place(
    template: str, line: int, column: int, problem: str, hint: str
) -> None:
    with pytest.raises(TemplateError) as caught:
        compile_template(template)
    error = caught.value
    assert isinstance(error, ConfigError)
    assert error.message.startswith(f"template {line}:{column}: {problem}")
    assert (error.line, error.column) == (line, column)
    assert hint in error.hint


def test_the_place_in_a_file_is_that_of_the_character() -> None:
    document = parse("action:\n  topic: |\n    one\n    two {{.x +}}\n")
    text = document.value["action"]["topic"]
    with pytest.raises(TemplateError) as caught:
        compile_template(text)
    caught.value.place(document.positions.below("action", "topic"))
    assert caught.value.at is not None
    assert (caught.value.at.line, caught.value.at.column) == (4, 14)
