"""Connecting, for every driver: from an address to a link, or to the reason why there is none."""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol

from ..config.address import Pipe, Tcp, Tls, Unix
from ..config.foreign import PASSING, shown
from ..config.interrupted import by_signal
from ..core.seam import Driver, Peer, Receiver, Timer
from ..errors import AddressError, ConnectError, IPCError
from . import tcp
from .keeping import closed_on_failure
from .steps import Await, LookUp, Pause, Resolved, Steps, Watcher, Writable

if TYPE_CHECKING:
    from ..config.address import Address
    from ..config.config import Config

__all__ = ["Host", "Kernel", "addresses", "connect", "seconds_for"]

LOCAL_SECONDS, NETWORK_SECONDS = 2.0, 5.0
"""How long an attempt may take, unless ``connect_timeout`` says it."""
FIRST_DELAY, LONGEST_DELAY = 0.001, 0.1
"""Seconds between two looks at a local server whose queue is full."""
UNDER_WAY = (errno.EINPROGRESS, errno.EALREADY, *((errno.EWOULDBLOCK,) if sys.platform == "win32" else ()))
"""Elsewhere EWOULDBLOCK is EAGAIN, with which the kernel says that it has no room, and nothing has begun."""


class Host(Driver, Watcher, Protocol):
    """What connecting and listening need of a driver."""

    def walk(self, steps: Steps[None]) -> Timer:
        """Go through these steps, from a later turn on; ``cancel`` ends them where they wait."""

    def carry(self, sock: Any, peer: Peer, receiver: Receiver, *, alone: bool) -> Awaitable[None] | None:
        """Make a link of what is connected: at once, or when the loop has done it.

        ``alone``: this may be the driver's only link, so it may block in reading from it.
        """


class Kernel:
    """What connections begin with; the memory driver has its own."""

    speaks_tls = True

    def unix(self, address: Unix, settings: Config) -> tuple[Any, Peer]:
        """Connect at once; ``BlockingIOError`` where the server's queue is full."""
        from . import unix

        sock = unix.connect_unix(address.path, also=address.also, allowed_uids=settings.allowed_uids)
        return sock, unix.peer_of(sock)

    def pipe(self, address: Pipe) -> tuple[Any, Peer]:
        """Connect at once; ``BlockingIOError`` where every instance is busy."""
        from . import pipe

        api, first = pipe.WinAPI(), None
        for name in (address.name, *address.also):
            try:
                handle = pipe.open_instance(Pipe(name).path, api)
            except ConnectError as error:
                first = first or error
                continue
            if handle is None:
                raise BlockingIOError
            return handle, pipe.server_of(handle, api)
        assert first is not None  # there is at least one name
        raise first

    def stream(self, family: int, settings: Config) -> Any:
        """A TCP socket that is not connected yet and does not block."""
        return tcp.new_stream(family, settings)


def seconds_for(address: Address, settings: Config) -> float:
    """How long an attempt may take."""
    if settings.connect_timeout is not None:
        return settings.connect_timeout / 1000
    return LOCAL_SECONDS if isinstance(address, (Unix, Pipe)) else NETWORK_SECONDS


def connect(
    driver: Host, address: Address, receiver: Receiver, settings: Config, kernel: Kernel | None = None
) -> Steps[None]:
    """Connect, shake hands where TLS is spoken, and tell the receiver of its link, or why there is none."""
    kernel = kernel or Kernel()
    seconds = seconds_for(address, settings)
    try:
        if isinstance(address, Tls) and kernel.speaks_tls:
            yield from _encrypted(driver, address, receiver, settings, kernel, seconds)
        else:
            yield from _plain(driver, address, receiver, settings, kernel, seconds)
    except Exception as error:  # whatever the kernel or a look-up of the user's raises: the attempt failed
        receiver.failed(tcp.connect_failed(address, error, seconds))
        if not driver.runs_coroutines and by_signal(error):  # whose handler means the caller
            raise


def _plain(
    driver: Host, address: Address, receiver: Receiver, settings: Config, kernel: Kernel, seconds: float
) -> Steps[None]:
    sock, peer = yield from _reach(address, settings, kernel, driver.now, seconds)
    try:
        waiting = driver.carry(sock, peer, receiver, alone=True)
    except BaseException as error:
        if not (by_signal(error) or isinstance(error, PASSING)):  # out of a handler: there may be a link already
            sock.close()
        raise
    if waiting is not None:
        yield Await(waiting)


def _encrypted(
    driver: Host, address: Tls, receiver: Receiver, settings: Config, kernel: Kernel, seconds: float
) -> Steps[None]:
    """With the certificates that the files hold now. Who cancels during the handshake hears nothing more."""
    from . import tls
    from .tls_link import TLSLink

    client = tls.client_context(settings.tls, assured=settings.profile == "assured")
    channel = client.channel(address.host, name=str(address).removeprefix("tls://"))
    settled = driver.outcome(None)
    link = TLSLink(driver, receiver, channel, settings.handshake_timeout / 1000, lambda _: settled.settle())
    yield from _plain(driver, address, link, settings, kernel, seconds)
    try:
        yield Await(settled)
    except BaseException:
        link.forget()
        raise


def _reach(
    address: Address, settings: Config, kernel: Kernel, now: Callable[[], float], seconds: float
) -> Steps[tuple[Any, Peer]]:
    """What is connected to the server there, and who that is."""
    if isinstance(address, Unix):
        return (yield from _dial(lambda: kernel.unix(address, settings), now, seconds))
    if isinstance(address, Pipe):
        try:
            return (yield from _dial(lambda: kernel.pipe(address), now, seconds))
        except TimeoutError:
            from .pipe import still_busy

            raise still_busy(address.path, seconds) from None
    if not isinstance(address, (Tcp, Tls)):
        raise AddressError(f"{address} has no connections: what sends datagrams is serve_udp")
    sock = yield from _first_that_answers(address, settings, kernel, now, now() + seconds)
    with closed_on_failure(sock):
        host, port = sock.getpeername()[:2]  # which raises where the server has reset it already
    return sock, Peer("tls" if isinstance(address, Tls) else "tcp", host=host, port=port)


def _dial(dial: Callable[[], tuple[Any, Peer]], now: Callable[[], float], seconds: float) -> Steps[tuple[Any, Peer]]:
    """A local server is connected to at once, or its queue is full: then there is nothing to wait on but time."""
    deadline, delay = now() + seconds, FIRST_DELAY
    while True:
        try:
            return dial()
        except BlockingIOError:
            if now() >= deadline:
                raise TimeoutError from None
        yield Pause(delay)
        delay = min(delay * 2, LONGEST_DELAY)


def _first_that_answers(
    address: Tcp | Tls, settings: Config, kernel: Kernel, now: Callable[[], float], deadline: float
) -> Steps[Any]:
    """A socket connected to the first address of the name that answers; the error is that of the last one tried.

    Each gets its share of the time that is left: a machine whose IPv6 leads nowhere still connects by IPv4.
    """
    refused: OSError | None = None
    places = yield from addresses(address, settings, deadline - now())
    for tried, (family, _, _, _, where) in enumerate(places):
        try:
            sock = kernel.stream(family, settings)
            return (yield from _connected(sock, where, now, now() + (deadline - now()) / (len(places) - tried)))
        except OSError as error:  # a TimeoutError is one too
            refused = error
    raise refused or OSError(errno.EADDRNOTAVAIL, "the host name has no address")


def _connected(sock: Any, where: Any, now: Callable[[], float], deadline: float) -> Steps[Any]:
    """Connect this socket; it is closed where that fails."""
    with closed_on_failure(sock):
        number = _begun(sock, where)
        while number in UNDER_WAY:
            if not (yield Writable(sock, deadline - now())):
                raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
            number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) or _unconnected(sock)
        if number:
            raise OSError(number, os.strerror(number))
    return sock


def _begun(sock: Any, where: Any) -> int:
    """What the kernel says of it. A signal may end the call, which Python repeats only where a socket blocks."""
    while (number := sock.connect_ex(where)) == errno.EINTR:
        pass
    return 0 if number == errno.EISCONN else number


def _unconnected(sock: Any) -> int:
    """EINPROGRESS where the event was for a socket that had this number before; 0 where the connection is there."""
    try:
        sock.getpeername()
    except OSError as error:
        if error.errno != errno.ENOTCONN:
            raise
        return errno.EINPROGRESS
    return 0


def addresses(address: Tcp | Tls, settings: Config, seconds: float | None = None) -> Steps[list[Resolved]]:
    """The addresses of a host name, by the user's ``interfaces.lookup`` or the system's resolver.

    Raises:
        OSError: as the resolver gives it.
        AddressError: the user's look-up is ``async``, and this driver has no coroutines.
    """
    how = settings.interfaces
    family = {4: socket.AF_INET, 6: socket.AF_INET6}.get(how.family or 0, socket.AF_UNSPEC)
    hosts = [address.host] if how.lookup is None else (yield from _hosts(address.host, how.lookup, seconds))
    found: list[Resolved] = []
    for host in hosts:
        found += yield LookUp(host, address.port, family, socket.SOCK_STREAM, how.hints or 0, seconds)
    return found


def _hosts(host: str, look_up: Callable[[str], Any], seconds: float | None) -> Steps[list[str]]:
    """What the user's look-up gives; whatever it raises is a failure like the system resolver's."""
    try:
        hosts = look_up(host)
        if hasattr(hosts, "__await__"):
            hosts = yield from _awaited(host, hosts, seconds)
        return [hosts] if isinstance(hosts, str) else list(hosts)
    except (*PASSING, GeneratorExit, TimeoutError, IPCError):
        raise
    except BaseException as error:
        if isinstance(error, OSError) and error.strerror:
            raise
        raise OSError(f"interfaces.lookup failed: {shown(error)}") from error


def _awaited(host: str, hosts: Any, seconds: float | None) -> Steps[Any]:
    try:
        return (yield Await(hosts, seconds))
    except NotImplementedError as error:
        raise AddressError(
            f"cannot look up {host!r}: interfaces.lookup is async, and there is no event loop here. "
            "Give a plain function, or use the asyncio front"
        ) from error
