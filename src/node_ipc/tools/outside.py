"""What of a server can be seen without a word to it: its processes, whether they stand still, and who waits there."""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from socket import AF_INET, AF_INET6, AF_UNIX, SOCK_DGRAM, socket
from typing import NamedTuple

from ..config.address import Address, Tcp, Tls, Udp, Unix
from ..config.config import Config
from ..config.resolve import resolve
from ..errors import IPCError
from ..net.holders import bound_hosts, holders, listeners
from ..net.unix import lock_holder

__all__ = [
    "DEAF",
    "LISTENING",
    "bound_hosts",
    "connected",
    "counted",
    "holder",
    "is_bound",
    "is_here",
    "is_python",
    "listeners",
    "named",
    "passed_on_to",
    "processes",
    "serves_node",
    "silence",
    "standstill",
    "tapped",
    "unix_sockets",
]

LISTENING = 0x10000
"""The flag of a listening socket in /proc/net/unix."""
WAITING, CONNECTED = "02", "03"
"""States there: of a connection that its server has not accepted yet, and of one that it has."""
ESTABLISHED, LISTENS = "01", "0A"
"""States in /proc/net/tcp."""
EVERYWHERE = "0.0.0.0"  # nosec B104 # a name to look for: nothing listens
HERE = ("localhost", "127.", "::1", EVERYWHERE, "::")
"""How the hosts begin that are this machine."""
NODES = ("node", "bun", "deno", "electron")
BUSY = "it is busy or blocked (a handler that takes long?)"
DEAF = "it has another delimiter or parser than this client, or is in raw mode (raw_buffer)"


# ---- processes


def named(pid: int) -> str:
    """A process, in words."""
    if pid <= 0:
        return "a process that this system does not name"
    name = _told(pid, "comm").strip()
    return f"process {pid} ({name})" if name else f"process {pid}"


def _told(pid: int, file: str) -> str:
    """What the kernel tells of a process; empty where there is none, or this user may not see it."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/{file}").read_text(errors="surrogateescape")
    return ""


def is_node(pid: int) -> bool:
    """Whether a process runs Node, or one of its kin."""
    return _program(pid).startswith(NODES)


def is_python(pid: int) -> bool:
    """Whether a process runs Python."""
    return _program(pid).startswith(("python", "pypy"))


def _program(pid: int) -> str:
    """The name of the program's file, which a process cannot change as it can its title."""
    with contextlib.suppress(OSError):
        return os.path.basename(os.readlink(f"/proc/{pid}/exe"))
    return _told(pid, "comm").strip()


def serves_node(serving: list[int], config: Config) -> bool:
    """Whether Node serves there, maybe behind a ``node-ipc tap``."""
    with contextlib.suppress(IPCError):
        return any(is_node(each) for pid in serving for each in (pid, *passed_on_to(pid, config)))
    return False


def passed_on_to(pid: int, config: Config) -> list[int]:
    """The processes of the server to which a tap passes on; none for a process that is no tap.

    Raises :class:`AddressError` where that server's address means nothing.
    """
    target = tapped(pid)
    return [] if target is None else processes(resolve(target, config, {}, "client")[0], None)


def _workers(pid: int) -> list[int]:
    """The children of a process that run the same program and share a socket with it, as workers do.

    Other children of a Python program, as the resource tracker of multiprocessing, share none. Where this user may not
    look at the process's sockets, the program alone counts.
    """
    program, sockets = _program(pid), _sockets(pid)
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        child = int(entry.name)
        if _stat(child)[1:2] != [str(pid)] or _program(child) != program:
            continue
        if sockets is None or not sockets.isdisjoint(_sockets(child) or ()):
            found.append(child)
    return sorted(found)


def _sockets(pid: int) -> set[str] | None:
    """What the kernel calls the sockets of a process; None where this user may not know."""
    found = set()
    try:
        for descriptor in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):  # closed meanwhile
                found.add(os.readlink(f"/proc/{pid}/fd/{descriptor}"))
    except OSError:
        return None
    return {each for each in found if each.startswith("socket:")}


def _stat(pid: int) -> list[str]:
    """State, parent and more of a process; empty where there is none."""
    return _told(pid, "stat").rpartition(")")[2].split()


def _waits_for_events(pid: int) -> bool | None:
    """Whether a thread of it sleeps until there is something to read; None where the kernel does not tell."""
    tasks = Path(f"/proc/{pid}/task").glob("[0-9]*")
    seen = [_told(pid, f"task/{task.name}/wchan").strip().removeprefix("0") for task in tasks]
    if any("poll" in where or "select" in where for where in seen):
        return True
    return False if any(seen) or _stat(pid)[:1] == ["R"] else None


# ---- sockets


def holder(where: Address) -> int | None:
    """The process that holds the lock of a socket; None where there is none, as with Node's."""
    if not isinstance(where, Unix):
        return None
    for path in (where.path, *where.also):
        with contextlib.suppress(OSError, ValueError):
            return lock_holder(os.lstat(f"{path}.lock"))
    return None


def unix_sockets() -> Iterator[tuple[str, str, int]]:
    """Path, state and flags of each that has a path."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/net/unix").read_text(errors="surrogateescape").splitlines()[1:]:
            fields = line.split(maxsplit=7)  # a path may have blanks in it
            if len(fields) > 7:
                yield fields[7], fields[5], int(fields[3], 16)


def is_bound(path: str) -> bool | None:
    """Whether a process has the socket of that file, of whatever type; None where this user may not know.

    It is asked by a socket for datagrams, of which a server that listens hears nothing.
    """
    with socket(AF_UNIX, SOCK_DGRAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return False
        except OSError as error:
            return True if error.errno == errno.EPROTOTYPE else None
    return True


def _listening_at(where: Unix) -> list[int]:
    """The processes that listen at a path, as far as this user may look."""
    path = _shown(where)
    with contextlib.suppress(OSError):
        lines = [line.split(maxsplit=7) for line in Path("/proc/net/unix").read_text(errors="replace").splitlines()[1:]]
        return sorted(holders(line[6] for line in lines if line[7:] == [path] and int(line[3], 16) & LISTENING))
    return []


class _TcpSocket(NamedTuple):
    port: int
    state: str
    unread: int
    """Of a socket that listens: connections."""
    inode: str


def _tcp_sockets() -> Iterator[_TcpSocket]:
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                port, unread = (int(fields[at].rpartition(":")[2], 16) for at in (1, 4))
                yield _TcpSocket(port, fields[3], unread, fields[9])


def connected(where: Address) -> int:
    """How many connections a server has there, as far as /proc tells."""
    if isinstance(where, Unix):
        return sum(path == _shown(where) and state == CONNECTED for path, state, _ in unix_sockets())
    if isinstance(where, (Tcp, Tls)):
        return sum(sock.port == where.port and sock.state == ESTABLISHED for sock in _tcp_sockets())
    return 0


def _waiting(where: Address) -> int:
    """How many connections the kernel has made there that the server has not accepted."""
    if isinstance(where, Unix):
        return sum(path == _shown(where) and state == WAITING for path, state, _ in unix_sockets())
    if isinstance(where, (Tcp, Tls)) and is_here(where):
        return sum(sock.unread for sock in _tcp_sockets() if sock.port == where.port and sock.state == LISTENS)
    return 0


def _shown(where: Unix) -> str:
    """A path as the kernel lists it: a server listens at an absolute one, without dots."""
    return f"@{where.path[1:]}" if where.path.startswith("\0") else os.path.abspath(where.path)


def is_here(where: Tcp | Tls | Udp) -> bool:
    """Whether a host is this machine: by its name, or because a socket may have that address."""
    if where.host.startswith(HERE):
        return True
    with contextlib.suppress(OSError), socket(AF_INET6 if ":" in where.host else AF_INET, SOCK_DGRAM) as probe:
        probe.bind((where.host, 0))
        return True
    return False


def processes(where: Address, pid: int | None) -> list[int]:
    """Those that serve an address; ``pid`` is the one that the link itself names."""
    if isinstance(where, (Tcp, Tls)):
        return sorted(listeners(where.port)) if is_here(where) else []
    if isinstance(where, Udp):
        return sorted(listeners(where.port, datagrams=True)) if is_here(where) else []
    known = pid if pid is not None else holder(where)
    if known is None and isinstance(where, Unix):  # Node's servers hold no lock
        return next(filter(None, map(_listening_at, (where, *map(Unix, where.also)))), [])
    return [] if known is None or known <= 0 else [known]


def counted(number: int, thing: str) -> str:
    """``1 connection is``, ``2 connections are``."""
    return f"{number} {thing} is" if number == 1 else f"{number} {thing}s are"


# ---- why nobody answers


def silence(where: Address, pid: int | None, config: Config) -> str | None:
    """Why a server that is there does not answer, a clause; None where nothing of that is to be seen.

    It reads what the kernel shows and sends nothing.
    """
    serving = processes(where, pid)
    return standstill(where, pid, config) or _behind_a_tap(serving) or _unread(serving, _family(serving))


def standstill(where: Address, pid: int | None, config: Config) -> str | None:
    """The same, where the kernel shows that it cannot answer, and nobody need ask further."""
    serving = processes(where, pid)
    return _stopped(_family(serving)) or _stopped_behind_a_tap(serving, config) or _unaccepted(where, serving)


def _family(serving: list[int]) -> list[int]:
    return [*serving, *(worker for one in serving for worker in _workers(one))]


def _stopped(family: list[int]) -> str | None:
    still = [pid for pid in family if _stat(pid)[:1] in (["T"], ["t"])]
    if not still:
        return None
    names, numbers = ", ".join(map(named, still)), " ".join(map(str, still))
    return f"{names} is stopped (Ctrl-Z or SIGSTOP). kill -CONT {numbers} lets it go on"


def _stopped_behind_a_tap(serving: list[int], config: Config) -> str | None:
    for pid in serving:
        with contextlib.suppress(IPCError):
            cause = _stopped(_family(passed_on_to(pid, config)))
            if cause is not None:
                return (
                    f"{named(pid)} is a node-ipc tap, and of the server that it passes on to, {tapped(pid)!r}, {cause}"
                )
    return None


def _behind_a_tap(serving: list[int]) -> str | None:
    for pid in serving:
        target = tapped(pid)
        if target is not None:
            return (
                f"{named(pid)} is a node-ipc tap, and the server that it passes on to, {target!r}, does not answer it: "
                f"node-ipc doctor {shlex.quote(target)} says more"
            )
    return None


def tapped(pid: int) -> str | None:
    """What a ``node-ipc tap`` passes on to; None for a process that is none."""
    words = _told(pid, "cmdline").split("\0")
    if "tap" not in words:
        return None
    behind = [word.removeprefix("--to=") for word in words if word.startswith("--to=")]
    return words[words.index("--to") + 1] if "--to" in words[:-1] else next(iter(behind), None)


def _unaccepted(where: Address, serving: list[int]) -> str | None:
    waiting = _waiting(where)
    if not waiting:
        return None
    queue = f"{counted(waiting, 'connection')} made and not accepted"
    workers = [worker for one in serving for worker in _workers(one)]
    if workers:
        names = ", ".join(map(named, workers[:8]))
        return (
            f"{queue}: none of its workers ({names}) takes it. Their setup takes long or hangs, or each is busy in a "
            "handler"
        )
    if any(_waits_for_events(pid) for pid in serving):
        return f"{queue}, though it waits for something: where workers serve, none of them lives (its log says why)"
    return f"{queue}: {BUSY}, or, where workers serve, none of them lives"


def _unread(serving: list[int], family: list[int]) -> str | None:
    """Of one that accepts and says nothing: is it busy, or does it not understand?"""
    if not serving or any(map(is_node, serving)):
        return None
    at_work = family[len(serving) :] or serving
    waits = [_waits_for_events(pid) for pid in at_work]
    if waits and all(waits):
        return DEAF
    return BUSY if waits and False in waits and True not in waits else f"{BUSY}, or {DEAF}"
