"""Sockets that somebody else has bound, as addresses; nothing is done to them."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterable

from ..errors import AddressError
from .address import Handed, Tcp, Tls, Udp, Unix

__all__ = ["address_of", "handed", "place_of"]


def handed(sockets: socket.socket | Iterable[socket.socket], *, tls: bool = False) -> Handed:
    """The address of a socket, or of several, that are bound already; nothing is done to them.

    Args:
        tls: whether TLS is spoken there, where they are network sockets.

    Raises:
        AddressError: there is none, one is neither a stream socket nor a UDP port, or not bound, some are Unix
            sockets and others not, or a UDP port is not the only one.
    """
    if not isinstance(sockets, socket.socket | Iterable):
        raise AddressError(f"not an address: {sockets!r:.80}. Give an id, a URL or a path, or a socket that is bound")
    all_of_them = (sockets,) if isinstance(sockets, socket.socket) else tuple(sockets)
    if not all_of_them:
        raise AddressError("no socket was handed over: there is nothing to serve")
    for sock in all_of_them:
        if not isinstance(sock, socket.socket):
            raise AddressError(f"not a socket: {sock!r:.80}. Give a path, or a socket that is bound")
        if sock.type != socket.SOCK_STREAM and not _is_udp(sock):
            raise AddressError(f"not a stream socket, and not a UDP port: {sock!r}. Give one of type SOCK_STREAM")
    where, *others = map(place_of, all_of_them)
    for other in others:
        if type(other) is not type(where) or isinstance(where, Udp):
            each = "UDP port" if isinstance(other, Udp) else "kind of socket"
            raise AddressError(f"{where} and {other} cannot have one server: make one for each {each}")
    if isinstance(where, Tcp) and tls:
        return Handed(all_of_them, Tls(where.host, where.port))
    return Handed(all_of_them, where)


def _is_udp(sock: socket.socket) -> bool:
    return sock.type == socket.SOCK_DGRAM and sock.family in (socket.AF_INET, socket.AF_INET6)


def place_of(sock: socket.socket) -> Tcp | Unix | Udp:
    """Where one is bound; raises AddressError where it is not."""
    try:
        return address_of(sock)
    except OSError as exc:
        raise AddressError(f"cannot serve {sock!r}: {exc}. Give a bound socket") from exc


def address_of(sock: socket.socket) -> Tcp | Unix | Udp:
    """Where one is bound; raises OSError where the kernel does not tell, or it is not bound."""
    name = sock.getsockname()
    if not (name[1] if isinstance(name, tuple) else name):  # listen() would bind it, to a port of every interface
        raise OSError(errno.EINVAL, "it is not bound")
    if _is_udp(sock):
        return Udp(name[0], name[1], "udp6" if sock.family == socket.AF_INET6 else "udp4")
    return Tcp(name[0], name[1]) if isinstance(name, tuple) else Unix(os.fsdecode(name))
