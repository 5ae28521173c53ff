"""What a link needs of a connection, whatever the protocol version behind it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from enum import Enum
from typing import NamedTuple

from engine.errors import EngineError
from engine.mqtt.arrivals import Arrivals
from engine.mqtt.outgoing import Messages


class Filter(NamedTuple):
    """One topic filter of a subscription as the broker is asked for it."""

    pattern: str
    qos: int
    skip_retained: bool = False  # the broker has the subscription and has sent what it retained


class Reading(Enum):
    """How much of what the broker sends is wanted."""

    ALL = "all"
    WHILE_ANSWERS_ARE_DUE = "while answers are due"
    NOTHING = "nothing"


class Connection(ABC):
    """One accepted connection, until it is lost."""

    is_session_present = False

    @abstractmethod
    async def subscribe(self, filters: Sequence[Filter]) -> list[int]:
        """Return a reason code for each filter.

        Raises:
            NotConnected: the connection went before the answer.
        """

    @abstractmethod
    async def unsubscribe(self, patterns: Sequence[str]) -> None:
        """Return when the broker has confirmed; the request is written before the first await."""

    @abstractmethod
    async def publish(self, messages: Messages) -> None:
        """See ``Link.publish``."""

    @abstractmethod
    def read(self, reading: Reading) -> None:
        """Pause or resume reading of the socket."""

    @abstractmethod
    async def wait_lost(self) -> EngineError:
        """Return why the connection was lost, once it is."""

    @abstractmethod
    async def close(self) -> None:
        """Say goodbye and close the socket."""


Deliver = Callable[[Connection, Arrivals], None]
