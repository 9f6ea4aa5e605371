"""Which process holds a port, as far as /proc shows it to this user; elsewhere nobody knows."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ..config.address import Tcp, Tls, Udp

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..config.address import Address

__all__ = ["bound_hosts", "holder_of", "holders", "listeners"]

STREAMS = (("tcp", "tcp6"), "0A")
DATAGRAMS = (("udp", "udp6"), "07")
"""The tables of /proc/net, and the state there of a socket that can be reached."""
LOOK_SECONDS = 0.02
"""How long an event loop may be kept for a better message."""
NAMED = 3


def holder_of(address: Address, error: Exception) -> str:
    """Where ``error`` is that somebody holds the port: who, to put behind a message; empty where that is not known."""
    where = getattr(address, "where", address)
    if not (isinstance(where, (Tcp, Tls, Udp)) and isinstance(error, OSError) and error.errno == errno.EADDRINUSE):
        return ""
    found = sorted(listeners(where.port, datagrams=isinstance(where, Udp), seconds=LOOK_SECONDS))
    named = " and ".join(map(_named, found[:NAMED]))
    return f", {named}{' and others' if len(found) > NAMED else ''}" if found else ""


def listeners(port: int, *, datagrams: bool = False, seconds: float | None = None) -> set[int]:
    """The processes that listen at a port of TCP, or of UDP; after so many seconds those found so far."""
    return holders((inode for _, inode in _bound(port, *(DATAGRAMS if datagrams else STREAMS))), seconds=seconds)


def holders(inodes: Iterable[str], *, seconds: float | None = None) -> set[int]:
    """The processes that have one of these sockets; after so many seconds those found so far."""
    sockets = {f"socket:[{inode}]" for inode in inodes}
    end = None if seconds is None else time.monotonic() + seconds
    found: set[int] = set()
    for number, pid in enumerate(_processes() if sockets else ()):
        if number and end is not None and time.monotonic() > end:
            break
        with contextlib.suppress(OSError):  # another user's, or gone
            if any(_is_one(sockets, f"/proc/{pid}/fd/{descriptor}") for descriptor in os.listdir(f"/proc/{pid}/fd")):
                found.add(pid)
    return found


def bound_hosts(port: int, *, datagrams: bool = False) -> list[str]:
    """The addresses of this machine at which somebody listens at that port, as URLs have them."""
    found = {_host(address) for address, _ in _bound(port, *(DATAGRAMS if datagrams else STREAMS))}
    return sorted(found)


def _host(address: str) -> str:
    """As the kernel prints it: words of 32 bits in the machine's own order."""
    words = [bytes.fromhex(address[at : at + 8]) for at in range(0, len(address), 8)]
    packed = b"".join(word[::-1] if sys.byteorder == "little" else word for word in words)
    return (
        socket.inet_ntop(socket.AF_INET, packed)
        if len(packed) == 4
        else f"[{socket.inet_ntop(socket.AF_INET6, packed)}]"
    )


def _is_one(sockets: set[str], descriptor: str) -> bool:
    with contextlib.suppress(OSError):  # it was closed meanwhile
        return os.readlink(descriptor) in sockets
    return False


def _bound(port: int, tables: tuple[str, str], state: str) -> Iterator[tuple[str, str]]:
    """Address and inode of each socket at a port."""
    for table in tables:
        with contextlib.suppress(OSError, ValueError, IndexError):
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
                fields = line.split()
                address, _, at = fields[1].rpartition(":")
                if fields[3] == state and int(at, 16) == port:
                    yield address, fields[9]


def _processes() -> list[int]:
    """This one first, then the youngest: what was started by mistake a second time was started lately."""
    others: list[int] = []
    with contextlib.suppress(OSError):
        others = sorted((int(name) for name in os.listdir("/proc") if name.isdecimal()), reverse=True)
    return [os.getpid(), *others]


def _named(pid: int) -> str:
    if pid == os.getpid():
        return "this process itself"
    with contextlib.suppress(OSError):
        return f"process {pid} ({Path(f'/proc/{pid}/comm').read_text().strip()})"
    return f"process {pid}"
