"""Sockets that somebody else has bound, as addresses; nothing is done to them."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable

from ..errors import AddressError
from .address import Handed, Tcp, Tls, Unix

__all__ = ["address_of", "handed", "place_of"]


def handed(sockets: socket.socket | Iterable[socket.socket], *, tls: bool = False) -> Handed:
    """The address of a socket, or of several, that are bound already; nothing is done to them.

    tls: whether TLS is spoken there, where they are network sockets.

    Raises:
        AddressError: there is none, one is not a bound stream socket, or some are Unix sockets and others not.
    """
    all_of_them = (sockets,) if isinstance(sockets, socket.socket) else tuple(sockets)
    if not all_of_them:
        raise AddressError("no socket was handed over: there is nothing to serve")
    for sock in all_of_them:
        if not isinstance(sock, socket.socket):
            raise AddressError(f"not a socket: {sock!r:.80}. Give a path, or a socket that is bound")
        if sock.type != socket.SOCK_STREAM:
            raise AddressError(f"not a stream socket: {sock!r}. Give one of type SOCK_STREAM")
    where, *others = map(place_of, all_of_them)
    for other in others:
        if type(other) is not type(where):
            raise AddressError(f"{where} and {other} cannot have one server: make one for each kind of socket")
    if isinstance(where, Tcp) and tls:
        return Handed(all_of_them, Tls(where.host, where.port))
    return Handed(all_of_them, where)


def place_of(sock: socket.socket) -> Tcp | Unix:
    """Where one is bound; raises AddressError where it is not."""
    try:
        return address_of(sock)
    except OSError as exc:
        raise AddressError(f"cannot serve {sock!r}: {exc}. Give a bound socket") from exc


def address_of(sock: socket.socket) -> Tcp | Unix:
    """Where one is bound; raises OSError where the kernel does not tell."""
    name = sock.getsockname()
    return Tcp(name[0], name[1]) if isinstance(name, tuple) else Unix(os.fsdecode(name))
