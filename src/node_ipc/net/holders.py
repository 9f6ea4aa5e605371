"""Which process holds a port, as far as /proc shows it to this user; elsewhere nobody knows."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ..config.address import Tcp, Tls, Udp

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..config.address import Address

__all__ = ["holder_of", "listeners"]

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
    sockets = {f"socket:[{inode}]" for inode in _inodes(port, *(DATAGRAMS if datagrams else STREAMS))}
    end = None if seconds is None else time.monotonic() + seconds
    found: set[int] = set()
    for number, pid in enumerate(_processes() if sockets else ()):
        if number and end is not None and time.monotonic() > end:
            break
        with contextlib.suppress(OSError):  # another user's, or gone
            if any(_is_one(sockets, f"/proc/{pid}/fd/{descriptor}") for descriptor in os.listdir(f"/proc/{pid}/fd")):
                found.add(pid)
    return found


def _is_one(sockets: set[str], descriptor: str) -> bool:
    with contextlib.suppress(OSError):  # it was closed meanwhile
        return os.readlink(descriptor) in sockets
    return False


def _inodes(port: int, tables: tuple[str, str], state: str) -> Iterator[str]:
    for table in tables:
        with contextlib.suppress(OSError, ValueError, IndexError):
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == state and int(fields[1].rpartition(":")[2], 16) == port:
                    yield fields[9]


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
