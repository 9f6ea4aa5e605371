"""Attempts to connect in the caller's thread, over Unix sockets, TCP and TLS.

A name is looked up by the system's resolver while everything else of this driver waits (there is
no thread to do it); ``interfaces.lookup`` takes its place where that matters.
"""

from __future__ import annotations

import errno
import os
import socket
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from ..config.address import Tcp, Tls, Unix
from ..core.seam import Peer, Receiver, Timer
from ..errors import AddressError
from ..net import tcp, unix
from ..net.stream import StreamLink
from .poller import WRITE
from .thread import CallerDriver

if TYPE_CHECKING:
    from ..config.address import Address
    from ..config.config import Settings

__all__ = ["Attempt"]

LOCAL_CONNECT_SECONDS, NETWORK_CONNECT_SECONDS = 2.0, 5.0
FIRST_DELAY, LONGEST_DELAY = 0.001, 0.1
"""Seconds between two looks at a Unix socket whose server's queue is full: there is nothing to wait on."""
IN_PROGRESS = (errno.EINPROGRESS, errno.EWOULDBLOCK, getattr(errno, "WSAEWOULDBLOCK", errno.EINPROGRESS))


class Attempt:
    """One attempt to connect, over all the addresses that a name has."""

    def __init__(self, driver: CallerDriver, address: Address, receiver: Receiver, settings: Settings) -> None:
        self._driver = driver
        self._address = address
        self._receiver = receiver
        self._settings = settings
        self._seconds = LOCAL_CONNECT_SECONDS if isinstance(address, Unix) else NETWORK_CONNECT_SECONDS
        if settings.connect_timeout is not None:
            self._seconds = settings.connect_timeout / 1000
        self._deadline = 0.0
        self._delay = FIRST_DELAY
        self._timer: Timer | None = None
        self._sock: socket.socket | None = None
        self._places: deque[tcp.Resolved] = deque()
        self._error: OSError | None = None

    def begin(self) -> None:
        self._deadline = self._driver.now() + self._seconds
        if isinstance(self._address, Unix):
            self._try(self._connect_unix)
        else:
            self._try(self._begin_network)

    def _try(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception as error:  # whatever the kernel or a lookup of the user's raises: the attempt failed
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self._stop_waiting()
        if self._sock is not None:
            self._sock.close()
            self._sock = None
        self._receiver.failed(tcp.connect_failed(self._address, error, self._seconds))

    def _connect_unix(self) -> None:
        """A Unix socket connects at once, or its server's queue is full: then there is only time to wait for."""
        assert isinstance(self._address, Unix)
        try:
            sock = unix.connect_unix(
                self._address.path, also=self._address.also, allowed_uids=self._settings.allowed_uids
            )
        except BlockingIOError:
            if self._driver.now() >= self._deadline:
                raise TimeoutError from None
            self._driver.call_later(self._delay, partial(self._try, self._connect_unix))
            self._delay = min(self._delay * 2, LONGEST_DELAY)
            return
        StreamLink(self._driver, sock, unix.peer_of(sock), self._receiver).start(alone=True)

    def _begin_network(self) -> None:
        if not isinstance(self._address, (Tcp, Tls)):
            raise AddressError(f"{self._address} has no connections: send datagrams with serve")
        if isinstance(self._address, Tls):
            self._encrypt(self._address)
        self._places = deque(tcp.look_up(self._address, self._settings))
        self._connect_next()

    def _encrypt(self, address: Tls) -> None:
        """Put TLS before the session, with the certificates that the files hold now."""
        from ..net import tls
        from ..net.tls_link import TLSLink

        settings = self._settings
        client = tls.client_context(settings.tls, assured=settings.profile == "assured")
        channel = client.channel(address.host, name=str(address).removeprefix("tls://"))
        self._receiver = TLSLink(self._driver, self._receiver, channel, settings.handshake_timeout / 1000)

    def _connect_next(self) -> None:
        """Try the addresses in turn; the error is that of the last one.

        Each gets its share of the time that is left: a machine whose IPv6 leads nowhere still connects by IPv4.
        """
        while self._places:
            share = (self._deadline - self._driver.now()) / len(self._places)
            family, _, _, _, where = self._places.popleft()
            try:
                sock = self._sock = tcp.new_stream(family, self._settings)
            except OSError as error:
                self._error = error
                continue
            number = sock.connect_ex(where)
            if number in IN_PROGRESS:
                self._timer = self._driver.call_later(share, partial(self._try, partial(self._after, errno.ETIMEDOUT)))
                self._driver.watch(self, WRITE)
                return
            if number == 0:
                self._connected()
                return
            self._give_up(number)
        raise self._error or OSError(errno.EADDRNOTAVAIL, "the host name has no address")

    def _give_up(self, number: int) -> None:
        assert self._sock is not None
        self._error = OSError(number, os.strerror(number))  # of ETIMEDOUT it makes a TimeoutError
        self._stop_waiting()
        self._sock.close()
        self._sock = None

    def _connected(self) -> None:
        sock = self._sock
        assert sock is not None
        host, port = sock.getpeername()[:2]
        self._stop_waiting()
        self._sock = None
        peer = Peer("tls" if isinstance(self._address, Tls) else "tcp", host=host, port=port)
        StreamLink(self._driver, sock, peer, self._receiver).start(alone=True)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._sock is not None and self._sock.fileno() >= 0:
            self._driver.watch(self, 0)

    # ---- the driver's side

    def fileno(self) -> int:
        assert self._sock is not None
        return self._sock.fileno()

    def readable(self) -> None:
        """An attempt waits for nothing to read."""

    def writable(self) -> None:
        """The connection came about, or it failed."""
        assert self._sock is not None
        number = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number == 0:
            try:
                self._sock.getpeername()
            except OSError as error:
                if error.errno != errno.ENOTCONN:
                    self._fail(error)
                return  # the event was for a socket that had this number before
        self._try(self._connected if number == 0 else partial(self._after, number))

    def _after(self, number: int) -> None:
        self._give_up(number)
        self._connect_next()

    def discard(self) -> None:
        if self._sock is not None:
            self._sock.close()
