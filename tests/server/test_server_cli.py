"""The command line as a client, and the tokens of a server that isn't running."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest

from engine import cli
from tests.conftest import eventually
from tests.server.support import DEMO, Running, Start, rule


def headrace(*arguments: str) -> int:
    """Run a command in this process and return its exit code."""
    with pytest.raises(SystemExit) as end:
        cli.main(list(arguments))
    return int(end.value.code or 0)


async def run(server: Running, *arguments: str) -> int:
    return await anyio.to_thread.run_sync(headrace, "server", *arguments, "--server", server.url)


async def test_the_main_verbs(server: Running, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "rule.json").write_text(json.dumps(rule("a")))
    assert await run(server, "create", "stream", DEMO) == 0
    assert await run(server, "create", "rule", f"@{tmp_path / 'rule.json'}") == 0
    assert "Rule a was created successfully." in capsys.readouterr().out
    assert await run(server, "show", "rules") == 0
    assert json.loads(capsys.readouterr().out)[0]["id"] == "a"
    assert await run(server, "rule", "stop", "a") == 0
    assert await run(server, "rule", "explain", "a") == 0
    assert "Scan demo" in capsys.readouterr().out
    assert await run(server, "describe", "sink", "mqtt") == 0
    assert "version" in json.loads(capsys.readouterr().out)
    file = str(tmp_path / "all.yaml")
    assert await run(server, "export", file) == 0
    assert await run(server, "drop", "rule", "a") == 0
    assert await run(server, "import", file) == 0
    assert await server.json("GET", "/rules/a") == rule("a")


async def test_schemas_are_managed_like_everything_else(server: Running, capsys: Any) -> None:
    text = 'syntax = "proto3"; message Book { string title = 1; }'
    assert await run(server, "create", "schema", json.dumps({"name": "b", "content": text})) == 0
    assert await run(server, "update", "schema", "b", json.dumps({"content": text})) == 0
    capsys.readouterr()
    for words, found in ((("show", "schemas"), ["b"]), (("show", "scripts"), [])):
        assert await run(server, *words) == 0
        assert json.loads(capsys.readouterr().out) == found
    assert await run(server, "describe", "schema", "b") == 0
    assert json.loads(capsys.readouterr().out)["content"] == text
    assert await run(server, "drop", "schema", "b") == 0
    assert await run(server, "show", "custom-schemas") == 0


async def test_refusals_are_told_in_the_server_s_words(server: Running, capsys: Any) -> None:
    for arguments in (
        ("describe", "rule", "none"),
        ("create", "stream", "CREATE STREM"),
        ("create", "rule", "{"),
        ("describe", "nosuch", "x"),
    ):
        assert await run(server, *arguments) == 2
        assert "Traceback" not in capsys.readouterr().err
    code = await anyio.to_thread.run_sync(
        headrace, "server", "show", "rules", "--server", "http://127.0.0.1:1"
    )
    assert code == 2
    assert "can't reach" in capsys.readouterr().err


async def test_a_token_made_beside_the_server_opens_it(
    start: Start, tmp_path: Path, capsys: Any
) -> None:
    root = str(tmp_path)
    made = ("token", "create", "me", "--role", "admin", "--root", root)
    assert await anyio.to_thread.run_sync(headrace, *made) == 0
    token = capsys.readouterr().out.strip()
    async with start(authentication=True) as server:
        assert await run(server, "show", "streams") == 2
        assert await run(server, "show", "streams", "--token", token) == 0
    assert await anyio.to_thread.run_sync(headrace, "token", "revoke", "me", "--root", root) == 0
    assert await anyio.to_thread.run_sync(headrace, "token", "list", "--root", root) == 0
    assert "me" not in capsys.readouterr().out.split()


async def test_rules_are_traced_and_connections_checked(server: Running, capsys: Any) -> None:
    await server.stream()
    await server.json("POST", "/rules", rule("a"))
    assert await run(server, "trace", "start", "a", "--rate", "3") == 0
    await eventually(lambda: server.service.engine.rules["a"].status.state == "running")
    await server.service.engine.push("demo", [{"n": 1}])
    await eventually(lambda: server.service.engine.tracing.traces_of("a"))
    capsys.readouterr()
    assert await run(server, "trace", "list", "a") == 0
    (trace_id,) = json.loads(capsys.readouterr().out)
    assert await run(server, "trace", "show", trace_id) == 0
    assert json.loads(capsys.readouterr().out)["Name"] == "demo"
    assert await run(server, "trace", "stop", "a") == 0
    assert server.service.engine.rules["a"].trace is None
    assert await run(server, "create", "connection", '{"id": "c", "typ": "nop"}') == 0
    capsys.readouterr()
    assert await run(server, "check", "c") == 0
    assert json.loads(capsys.readouterr().out)["status"] == "connected"
    assert await run(server, "check", "nosuch") != 0
