"""Messages by column, as one read of the socket yields them, and the acknowledgements they owe."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple, Protocol, TypeVar

PUBACK = 0x4002_0000  # packet type and length in front of the packet identifier
PUBREC = 0x5002_0000
_QOS = 0b0110
_RETAINED = 0b0001
REPEATED = 0b1000
"""The flag of the fixed header of a message that was sent before."""
_EXACTLY_ONCE = 0b0100
_T = TypeVar("_T")


class Origin(NamedTuple):
    """From where messages came, and when."""

    session: int = 0
    """A random number for the session of the broker; see ``Session``."""
    received: int = 0
    """How many QoS 1 and 2 messages the client had had with these."""
    reuses_ids: bool = False
    """Whether the broker hands out the packet identifiers of acknowledged messages at once."""


class Owner(Protocol):
    """The connection that acknowledges parcels."""

    def settle(self, parcel: Parcel) -> None:
        """All holders of a parcel are done with it."""

    def forget(self, words: Sequence[int]) -> None:
        """Expect some messages to be delivered again."""


class Parcel:
    """What one read owes the broker: an acknowledgement for each QoS 1 or 2 message.

    ``words`` are whole PUBACK or PUBREC packets as numbers, in order of arrival. They go out when
    the last holder has let go, so that a message for two subscriptions waits for both.
    """

    __slots__ = ("_owner", "has_common", "holders", "in_order", "words")

    def __init__(self, words: list[int], owner: Owner, *, in_order: bool = True) -> None:
        self.words = words
        self.holders = 1
        self.has_common = False  # whether some of its messages have several holders
        self.in_order = in_order
        self._owner = owner

    @property
    def is_settled(self) -> bool:
        return self.holders == 0

    def release(self) -> None:
        """Let go of the messages of one holder: they are done."""
        self.holders -= 1
        if self.holders == 0:
            self._owner.settle(self)

    def split(self, words: list[int]) -> Parcel:
        """Give the messages of one holder a parcel of their own that waits for no other."""
        self._withdraw(words)
        return Parcel(words, self._owner, in_order=False)

    def abandon(self, words: list[int]) -> None:
        """Never acknowledge the messages of one holder; the broker will deliver them again."""
        self._owner.forget(words)
        self._withdraw(words)

    def _withdraw(self, words: list[int]) -> None:
        gone = set(words)
        self.words = [word for word in self.words if word not in gone]
        self.release()


_NOWHERE = Origin()
Held = list[tuple[Parcel, list[int]]]  # parcels, and the words in them that one holder answers for


class Arrivals:
    """Messages for one subscription in order of arrival, by column.

    Topics and flags are kept as runs of equal neighbours and expanded only when asked for.
    """

    __slots__ = (
        "_flags",
        "_names",
        "_properties",
        "_starts",
        "_words",
        "origin",
        "parcels",
        "payloads",
    )

    def __init__(self) -> None:
        self.origin = _NOWHERE
        self.payloads: list[bytes] = []
        self.parcels: Held = []
        self._starts: list[int] = []
        self._names: list[str] = []
        self._flags: list[int] = []
        self._words: list[int] = []  # empty while all messages are QoS 0
        self._properties: dict[int, Mapping[str, str]] = {}

    def __len__(self) -> int:
        return len(self.payloads)

    @property
    def topics(self) -> list[str]:
        return self._expanded(self._names)

    @property
    def qos(self) -> list[int]:
        return self._expanded([(flags & _QOS) >> 1 for flags in self._flags])

    @property
    def retained(self) -> list[bool]:
        """Whether the broker had kept the message from before the subscription."""
        return self._expanded([bool(flags & _RETAINED) for flags in self._flags])

    @property
    def message_ids(self) -> list[int]:
        """The packet identifiers; 0 for QoS 0."""
        self._pad()
        return [word & 0xFFFF for word in self._words]

    @property
    def properties(self) -> list[Mapping[str, str] | None] | None:
        """The user properties of each message, or None when no message has any."""
        if not self._properties:
            return None
        return [self._properties.get(index) for index in range(len(self))]

    @property
    def words(self) -> list[int]:
        """The acknowledgements owed, as ``Parcel`` keeps them."""
        return [word for word in self._words if word]

    @property
    def all_words(self) -> list[int]:
        """The acknowledgement owed for each message, 0 for QoS 0; empty if there is none at all."""
        if self._words:
            self._pad()
        return self._words

    def has_flag(self, flag: int) -> bool:
        """Say whether any message has a flag of the fixed header."""
        return any(flags & flag for flags in self._flags)

    def flags(self, run: int) -> int:
        """Return the low four bits of the fixed header of one of ``runs``."""
        return self._flags[run] & 0b1111

    @property
    def runs(self) -> list[tuple[int, int, str]]:
        """Neighbours of one topic: first index, index after the last, topic."""
        return [(*span, name) for span, name in zip(self._bounds(), self._names, strict=True)]

    def begin_run(self, flags: int, topic: str) -> list[int]:
        """Announce that the payloads appended from here on have this topic and these flags.

        Returns the list that takes one word for each of them; QoS 0 appends none.
        """
        words = self._words
        if words or flags & _QOS:
            self._pad()
        self._starts.append(len(self.payloads))
        self._names.append(topic)
        self._flags.append(flags)
        return words

    def add(
        self,
        flags: int,
        topic: str,
        payload: bytes,
        word: int = 0,
        properties: Mapping[str, str] | None = None,
    ) -> None:
        """Append one message."""
        if not self._names or self._names[-1] != topic or self._flags[-1] != flags:
            self.begin_run(flags, topic)
        if word:
            self._words.append(word)
        if properties:
            self._properties[len(self.payloads)] = properties
        self.payloads.append(payload)

    @property
    def owing(self) -> Arrivals:
        """The QoS 1 and 2 messages alone, with the parcels."""
        return self._chosen(_QOS)

    @property
    def exactly_once(self) -> Arrivals:
        """The QoS 2 messages alone, with the parcels."""
        return self._chosen(_EXACTLY_ONCE)

    def mark_repeated(self) -> None:
        """Flag all messages as delivered before."""
        self._flags = [flags | REPEATED for flags in self._flags]

    def parted(self, takes: Callable[[str], bool]) -> tuple[Arrivals, Arrivals]:
        """Return the messages whose topics ``takes`` wants, and the others, with their parcels."""
        parts = Arrivals(), Arrivals()
        for run, (start, stop, topic) in enumerate(self.runs):
            parts[not takes(topic)].take_range(self, start, stop, run)
        for parcel, words in self.parcels:
            owed = [set(part.words) for part in parts]
            shares = [[word for word in words if word in each] for each in owed]
            parcel.holders += sum(map(bool, shares)) - 1
            for part, share in zip(parts, shares, strict=True):
                if share:
                    part.parcels.append((parcel, share))
        return parts

    def _chosen(self, flags: int) -> Arrivals:
        chosen = Arrivals()
        chosen.parcels = self.parcels
        for run, (start, stop, _) in enumerate(self.runs):
            if self._flags[run] & flags:
                chosen.take_range(self, start, stop, run)
        return chosen

    def take(self, other: Arrivals) -> None:
        """Append all messages of another from the same session, with their parcels."""
        self.origin = other.origin
        self.parcels += other.parcels
        if other._words:
            self._pad()
            other._pad()
            self._words += other._words
        shift = len(self.payloads)
        self._starts += [start + shift for start in other._starts]
        self._names += other._names
        self._flags += other._flags
        self._properties.update((at + shift, value) for at, value in other._properties.items())
        self.payloads += other.payloads

    def take_range(self, other: Arrivals, start: int, stop: int, run: int) -> None:
        """Append some messages of one run of another, without its parcels."""
        self.origin = other.origin
        words = self.begin_run(other._flags[run], other._names[run])
        if other._flags[run] & _QOS:
            words += other._words[start:stop]
        if other._properties:
            shift = len(self.payloads) - start
            for at in range(start, stop):
                if at in other._properties:
                    self._properties[at + shift] = other._properties[at]
        self.payloads += other.payloads[start:stop]

    def _pad(self) -> None:
        """Give the QoS 0 messages at the end their empty words."""
        self._words += [0] * (len(self.payloads) - len(self._words))

    def _expanded(self, values: list[_T]) -> list[_T]:
        if len(values) == 1:
            return values * len(self)
        if len(values) == len(self):
            return list(values)
        expanded: list[_T] = []
        for (start, stop), value in zip(self._bounds(), values, strict=True):
            expanded += [value] * (stop - start)
        return expanded

    def _bounds(self) -> Iterable[tuple[int, int]]:
        return pairwise([*self._starts, len(self.payloads)])
