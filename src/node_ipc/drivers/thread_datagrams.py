"""UDP in the caller's thread: the ``DatagramPort`` of ``seam.py``.

Host names are looked up by the system's resolver, in a later turn than ``send``; everything else of this driver
waits meanwhile. Numeric addresses cost nothing.
"""

from __future__ import annotations

import socket
from functools import partial
from typing import TYPE_CHECKING

from ..config.address import Handed, Udp
from ..core.seam import DatagramReceiver
from ..errors import AddressError, IPCError
from ..net import tcp, udp
from ..net.udp import Outbox, SocketAddress
from .poller import READ, WRITE
from .thread import CallerDriver

if TYPE_CHECKING:
    from ..config.address import Address
    from ..config.config import Settings

__all__ = ["CallerPort"]

LARGEST_DATAGRAM = 65_536
READS_PER_TURN = 64
SECONDS_PER_TURN = 0.005
"""When handlers take longer than this, the rest waits for the next turn: a timer may be due."""


class CallerPort:
    """A UDP port; made at once, bound in the next turn."""

    def __init__(self, driver: CallerDriver, address: Address, receiver: DatagramReceiver, settings: Settings) -> None:
        self._driver = driver
        self._wanted = address
        self._receiver = receiver
        self._closed = False
        self._family = 0
        self._sock: socket.socket | None = None
        self._outbox: Outbox | None = None
        self._interest = 0

    # ---- life

    def begin(self) -> None:
        if self._closed:
            return
        try:
            address = self._bind()
        except Exception as error:
            self.close()
            self._receiver.not_bound(tcp.listen_failed(self._wanted, error))
            return
        self._receiver.bound(address)

    def _bind(self) -> Address:
        wanted = self._wanted
        where = wanted.where if isinstance(wanted, Handed) else wanted
        if not isinstance(where, Udp):
            raise AddressError(f"{wanted} has no datagrams: bind udp4://host:port or udp6://[host]:port")
        family = self._family = udp.FAMILIES[where.family]
        if isinstance(wanted, Handed):
            self._sock = wanted.sockets[0]
        else:
            self._sock = udp.bind(udp.look_up(where), where.port)
        self._outbox = Outbox(family, self._put, self._look_up, self._later)
        self._watch(READ)
        bound = wanted if isinstance(wanted, Handed) else Udp(where.host, self._sock.getsockname()[1], where.family)
        udp.warn_if_exposed(bound, self._sock)
        return bound

    def _watch(self, interest: int) -> None:
        if interest != self._interest and self._sock is not None:
            self._interest = interest
            self._driver.watch(self, interest)

    def close(self) -> None:
        """Give the port back; what waits to be sent is dropped."""
        self._closed = True
        self._watch(0)
        self.discard()

    def discard(self) -> None:
        self._closed = True
        if self._outbox is not None:
            self._outbox.clear()
        sock, self._sock = self._sock, None
        if sock is not None:
            sock.close()

    # ---- in

    def fileno(self) -> int:
        assert self._sock is not None
        return self._sock.fileno()

    def readable(self) -> None:
        sock, receiver = self._sock, self._receiver
        deadline = self._driver.now() + SECONDS_PER_TURN
        for _ in range(READS_PER_TURN):
            if sock is None or sock is not self._sock:
                return  # a handler closed the port
            try:
                data, where = sock.recvfrom(LARGEST_DATAGRAM)
            except BlockingIOError:
                return
            except OSError as error:
                receiver.datagram_error(udp.port_failed(error))
                return
            receiver.datagram(data, *udp.sender(where))
            if self._driver.now() > deadline:
                return

    # ---- out

    def send(self, data: bytes, host: str, port: int) -> None:
        assert self._outbox is not None, "the port is not bound yet"
        if not self._closed:
            self._outbox.send(data, host, port)

    def pending_bytes(self) -> int:
        return 0 if self._outbox is None else self._outbox.pending_bytes

    def _put(self, data: bytes, where: SocketAddress) -> bool:
        """Give one datagram to the kernel; False when it is full."""
        assert self._sock is not None
        if udp.put(self._sock, data, where, self._later):
            return True
        self._watch(READ | WRITE)
        return False

    def writable(self) -> None:
        if self._outbox is not None and self._outbox.flush():
            self._watch(READ)

    def _later(self, error: IPCError) -> None:
        """Tell of an error, but never inside ``send``."""
        self._driver.call_later(0, partial(self._tell, error))

    def _tell(self, error: IPCError) -> None:
        if not self._closed:
            self._receiver.datagram_error(error)

    # ---- names

    def _look_up(self, host: str) -> None:
        self._driver.call_later(0, partial(self._resolve, host))

    def _resolve(self, host: str) -> None:
        if self._closed or self._outbox is None:
            return
        try:
            place = udp.place_of(socket.getaddrinfo(host, 0, family=self._family, type=socket.SOCK_DGRAM))
        except (OSError, UnicodeError) as error:
            self._outbox.unknown(host, error)
            return
        self._outbox.found(host, place)
