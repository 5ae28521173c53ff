"""What the page on SQL shows: every example is run, with the results that stand there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from engine.duration import parse_duration
from engine.testing import Feed, Message, run_case

PAGE = (Path(__file__).parent.parent / "docs" / "sql.md").read_text()
EXAMPLE = re.compile(
    r"^```(?P<language>sql|yaml)\n(?P<text>.*?)^```\n"
    r"(?:\n\| at \| in \| out \|\n\|---\|---\|---\|\n(?P<table>(?:\|[^\n]*\n)+))?",
    re.DOTALL | re.MULTILINE,
)
CELL = re.compile(r"(?P<stream>\w*) ?`(?P<json>.*)`")


class Example(NamedTuple):
    """A statement with the messages that come in, and what is emitted, by ms."""

    language: str
    text: str
    arrivals: list[tuple[int, str, Any]]
    emitted: list[tuple[int, Any]]
    until: int


def examples() -> list[Example]:
    found = []
    for match in EXAMPLE.finditer(PAGE):
        arrivals, emitted, until = [], [], 0
        for line in (match["table"] or "").splitlines():
            at, arrival, result = (cell.strip() for cell in line.strip("|").split("|"))
            until = int(parse_duration(at) * 1_000)
            if cell := CELL.fullmatch(arrival):
                arrivals.append((until, cell["stream"] or "demo", json.loads(cell["json"])))
            if cell := CELL.fullmatch(result):
                emitted.append((until, json.loads(cell["json"])))
        found.append(Example(match["language"], match["text"], arrivals, emitted, until))
    return found


EXAMPLES = examples()


def parts_of(example: Example) -> tuple[str, dict[str, str], dict[str, Any]]:
    """Return the query of an example, the statements that define its streams, its options."""
    if example.language == "yaml":
        loaded = yaml.safe_load(example.text)
        (rule,) = loaded["rules"]
        statements = {
            name: f'CREATE STREAM {name} () WITH (TIMESTAMP="{stream["timestamp"]}")'
            for name, stream in loaded["streams"].items()
        }
        return rule["sql"], statements, rule["options"]
    *definitions, query = example.text.split(";\n")
    known = {definition.split()[2]: definition for definition in definitions}
    names = re.findall(r"\b(?:FROM|JOIN)\s+(\w+)", query)
    return query, {n: known.get(n, f"CREATE STREAM {n} () WITH ()") for n in names}, {}


@pytest.mark.parametrize("example", EXAMPLES, ids=[" ".join(e.text.split()) for e in EXAMPLES])
async def test_an_example_does_what_the_page_says(example: Example) -> None:
    sql, statements, options = parts_of(example)
    feeds: dict[str, list[Feed]] = {"STREAM": [], "TABLE": []}
    for name, statement in statements.items():
        messages = [
            Message(at, json.dumps(row).encode())
            for at, stream, row in example.arrivals
            if stream == name
        ]
        feeds[statement.split()[1]].append(Feed(statement, messages))
    found = await run_case(
        sql, feeds["STREAM"], tables=feeds["TABLE"], options=options, advance_to=example.until
    )
    assert (found.refused, found.failure, found.errors) == (None, "", {})
    assert [(emission.at, emission.rows) for emission in found.emissions] == example.emitted


def test_the_page_has_examples_of_every_chapter() -> None:
    shown = [example for example in EXAMPLES if example.arrivals]
    assert len(shown) >= 10
    assert all(example.emitted for example in shown)
