from pathlib import Path
from typing import Any

import pytest

from engine.config.document import Document, parse
from engine.config.interpolate import interpolate, is_secret, mask
from engine.errors import ConfigError

ENVIRON = {"HOST": "db", "PORT": "1883", "PIN": "0042", "YES": "true", "EMPTY": "", "BAD": "\udcff"}


def expanded(text: str, file: str = "r.yaml") -> Document:
    return interpolate(parse(text, file=file), ENVIRON)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("tcp://${HOST}:${PORT}", "tcp://db:1883"),
        ("${PORT}", 1883),
        ("'${PORT}'", 1883),
        ("${NONE:1884}", 1884),
        ("${NONE:tcp://a:1}", "tcp://a:1"),
        ("${NONE:}", ""),
        ("${EMPTY}", ""),
        ("${EMPTY:x}", ""),
        ("${YES}", True),
        ("x${NONE:}y", "xy"),
        ("$${HOST}", "${HOST}"),
        ("$$${HOST}", "$${HOST}"),
        ("a $${HOST} ${HOST}", "a ${HOST} db"),
        ("$HOST", "$HOST"),
        ("${NONE:" + "9" * 200 + "}", "9" * 200),
    ],
)
def test_references_are_replaced_and_whole_values_get_a_type(text: str, value: Any) -> None:
    assert expanded(f"a: {text}").value == {"a": value}


def test_references_are_replaced_in_depth_but_not_in_keys() -> None:
    assert expanded("a: [{'${HOST}': '${HOST}'}]").value == {"a": [{"${HOST}": "db"}]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${NOPE}", "r.yaml:2:6: the environment variable NOPE isn't set\n  hint: set it, or"),
        ("x ${NOPE}", "r.yaml:2:6: the environment variable NOPE isn't set"),
        ("${HOST", "r.yaml:2:6: '${' has no closing '}'\n  hint: write '$${' for a literal '${'"),
        ("${a b}", "r.yaml:2:6: 'a b' isn't the name of a variable"),
        ("${A:${B}}", "r.yaml:2:6: a reference can't be the default of another one"),
        ("${BAD}", "r.yaml:2:6: the environment variable BAD isn't UTF-8 text"),
        ("${file:/no/such}", "r.yaml:2:6: can't read /no/such: no such file or directory"),
        ("${file:/dev/zero}", "r.yaml:2:6: /dev/zero is longer than 1 MiB"),
    ],
)
def test_a_bad_reference_is_refused_at_the_value(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        expanded(f"a:\n  b: '{text}'")

    assert str(caught.value).startswith(message)


def test_files_are_read_from_the_folder_of_the_document(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s3cret\n")
    (tmp_path / "pin").write_text("0042")
    (tmp_path / "latin").write_bytes(b"\xe4")
    file = str(tmp_path / "r.yaml")

    assert expanded("a: ${file:secret}", file).value == {"a": "s3cret"}
    assert expanded(f"a: x-${{file:{tmp_path}/secret}}", file).value == {"a": "x-s3cret"}
    assert expanded("a: ${file:pin}", file).value == {"a": 42}
    with pytest.raises(ConfigError, match=r"r\.yaml:1:4: latin isn't UTF-8 text"):
        expanded("a: ${file:latin}", file)


def test_secrets_are_starred_for_display() -> None:
    properties = {
        "server": "tcp://me:pw@host:1883",
        "password": "pw",
        "apiKey": 5,
        "nested": [{"authToken": {"a": 1}, "topic": "t"}],
        "credentialPath": None,
    }

    assert mask(properties) == {
        "server": "tcp://me:***@host:1883",
        "password": "***",
        "apiKey": "***",
        "nested": [{"authToken": "***", "topic": "t"}],
        "credentialPath": None,
    }
    assert properties["password"] == "pw"
    assert is_secret("clientSecret")
    assert not is_secret("topic")
