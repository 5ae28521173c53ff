"""The reference says what the engine does, because it is made of the same declarations."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import ConfigError
from engine.reference import function_page, function_table, functions_document
from engine.sql.functions import builtins

DOCS = Path(__file__).parent.parent / "docs"


def test_the_page_of_functions_is_up_to_date() -> None:
    page = (DOCS / "functions.md").read_text()
    assert page == functions_document(builtins()), (
        "run: python -m engine.reference > docs/functions.md"
    )


def test_every_function_is_documented_with_an_example() -> None:
    for spec in builtins():
        assert spec.doc.endswith((".", "``")), spec.name
        assert spec.example, spec.name


def test_one_function_is_shown_in_full() -> None:
    text = function_page(builtins(), "CEIL")
    assert text.startswith("ceiling(x number) → float\n")
    assert "also called ceil" in text
    assert "example: ceiling(1.2) = 2" in text
    assert "ceiling(x number)" in function_table(builtins())


def test_an_unknown_function_gets_a_suggestion() -> None:
    with pytest.raises(ConfigError, match="did you mean 'substring'"):
        function_page(builtins(), "substrng")
