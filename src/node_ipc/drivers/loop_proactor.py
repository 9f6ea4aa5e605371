"""Listening sockets and UDP ports on a loop that watches none (a Proactor): it accepts and receives by itself."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from ..net.listen import Door
from ..net.steps import READ, WRITE, Watched

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

__all__ = ["ByItself"]

LARGEST_DATAGRAM = 65_536
LOOK_SECONDS = 0.01
"""Between two looks whether the kernel takes a datagram again."""


class ByItself:
    """A task for each socket that is waited for."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, task: Callable[[Coroutine[Any, Any, Any]], asyncio.Task[Any]]
    ) -> None:
        self._loop = loop
        self._task = task
        self._reads: dict[Watched, asyncio.Task[Any]] = {}
        self._writes: dict[Watched, asyncio.TimerHandle] = {}

    def watch(self, watched: Any, interest: int) -> None:
        """Wait for ``interest`` (0: for nothing) on this socket from now on."""
        if not interest & READ:
            if watched in self._reads:
                self._reads.pop(watched).cancel()
        elif watched not in self._reads:
            work = _accept if isinstance(watched, Door) else _receive
            self._reads[watched] = self._task(work(self._loop, watched))
        if not interest & WRITE:
            if watched in self._writes:
                self._writes.pop(watched).cancel()
        elif watched not in self._writes:
            self._look_later(watched)

    def _look_later(self, watched: Watched) -> None:
        self._writes[watched] = self._loop.call_later(LOOK_SECONDS, self._look, watched)

    def _look(self, watched: Watched) -> None:
        watched.writable()
        if watched in self._writes:
            self._look_later(watched)


async def _accept(loop: asyncio.AbstractEventLoop, door: Door) -> None:
    while True:
        try:
            sock, where = await loop.sock_accept(door.sock)
        except OSError as error:
            await asyncio.sleep(door.backed_off(error))
        else:
            door.came(sock, where)


async def _receive(loop: asyncio.AbstractEventLoop, port: Any) -> None:
    while True:
        try:
            data, where = await loop.sock_recvfrom(port.sock, LARGEST_DATAGRAM)
        except OSError as error:
            port.troubled(error)
        else:
            port.came(data, where)
        await asyncio.sleep(0)  # one in a turn: others want it, too
