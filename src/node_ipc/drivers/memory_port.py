"""UDP ports in memory."""

from __future__ import annotations

import errno
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from ..config.address import Udp
from ..core.seam import DatagramReceiver
from ..errors import AddressError
from ..net import tcp, udp
from .memory_link import LOOPBACK

if TYPE_CHECKING:
    from ..config.address import Address
    from .memory_kernel import Network

__all__ = ["MemoryPort"]

LARGEST_DATAGRAM = 65_507


class MemoryPort:
    """A bound UDP port; datagrams to a port that nobody bound are lost, as they are on a tcp."""

    def __init__(self, driver: Network, address: Address, receiver: DatagramReceiver) -> None:
        self._driver = driver
        self._receiver = receiver
        self._address: Any = address
        self._place: tuple[str, int] | None = None
        self._closed = False
        driver.call_later(0, self._begin)

    def _begin(self) -> None:
        if self._closed:
            return
        address = self._address
        if not isinstance(address, Udp):
            self._fail(AddressError(f"{address} has no datagrams"))
            return
        if address.port == 0:
            address = msgspec.structs.replace(address, port=self._driver.new_port())
        place = (_host(address.host, address.family), address.port)
        if place in self._driver.ports:
            self._fail(OSError(errno.EADDRINUSE, "Address already in use"))
            return
        self._place = place
        self._driver.ports[place] = self
        self._receiver.bound(address)

    def _fail(self, error: Exception) -> None:
        self._closed = True
        self._receiver.not_bound(tcp.listen_failed(self._address, error))

    def send_newest(self, data: bytes, host: str, port: int, event: str) -> int:
        """Nothing waits here."""
        self.send(data, host, port)
        return 0

    def send(self, data: bytes, host: str, port: int) -> None:
        """Send one datagram: ``datagram_error`` for one that is too large; nothing once the port is closed."""
        assert self._place is not None, "the port is not bound yet"
        data = bytes(data)
        if self._closed:
            return
        if len(data) > LARGEST_DATAGRAM:
            error = udp.send_failed(OSError(errno.EMSGSIZE, "Message too long"), len(data), host, port)
            self._driver.call_later(0, partial(self._receiver.datagram_error, error))
        elif not self._driver.loses(data):
            latency = self._driver.conditions.next_latency()
            to = (_host(host, self._address.family), port)
            self._driver.call_later(latency, partial(self._arrive, data, self._place, to))

    def _arrive(self, data: bytes, source: tuple[str, int], to: tuple[str, int]) -> None:
        port = self._driver.ports.get(to)
        if port is not None:
            port._receiver.datagram(data, *source)

    def pending_bytes(self) -> int:
        return 0

    def close(self) -> None:
        """Give the port back; what is on its way here is lost."""
        self._closed = True
        if self._place is not None and self._driver.ports.get(self._place) is self:
            del self._driver.ports[self._place]


def _host(host: str, family: str) -> str:
    """The one name that a loopback host has here."""
    if family == "udp6" and host in ("localhost", ""):
        return "::1"
    return LOOPBACK.get(host, host)
