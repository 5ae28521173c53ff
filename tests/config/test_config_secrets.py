"""Secrets in SQL that a message shows."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config.secrets import blanked_text

_SAFE = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1)


@pytest.mark.parametrize(
    "text",
    [
        'WITH (TYPE="mqtt", PASSWORD="hush", FORMAT="json")',
        'WITH (TYPE="mqtt", PASSWORD == "hush", FORMAT="json")',
        'WITH (PASSWORD "hush")',
        "WITH (PASSWORD='hush')",
        'WITH (a="b", PASSWORD=hush, FORMAT="json")',
        'WITH (PASSWORD="hush',
        'WITH (PASSWORD="\nhush',
        'WITH (EXTRA="{\\"password\\": \\"hush\\", \\"qos\\": 1}")',
        'WITH (EXTRA="{\\"password\\": \\"a\\\\\\"hush\\", \\"qos\\": 1}")',
        'WITH (EXTRA=\'{"password": "hush"}\')',
        'WITH (EXTRA="{"password": "hush"}")',
        'WITH (X="tcp://me:hush@host:1883")',
        'WITH (TOKEN="a:PASSWORD=hush")',
    ],
)
def test_secrets_are_blank_and_all_else_stays_in_its_place(text: str) -> None:
    shown = blanked_text(text)
    assert "hush" not in shown
    assert len(shown) == len(text)
    for old, new in zip(text, shown, strict=True):
        assert new in (old, "*")
        assert (old == "\n") == (new == "\n")


@pytest.mark.parametrize(
    "text",
    [
        "SELECT * FROM a INNER JOIN b ON a.token = b.token",
        "SELECT token, password FROM a WHERE key = 'x'",
        'CREATE STREAM s (token STRING, key BIGINT) WITH (TYPE="mqtt", KEY="token", FORMAT="json")',
        'WITH (CONF_KEY="a", TOKEN_URL="http://127.0.0.1/", KEY="id")',
    ],
)
def test_what_is_no_secret_is_shown(text: str) -> None:
    assert blanked_text(text) == text


@given(secret=st.text(min_size=1), before=_SAFE)
def test_no_json_in_an_option_shows_its_secret(secret: str, before: str) -> None:
    inner = json.dumps({"a": before, "password": secret, "b": 1})
    text = f"WITH (EXTRA={json.dumps(inner)}, NOSUCH=1)"
    blank = "*" * len(json.dumps(json.dumps(secret))[3:-3])
    hidden = json.dumps(json.dumps({"a": before, "password": "", "b": 1}))
    start = hidden.index('password\\": \\"') + len('password\\": \\"')
    assert blanked_text(text) == f"WITH (EXTRA={hidden[:start]}{blank}{hidden[start:]}, NOSUCH=1)"
