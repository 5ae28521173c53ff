"""Which hosts may be asked on behalf of somebody else: public ones, and the private ones named."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence

import anyio

from engine.errors import EngineError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Forbidden(EngineError):
    """A host is in a private network that isn't allowed."""


class Networks:
    """Finds the address of a host, if it may be asked.

    Private are loopback, link-local, multicast, reserved addresses and the like. The address that
    is found here must be the one that is connected to: the next look-up may give another.
    """

    def __init__(self, private_hosts: Sequence[str]) -> None:
        """``private_hosts`` are hosts, or networks such as ``10.1.0.0/16``, that may be asked."""
        self._hosts = {entry.lower() for entry in private_hosts}
        self._networks = [network for entry in private_hosts if (network := _network(entry))]

    async def address(self, host: str, port: int) -> str:
        """Return the address of a host.

        Raises:
            Forbidden: it is a private one.
            OSError: the host isn't known.
            UnicodeError: its name can't be one.
        """
        found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = [str(entry[4][0]) for entry in found]
        for address in addresses:
            if not self._is_allowed(host, address):
                raise Forbidden(
                    f"{host} is in a private network",
                    hint="its administrator can name it under privateHosts in etc/server.yaml",
                )
        return addresses[0]

    def _is_allowed(self, host: str, address: str) -> bool:
        number = ipaddress.ip_address(address.partition("%")[0])
        number = getattr(number, "ipv4_mapped", None) or number
        if number.is_global and not number.is_multicast:
            return True
        return host.lower() in self._hosts or any(
            number in network for network in self._networks if network.version == number.version
        )


def _network(entry: str) -> Network | None:
    try:
        return ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return None
