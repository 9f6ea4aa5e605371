"""Which calls to the kernel fail, how (their man pages), and what has to come of it: the data of the lane ``syscalls``.

A verdict is what the end under injection was told, in words, and nothing else: every message must be accounted for, no
descriptor left open, and the process has to end by itself. ``ERROR`` stands for the error of the case.

- ``on``: nothing. It was tried again.
- ``warned``: a line of the log, and it is served on.
- ``start CODE``, ``attempt CODE``: the server's start or the client's attempt raised that, once; the next one succeeds.
- ``lost CODE``: one ``disconnect`` with that reason and one ``error``; the client is connected again.
- ``loop CODE``: the event loop could not be made, which is for whoever makes one; the next can.
- ``left FILE``: a file that stays until the next start.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

from injecting import Case

__all__ = ["ROWS", "SHORT", "Row", "verdict"]

WHEN = (1, 2, 10)
TWINS = ("python", "native")
CARRYING = ("sendto", "sendmsg", "recvfrom", "read", "write")
SELECTS, ALL = ("asyncio", "thread"), ("asyncio", "uvloop", "thread")
UVLOOP, THREAD = ("uvloop",), ("thread",)
BOTH, SERVER, CLIENT = ("server", "client"), ("server",), ("client",)
ANY, UNIX, TCP = ("unix", "tcp"), ("unix",), ("tcp",)
LOST = "error ERR_IPC_CONNECTION_LOST ERROR, lost ERR_IPC_CONNECTION_LOST ERROR"
START, ATTEMPT = "start ERR_IPC_ADDRESS ERROR", "attempt ERR_IPC_CONNECT ERROR"


class Row(NamedTuple):
    """One call, its errors, who makes it, and the verdict."""

    call: str
    errors: tuple[str, ...]
    roles: tuple[str, ...]
    drivers: tuple[str, ...]
    transports: tuple[str, ...]
    verdict: str
    when: tuple[int, ...] = WHEN

    def cases(self) -> Iterator[Case]:
        """All of them. What carries messages is tried with both twins, the others by turns."""
        rows = product(self.errors, self.when, self.roles, self.drivers, self.transports)
        for number, (error, when, role, driver, transport) in enumerate(rows):
            for twin in TWINS if self.call in CARRYING else (TWINS[number % 2],):
                yield Case(self.call, error, when, role, driver, transport, twin)


ROWS = (
    Row("accept4", ("EINTR", "EAGAIN", "ECONNABORTED", "EPROTO", "EPERM"), SERVER, ALL, ANY, "on"),
    Row("accept4", ("EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"), SERVER, ALL, ANY, "warned"),
    Row("connect", ("EINTR",), CLIENT, ALL, ANY, "on"),
    Row("connect", ("EAGAIN",), CLIENT, ALL, UNIX, "on"),
    Row("connect", ("EAGAIN",), CLIENT, ALL, TCP, ATTEMPT),
    Row("connect", ("ENOBUFS", "ENOMEM"), CLIENT, ALL, ANY, ATTEMPT),
    Row("sendto", ("EINTR", "EAGAIN"), BOTH, SELECTS, ANY, "on"),
    Row("sendto", ("ENOBUFS", "ENOMEM"), BOTH, SELECTS, ANY, LOST),
    Row("sendmsg", ("EINTR", "EAGAIN"), BOTH, SELECTS, ANY, "on"),
    Row("sendmsg", ("ENOBUFS", "ENOMEM"), BOTH, SELECTS, ANY, LOST),
    Row("recvfrom", ("EINTR", "EAGAIN"), BOTH, SELECTS, ANY, "on"),
    Row("recvfrom", ("ENOMEM",), BOTH, SELECTS, ANY, LOST),
    Row("read", ("EINTR", "EAGAIN"), BOTH, UVLOOP, ANY, "on"),
    Row("read", ("EIO",), BOTH, UVLOOP, ANY, LOST),
    Row("write", ("EINTR", "EAGAIN"), BOTH, UVLOOP, ANY, "on"),
    Row("write", ("EIO",), BOTH, UVLOOP, ANY, LOST),
    Row("bind", ("EIO", "ENOMEM"), SERVER, ALL, ANY, START),
    Row("bind", ("EADDRINUSE",), SERVER, ALL, ANY, "start ERR_IPC_ADDRESS_IN_USE EADDRINUSE"),
    Row("listen", ("ENOBUFS", "ENOMEM"), SERVER, ALL, ANY, START),
    Row("listen", ("EADDRINUSE",), SERVER, ALL, ANY, "start ERR_IPC_ADDRESS_IN_USE EADDRINUSE"),
    Row("fchmod", ("EINTR",), SERVER, ALL, UNIX, "on"),
    Row("fchmod", ("EIO", "ENOMEM"), SERVER, ALL, UNIX, START),
    Row("flock", ("EINTR",), SERVER, ALL, UNIX, "on"),
    # Whose lock it is cannot be known then, and another server's must not be removed: an empty file stays.
    Row("flock", ("EIO", "ENOLCK"), SERVER, ALL, UNIX, f"left s.lock, {START}"),
    Row("flock", ("EAGAIN",), SERVER, ALL, UNIX, "left s.lock, start ERR_IPC_ADDRESS_IN_USE EADDRINUSE"),
    Row("unlinkat", ("EIO", "ENOMEM"), SERVER, ALL, UNIX, "left s, warned", (1,)),
    Row("unlinkat", ("EIO", "ENOMEM"), SERVER, ALL, UNIX, "left s.lock, warned", (2, 10)),  # by turns
    Row("epoll_wait", ("EINTR",), BOTH, SELECTS, ANY, "on"),
    Row("epoll_pwait", ("EINTR",), BOTH, UVLOOP, ANY, "on"),
    Row("eventfd2", ("EMFILE", "ENFILE", "ENOMEM"), BOTH, UVLOOP, ANY, "loop OSError"),
    # The poller of the caller's thread: a local client has its link by then, one on the network waits for it.
    *(
        Row(call, errors, roles, THREAD, transports, verdict, when)
        for call, errors, when in (
            ("epoll_create1", ("EMFILE", "ENFILE", "ENOMEM"), WHEN),
            ("epoll_ctl", ("ENOMEM", "ENOSPC"), (1, 2)),  # later ones take sockets out, which the kernel never refuses
            ("socketpair", ("EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"), WHEN),
        )
        for roles, transports, verdict in ((SERVER, ANY, START), (CLIENT, UNIX, LOST), (CLIENT, TCP, ATTEMPT))
    ),
    Row("socket", ("EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"), SERVER, ALL, ANY, START),
    Row("socket", ("EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"), CLIENT, ALL, ANY, ATTEMPT),
)

SHORT = (
    Case("accept4", "EMFILE", 1, "server", "asyncio", "unix", ""),
    Case("accept4", "ECONNABORTED", 2, "server", "thread", "tcp", ""),
    Case("connect", "EINTR", 1, "client", "thread", "unix", ""),
    Case("connect", "EAGAIN", 2, "client", "asyncio", "tcp", ""),
    Case("sendto", "ENOBUFS", 2, "client", "asyncio", "unix", ""),
    Case("sendmsg", "EAGAIN", 1, "server", "thread", "unix", ""),
    Case("recvfrom", "ENOMEM", 10, "server", "asyncio", "tcp", ""),
    Case("recvfrom", "EINTR", 2, "client", "thread", "unix", ""),
    Case("write", "EAGAIN", 1, "server", "uvloop", "unix", ""),
    Case("read", "EIO", 2, "client", "uvloop", "tcp", ""),
    Case("bind", "ENOMEM", 1, "server", "asyncio", "unix", ""),
    Case("listen", "ENOBUFS", 2, "server", "thread", "tcp", ""),
    Case("fchmod", "EIO", 1, "server", "uvloop", "unix", ""),
    Case("flock", "ENOLCK", 1, "server", "thread", "unix", ""),
    Case("unlinkat", "EIO", 1, "server", "asyncio", "unix", ""),
    Case("epoll_wait", "EINTR", 10, "client", "asyncio", "unix", ""),
    Case("eventfd2", "EMFILE", 1, "client", "uvloop", "unix", ""),
    Case("socketpair", "EMFILE", 1, "server", "thread", "unix", ""),
)
"""One of each, for every change; of the twins that are installed."""


VERDICTS = {case._replace(twin=""): row.verdict.replace("ERROR", case.error) for row in ROWS for case in row.cases()}


def verdict(case: Case) -> str:
    """What has to come of it, whichever twin runs."""
    return VERDICTS[case._replace(twin="")]
