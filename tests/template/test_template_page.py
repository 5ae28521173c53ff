"""The page on templates says what is there, and its examples work."""

from __future__ import annotations

import re
from pathlib import Path

from engine.clock import VirtualClock
from engine.template import compile_template
from engine.template.functions import Library

PAGE = (Path(__file__).parents[2] / "docs" / "templates.md").read_text()
ROW = {
    "temperature": 29.5,
    "device": {"name": "d1"},
    "position": {"lat": 1.5, "lon": 2},
    "a": 1,
    "b": 2,
    "name": "x",
    "id": 7,
}


def test_the_page_names_every_function_and_no_other() -> None:
    table = PAGE.partition("## Functions")[2]
    rows = [line.split("|")[2] for line in table.splitlines() if line.startswith("| ")][1:]
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert sorted(named) == Library(VirtualClock()).names()


WRITTEN = {
    "{{.temperature}}": "29.5   d1",
    "{{json .}}": '{"id":7}',
    "{{index": "7",
    "{{range .}}": "7 7 ",
    "{{range $i": "7, 7",
    "{{if gt": "fine",
    "{{with": "1.5/2",
    "{{$sum": "3",
    "{{.name |": '"X"',
    "{{- .name": "x",
    "{{/*": "",
}


def test_the_examples_work() -> None:
    block = PAGE.partition("```text\n")[2].partition("```")[0]
    examples = [line.partition("    ")[0] for line in block.splitlines()]
    assert len(examples) == len(WRITTEN)
    for example, (start, text) in zip(examples, WRITTEN.items(), strict=True):
        assert example.startswith(start)
        item = {"id": 7} if "json" in example else ROW
        takes_list = "index . 0" in example or "range" in example
        assert compile_template(example, lenient=True)([item, item] if takes_list else item) == text
