"""The functions of templates: Go's own, sprig's by the names that eKuiper's users know."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest

from engine.clock import VirtualClock
from engine.errors import RowError
from engine.template import compile_template

CLOCK = VirtualClock(1_700_000_000_123)
DATA: dict[str, Any] = {
    "s": "hello world",
    "n": 7,
    "f": 3.14159,
    "null": None,
    "l": [3, 1, 2, 1],
    "names": ["b", "a"],
    "o": {"a": 1, "b": {"c": 2}},
    "html": "<a href='x'>&\"",
    "b": b"\x00hi",
    "deep": [[1, [2]], {"x": None}],
}


def value(expression: str, **data: Any) -> str:
    return compile_template(f"{{{{{expression}}}}}", clock=CLOCK, lenient=True)({**DATA, **data})


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        # comparison and logic
        ("eq 1 1.0", "true"),
        ('eq .s "a" "hello world"', "true"),
        ("ne .n 7", "false"),
        ("lt 1 2", "true"),
        ("le 2 2", "true"),
        ('gt "b" "a"', "true"),
        ("ge 1 2", "false"),
        ("eq .null nil", "true"),
        ("eq .missing 1", "false"),
        ("and 1 0 2", "0"),
        ("and 1 2", "2"),
        ('or "" 0 "x"', "x"),
        ("or 1 (div 1 0)", "1"),
        ("and 0 (div 1 0)", "0"),
        ("not 0", "true"),
        ('default "d" ""', "d"),
        ('.null | default "d"', "d"),
        ('default "d" 5', "5"),
        ("empty .null", "true"),
        ('coalesce .null "" 0 .n', "7"),
        ('ternary "y" "n" true', "y"),
        ('false | ternary "y" "n"', "n"),
        ("all 1 2 0", "false"),
        ("any 0 2", "true"),
        ("kindOf .o", "map"),
        ('kindIs "string" .s', "true"),
        ("deepEqual (list 1 2) (list 1 2)", "true"),
        ("deepEqual 1 true", "false"),
        # parts
        ("len .s", "11"),
        ("len .o", "2"),
        ('index .o "b" "c"', "2"),
        ('index .o "z"', "<no value>"),
        ("index .l 1", "1"),
        ("slice .s 6", "world"),
        ("slice .l 1 3", "[1 2]"),
        # print
        ("print 1 2 `a` 3 4", "1 2a3 4"),
        ("println 1 `a`", "1 a\n"),
        ('printf "%d %s %v %q" 5 .s .o "a\\"b"', "None"),
        ('printf "%5d|%-5d|%05d|%+d|% d" 42 42 42 42 42', "   42|42   |00042|+42| 42"),
        ('printf "%.2f %8.3f %e %g" .f .f 1500.0 2.5', "3.14    3.142 1.500000e+03 2.5"),
        ('printf "%g %g %g" 100000.0 1000000.0 -0.00001', "100000 1e+06 -1e-05"),
        ('printf "%G|%+G|%10G" 0.0000001 1.5e21 12345678.5', "1E-07|+1.5E+21|1.23456785E+07"),
        ('printf "%.3G %.3g" 0.0000001 0.0000001', "1E-07 1e-07"),
        ('printf "%x %X %#x %o %b %c %U" 255 255 255 8 5 65 65', "ff FF 0xff 10 101 A U+0041"),
        ('printf "%t %v %s" true nil "x"', "true <nil> x"),
        ('printf "%5s|%-5s|%.2s" "ab" "ab" "abc"', "   ab|ab   |ab"),
        ('printf "%d%%" 5.0', "5%"),
        ('printf "%f" 5', "5.000000"),
        ('printf "%*d" 4 7', "   7"),
        ('printf "%d" "x"', "%!d(string=x)"),
        ('printf "%d" 1.5', "%!d(float64=1.5)"),
        ('printf "%d"', "%!d(MISSING)"),
        ('printf "a" 1', "a%!(EXTRA int64=1)"),
        ('printf "%z" 1', "%!z(int64=1)"),
        ('printf "100%"', "100%!(NOVERB)"),
        ('printf "%x" "hi"', "6869"),
        ('printf "%T" .l', "slice"),
        # text
        ("upper .s", "HELLO WORLD"),
        ('lower "ÀB"', "àb"),
        ("title .s", "Hello World"),
        ('untitle "Hello World"', "hello world"),
        ('trim "  a "', "a"),
        ('trimAll "$" "$5$"', "5"),
        ('trimPrefix "a" "aab"', "ab"),
        ('trimSuffix "b" "abb"', "ab"),
        ('nospace " a b "', "ab"),
        ("trunc 5 .s", "hello"),
        ("trunc -5 .s", "world"),
        ("substr 0 5 .s", "hello"),
        ("substr 6 -1 .s", "world"),
        ('repeat 3 "ab"', "ababab"),
        ('replace "l" "L" .s', "heLLo worLd"),
        ('.s | replace " " "-"', "hello-world"),
        ('contains "wor" .s', "true"),
        ('hasPrefix "he" .s', "true"),
        ('hasSuffix "he" .s', "false"),
        ('(split " " .s)._1', "world"),
        ('splitList "," "a,b"', "[a b]"),
        ('splitList "" "ab"', "[a b]"),
        ('(splitn "," 2 "a,b,c")._1', "b,c"),
        ('join "-" .l', "3-1-2-1"),
        ('join "-" "x"', "x"),
        ("quote .s .n .null", '"hello world" "7"'),
        ('quote "a\\"b"', '"a\\"b"'),
        ("squote .n", "'7'"),
        ('cat "a" 1 .null true', "a 1 true"),
        ('indent 2 "a\\nb"', "  a\n  b"),
        ('nindent 1 "a"', "\n a"),
        ('snakecase "FirstName2"', "first_name_2"),
        ('kebabcase "firstName"', "first-name"),
        ('camelcase "http_server"', "HttpServer"),
        ("toString 5.0", "5"),
        ("toStrings .l | join `,`", "3,1,2,1"),
        ('regexMatch "^h.*d$" .s', "true"),
        ('regexFind "o." .s', "o "),
        ('regexReplaceAll "(\\\\w+) (\\\\w+)" .s "${2} $1"', "world hello"),
        ('regexReplaceAllLiteral "o" "foo" "$1"', "f$1$1"),
        ('regexQuoteMeta "1+1"', "1\\+1"),
        # numbers
        ("add 1 2 3", "6"),
        ("add 1.9 .n", "8"),
        ("add1 .n", "8"),
        ("sub 5 .n", "-2"),
        ("mul 2 3 4", "24"),
        ("div 7 2", "3"),
        ("div -7 2", "-3"),
        ("mod -7 2", "-1"),
        ("max 1 9 3", "9"),
        ("min 4 2", "2"),
        ("addf 1.5 2", "3.5"),
        ("subf 5 1.5 1", "2.5"),
        ("mulf 1.5 2", "3"),
        ("divf 7 2", "3.5"),
        ("maxf 1.5 2.5", "2.5"),
        ("minf 1.5 2.5", "1.5"),
        ("round .f 2", "3.14"),
        ("round 2.5 0", "3"),
        ("round -2.5 0", "-3"),
        ("round 2.4 0 0.3", "3"),
        ("floor 2.7", "2"),
        ("ceil 2.1", "3"),
        ('atoi "42"', "42"),
        ("int 3.9", "3"),
        ('int64 "-5.5"', "-5"),
        ('float64 "2.50"', "2.5"),
        ("until 3", "[0 1 2]"),
        ("until -2", "[0 -1]"),
        ("untilStep 3 9 3", "[3 6]"),
        ("untilStep 1 5 0", "[]"),
        # lists and objects
        ("list 1 `a` nil", "[1 a <nil>]"),
        ("first .l", "3"),
        ("last .l", "1"),
        ("rest .l", "[1 2 1]"),
        ("initial .l", "[3 1 2]"),
        ("first (list)", "<no value>"),
        ("append .l 9", "[3 1 2 1 9]"),
        ("prepend .l 9", "[9 3 1 2 1]"),
        ("concat .l (list 8)", "[3 1 2 1 8]"),
        ("reverse .l", "[1 2 1 3]"),
        ("uniq .l", "[3 1 2]"),
        ("without .l 1 3", "[2]"),
        ("has 2 .l", "true"),
        ("has true .l", "false"),
        ("compact (list 0 1 `` `a`)", "[1 a]"),
        ("sortAlpha .names", "[a b]"),
        ("chunk 3 .l", "[[3 1 2] [1]]"),
        ('dict "a" 1 "b"', "map[a:1 b:]"),
        ('get .o "a"', "1"),
        ('get .o "z"', ""),
        ('hasKey .o "a"', "true"),
        ('pluck "a" .o (dict "a" 5) (dict)', "[1 5]"),
        ("keys .o", "[a b]"),
        ("values (dict `x` 1)", "[1]"),
        ('pick .o "a" "z"', "map[a:1]"),
        ('omit .o "a"', "map[b:map[c:2]]"),
        ('merge (dict "a" 9) .o', "map[a:9 b:map[c:2]]"),
        ('dig "b" "c" 0 .o', "2"),
        ('dig "b" "z" 0 .o', "0"),
        # encodings
        ("json .o", '{"a":1,"b":{"c":2}}'),
        ("toJson .html", '"\\u003ca href=\'x\'\\u003e\\u0026\\""'),
        ("toRawJson .html", '"<a href=\'x\'>&\\""'),
        ("toRawJson `\\u003c`", '"\\\\u003c"'),
        ("toPrettyJson (dict `a` 1)", '{\n  "a": 1\n}'),
        ("json 5.0", "5"),
        ("json .null", "null"),
        ('(fromJson "{\\"a\\":[1,2]}").a', "[1 2]"),
        ("base64 .n", "Nw=="),
        ("base64 .l", "WzMsMSwyLDFd"),
        ('b64enc "hi"', "aGk="),
        ("b64enc .b", "AGhp"),
        ('b64dec "aGk="', "hi"),
        ('b32enc "hi" | b32dec', "hi"),
        ('sha1sum "abc"', "a9993e364706816aba3e25717850c26c9cd0d89d"),
        ('md5sum "abc"', "900150983cd24fb0d6963f7d28e17f72"),
        ('sha512sum "abc" | len', "128"),
        ('adler32sum "abc"', "38600999"),
        ("html .html", "&lt;a href=&#39;x&#39;&gt;&amp;&#34;"),
        ("js .html", "\\u003Ca href\\u003D\\'x\\'\\u003E\\u0026\\\""),
        ('urlquery "a b&c=é"', "a+b%26c%3D%C3%A9"),
        # time
        ('now | date "2006-01-02 15:04:05"', "2023-11-14 22:13:20"),
        ('now | date "Monday, January 2 06 3:4:5 PM .000 -07:00 Z07:00"', None),
        ('dateInZone "15:04 MST -0700" now "Asia/Tokyo"', "07:13 JST +0900"),
        ("htmlDate 0", "1970-01-01"),
        ('htmlDateInZone "2024-01-01T23:00:00Z" "Europe/Berlin"', "2024-01-02"),
        ('dateModify "-1h30m" now | date "15:04"', "20:43"),
        ('now | dateModify "+24h" | htmlDate', "2023-11-15"),
        ("unixEpoch now", "1700000000"),
        ('ago (dateModify "-90s" now)', "1m30s"),
        ("duration 3661", "1h1m1s"),
        ("duration -5", "-5s"),
        ('prop "et"', "1700000000123"),
    ],
)
def test_value(expression: str, text: str | None) -> None:
    if text == "None":
        text = '5 hello world map[a:1 b:map[c:2]] "a\\"b"'
    expected = text if text is not None else "Tuesday, November 14 23 10:13:20 PM .123 +00:00 Z"
    assert value(expression) == expected


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("upper .null", "upper: the value is missing or null"),
        ("add .null 1", "a missing or null value is no number"),
        ("add .o 1", "struct is no number"),
        ("mul 4611686018427387904 2", "doesn't fit 64 bits"),
        ("addf 1e308 1e308 | int", "infinity"),
        ("repeat -1 .s", "less than 0 times"),
        ("join `,` .o | upper | index", None),
        ("first .o", "expected a list, found struct"),
        ("get .l 1", "expected an object, found array"),
        ('fromJson "{"', "malformed JSON"),
        ('b64dec "?"', "the text isn't base64"),
        ('b64dec "/w=="', "isn't UTF-8"),
        ('regexMatch "(" .s', "invalid pattern"),
        ('dateInZone "15" now "Mars/Base"', "there is no time zone 'Mars/Base'"),
        ('date "15" "yesterday"', "date"),
        ('dateModify "soon" now', "'soon' is not a duration"),
        ('prop "nothing"', "there is no property 'nothing'"),
        ("dig .o", "dig takes names, a default and an object"),
        ("chunk 0 .l", "a part needs one element at least"),
        ("round 1 999", "at most 300 digits"),
    ],
)
def test_what_a_function_cant_take_is_an_error_of_the_row(
    expression: str, message: str | None
) -> None:
    if message is None:  # the type is wrong only once it runs
        assert value("join `,` .o") == "map[a:1 b:map[c:2]]"
        return
    with pytest.raises(RowError) as caught:
        value(expression)
    assert message in caught.value.message


def test_each_uuid_is_new() -> None:
    first, second = value("uuidv4"), value("uuidv4")
    assert re.fullmatch(
        r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", first
    )
    assert first != second


def test_properties_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUIPER_PROPS_SITE", "north")
    assert value('prop "site"') == "north"


async def test_now_follows_the_engines_clock() -> None:
    clock = VirtualClock(0)
    render = compile_template("{{unixEpoch now}}", clock=clock)
    assert render({}) == "0"
    await clock.advance_to(5_000)
    assert render({}) == "5"


@pytest.mark.parametrize(
    ("layout", "texts"),
    [
        ("%f", ("+Inf", "-Inf", "NaN")),
        ("%E", ("+Inf", "-Inf", "NaN")),
        ("%+G", ("+Inf", "-Inf", "+NaN")),
        ("% g", (" Inf", "-Inf", " NaN")),
        ("%06.1f", ("  +Inf", "  -Inf", "   NaN")),
    ],
)
def test_what_is_no_finite_number_is_written_as_in_go(layout: str, texts: tuple[str, ...]) -> None:
    render = compile_template(f'{{{{printf "{layout}" .x}}}}')
    assert tuple(render({"x": x}) for x in (math.inf, -math.inf, math.nan)) == texts
