"""The page on operations names what there is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from engine import Engine
from engine.config.load import load_text
from engine.run.operators import ConnectionReport, OperatorReport
from engine.run.status import RuleState
from tests.conftest import Rows
from tests.life.support import rule, started

DOCS = Path(__file__).parent.parent.parent / "docs"
PAGE = (DOCS / "operations.md").read_text()
RULES = (DOCS / "rules.md").read_text()


def first_cells(page: str) -> set[str]:
    """Return everything in backticks in the first column of the tables."""
    rows = re.findall(r"^\| ([^|]*) \|", page, re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`([^`]*)`", row)}


def test_every_state_is_explained() -> None:
    assert {str(state) for state in RuleState} <= first_cells(PAGE)


async def test_every_count_is_explained(engine: Engine, collected: Rows) -> None:
    await started(engine, rule())
    flat = engine.status("r").flat()
    names = {re.sub(r".*_0_(?=[a-z])", "", key) for key in flat if "_0_" in key}
    assert names <= first_cells(PAGE)
    assert len(names) == len(OperatorReport.__struct_fields__) - 4 + len(
        ConnectionReport.__struct_fields__
    )


def test_every_method_named_exists() -> None:
    methods = {cell.partition("(")[0] for cell in first_cells(PAGE) if "(" in cell}
    assert {"create", "apply", "status", "quiet"} <= methods
    assert all(callable(getattr(Engine, name)) for name in methods)


@pytest.mark.parametrize("text", re.findall(r"```yaml\n(.*?)```", RULES, re.DOTALL))
def test_examples_of_rules_can_be_loaded(text: str) -> None:
    assert load_text(text).rules


def test_options_of_a_rules_life_are_explained() -> None:
    named: set[Any] = first_cells(RULES)
    assert {"expectEvery", "cron", "duration", "cronDatetimeRange", "debug"} <= named
    assert {"attempts", "delay", "multiplier", "maxDelay", "jitterFactor"} <= named
