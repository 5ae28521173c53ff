"""Addresses, topics, reasons: what needs no broker."""

from __future__ import annotations

import pytest

from engine.backoff import Backoff
from engine.errors import ConfigError, NotConnected, Rejected
from engine.mqtt import LinkSettings, TlsSettings
from engine.mqtt.outgoing import Messages
from engine.mqtt.reasons import connect_refused, disconnected
from engine.mqtt.settings import parse_address
from engine.topics import check_filter, matches


@pytest.mark.parametrize(
    ("server", "address"),
    [
        ("tcp://broker:1884", ("broker", 1884, False)),
        ("mqtt://broker", ("broker", 1883, False)),
        ("broker:99", ("broker", 99, False)),
        ("ssl://broker", ("broker", 8883, True)),
        ("tls://broker:1", ("broker", 1, True)),
        ("mqtts://[::1]:2", ("::1", 2, True)),
    ],
)
def test_an_address_has_a_scheme_and_a_default_port(
    server: str, address: tuple[str, int, bool]
) -> None:
    assert parse_address(server) == address


@pytest.mark.parametrize("server", ["", "http://x", "tcp://", "tcp://x:port", "tcp://u:p@x"])
def test_a_wrong_address_is_refused(server: str) -> None:
    with pytest.raises(ConfigError):
        LinkSettings(server=server)


@pytest.mark.parametrize(
    "wrong",
    [
        {"protocol_version": "6"},
        {"keep_alive": -1.0},
        {"receive_maximum": 0},
        {"session_expiry": -1.0},
        {"session_expiry": 4_294_967_296.0},
        {"pending_messages": 0},
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        LinkSettings(server="tcp://x", **wrong)  # type: ignore[arg-type]


def test_secrets_never_show_and_settings_are_keys() -> None:
    settings = LinkSettings(
        server="ssl://x", username="u", password="hush", tls=TlsSettings(private_key_raw="hush")
    )
    assert "hush" not in f"{settings!r} {settings} {settings.__rich_repr__()}"
    assert "username='u'" in repr(settings)
    assert {settings: 1}[settings] == 1


@pytest.mark.parametrize(
    ("tls", "what"),
    [
        (TlsSettings(tls_min_version="ssl3"), "tlsMinVersion"),
        (TlsSettings(root_ca_path="/nowhere"), "TLS can't be set up"),
        (TlsSettings(root_ca_raw="?"), "not base64"),
        (TlsSettings(certification_path="/nowhere"), "TLS can't be set up"),
    ],
)
def test_wrong_tls_settings_say_what_is_wrong(tls: TlsSettings, what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        LinkSettings(server="ssl://x", tls=tls).ssl_context()


def test_plain_tcp_needs_no_tls() -> None:
    assert LinkSettings(server="tcp://x", tls=TlsSettings()).ssl_context() is None


@pytest.mark.parametrize(
    ("pattern", "topic", "is_match"),
    [
        ("a/b", "a/b", True),
        ("a/b", "a/b/c", False),
        ("a/+", "a/b", True),
        ("a/+", "a", False),
        ("a/+", "a/", True),
        ("+/+", "/x", True),
        ("a/#", "a", True),
        ("a/#", "a/b/c", True),
        ("#", "a/b", True),
        ("#", "$SYS/uptime", False),
        ("+/uptime", "$SYS/uptime", False),
        ("$SYS/#", "$SYS/uptime", True),
        ("$share/g/a/#", "a/b", True),
        ("$share/g/#", "$SYS/x", False),
        ("$queue/a", "a", True),
    ],
)
def test_filters_take_topics_by_the_rules(pattern: str, topic: str, is_match: bool) -> None:
    assert matches(pattern, topic) is is_match


@pytest.mark.parametrize("pattern", ["a", "+", "#", "a/+/b/#", "/", "$share/g/a/+", "$SYS/#"])
def test_legal_filters_pass(pattern: str) -> None:
    check_filter(pattern)


@pytest.mark.parametrize(
    "pattern",
    ["", "a/#/b", "a#", "a+/b", "$share", "$share/g", "$share//a", "$share/+/a", "$share/g/", "\0"],
)
def test_illegal_filters_are_refused(pattern: str) -> None:
    with pytest.raises(ConfigError, match="not a topic filter"):
        check_filter(pattern)


def test_refusals_say_what_to_do() -> None:
    version = connect_refused("tcp://x", 0x84)
    assert isinstance(version, Rejected)
    assert 'protocolVersion: "3.1.1"' in version.hint
    assert "bad user name or password" in str(connect_refused("tcp://x", 0x86, "no such user"))
    assert isinstance(connect_refused("tcp://x", 0x89), NotConnected)
    assert "0xFE" in str(disconnected("tcp://x", 0xFE))


def test_delays_double_up_to_the_longest_with_jitter() -> None:
    backoff = Backoff(chance=lambda: 1.0)
    assert [backoff.next() for _ in range(9)] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10]
    backoff.reset()
    assert backoff.next() == 0.1
    assert Backoff(chance=lambda: 0.0).next() == 0.05
    assert backoff.last() == 10


def test_what_can_not_be_published_is_found_beforehand() -> None:
    flaws = Messages(["ok", "a/+", "", "x" * 65_536, "\0"], [b""] * 5).flaws(None)
    assert sorted(flaws) == [1, 2, 3, 4]
    assert "wildcard" in flaws[1]
    large = Messages("t", [b"x" * 10, b"x" * 100]).flaws(50)
    assert list(large) == [1]
    assert "maximum packet size of 50" in large[1]
    odd = Messages("t", [b"", b""], user_properties=[{"k": "v" * 70_000}, None]).flaws(None)
    assert list(odd) == [0]
