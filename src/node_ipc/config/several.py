"""What a list says where one server listens: bound sockets, addresses, or both."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from socket import socket
from typing import Any

from ..errors import AddressError
from .address import Address, Handed, Pipe, Several, Tcp, Tls, Unix, has_datagrams, local_path
from .handed import handed, place_of

__all__ = ["no_address", "several", "with_tls"]


def no_address(place: Any, takes: str = "Give an id, a URL or a path, or a socket that is bound") -> AddressError:
    """What to say to who gave something else; ``takes`` ends it where there is nothing better."""
    if isinstance(place, (bytes, bytearray, memoryview)):
        takes = "Text is needed: decode it, a path with os.fsdecode(path)"
    elif isinstance(place, (tuple, list)) and len(place) == 2 and is_port(place[1]):
        takes = f"A host and a port are tcp://{place[0]!s:.80}:{place[1]}"
    elif type(place) is int and 0 < place < 65536:
        takes = f"A TCP port is tcp://127.0.0.1:{place}"
    return AddressError(f"not an address: {place!r:.80}. {takes}")


def is_port(value: Any) -> bool:
    """Whether that is a port's number, or one as text: of a pair with a host, and of no list of addresses."""
    return type(value) is int or (isinstance(value, str) and value.isdecimal())


def several(places: Any, read: Callable[[str], Address]) -> Address:
    """The address, or addresses, that these are; ``read`` reads those that are text.

    Bound sockets of one kind, and nothing else, are one address, as a service manager hands them over.

    Raises:
        AddressError: there is none, one is no address, one is a UDP port, or one is there twice.
    """
    if isinstance(places, socket):
        return handed(places)
    if not isinstance(places, Collection) or isinstance(places, (bytes, bytearray, memoryview, Mapping)):
        raise no_address(places)
    if isinstance(places, tuple) and len(places) == 2 and is_port(places[1]):
        raise no_address(places)
    given = list(places)
    if all(isinstance(place, socket) for place in given) and len({type(place_of(sock)) for sock in given}) < 2:
        return handed(given)
    found = [_one(place, read) for place in given]
    return found[0] if len(found) == 1 else Several(tuple(_checked(found)))


def _one(place: Any, read: Callable[[str], Address]) -> Address:
    if isinstance(place, str):
        return read(place)
    if isinstance(place, os.PathLike):
        return local_path(place)
    return place if isinstance(place, Address) else handed(place)


def _checked(found: list[Address]) -> list[Unix | Pipe | Tcp | Tls | Handed]:
    checked: list[Unix | Pipe | Tcp | Tls | Handed] = []
    for address in found:
        if has_datagrams(address):
            raise AddressError(
                f"{address} has no connections, and cannot be one of a server's several addresses: give UDP a server "
                "of its own, with serve_udp"
            )
        if isinstance(address, Several):
            raise AddressError(f"a list of addresses cannot hold another list: {address}")
        if str(address) in map(str, checked) and not str(address).endswith(":0"):
            raise AddressError(f"{address} is there twice: a server listens once at each address")
        checked.append(address)  # type: ignore[arg-type]  # not Udp, which has datagrams
    return checked


def with_tls(address: Address) -> Address:
    """The same, with TLS where it is TCP."""
    if isinstance(address, Tcp):
        return Tls(address.host, address.port)
    if isinstance(address, Handed) and isinstance(address.where, Tcp):
        return Handed(address.sockets, Tls(address.where.host, address.where.port), address.share)
    if isinstance(address, Several):
        return Several(tuple(map(with_tls, address.addresses)))  # type: ignore[arg-type]  # each of the kind it was
    return address
