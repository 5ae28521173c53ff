"""The command line as its users meet it: real processes, their output and exit codes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).parent.parent
COMMAND = [sys.executable, "-m", "engine"]
RULE = """\
streams:
  demo: {type: simulator, data: [{device: a, t: 60}, {device: b, t: 20}], interval: 0, loop: false}
rules:
  - id: hot
    sql: SELECT device, t * 1.8 + 32 AS f FROM demo WHERE t > 50
    actions:
      - print: {sendSingle: true}
"""


def headrace(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=50,
        cwd=CHECKOUT,
        env={**os.environ, **environment},
        check=False,
    )


@pytest.fixture
def rule_file(tmp_path: Path) -> Path:
    path = tmp_path / "rule.yaml"
    path.write_text(RULE)
    return path


def test_a_rule_file_runs_to_the_end_of_its_source(rule_file: Path) -> None:
    done = headrace(rule_file)
    assert done.returncode == 0
    assert done.stdout == '{"device":"a","f":140}\n'
    assert "rule hot: in 2 = out 1 + filtered 1 + dropped 0 + errors 0 + pending 0" in done.stderr


def test_what_a_renamed_rule_has_left_is_told_until_it_has_its_name_again(tmp_path: Path) -> None:
    path = tmp_path / "rule.yaml"
    with socket.socket() as taken:  # a port where nobody listens
        taken.bind(("127.0.0.1", 0))
        url = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        sink = f"mqtt: {{server: '{url}', topic: t, sendSingle: true, enableCache: true}}"
        text = RULE.replace("print: {sendSingle: true}", sink)
        path.write_text(text)
        done = headrace(path, "--root", tmp_path)
        assert "in 2 = out 0 + filtered 1" in done.stderr
        assert "cached 1" in done.stderr
        told = "1 rows of a rule hot that isn't defined are in"
        assert told not in done.stderr
        path.write_text(text.replace("id: hot", "id: warm"))
        assert told in headrace(path, "--root", tmp_path).stderr
        path.write_text(text)
        assert told not in headrace(path, "--root", tmp_path).stderr


def test_options_of_a_cache_that_is_not_there_are_told(tmp_path: Path) -> None:
    path = tmp_path / "rule.yaml"
    options = "print: {sendSingle: true, resendInterval: 1s, resendAlterQueue: true}"
    path.write_text(RULE.replace("print: {sendSingle: true}", options))
    done = headrace(path)
    assert "without enableCache these do nothing: resendAlterQueue\n" in done.stderr


def test_a_single_rule_may_stand_at_the_top_level(tmp_path: Path) -> None:
    path = tmp_path / "rule.json"
    rule = {
        "id": "r1",
        "streams": {
            "demo": {"type": "simulator", "data": [{"a": 1}], "interval": 0, "loop": False}
        },
        "sql": "SELECT a FROM demo",
        "actions": [{"print": {}}],
    }
    path.write_text(json.dumps(rule))
    assert headrace(path).stdout == '[{"a":1}]\n'


def test_an_ekuiper_rule_set_runs_as_it_is(tmp_path: Path) -> None:
    rule = {"id": "r1", "sql": "SELECT * FROM demo", "actions": [{"print": {"sendSingle": True}}]}
    rule_set = {
        "streams": {
            "demo": 'CREATE STREAM demo (a BIGINT) WITH (TYPE="simulator", CONF_KEY="once");'
        },
        "tables": {},
        "rules": {"r1": json.dumps(rule)},
    }
    (tmp_path / "set.json").write_text(json.dumps(rule_set))
    configuration = tmp_path / "etc" / "sources" / "simulator.yaml"
    configuration.parent.mkdir(parents=True)
    configuration.write_text("once:\n  data: [{a: 1, b: 2}]\n  interval: 0\n  loop: false\n")
    done = headrace(tmp_path / "set.json", "--root", tmp_path)
    assert (done.stdout, done.returncode) == ('{"a":1}\n', 0), done.stderr


def test_several_files_and_folders_and_variables(tmp_path: Path) -> None:
    folder = tmp_path / "rules"
    folder.mkdir()
    (folder / "a.yaml").write_text(RULE.replace("t > 50", "t > ${LIMIT:50}"))
    (tmp_path / "b.yaml").write_text(
        "rules:\n  - {id: other, sql: SELECT t FROM demo, actions: [{nop: {}}]}\n"
    )
    done = headrace(folder, tmp_path / "b.yaml", LIMIT="10")
    assert done.stdout.count("\n") == 2
    assert "rule hot: in 2 = out 2" in done.stderr
    assert "rule other: in 2 = out 2" in done.stderr


def test_version_and_help() -> None:
    assert headrace("--version").stdout.startswith("headrace 0.")
    text = headrace("--help").stdout
    assert "run" in text
    assert "demo" in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "rule.yaml"),
        ("streams: {demo: [}", "rule.yaml:1:"),
        (RULE.replace("rules:", "rulez:"), "rule.yaml:3:1: unknown key 'rulez'"),
        (RULE.replace("print", "prnt"), "rule.yaml:7:9: unknown sink 'prnt'"),
        (RULE.replace("simulator", "simulatr"), "rule.yaml:2:3: unknown source 'simulatr'"),
        (RULE.replace("FROM demo", "FROM dmo"), "rule.yaml:5:48: unknown stream dmo"),
        (RULE.replace("SELECT device", "SELECT device,"), "rule.yaml:5:2"),
        (RULE.replace("t > 50", "foo(t)"), "rule.yaml:5:59: unknown function foo"),
        (RULE.replace("sendSingle: true", "sendSingel: true"), "rule.yaml:7:17: unknown key"),
        (RULE.replace("loop: false", "loop: 7"), "rule.yaml:2:"),
        (RULE.replace("loop: false", "lop: false"), "rule.yaml:2:88: unknown key 'lop'"),
        (RULE + "    options: {qos: 5}\n", "rule.yaml:8:20"),
        (RULE + "    options: {bufferLength: much}\n", "rule.yaml:8:29"),
        (
            RULE.replace("rules:", '  s: CREATE STREAM s () WITH (OVERFLOW="no")\nrules:'),
            "rule.yaml:3:6: stream s.overflow: expected one of 'block', 'dropOldest'",
        ),
        (RULE.replace("t: 60", 't: "${NOT_SET_ANYWHERE}"'), "NOT_SET_ANYWHERE"),
        ("rules: []\n", "no rule to run"),
    ],
)
def test_a_mistake_gets_its_place_and_exit_code_2(
    tmp_path: Path, text: str | None, message: str
) -> None:
    path = tmp_path / "rule.yaml"
    if text is not None:
        path.write_text(text)
    done = headrace(path)
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode == 2
    assert not done.stdout


def test_a_sql_mistake_is_shown_with_a_caret(rule_file: Path) -> None:
    rule_file.write_text(RULE.replace("FROM demo", "FROM dmo"))
    _, line, caret, hint = headrace(rule_file).stderr.splitlines()[-4:]
    assert line.strip() == "SELECT device, t * 1.8 + 32 AS f FROM dmo WHERE t > 50"
    assert line[caret.index("^") :].startswith("dmo")
    assert hint.strip() == "hint: did you mean 'demo'?"


@pytest.mark.parametrize("arguments", [["--nonsense"], ["run"], ["run", "x.yaml", "--limit", "0"]])
def test_bad_usage_has_exit_code_2(arguments: list[str]) -> None:
    done = headrace(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_bad_duration_is_bad_usage(rule_file: Path) -> None:
    done = headrace(rule_file, "--duration", "soon")
    assert done.returncode == 2
    assert "'soon' is not a duration" in done.stderr


ENDLESS = RULE.replace("interval: 0, loop: false", "interval: 1ms, loop: true")


def test_limit_stops_after_exactly_so_many_results(tmp_path: Path) -> None:
    path = tmp_path / "rule.yaml"
    path.write_text(ENDLESS)
    done = headrace(path, "--limit", "3")
    assert done.stdout.count("\n") == 3
    assert "= out 3 +" in done.stderr
    assert done.returncode == 0


def test_duration_stops_after_a_while(tmp_path: Path) -> None:
    path = tmp_path / "rule.yaml"
    path.write_text(ENDLESS)
    done = headrace(path, "--duration", "300ms")
    assert done.stdout
    assert "pending 0" in done.stderr
    assert done.returncode == 0


@pytest.fixture
def endless(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    path = tmp_path / "rule.yaml"
    path.write_text(ENDLESS)
    process = subprocess.Popen(
        [*COMMAND, str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=CHECKOUT,
    )
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_drains_and_prints_the_balance(
    endless: subprocess.Popen[str], number: signal.Signals
) -> None:
    assert endless.stdout is not None
    assert endless.stdout.readline() == '{"device":"a","f":140}\n'
    endless.send_signal(number)
    _, errors = endless.communicate(timeout=20)
    assert endless.returncode == 0
    assert "rule hot: in " in errors
    assert "+ dropped 0 + errors 0 + pending 0" in errors


def test_a_rule_that_fails_gives_exit_code_1(tmp_path: Path) -> None:
    plugin = tmp_path / "plugins" / "sources" / "broken.py"
    plugin.parent.mkdir(parents=True)
    plugin.write_text(
        "from engine.api import Config, Source\n"
        "class Broken(Source[Config]):\n"
        "    async def run(self, emit):\n"
        "        raise OSError('the device is gone')\n"
    )
    rule: dict[str, Any] = {"id": "r", "sql": "SELECT a FROM s", "actions": [{"nop": {}}]}
    (tmp_path / "rule.json").write_text(json.dumps({**rule, "streams": {"s": {"type": "broken"}}}))
    done = headrace(tmp_path / "rule.json", "--root", tmp_path)
    assert done.returncode == 1
    assert "OSError: the device is gone" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_demo_shows_alerts() -> None:
    done = headrace("demo", "--seconds", "2")
    assert done.returncode == 0, done.stderr
    assert "alert       alerts/d" in done.stdout
    assert "+ dropped 0 + errors 0 + pending 0" in done.stderr
