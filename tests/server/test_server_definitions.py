"""What is stored is there completely or not at all, whatever happens in between."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.server.definitions import Change, Definitions, Kind
from engine.server.secrets import masked, restored
from engine.state.errors import StoreFailed
from tests.server.support import DEMO, rule

CHECKOUT = Path(__file__).parents[2]


async def test_changes_belong_together(tmp_path: Path) -> None:
    definitions = Definitions(tmp_path)
    await definitions.apply(Change(Kind.RULE, "a", "{}"), Change(Kind.TRIGGERED, "a", "true"))
    with pytest.raises(StoreFailed):
        await definitions.apply(
            Change(Kind.RULE, "b", "{}"),
            Change(Kind.TRIGGERED, "b", object()),  # type: ignore[arg-type]
        )
    assert dict(definitions.all(Kind.RULE)) == {"a": "{}"}
    definitions.close()
    again = Definitions(tmp_path)
    assert dict(again.all(Kind.RULE)) == {"a": "{}"}
    assert again.get(Kind.TRIGGERED, "a") == "true"
    again.close()


async def test_what_is_stored_at_the_same_time_fails_each_for_itself(tmp_path: Path) -> None:
    definitions = Definitions(tmp_path)
    refused: list[int] = []

    async def store(number: int) -> None:
        text: Any = object() if number % 7 == 3 else f"{{{number}}}"
        try:
            await definitions.apply(
                Change(Kind.RULE, f"r{number}", "{}"), Change(Kind.RULE, f"r{number}", text)
            )
        except StoreFailed:
            refused.append(number)

    async with anyio.create_task_group() as tasks:
        for number in range(30):
            tasks.start_soon(store, number)
    assert sorted(refused) == [3, 10, 17, 24]
    stored = dict(definitions.all(Kind.RULE))
    assert stored == {f"r{n}": f"{{{n}}}" for n in range(30) if n not in refused}
    definitions.close()
    again = Definitions(tmp_path)
    assert dict(again.all(Kind.RULE)) == stored
    again.close()


async def test_one_server_at_a_time_has_the_definitions(tmp_path: Path) -> None:
    definitions = Definitions(tmp_path)
    with pytest.raises(StoreFailed, match="in use"):
        Definitions(tmp_path)
    definitions.close()
    Definitions(tmp_path).close()


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["password", "token", "a", "list", "topic"]), inner)
    ),
    max_leaves=12,
)


@given(JSON)
def test_what_is_shown_and_sent_back_is_what_was_there(value: Any) -> None:
    assert restored(masked(value), value) == value


def test_bodies_by_which_tokens_are_got_are_secrets() -> None:
    access = {
        "url": "https://h/token",
        "body": '{"pin":"HUSH1"}',
        "headers": {"X-Api-Key": "HUSH2"},
    }
    sink = {"rest": {"body": "shown", "oAuth": {"access": access, "refresh": {"body": "HUSH3"}}}}
    hidden = masked([sink])
    assert "HUSH" not in str(hidden)
    assert (hidden[0]["rest"]["body"], "https://h/token" in str(hidden)) == ("shown", True)
    assert restored(hidden, [sink]) == [sink]


@given(JSON, st.text(min_size=8, max_size=20).map(lambda text: f"HUSH{text}"))
def test_no_secret_is_shown(value: Any, secret: str) -> None:
    hidden = masked({"inner": [value, {"password": secret, "url": "http://me:HUSH1@host/"}]})
    assert "HUSH" not in json.dumps(hidden)


@contextmanager
def served(root: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a server process; yields it with its address."""
    command = [sys.executable, "-m", "engine", "serve", "--port", "0", "--root", str(root)]
    environ = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    with subprocess.Popen(
        command, cwd=CHECKOUT, env=environ, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        try:
            for line in process.stderr:
                if found := re.search(r"listening on (http://\S+)", line):
                    reader = threading.Thread(target=process.stderr.read, daemon=True)
                    reader.start()
                    yield process, found[1]
                    break
        finally:
            process.kill()


def test_kill_9_during_writes_leaves_whole_definitions(tmp_path: Path) -> None:
    acknowledged: list[str] = []

    def write(client: httpx.Client, prefix: str) -> None:
        """Define rules until the server is gone."""
        for number in range(10_000):
            rule_id = f"{prefix}_{number}"
            try:
                answer = client.post("/rules", json=rule(rule_id, triggered=False))
            except httpx.TransportError:
                return
            assert answer.status_code == 201
            acknowledged.append(rule_id)

    for turn in range(3):
        with served(tmp_path) as (process, url), httpx.Client(base_url=url, timeout=10) as client:
            known = client.get("/data/export").json()["rules"]
            assert known.keys() >= set(acknowledged), "what was acknowledged is there"
            assert len(client.get("/rules").json()) == len(known)
            for rule_id, text in known.items():
                assert json.loads(text) == rule(rule_id, triggered=False)
            client.post("/streams", json={"sql": DEMO})
            threading.Timer(1, process.kill).start()
            with ThreadPoolExecutor(4) as writers:  # so that changes are written together
                list(writers.map(lambda n, turn=turn: write(client, f"r{turn}_{n}"), range(4)))
    assert len(acknowledged) > 30
    definitions = Definitions(tmp_path / "data" / "server")
    assert definitions.all(Kind.RULE).keys() == definitions.all(Kind.TRIGGERED).keys()
    definitions.close()


def test_signals_and_stop_end_the_server_in_order(tmp_path: Path) -> None:
    for end in ("signal", "request"):
        with served(tmp_path) as (process, url), httpx.Client(base_url=url, timeout=10) as client:
            client.post("/streams", json={"sql": DEMO})
            client.post("/rules", json=rule(end))
            with client.stream("GET", f"/rules/{end}/results") as watching:
                next(watching.iter_lines())
                started = time.monotonic()
                if end == "signal":
                    process.send_signal(signal.SIGTERM)
                else:
                    assert httpx.post(f"{url}/stop").text == "stop success"
                assert process.wait(10) == 0
                assert time.monotonic() - started < 5


def test_a_taken_address_is_told_without_a_traceback(tmp_path: Path) -> None:
    with served(tmp_path) as (_, url):
        port = url.rpartition(":")[2]
        command = [sys.executable, "-m", "engine", "serve", "--port", port, "--root", str(tmp_path)]
        environ = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
        done = subprocess.run(
            command,
            cwd=CHECKOUT,
            env=environ,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    assert done.returncode == 2
    assert "can't listen" in done.stderr
    assert "Traceback" not in done.stderr
