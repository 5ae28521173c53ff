"""TCP confirmations without delay, where a broker waits for them."""

from __future__ import annotations

import socket
from typing import Any

_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)


def confirm_segments(connected: Any) -> None:
    """Let the kernel confirm at once what was read from a socket (Linux; else nothing happens).

    A broker that doesn't set TCP_NODELAY, as Mosquitto unless told, holds small packets back until
    the ones before are confirmed, for which a kernel takes its time: 40 ms. The kernel forgets
    that it was asked, so ask again after each read.
    """
    if _QUICKACK is not None:
        connected.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
