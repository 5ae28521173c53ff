"""No template, however written, does more than fail cleanly: laws and bounds."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.clock import VirtualClock
from engine.errors import RowError
from engine.template import TemplateError, compile_template
from engine.template.functions import Library
from engine.template.values import LARGEST

SECONDS = 10  # far more than any of these takes on a slow machine

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=12,
)
names = st.sampled_from(["a", "b", "s", "l"])
rows = st.dictionaries(names, json_values, max_size=4)

functions = st.sampled_from(Library(VirtualClock()).names())
operands = st.one_of(
    names.map(".{}".format),
    st.sampled_from([".", "$", "$x", ".a.b", "true", "nil", '"t"', "`,`", "'c'"]),
    st.integers(-300, 300).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
)
calls = st.recursive(
    operands,
    lambda inner: st.builds(
        lambda name, arguments: f"({' '.join([name, *arguments])})",
        functions,
        st.lists(inner, max_size=3),
    ),
    max_leaves=6,
)
pipes = st.builds(" | ".join, st.lists(calls | functions, min_size=1, max_size=3))
nodes = st.recursive(
    pipes.map("{{{{{}}}}}".format) | st.text(max_size=4) | pipes.map("{{{{$x = {}}}}}".format),
    lambda inner: st.builds(
        lambda head, pipe, body, rest: f"{{{{{head} {pipe}}}}}{body}{{{{else}}}}{rest}{{{{end}}}}",
        st.sampled_from(["if", "with", "range", "range $i, $x :="]),
        pipes,
        inner,
        inner,
    ),
    max_leaves=4,
)
pieces = st.sampled_from(
    ["{{", "}}", "{{-", "-}}", "/*", "*/", '"', "`", "'", "\\", "(", ")", "|", ":=", "=", ",", "$",
     "$x", ".", ".a", "..", "1", "0x", "1e", " ", "\n", "if", "else", "end", "range", "with",
     "break", "json", "eq", "é", "\x00", "-", "+3"]
)  # fmt: skip


def outcome(text: str, item: Any, *, lenient: bool) -> str | None:
    """Return what a template writes, None if it fails as templates may."""
    try:
        return compile_template(text, clock=VirtualClock(), lenient=lenient)(item)
    except (TemplateError, RowError) as error:
        message = error.message
    assert message.startswith("template")
    assert len(message) < 1000
    return None


@given(text=st.lists(pieces).map("".join) | st.text(), row=rows, lenient=st.booleans())
def test_any_text_is_a_template_or_refused(text: str, row: dict[str, Any], lenient: bool) -> None:
    written = outcome(text, row, lenient=lenient)
    if "{{" not in text:
        assert written == text


@settings(max_examples=400)
@given(text=nodes, item=rows | st.lists(rows, max_size=3), lenient=st.booleans())
def test_any_template_writes_a_bounded_text_or_fails_cleanly(
    text: str, item: Any, lenient: bool
) -> None:
    before = repr(item)
    written = outcome("{{$x := 1}}" + text, item, lenient=lenient)
    assert written is None or len(written) <= LARGEST
    assert repr(item) == before


@settings(max_examples=400)
@given(
    name=functions,
    arguments=st.lists(json_values, max_size=4),
    lenient=st.booleans(),
)
def test_any_function_takes_any_values_or_fails_cleanly(
    name: str, arguments: list[Any], lenient: bool
) -> None:
    text = f"{{{{{name} {' '.join(f'(index . {i})' for i in range(len(arguments)))}}}}}"
    outcome(text, arguments, lenient=lenient)


@given(row=st.dictionaries(names, st.text(max_size=9), min_size=4, max_size=4))
def test_fields_alone_write_the_same_with_and_without_the_short_way(row: dict[str, str]) -> None:
    fields = "/{{.a}}-{{.b}}{{.s}}/"
    assert compile_template(fields)(row) == compile_template(fields + "{{if false}}{{end}}")(row)


BOMBS = [
    "{{range 2000000000}}{{end}}",
    "{{range until 1000000}}{{range until 1000000}}{{end}}{{end}}",
    "{{range until 100000000}}{{end}}",
    '{{range 1000000}}{{repeat 1000 "x"}}{{end}}',
    '{{repeat 99999999999 "x"}}',
    '{{$x := "ab"}}{{range 99}}{{$x = print $x $x}}{{end}}',
    '{{$x := "ab"}}{{range 99}}{{$x = replace "a" "aa" $x}}{{end}}{{len $x}}',
    '{{$x := "a"}}{{range 999999}}{{$x = indent 9999 $x}}{{end}}',
    '{{$x := repeat 1000000 "a"}}{{range 999999}}{{$y := sha256sum $x}}{{end}}',
    '{{$x := repeat 1000000 ","}}{{range 999999}}{{$y := splitList "," $x}}{{end}}',
    "{{$x := list 1}}{{range 99}}{{$x = list $x $x}}{{end}}{{$x}}",
    "{{$x := list 1}}{{range 99}}{{$x = list $x $x}}{{end}}{{json $x}}",
    "{{$x := list 1}}{{range 99}}{{$x = list $x $x}}{{end}}{{join `,` $x}}",
    "{{$x := list 1}}{{range 99}}{{$x = list $x $x}}{{end}}{{sortAlpha $x}}",
    "{{$x := list 1}}{{range 60}}{{$x = list $x $x}}{{end}}{{has $x (list $x 1 $x)}}{{$x}}",
    "{{$x := list 1}}{{range 99}}{{$x = concat $x $x}}{{end}}",
    "{{$x := list 1}}{{range 5000}}{{$x = list $x}}{{end}}{{json $x}}",
    "{{$x := list 1}}{{range 5000}}{{$x = list $x}}{{end}}{{$x}}",
    '{{$d := dict}}{{$_ := set $d "d" $d}}{{json $d}}',
    '{{$d := dict}}{{$_ := set $d "d" $d}}{{$d}}',
    "{{$x := 3}}{{range 99}}{{$x = mul $x $x}}{{end}}",
    '{{printf "%999999999d" 1}}',
    '{{printf "%.999999999f" 1.5}}',
    '{{printf (repeat 3000000 "%z")}}',
    "{{uniq (until 100000)}}",
    '{{regexReplaceAll "" (repeat 10000000 "a") "bbbb"}}',
    '{{date (repeat 100000 "January") now}}',
    "{{range 1000000}}{{json $}}{{end}}",
]


@pytest.mark.parametrize("template", BOMBS, ids=range(len(BOMBS)))
def test_what_would_take_too_much_is_stopped(template: str) -> None:
    render = compile_template(template, clock=VirtualClock(), lenient=True)
    began = time.monotonic()
    with pytest.raises(RowError) as caught:
        render({"a": "x" * 100_000})
    assert time.monotonic() - began < SECONDS
    assert caught.value.message.startswith("template")


@pytest.mark.parametrize(
    "template",
    ["{{.a}}", "{{if true}}{{.a}}{{end}}", "{{json .a}}", '{{set . "k" 1}}', "{{len .a}}"],
)
def test_a_row_nested_very_deep_fails_cleanly(template: str) -> None:
    deep: Any = 1
    for _ in range(5_000):
        deep = [deep]
    written = outcome(template, {"a": deep}, lenient=True)
    assert written == ("1" if "len" in template else None)


def test_nothing_of_python_can_be_reached() -> None:
    class Hidden:
        secret = "x"

    for text in ("{{.h.secret}}", '{{index .h "secret"}}', "{{.h.__class__}}", "{{(.h).secret}}"):
        with pytest.raises((RowError, TemplateError)):
            compile_template(text, lenient=True)({"h": Hidden()})
    assert compile_template("{{.s.upper}}{{.s}}", lenient=True)({"s": {}}) == "<no value>map[]"


def test_a_long_list_is_within_the_limits() -> None:
    rows = [{"n": number} for number in range(100_000)]
    text = compile_template("[{{range $i, $e := .}}{{if $i}},{{end}}{{$e.n}}{{end}}]")(rows)
    assert text == f"[{','.join(map(str, range(100_000)))}]"
