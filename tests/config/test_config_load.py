import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config.load import load, load_text
from engine.errors import ConfigError

ACTIONS = [{"log": {}}]
CREATE = 'CREATE STREAM demo () WITH (DATASOURCE="x")'


def write(path: Path, value: Any) -> Path:
    path.write_text(value if isinstance(value, str) else json.dumps(value, indent=1))
    return path


def rule(**more: Any) -> dict[str, Any]:
    return {"sql": "SELECT 1", "actions": ACTIONS, **more}


def test_a_single_rule_with_its_stream_beside_it(tmp_path: Path) -> None:
    path = write(
        tmp_path / "hot.yaml",
        f"id: hot\nsql: SELECT * FROM demo\nactions: [{{log: {{}}}}]\nstreams:\n  demo: {CREATE}\n",
    )

    rules = load([path])

    assert list(rules.rules) == ["hot"]
    assert rules.streams["demo"].sql == CREATE
    assert rules.files == (str(path),)
    assert str(rules.rules["hot"].sql_at) == f"{path}:2:6"


def test_rules_may_be_a_list_or_a_mapping(tmp_path: Path) -> None:
    listed = write(tmp_path / "a.json", {"rules": [rule(id="a"), rule(id="b")]})
    mapped = write(tmp_path / "b.json", {"rules": {"c": rule(), "d": rule(id="d")}})

    assert list(load([str(listed), mapped]).rules) == ["a", "b", "c", "d"]
    assert list(load(listed).rules) == ["a", "b"]


def test_an_ekuiper_rule_is_read_from_json_with_positions(tmp_path: Path) -> None:
    path = write(tmp_path / "r.json", '{\n\t"id":"a",\n\t"sql":"SELECT \\"b\\" x",\n"actions":[]}')

    with pytest.raises(ConfigError, match=r"r\.json:4:11: rule a has no actions"):
        load(path)
    path.write_text(path.read_text().replace("[]", '[{"log":{}}]'))
    assert str(load(path).rules["a"].sql_place(1, 12)) == f"{path}:3:22"


def test_an_ekuiper_rule_set_has_rules_as_json_text(tmp_path: Path) -> None:
    content = {
        "streams": {"demo": CREATE},
        "tables": {"t": 'CREATE TABLE t () WITH (DATASOURCE="x")'},
        "rules": {"a": json.dumps(rule(id="a", options={"qos": 1})), "b": rule(id="b")},
    }

    rules = load(write(tmp_path / "set.json", content))

    assert list(rules.rules) == ["a", "b"]
    assert rules.rules["a"].options.qos == 1
    assert list(rules.tables) == ["t"]


def test_a_mistake_in_json_text_within_json_is_found() -> None:
    text = json.dumps({"rules": {"a": json.dumps(rule(sql='SELECT "x"', options={"qos": 7}))}})

    with pytest.raises(ConfigError) as caught:
        load_text(text, file="set.json", is_json=True)

    column = text.index("7") + 1
    assert str(caught.value).startswith(f"set.json:1:{column}: options.qos: expected a whole")


def test_places_in_sql_survive_two_layers_of_json() -> None:
    text = json.dumps({"rules": {"a": json.dumps(rule(sql='SELECT "x"\nFROM demo'))}})

    found = load_text(text, is_json=True).rules["a"]

    assert found.sql_at is not None
    assert found.sql_at.column == text.index("SELECT") + 1
    at = found.sql_place(2, 6)
    assert at is not None
    assert at.column == text.index("demo") + 1


def test_an_exported_data_file_is_read(tmp_path: Path) -> None:
    content = {
        "streams": {"demo": CREATE},
        "tables": {},
        "rules": {"a": json.dumps(rule(id="a"))},
        "nativePlugins": {},
        "portablePlugins": {"mirror": "{}"},
        "sourceConfig": {"mqtt": json.dumps({"broker": {"server": "tcp://h:1883"}})},
        "sinkConfig": {"mqtt": json.dumps({"broker": {"qos": 1}})},
        "connectionConfig": {"mqtt": json.dumps({"con": {"server": "tcp://h:1883"}})},
        "Service": {},
        "Schema": {},
        "uploads": {},
        "scripts": {},
    }

    rules = load(write(tmp_path / "data.json", content))

    assert rules.source_configs["mqtt", "broker"].properties == {"server": "tcp://h:1883"}
    assert rules.sink_configs["mqtt", "broker"].properties == {"qos": 1}
    assert rules.connections["con"].type == "mqtt"
    (ignored,) = rules.ignored
    assert ignored.key == "portablePlugins"
    assert "ignored" in ignored.warning
    assert str(ignored.at) == f"{tmp_path}/data.json:10:2"


def test_the_yaml_form_of_a_data_file_is_read() -> None:
    rules = load_text(
        f"""
sourceConfig:
  mqtt.broker: {{server: "tcp://h:1883"}}
streams:
  demo: {{sql: '{CREATE}'}}
rules:
  a: {{sql: SELECT 1, actions: [log: {{}}]}}
""",
        file="d.yaml",
    )

    assert str(rules.source_configs["mqtt", "broker"].at) == "d.yaml:3:3"
    assert list(rules.streams) == ["demo"]
    assert str(rules.rules["a"].at) == "d.yaml:7:3"


def test_a_folder_gives_its_files_in_name_order(tmp_path: Path) -> None:
    write(tmp_path / "b.json", rule(id="b"))
    write(tmp_path / "a.yml", rule(id="a"))
    write(tmp_path / "c.yaml", rule(id="c"))
    write(tmp_path / ".hidden.yaml", "[")
    write(tmp_path / "notes.txt", "[")
    (tmp_path / "sub.yaml").mkdir()

    assert list(load([tmp_path]).rules) == ["a", "b", "c"]
    assert list(load([tmp_path, tmp_path / "a.yml"]).rules) == ["a", "b", "c"]


def test_a_folder_without_rule_files_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no \.yaml, \.yml, \.json files"):
        load(tmp_path)


def test_variables_come_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOPIC", "t")
    path = write(
        tmp_path / "a.yaml",
        "id: a\nsql: SELECT 1\nactions:\n- mqtt: {topic: '${TOPIC}', port: '${PORT:1883}'}\n",
    )

    assert load(path).rules["a"].actions[0].properties == {"topic": "t", "port": 1883}
    assert load(path, environ={"TOPIC": "u"}).rules["a"].actions[0].properties["topic"] == "u"
    assert load(path, environ=None).rules["a"].actions[0].properties["topic"] == "${TOPIC}"
    with pytest.raises(ConfigError, match=r"a\.yaml:4:17: the environment variable TOPIC isn't"):
        load(path, environ={})


def test_variables_work_inside_json_text() -> None:
    text = json.dumps({"rules": {"a": json.dumps(rule(name="${N}"))}})

    assert load_text(text, environ={"N": 'a "quoted" name'}).rules["a"].name == 'a "quoted" name'


def test_defaults_for_options_apply_to_all_rules() -> None:
    text = json.dumps({"rules": {"a": rule(), "b": rule(options={"qos": 2})}})

    rules = load_text(text, defaults={"qos": 1}).rules

    assert (rules["a"].options.qos, rules["b"].options.qos) == (1, 2)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (
            "rules: {a: {sql: x, actions: [log: {}]}}",
            "id: a\nsql: x\nactions: [log: {}]",
            "b.yaml:1:5: rule 'a' is already defined at {}/a.yaml:1:9",
        ),
        (
            "streams: {s: {}}",
            "tables:\n  s: {}",
            "b.yaml:2:3: table 's' is already defined at {}/a.yaml:1:11",
        ),
        (
            "connections: {c: {}}",
            "connectionConfig: {mqtt.c: {}}",
            "b.yaml:1:20: connectionConfig mqtt.c is already defined at {}/a.yaml:1:15",
        ),
        (
            "sourceConfig: {mqtt: {k: {}}}",
            "sourceConfig: {mqtt.k: {}}",
            "b.yaml:1:16: sourceConfig mqtt.k is already defined at {}/a.yaml:1:23",
        ),
    ],
)
def test_what_two_files_define_is_an_error_that_names_both_places(
    tmp_path: Path, first: str, second: str, message: str
) -> None:
    write(tmp_path / "a.yaml", first)
    write(tmp_path / "b.yaml", second)

    with pytest.raises(ConfigError) as caught:
        load(tmp_path)

    assert str(caught.value) == f"{tmp_path}/{message.format(tmp_path)}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "1:1: the file is empty"),
        ("[]", "1:1: the file: expected a mapping with rules or streams, found a list"),
        ("stream: {}", "1:1: unknown key 'stream' in the file; did you mean 'streams'?"),
        ("plugins: x", "1:10: plugins: expected a list, found text 'x'"),
        ("rules: x", "1:8: rules: expected a mapping of names, found text 'x'"),
        ("rules: {a: x}", "1:12: rule a: expected a mapping with sql and actions, found text 'x'"),
        ("rules: [x]", "1:9: rule: expected a mapping with sql and actions, found text 'x'"),
        ("rules: {'a b': {}}", "1:9: 'a b' can't be the id of a rule"),
        ("rules:\n  a: {id: b, sql: x}", "2:11: the rule 'a' says its id is 'b'"),
        ('rules: {a: \'{"sql": "x", "option": 1}\'}', "1:26: unknown key 'option' in rule a; did"),
        ("id: a\nsql: x\nrules: {}", "3:1: the file has 'rules' and is a rule itself"),
        ("sourceConfig: {mqtt: {a: 5}}", "1:26: sourceConfig.mqtt.a: expected a mapping of"),
        ("sourceConfig: {mqtt: x}", "1:22: sourceConfig.mqtt: expected a mapping of names"),
    ],
)
def test_a_mistake_in_the_shape_of_a_file_is_told_with_its_place(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_text(text, file="r.yaml")

    assert str(caught.value).startswith(f"r.yaml:{message}")


def test_plugins_and_room_for_anchors_are_accepted() -> None:
    rules = load_text("x-any: &a {topic: t}\nplugins: [./p.py, *a]\n")

    assert rules.plugins == ("./p.py", {"topic": "t"})


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_folder_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    tmp_path.chmod(0)
    try:
        with pytest.raises(ConfigError, match="can't read"):
            load(tmp_path)
    finally:
        tmp_path.chmod(0o700)


def refused_or_loaded(text: str, is_json: bool) -> None:
    with suppress(ConfigError):
        load_text(text, is_json=is_json, environ={"A": "1"})


@given(st.text(), st.booleans())
def test_any_text_gives_a_rule_set_or_a_config_error(text: str, is_json: bool) -> None:
    refused_or_loaded(text, is_json)


KEYS = [
    *("id", "sql", "actions", "options", "tags", "tests", "streams", "tables", "rules"),
    *("connections", "plugins", "sourceConfig", "scripts", "schema", "extra", "type", "shared"),
    *("qos", "lateTolerance", "cronDatetimeRange", "begin", "restartStrategy", "attempts"),
    *("delay", "duration", "overflow", "checkpointInterval", "bufferLength", "RETAIN_SIZE"),
    *("mqtt.a", "log", "demo", "<<", "x-a"),
]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["SELECT 1", CREATE, "${A}", "${B:x}", "1s", "{}", '{"sql": 1}', "mqtt"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(KEYS) | st.text(max_size=3),
            inner,
            max_size=5,
        )
    ),
    max_leaves=25,
)


@given(VALUES, st.booleans())
def test_any_values_give_a_rule_set_or_a_config_error(value: Any, is_json: bool) -> None:
    refused_or_loaded(json.dumps(value), is_json)


@given(st.dictionaries(st.sampled_from(["options", "actions", "tags", "id", "tests"]), VALUES))
def test_a_rule_with_anything_in_it_is_loaded_or_refused(parts: dict[str, Any]) -> None:
    refused_or_loaded(json.dumps({"id": "a", **rule(), **parts}), is_json=False)
