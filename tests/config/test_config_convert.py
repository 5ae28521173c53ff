from typing import Annotated, Any, Literal

import msgspec
import pytest

from engine.config.convert import Duration, Size, Template, config_from, convert
from engine.config.document import parse
from engine.config.interpolate import interpolate
from engine.errors import ConfigError


class Tls(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    ca_file: str
    verify: bool = True


class Plug(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    topic: str = ""
    qos: Annotated[int, msgspec.Meta(ge=0, le=2)] = 0
    ratio: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.5
    retained: bool = False
    password: str | None = None
    mode: Literal["fast", "safe"] = "fast"
    send_interval: Duration = Duration(1)
    timeout: Duration | None = None
    max_size: Size = Size(1024)
    target: Template = Template("")
    tls: Tls | None = None
    servers: tuple[Tls, ...] = ()
    headers: dict[str, str] = {}
    zones: dict[str, Tls] = {}
    pair: tuple[int, str] | None = None


def plug(text: str, environ: dict[str, str] | None = None) -> Plug:
    document = interpolate(parse(text, file="p.yaml"), environ or {})
    return config_from(document.value, Plug, where="source plug", positions=document.positions)


def test_keys_are_camel_case_and_units_are_understood() -> None:
    config = plug(
        "{topic: t, sendInterval: 1m30s, timeout: 250, maxSize: 64KiB, target: '{{.a}}',"
        " tls: {caFile: x}, pair: [1, a]}"
    )

    assert (config.topic, config.send_interval, config.timeout) == ("t", 90.0, 0.25)
    assert config.max_size == 65536
    assert isinstance(config.target, Template)
    assert config.tls == Tls(ca_file="x")


@pytest.mark.parametrize(
    ("text", "size"),
    [(10, 10), ("10", 10), ("1k", 1000), ("1KiB", 1024), ("1.5 MB", 1_500_000), ("2gib", 2 << 30)],
)
def test_sizes_have_decimal_and_binary_units(text: Any, size: int) -> None:
    assert Size.parse(text) == size


def test_a_quantity_may_be_given_as_one() -> None:
    assert config_from({"sendInterval": Duration(2)}, Plug, where="").send_interval == 2


def test_numbers_and_switches_may_be_text() -> None:
    config = plug("{qos: '1', retained: 'true', ratio: '0.25', sendInterval: '1500', maxSize: '5'}")

    assert (config.qos, config.retained, config.ratio) == (1, True, 0.25)
    assert (config.send_interval, config.max_size) == (1.5, 5)


def test_a_reference_is_text_again_where_text_is_asked_for() -> None:
    text = (
        "{password: '${PIN}', topic: '${PIN}', target: '${PIN}', qos: '${Q}',"
        " headers: {a: x, pin: '${PIN}', q: '${Q}'}}"
    )

    config = plug(text, {"PIN": "0042", "Q": "1"})

    assert (config.password, config.topic, config.target, config.qos) == ("0042", "0042", "0042", 1)
    assert config.headers == {"a": "x", "pin": "0042", "q": "1"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("topicc: t", "p.yaml:1:1: unknown key 'topicc' in source plug; did you mean 'topic'?"),
        ("TOPIC: t", "p.yaml:1:1: unknown key 'TOPIC' in source plug; did you mean 'topic'?"),
        ("zzz: t", "p.yaml:1:1: unknown key 'zzz' in source plug\n  hint: known keys: topic, qos"),
        ("qos: abc", "p.yaml:1:6: source plug.qos: expected a whole number, found text 'abc'"),
        ("qos: 3", "p.yaml:1:6: source plug.qos: expected a whole number of at most 2, found the"),
        ("qos: true", "p.yaml:1:6: source plug.qos: expected a whole number, found true"),
        ("ratio: 0", "p.yaml:1:8: source plug.ratio: expected a number greater than 0"),
        ("ratio: 1", "p.yaml:1:8: source plug.ratio: expected a number less than 1"),
        ("topic:\n", "p.yaml:1:7: source plug.topic: expected text, found nothing"),
        (
            "topic: 5",
            "p.yaml:1:8: source plug.topic: expected text, found the number 5\n  hint: put",
        ),
        ("topic: [5]", "p.yaml:1:8: source plug.topic: expected text, found a list"),
        ("retained: yes", "p.yaml:1:11: source plug.retained: expected true or false, found text"),
        ("password: 5", "p.yaml:1:11: source plug.password: expected text, found a value that"),
        (
            "mode: save",
            "p.yaml:1:7: source plug.mode: expected one of 'fast', 'safe', found text 'save'; did",
        ),
        ("mode: 5", "p.yaml:1:7: source plug.mode: expected one of 'fast', 'safe', found the"),
        ("tls: x", "p.yaml:1:6: source plug.tls: expected a mapping, found text 'x'"),
        ("tls: {}", "p.yaml:1:1: the key 'caFile' is missing in source plug.tls"),
        (
            "tls: {caFil: x}",
            "p.yaml:1:7: unknown key 'caFil' in source plug.tls; did you mean 'caFile'?",
        ),
        ("servers: {}", "p.yaml:1:10: source plug.servers: expected a list, found a mapping"),
        ("servers:\n- {caFile: x}\n- {caFile: 5}", "p.yaml:3:12: source plug.servers[1].caFile: "),
        ("servers: [{cafile: x}]", "p.yaml:1:12: unknown key 'cafile' in source plug.servers[0]"),
        ("headers: {a: x, b: 5}", "p.yaml:1:20: source plug.headers.b: expected text"),
        ("zones: {a: {caFile: x}, b: {caFile: 5}}", "p.yaml:1:37: source plug.zones.b.caFile: "),
        ("pair: [x, a]", "p.yaml:1:8: source plug.pair[0]: expected a whole number"),
        ("sendInterval: 5 parsecs", "p.yaml:1:15: source plug.sendInterval: '5 parsecs' is not a"),
        ("sendInterval: -5s", "p.yaml:1:15: source plug.sendInterval: '-5s' is negative"),
        ("sendInterval: .inf", "p.yaml:1:15: source plug.sendInterval: inf is too long"),
        ("sendInterval: []", "p.yaml:1:15: source plug.sendInterval: expected a duration"),
        ("timeout: " + "9" * 90 + "e300", "p.yaml:1:10: source plug.timeout: inf is too long"),
        ("maxSize: big", "p.yaml:1:10: source plug.maxSize: 'big' is not a size"),
        ("maxSize: -1", "p.yaml:1:10: source plug.maxSize: -1 is not a size"),
        ("maxSize: 1ib", "p.yaml:1:10: source plug.maxSize: '1ib' is not a size"),
        ("target: 5", "p.yaml:1:9: source plug.target: expected text, found the number 5"),
    ],
)
def test_a_property_that_does_not_fit_is_refused_at_its_place(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        plug(text)

    assert str(caught.value).startswith(message)


def test_a_secret_is_not_shown_in_a_message() -> None:
    with pytest.raises(ConfigError) as caught:
        plug("password: [hunter2]")

    assert "hunter2" not in str(caught.value)


def test_without_positions_the_message_names_the_path() -> None:
    with pytest.raises(ConfigError) as caught:
        config_from({"tls": {"verify": "maybe"}}, Plug, where="source plug")

    assert str(caught.value).startswith("source plug.tls.verify: expected true or false")


def test_a_part_of_a_document_is_converted() -> None:
    document = parse("a:\n- {caFile: x}\n- {caFile: 5}\n", file="p.yaml")

    assert convert(document, ("a", 0), Tls) == Tls(ca_file="x")
    with pytest.raises(ConfigError, match=r"p\.yaml:3:12: a\[1\]\.caFile: expected text"):
        convert(document, ("a", 1), Tls)
    with pytest.raises(ConfigError, match=r"p\.yaml:2:1: a\[7\] is missing"):
        convert(document, ("a", 7), Tls)
