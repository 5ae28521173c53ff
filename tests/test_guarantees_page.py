"""Every promise of docs/guarantees.md names a test that exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"
TEXT = (DOCS / "guarantees.md").read_text()
PROMISES = re.findall(r"^\| (.+) \| \[(test_\w+)\]\((.+?)\) \|$", TEXT, re.MULTILINE)


@pytest.mark.parametrize(("promise", "test", "file"), PROMISES, ids=[row[1] for row in PROMISES])
def test_a_promise_has_a_test(promise: str, test: str, file: str) -> None:
    assert promise
    assert f"def {test}(" in (DOCS / file).read_text()


def test_no_promise_is_left_out() -> None:
    tables = TEXT.split("| promise | test |")[1:]
    rows = [line for table in tables for line in table.split("\n\n")[0].splitlines()[2:]]
    assert len(rows) == len(PROMISES) > 20
