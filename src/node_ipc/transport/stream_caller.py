"""Unix sockets, TCP and TLS in the caller's thread: links, and attempts to connect.

The outbound buffer is the link's own and holds only what the kernel did not take at once: the session keeps what
comes after that. A name is looked up by the system's resolver while everything else of this driver waits (there is
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

from ..errors import AddressError
from . import local_socket, network
from .address import Tcp, Tls, Unix
from .caller import DONT_WAIT, READ, WRITE, CallerDriver, block_for_reads
from .driver import Peer, Receiver, Timer

if TYPE_CHECKING:
    from ..config import Settings
    from .address import Address

__all__ = ["Attempt", "StreamLink"]

READ_BYTES = 64 * 1024
LAST_READS = 64
"""Reads that a link gets to bring what its peer sent before it went away."""
LOCAL_CONNECT_SECONDS, NETWORK_CONNECT_SECONDS = 2.0, 5.0
FIRST_DELAY, LONGEST_DELAY = 0.001, 0.1
"""Seconds between two looks at a Unix socket whose server's queue is full: there is nothing to wait on."""
IN_PROGRESS = (errno.EINPROGRESS, errno.EWOULDBLOCK, getattr(errno, "WSAEWOULDBLOCK", errno.EINPROGRESS))


class StreamLink:
    """One connected socket."""

    __slots__ = (
        "_closing",
        "_driver",
        "_incoming",
        "_interest",
        "_over",
        "_peer_ended",
        "_pending",
        "_read_direct",
        "_reading",
        "_receiver",
        "_recv",
        "_send",
        "_sock",
        "_unsent",
        "peer",
    )

    def __init__(self, driver: CallerDriver, sock: socket.socket, peer: Peer, receiver: Receiver) -> None:
        self.peer = peer
        self._driver = driver
        self._sock = sock
        self._receiver = receiver
        self._send = sock.send
        self._recv = sock.recv
        self._incoming: Callable[[bytes], None] = receiver.received
        self._unsent: deque[memoryview] = deque()
        self._pending = 0
        self._interest = 0
        self._reading = True
        self._closing = self._peer_ended = self._over = False
        self._read_direct: Callable[[], None] | None = None

    def start(self, *, alone: bool) -> None:
        """Begin to read. ``alone``: this is its driver's only link, so the driver may block in ``recv``."""
        if alone and block_for_reads(self._sock):
            self._read_direct = partial(self.readable, 0)
        self._watch()
        self._receiver.opened(self)

    def _watch(self) -> None:
        """Wait for what there is to wait for now."""
        if self._over:
            return
        interest = (READ if self._reading and not self._peer_ended else 0) | (WRITE if self._unsent else 0)
        if interest != self._interest:
            self._interest = interest
            self._driver.watch(self, interest, self._read_direct)

    # ---- the driver's side

    def fileno(self) -> int:
        return self._sock.fileno()

    def readable(self, flags: int = DONT_WAIT) -> None:
        try:
            data = self._recv(READ_BYTES, flags)
        except BlockingIOError:
            return
        except OSError as error:
            self._finish(error)
            return
        if data:
            self._incoming(data)
        else:
            self._end_of_stream()

    def _end_of_stream(self) -> None:
        self._peer_ended = True
        self._watch()
        self._receiver.ended()
        if self._closing and not self._unsent:
            self._end_writing()

    def writable(self) -> None:
        unsent = self._unsent
        try:
            while unsent:
                view = unsent[0]
                sent = self._send(view, DONT_WAIT)
                self._pending -= sent
                if sent < len(view):
                    unsent[0] = view[sent:]
                    return
                unsent.popleft()
        except BlockingIOError:
            return
        except OSError as error:
            self._broken(error)
            return
        self._watch()
        self._receiver.writable()
        if self._closing and not self._unsent:
            self._end_writing()

    def discard(self) -> None:
        self._over = True
        self._sock.close()

    # ---- the session's side

    def write(self, data: bytes) -> None:
        if self._unsent or self._over:
            self._keep(data, 0)
            return
        try:
            sent = self._send(data, DONT_WAIT)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._broken(error)
            self._receiver.pause()  # so the session counts this as not with the kernel
            return
        if sent != len(data):
            self._keep(data, sent)
            self._watch()
            self._receiver.pause()

    def _keep(self, data: bytes, sent: int) -> None:
        if not self._over:
            self._unsent.append(memoryview(data)[sent:])
            self._pending += len(data) - sent

    def pending_bytes(self) -> int:
        return self._pending

    def close(self) -> None:
        if self._closing or self._over:
            return
        self._closing = True
        if not self._unsent:
            self._end_writing()

    def _end_writing(self) -> None:
        """Everything is with the kernel: say so to the peer, and wait for its own end."""
        if self._over:
            return
        if self._peer_ended:
            self._finish(None)
            return
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            self._finish(None if error.errno == errno.ENOTCONN else error)

    def abort(self) -> None:
        self._finish(None)

    def pause_reading(self) -> None:
        self._reading = False
        self._watch()

    def resume_reading(self) -> None:
        self._reading = True
        self._watch()

    # ---- its end

    def _broken(self, error: OSError) -> None:
        """Nothing can be written any more; what the peer sent before it went away is still with the kernel."""
        self._unsent.clear()
        self._pending = 0
        if not self._over:
            self._forget()
            self._over = True
            self._driver.call_later(0, partial(self._read_the_rest, error))

    def _read_the_rest(self, error: OSError) -> None:
        try:
            for _ in range(LAST_READS):
                data = self._recv(READ_BYTES, DONT_WAIT)
                if not data:
                    break
                self._incoming(data)
        except OSError:
            pass
        self._over = False
        self._finish(error)

    def _forget(self) -> None:
        if self._interest:
            self._interest = 0
            self._driver.watch(self, 0)

    def _finish(self, error: BaseException | None) -> None:
        """Close it, and tell the receiver in a later turn."""
        if self._over:
            return
        self._forget()
        self._over = True
        self._unsent.clear()
        self._pending = 0
        self._sock.close()
        self._driver.call_later(0, partial(self._receiver.lost, network.link_failed(error)))


# ---- connecting


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
        self._places: deque[network.Resolved] = deque()
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
        self._receiver.failed(network.connect_failed(self._address, error, self._seconds))

    def _connect_unix(self) -> None:
        """A Unix socket connects at once, or its server's queue is full: then there is only time to wait for."""
        assert isinstance(self._address, Unix)
        try:
            sock = local_socket.connect_unix(
                self._address.path, also=self._address.also, allowed_uids=self._settings.allowed_uids
            )
        except BlockingIOError:
            if self._driver.now() >= self._deadline:
                raise TimeoutError from None
            self._driver.call_later(self._delay, partial(self._try, self._connect_unix))
            self._delay = min(self._delay * 2, LONGEST_DELAY)
            return
        StreamLink(self._driver, sock, local_socket.peer_of(sock), self._receiver).start(alone=True)

    def _begin_network(self) -> None:
        if not isinstance(self._address, (Tcp, Tls)):
            raise AddressError(f"{self._address} has no connections: send datagrams with serve")
        if isinstance(self._address, Tls):
            self._encrypt(self._address)
        self._places = deque(network.look_up(self._address, self._settings))
        self._connect_next()

    def _encrypt(self, address: Tls) -> None:
        """Put TLS before the session, with the certificates that the files hold now."""
        from . import tls
        from .tls_link import TLSLink

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
                sock = self._sock = network.new_stream(family, self._settings)
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
