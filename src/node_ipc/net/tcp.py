"""TCP for every driver: listening sockets, the habits of a socket, and the kernel's errors in our words.

No waiting happens here: names are resolved by the caller, sockets do not block.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..config.foreign import caused, shown
from ..errors import AddressError, AddressInUse, ConnectDenied, ConnectError, ConnectionLost, ConnectTimeout, IPCError
from .keeping import closed_on_failure

if TYPE_CHECKING:
    from ..config.address import Address
    from ..config.config import Config
    from .steps import Resolved

__all__ = [
    "connect_failed",
    "exposed",
    "link_failed",
    "listen_failed",
    "listen_tcp",
    "new_bound",
    "new_stream",
    "tune",
    "warn_if_exposed",
]

KEEPALIVE_IDLE, KEEPALIVE_EVERY, KEEPALIVE_PROBES = 15, 5, 3  # seconds, seconds, probes
UNACKNOWLEDGED_MS = 30_000
"""TCP_USER_TIMEOUT (tcp(7)): how long sent data may stay unacknowledged before the link is given up."""

FREE_PORT_TRIES = 10
NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
"""Why a name's address cannot be bound on this machine."""


def tune(sock: socket.socket) -> None:
    """What every TCP link gets: no delay for small messages, and an end when the other machine is gone."""
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", KEEPALIVE_IDLE),
        ("TCP_KEEPINTVL", KEEPALIVE_EVERY),
        ("TCP_KEEPCNT", KEEPALIVE_PROBES),
        ("TCP_USER_TIMEOUT", UNACKNOWLEDGED_MS),
    ):
        option = getattr(socket, name, None)
        if option is not None:
            with contextlib.suppress(OSError):  # a habit, not a promise: some systems have the name and not the option
                sock.setsockopt(socket.IPPROTO_TCP, option, value)


def new_stream(family: int, settings: Config) -> socket.socket:
    """A TCP socket that does not block, bound to ``interfaces.local_address`` and ``local_port`` where they are set."""
    with closed_on_failure(socket.socket(family, socket.SOCK_STREAM)) as sock:
        sock.setblocking(False)
        local = settings.interfaces
        if local.local_address or local.local_port:
            if local.local_port and sys.platform != "win32":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((local.local_address or "", local.local_port or 0))
        tune(sock)
    return sock


def listen_tcp(resolved: Iterable[Resolved], port: int, backlog: int) -> list[socket.socket]:
    """Listen at every address of a name that this machine has; one is enough.

    With port 0 the kernel chooses once, and all addresses get the same port. Raises ``OSError`` as the kernel
    gives it.
    """
    places = dict.fromkeys(resolved)
    tries = 1 if port else FREE_PORT_TRIES
    while True:
        tries -= 1
        try:
            return _listen_at(places, port, backlog)
        except OSError as error:  # a port that is free at the first address may be taken at the next
            if error.errno != errno.EADDRINUSE or not tries:
                raise


def _listen_at(places: Iterable[Resolved], port: int, backlog: int) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    refused: OSError | None = None
    try:
        for family, _, _, _, where in places:
            chosen = sockets[0].getsockname()[1] if sockets and port == 0 else port
            try:
                with closed_on_failure(new_bound(family, socket.SOCK_STREAM, (where[0], chosen, *where[2:]))) as sock:
                    sock.listen(backlog)
                sockets.append(sock)
            except OSError as error:
                if error.errno not in NOT_HERE:
                    raise
                refused = error
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    if not sockets:
        raise refused or OSError(errno.EADDRNOTAVAIL, "the name has no address here")
    return sockets


def new_bound(family: int, kind: socket.SocketKind, where: Any, *, reuse_port: bool = False) -> socket.socket:
    """A socket of TCP or UDP at this address, that does not block."""
    with closed_on_failure(socket.socket(family, kind)) as sock:
        if sys.platform == "win32":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        elif kind == socket.SOCK_STREAM:  # a port in TIME_WAIT may be taken again, one that somebody listens on may not
            # Of UDP, two programs might bind the same port with it, and one of them would hear nothing.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setblocking(False)
        sock.bind(where)
    return sock


def exposed(sock: socket.socket) -> str | None:
    """Who beyond this machine can reach a bound socket, in words; None where nobody can."""
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return None
    import ipaddress  # 4 ms, and only a server on the network asks

    host = sock.getsockname()[0]
    address = ipaddress.ip_address(host.partition("%")[0])
    if address.is_loopback:
        return None
    return "every machine that reaches any of its addresses" if address.is_unspecified else f"whoever reaches {host}"


def warn_if_exposed(address: Address, sockets: Iterable[socket.socket]) -> None:
    """Log who can reach a server without TLS from other machines, if anybody can."""
    for sock in sockets:
        if who := exposed(sock):
            from ..config.logs import logger

            logger.warning(
                "the server at %s is open to %s, without TLS: anybody there can read and send events. "
                "Set config.tls, or network_host to 127.0.0.1",
                address,
                who,
            )
            return


def listen_failed(address: Address, error: Exception, holder: str = "") -> IPCError:
    """Why nobody can be served at ``address``; ``holder`` is who has the port, as ``holder_of`` says it."""
    if isinstance(error, IPCError):
        return error
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        failure: IPCError = AddressInUse(
            f"somebody listens at {address} already{holder}: stop that program, or choose another port (network_port)"
        )
    elif isinstance(error, socket.gaierror):
        failure = AddressError(f"cannot listen at {address}: the host name is not known here ({error.strerror})")
    elif isinstance(error, OSError) and error.errno == errno.EADDRNOTAVAIL:
        failure = AddressError(
            f"cannot listen at {address}: no interface of this machine has that address. "
            "Choose one that it has, localhost, or 0.0.0.0 for all"
        )
    elif isinstance(error, PermissionError):
        failure = AddressError(f"cannot listen at {address}: {error.strerror}; ports below 1024 are for root")
    else:
        failure = AddressError(f"cannot listen at {address}: {error}")
    return caused(failure, error)


def connect_failed(address: Address, error: BaseException, seconds: float) -> IPCError:
    """Why no link to ``address`` came about."""
    if isinstance(error, IPCError):
        return error
    if isinstance(error, TimeoutError):
        failure: IPCError = ConnectTimeout(f"no answer from {address} within {seconds:g} s")
    elif isinstance(error, PermissionError):
        failure = ConnectDenied(
            f"cannot connect to {address}: {error.strerror}. A firewall of this machine, or what confines this process "
            "(a container, a sandbox), forbids it: let it through there"
        )
    elif isinstance(error, ConnectionRefusedError):  # asyncio calls it "Connect call failed ('127.0.0.1', 8000)"
        failure = ConnectError(
            f"cannot connect to {address}: Connection refused. Start the server, or check its host and port"
        )
    elif isinstance(error, socket.gaierror):
        failure = ConnectError(f"cannot connect to {address}: the host name is not known here ({error.strerror})")
    elif isinstance(error, OSError):
        failure = ConnectError(f"cannot connect to {address}: {error.strerror or error}")
    else:
        failure = ConnectError(f"cannot connect to {address}: {shown(error)}")
    return caused(failure, error)


def link_failed(error: BaseException | None) -> Exception | None:
    """The end of a link: None where it was orderly, also when the peer just went away without a word."""
    if error is None or isinstance(error, IPCError):
        return error
    reason = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
    return caused(ConnectionLost(f"the link broke: {reason}"), error)
