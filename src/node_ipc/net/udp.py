"""UDP for every driver with sockets: ports, where a datagram goes, and the kernel's errors in our words.

Many datagrams are read in a turn: asyncio's own endpoint reads one in a turn with a buffer of 256 KiB that is
allocated anew, which took 26 µs a datagram where this takes 4. An unconnected UDP socket of Linux
hears nothing of ICMP's "port unreachable" (udp(7)): to send to a port that nobody has is no error there. Systems
that do report it (Windows) do so at some later call, whose own datagram is not concerned.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from ..config.address import Handed, Udp
from ..config.foreign import caused
from ..errors import AddressError, ConnectError, FrameTooLarge, IPCError
from .holders import holder_of
from .steps import READ, WRITE, LookUp, Resolved, Steps
from .tcp import NOT_HERE, exposed, listen_failed, new_bound

if TYPE_CHECKING:
    from ..config.address import Address
    from ..core.seam import DatagramReceiver
    from .connect import Host

__all__ = [
    "FAMILIES",
    "Outbox",
    "Place",
    "Port",
    "SocketAddress",
    "at_once",
    "bind",
    "is_late",
    "look_up",
    "numeric",
    "place_of",
    "port_failed",
    "put",
    "send_failed",
    "sender",
    "warn_if_exposed",
]

FAMILIES = {"udp4": socket.AF_INET, "udp6": socket.AF_INET6}
RECEIVE_BUFFER = 4 * 1024 * 1024
"""Bytes asked of the kernel for what waits to be read: it gives what its own limit allows, by default twice what a
socket has otherwise (Linux counts some 768 bytes for each small datagram, so 212,992 are 277 of them)."""
BOOKKEEPING = 128
"""Bytes counted for each datagram that waits, besides its own."""
LARGEST_DATAGRAM = 65_536
READS_PER_TURN = 64
SECONDS_PER_TURN = 0.005
"""When handlers take longer than this, the rest waits for the next turn: others want it, too."""
KNOWN_HOSTS = 4096
"""Hosts whose address is kept; the one known for longest is looked up anew."""

SocketAddress: TypeAlias = tuple[Any, ...]
Place: TypeAlias = tuple[str, int]
"""A numeric address as the socket functions take it, and its scope (IPv6; 0 for none)."""

_LATE = (errno.ECONNREFUSED, errno.ECONNRESET)
"""What an earlier datagram came to."""


class Port:
    """A UDP port; made at once, bound in a later turn."""

    def __init__(self, driver: Host, address: Address, receiver: DatagramReceiver) -> None:
        self.sock: socket.socket | None = None
        """The socket while the port is bound."""
        self._driver = driver
        self._wanted = address
        self._receiver = receiver
        self._is_closed = False
        self._buffer = memoryview(bytearray(LARGEST_DATAGRAM))
        self._outbox: Outbox | None = None
        self._family = 0
        self._interest = 0
        self._beginning = driver.walk(self._begin())

    # ---- life

    def _begin(self) -> Steps[None]:
        try:
            address = yield from self._bind()
        except Exception as error:
            self.close()
            self._receiver.not_bound(listen_failed(self._wanted, error, holder_of(self._wanted, error)))
        else:
            self._receiver.bound(address)

    def _bind(self) -> Steps[Address]:
        wanted = self._wanted
        where = wanted.where if isinstance(wanted, Handed) else wanted
        if not isinstance(where, Udp):
            raise AddressError(f"{where} has no datagrams: bind udp4://host:port or udp6://[host]:port")
        self._family = FAMILIES[where.family]
        if isinstance(wanted, Handed):
            self.sock = wanted.sockets[0]
            self.sock.setblocking(False)
        else:
            resolved = at_once(where) or (yield look_up(where))
            self.sock = bind(resolved, where.port)
        self._outbox = Outbox(self._family, self._put, self._look_up, self._later)
        bound = wanted if isinstance(wanted, Handed) else Udp(where.host, self.sock.getsockname()[1], where.family)
        if not isinstance(bound, Handed) or bound.share is None:  # for several workers their parent says it
            warn_if_exposed(bound, self.sock)
        self._watch(READ)
        return bound

    def _watch(self, interest: int) -> None:
        if interest != self._interest and self.sock is not None:
            self._driver.watch(self, interest)
            self._interest = interest

    def _watch_on(self, interest: int) -> None:
        """Once bound; a kernel that cannot watch the port any more (ENOMEM) ends it: it would hear nothing again."""
        try:
            self._watch(interest)
        except OSError as error:
            self._driver.call_later(0, partial(self._end, port_failed(error)))

    def _end(self, error: IPCError) -> None:
        if not self._is_closed:
            self.close()
            self._receiver.not_bound(error)

    def close(self) -> None:
        """Give the port back; what waits to be sent is dropped."""
        self._watch(0)
        self.discard()

    def discard(self) -> None:
        self._is_closed = True
        self._beginning.cancel()
        if self._outbox is not None:
            self._outbox.clear()
        sock, self.sock = self.sock, None
        if sock is not None:
            sock.close()

    # ---- in

    def fileno(self) -> int:
        assert self.sock is not None
        return self.sock.fileno()

    def readable(self) -> None:
        sock, buffer = self.sock, self._buffer
        deadline = self._driver.now() + SECONDS_PER_TURN
        for _ in range(READS_PER_TURN):
            if sock is None or sock is not self.sock:
                return  # a handler closed the port
            try:
                size, where = sock.recvfrom_into(buffer)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self._receiver.datagram_error(port_failed(error))
                return
            self._receiver.datagram(bytes(buffer[:size]), *sender(where))
            if self._driver.now() > deadline:
                return

    def came(self, data: bytes, where: SocketAddress) -> None:
        """A datagram, where the loop reads by itself."""
        if not self._is_closed:
            self._receiver.datagram(data, *sender(where))

    def troubled(self, error: OSError) -> None:
        """That failed."""
        self._later(port_failed(error))

    # ---- out

    def send(self, data: bytes, host: str, port: int) -> None:
        assert self._outbox is not None, "the port is not bound yet"
        if not self._is_closed:
            self._outbox.send(data, host, port)

    def send_newest(self, data: bytes, host: str, port: int, event: str) -> int:
        assert self._outbox is not None, "the port is not bound yet"
        if self._is_closed:
            return 0
        replaced = self._outbox.take_out(host, port, event)
        self._outbox.send(data, host, port, event)
        return replaced

    def pending_bytes(self) -> int:
        return 0 if self._outbox is None else self._outbox.pending_bytes

    def _put(self, data: bytes, where: SocketAddress) -> bool:
        """Give one datagram to the kernel; False when it is full."""
        assert self.sock is not None
        if put(self.sock, data, where, self._later):
            return True
        self._watch_on(READ | WRITE)
        return False

    def writable(self) -> None:
        if self._outbox is not None and self._outbox.flush():
            self._watch_on(READ)

    def _later(self, error: IPCError) -> None:
        """Tell of an error, but never inside ``send``."""
        self._driver.call_later(0, partial(self._tell, error))

    def _tell(self, error: IPCError) -> None:
        if not self._is_closed:
            self._receiver.datagram_error(error)

    def _look_up(self, host: str) -> None:
        self._driver.walk(self._resolve(host))

    def _resolve(self, host: str) -> Steps[None]:
        assert self._outbox is not None
        try:
            place = place_of((yield LookUp(host, 0, self._family, socket.SOCK_DGRAM)))
        except Exception as error:  # a name may be too long for IDNA, too (UnicodeError)
            self._outbox.unknown(host, error)
            return
        if not self._is_closed:
            self._outbox.found(host, place)


def look_up(where: Udp) -> LookUp:
    """What a port's name is looked up with."""
    return LookUp(where.host, where.port, FAMILIES[where.family], socket.SOCK_DGRAM, socket.AI_PASSIVE)


def at_once(where: Udp) -> list[Resolved]:
    """The address of a host that is one already (``numeric``); nothing for a name."""
    family = FAMILIES[where.family]
    place = numeric(where.host, family)
    if place is None:
        return []
    return [(family, socket.SOCK_DGRAM, 0, "", place if family == socket.AF_INET else (place[0], 0, 0, place[1]))]


def bind(resolved: Iterable[Resolved], port: int, reuse_port: bool = False) -> socket.socket:
    """A socket at the first of these addresses that this machine has; raises ``OSError`` as the kernel gives it."""
    refused: OSError | None = None
    for family, _, _, _, where in resolved:
        try:
            sock = new_bound(family, socket.SOCK_DGRAM, (where[0], port, *where[2:]), reuse_port=reuse_port)
        except OSError as error:
            if error.errno not in NOT_HERE:
                raise
            refused = error
        else:
            with contextlib.suppress(OSError):  # some systems refuse what is above their limit
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            return sock
    raise refused or OSError(errno.EADDRNOTAVAIL, "the name has no address of this family here")


def warn_if_exposed(address: Address, sock: socket.socket) -> None:
    """Log who can reach the port from other machines, if anybody can."""
    if who := exposed(sock):
        from ..config.logs import logger

        logger.warning(
            "the UDP port of %s is open to %s: anybody there can send events, under any sender's address. "
            "Set network_host to 127.0.0.1 or ::1, or use TLS",
            address,
            who,
        )


def put(sock: socket.socket, data: bytes, where: SocketAddress, failed: Callable[[IPCError], None]) -> bool:
    """Give one datagram to the kernel; False when it is full. What fails is told to ``failed`` and gone."""
    for _ in range(2):
        try:
            sock.sendto(data, where)
            return True
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            if not is_late(error):
                failed(send_failed(error, len(data), *sender(where)))
                return True
            failed(port_failed(error))  # and this datagram is sent again
    return True


def numeric(host: str, family: int) -> Place | None:
    """A host that is an address already, or None for a name (or an address of the other family).

    ``localhost`` is one (RFC 6761, 6.3): many a machine's ``/etc/hosts`` has it for one family only.
    """
    if host.lower() == "localhost":
        return ("127.0.0.1" if family == socket.AF_INET else "::1"), 0
    address, percent, scope = host.partition("%")
    try:
        socket.inet_pton(family, address)
        return address, _scope(scope) if percent else 0
    except (OSError, ValueError):
        return None


def _scope(text: str) -> int:
    return int(text) if text.isdecimal() else socket.if_nametoindex(text)


def place_of(resolved: Iterable[Resolved]) -> Place:
    """Where a name leads: the first address of it. Raises ``OSError`` where there is none."""
    for _, _, _, _, where in resolved:
        return where[0].partition("%")[0], where[3] if len(where) > 2 else 0
    raise OSError(errno.EADDRNOTAVAIL, "the name has no address of this family")


def sender(where: SocketAddress) -> tuple[str, int]:
    """Host and port of who sent a datagram; a link-local address keeps its scope, so that it can be answered."""
    if len(where) > 2 and where[3] and "%" not in where[0]:
        return f"{where[0]}%{where[3]}", where[1]
    return where[0], where[1]


def send_failed(error: BaseException, size: int, host: str, port: int) -> IPCError:
    """Why a datagram was not sent."""
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    number = error.errno if isinstance(error, OSError) else None
    reason = (isinstance(error, OSError) and error.strerror) or str(error)
    if number == errno.EMSGSIZE:
        failure: IPCError = FrameTooLarge(
            f"a datagram of {size} bytes to {place} is more than this system sends in one piece: send it in parts"
        )
    elif isinstance(error, (socket.gaierror, UnicodeError)):
        failure = AddressError(f"cannot send to {place}: the host name is not known here ({reason})")
    elif number in (errno.EACCES, errno.EINVAL, *NOT_HERE):
        failure = AddressError(f"cannot send to {place}: {reason}")
    else:
        failure = ConnectError(f"cannot send to {place}: {reason}")
    return caused(failure, error)


def is_late(error: OSError) -> bool:
    """Whether the kernel reports at this call what became of an earlier datagram."""
    return error.errno in _LATE


def port_failed(error: Exception) -> IPCError:
    """What the kernel says of a port, without saying which datagram it is about."""
    reason = (isinstance(error, OSError) and error.strerror) or str(error)
    if isinstance(error, OSError) and is_late(error):
        failure: IPCError = ConnectError(f"a datagram sent earlier did not arrive: nobody has that port ({reason})")
    elif isinstance(error, OSError) and error.errno == errno.EMSGSIZE:  # a Proactor says so later
        failure = FrameTooLarge(f"a datagram is more than this system sends in one piece: send it in parts ({reason})")
    else:
        failure = ConnectError(f"the UDP port has a fault: {reason}")
    return caused(failure, error)


class Outbox(msgspec.Struct, eq=False):
    """Datagrams on their way to the kernel, in order for each host.

    They wait while their host's name is looked up, and while the kernel is full. How much may wait is for the
    caller to say: ``pending_bytes`` tells how much does.
    """

    _family: int
    _put: Callable[[bytes, SocketAddress], bool]
    """Gives one to the kernel; False: the kernel is full, ``flush`` later."""
    _look_up: Callable[[str], None]
    """Begins to look a name up; ``found`` or ``unknown`` comes later, never at once."""
    _failed: Callable[[IPCError], None]
    pending_bytes: int = 0
    _places: dict[str, Place] = {}
    # What waits: the bytes, where they go, and the event whose next message may replace this one.
    _nameless: dict[str, deque[tuple[bytes, int, str]]] = {}
    _full: deque[tuple[bytes, SocketAddress, str]] = msgspec.field(default_factory=deque)

    def send(self, data: bytes, host: str, port: int, event: str = "") -> None:
        """Give one datagram to the kernel, now or when that is possible; with an event ``take_out`` finds it."""
        place = self._places.get(host) or self._find(host)
        if place is None:
            self._nameless[host].append((data, port, event))
            self.pending_bytes += len(data) + BOOKKEEPING
            return
        self._give(data, self._address(place, port), event)

    def take_out(self, host: str, port: int, event: str) -> int:
        """Of this event none is sent there of those that wait; how many bytes that had, or 0."""
        place = self._places.get(host)
        waiting: deque[Any] = self._nameless.get(host, deque()) if place is None else self._full
        to = port if place is None else self._address(place, port)
        for index in range(len(waiting) - 1, -1, -1):
            data, where, its_event = waiting[index]
            if its_event == event and where == to:
                del waiting[index]
                self.pending_bytes -= len(data) + BOOKKEEPING
                return len(data)
        return 0

    def _give(self, data: bytes, address: SocketAddress, event: str) -> None:
        if self._full or not self._put(data, address):
            self._full.append((data, address, event))
            self.pending_bytes += len(data) + BOOKKEEPING

    def _address(self, place: Place, port: int) -> SocketAddress:
        host, scope = place
        return (host, port) if self._family == socket.AF_INET else (host, port, 0, scope)

    def _find(self, host: str) -> Place | None:
        if host in self._nameless:
            return None
        place = numeric(host, self._family)
        if place is None:
            self._nameless[host] = deque()
            self._look_up(host)
        else:
            self._know(host, place)
        return place

    def _know(self, host: str, place: Place) -> None:
        if len(self._places) >= KNOWN_HOSTS:
            del self._places[next(iter(self._places))]
        self._places[host] = place

    def found(self, host: str, place: Place) -> None:
        """The name leads there: what waited for it is sent."""
        self._know(host, place)
        for data, port, event in self._nameless.pop(host, ()):
            self.pending_bytes -= len(data) + BOOKKEEPING
            self._give(data, self._address(place, port), event)

    def unknown(self, host: str, error: BaseException) -> None:
        """The name leads nowhere: what waited for it is lost; the next datagram looks again."""
        for data, port, _ in self._nameless.pop(host, ()):
            self.pending_bytes -= len(data) + BOOKKEEPING
            self._failed(send_failed(error, len(data), host, port))

    def flush(self) -> bool:
        """The kernel may take more; whether it took everything."""
        full = self._full
        while full:
            data, address, _ = full[0]
            if not self._put(data, address):
                return False
            full.popleft()
            self.pending_bytes -= len(data) + BOOKKEEPING
        return True

    def clear(self) -> None:
        """Drop what waits."""
        self._full.clear()
        self._nameless.clear()
        self.pending_bytes = 0
