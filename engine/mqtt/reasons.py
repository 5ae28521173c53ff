"""What brokers mean by their reason codes, in plain words and as errors with a meaning."""

from __future__ import annotations

from collections.abc import Mapping

from engine.errors import EngineError, NotConnected, Rejected

SESSION_TAKEN_OVER = 0x8E
NO_SUBSCRIPTION_EXISTED = 0x11
UNSUPPORTED_VERSION = 0x84

_WORDS = {
    0x00: "success",
    0x04: "disconnect with will message",
    0x10: "no matching subscribers",
    0x11: "no subscription existed",
    0x80: "unspecified error",
    0x81: "malformed packet",
    0x82: "protocol error",
    0x83: "implementation specific error",
    0x84: "unsupported protocol version",
    0x85: "client identifier not valid",
    0x86: "bad user name or password",
    0x87: "not authorised",
    0x88: "server unavailable",
    0x89: "server busy",
    0x8A: "banned",
    0x8B: "server shutting down",
    0x8C: "bad authentication method",
    0x8D: "keep-alive timeout",
    0x8E: "session taken over: another client connected with the same client id",
    0x8F: "topic filter invalid",
    0x90: "topic name invalid",
    0x91: "packet identifier in use",
    0x92: "packet identifier not found",
    0x93: "receive maximum exceeded",
    0x94: "topic alias invalid",
    0x95: "packet too large",
    0x96: "message rate too high",
    0x97: "quota exceeded",
    0x98: "administrative action",
    0x99: "payload format invalid",
    0x9A: "retain not supported",
    0x9B: "QoS not supported",
    0x9C: "use another server",
    0x9D: "server moved",
    0x9E: "shared subscriptions not supported",
    0x9F: "connection rate exceeded",
    0xA0: "maximum connect time",
    0xA1: "subscription identifiers not supported",
    0xA2: "wildcard subscriptions not supported",
}
_V3_CONNACK = {1: 0x84, 2: 0x85, 3: 0x88, 4: 0x86, 5: 0x87}
_PASSING = frozenset({0x80, 0x83, 0x88, 0x89, 0x97, 0x9C, 0x9D, 0x9F})
_HINTS = {
    0x84: 'set protocolVersion: "3.1.1"',
    0x85: "set another clientid",
    0x86: "check username and password",
    0x87: "check username and password, and what the broker allows this user",
    0x8E: "give every link a clientid of its own",
}
VERSION_HINT = 'if the broker speaks only MQTT 3.1.1, set protocolVersion: "3.1.1"'


class SessionTakenOver(NotConnected):
    """Another client has connected with the same client id."""


class ProtocolBroken(NotConnected):
    """The broker has sent what is no MQTT."""


class PublishInterrupted(NotConnected):
    """The connection went before the broker had confirmed the whole batch.

    ``confirmed`` says how many leading messages are safe; ``unconfirmed`` lists the indexes to
    send again; ``rejected`` maps the indexes that the broker refused to the reason.
    """

    def __init__(
        self,
        message: str,
        *,
        unconfirmed: list[int],
        total: int,
        rejected: Mapping[int, str] | None = None,
    ) -> None:
        self.unconfirmed = unconfirmed
        self.was_sent = True
        """Whether there was a connection to break at all."""
        self.connection = 0
        """The number of the connection on which it was sent, if on any; see ``Link``."""
        self.confirmed = unconfirmed[0] if unconfirmed else total
        self.rejected = dict(rejected or {})
        super().__init__(f"{message} ({total - len(unconfirmed)} of {total} messages confirmed)")


class PublishRejected(Rejected):
    """The broker, or the protocol, refuses some messages; all others of the batch were confirmed.

    ``reasons`` maps the index of each refused message to the reason.
    """

    def __init__(self, reasons: Mapping[int, str], *, total: int, hint: str = "") -> None:
        self.reasons = dict(reasons)
        kinds = ", ".join(dict.fromkeys(self.reasons.values()))
        super().__init__(f"{len(reasons)} of {total} messages refused: {kinds}", hint=hint)


def words(code: int) -> str:
    """Return what a reason code of MQTT 5 means."""
    return f"{_WORDS.get(code, 'unknown reason')} (0x{code:02X})"


def v3_code(code: int) -> int:
    """Return the reason code of MQTT 5 for a CONNACK return code of MQTT 3."""
    return _V3_CONNACK.get(code, 0x80)


def connect_refused(server: str, code: int, text: str | None = None) -> EngineError:
    """Return the error for a CONNACK that says no."""
    message = f"{server} refused the connection: {words(code)}{_quoted(text)}"
    kind = NotConnected if code in _PASSING else Rejected
    return kind(message, hint=_HINTS.get(code, ""))


def disconnected(server: str, code: int, text: str | None = None) -> NotConnected:
    """Return the error for a DISCONNECT sent by the broker."""
    message = f"{server} closed the connection: {words(code)}{_quoted(text)}"
    kind = SessionTakenOver if code == SESSION_TAKEN_OVER else NotConnected
    return kind(message, hint=_HINTS.get(code, ""))


def subscription_refused(server: str, refused: Mapping[str, int]) -> Rejected:
    """Return the error for a SUBACK with failure codes."""
    each = ", ".join(f"{pattern!r}: {words(code)}" for pattern, code in refused.items())
    return Rejected(f"{server} refused the subscription to {each}")


def _quoted(text: str | None) -> str:
    return f' "{text}"' if text else ""
