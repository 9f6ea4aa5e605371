"""Listening on an asyncio loop: names are looked up beside everything else, and a Proactor accepts by itself."""

from __future__ import annotations

import asyncio
import socket
import weakref
from typing import TYPE_CHECKING, Any

from ..config.address import Pipe
from ..core.seam import Acceptor, Peer, Receiver
from ..net import tcp
from ..net.listen import LOOKUP, Door, StreamListener
from .loop import EventLoopDriver, TransportLink, starting

if TYPE_CHECKING:
    from ..config.address import Address
    from ..config.config import Settings

__all__ = ["LoopListener"]


class LoopListener(StreamListener):
    """Listens in a task, which ends when it does."""

    _driver: EventLoopDriver

    def __init__(self, driver: EventLoopDriver, address: Address, acceptor: Acceptor, settings: Settings) -> None:
        super().__init__(driver, address, acceptor, settings)
        self._loop: asyncio.AbstractEventLoop
        self._tasks: list[asyncio.Task[Any]] = []
        self._pipe: Any = None

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin, unless it was closed before."""
        if self._closed:
            return
        self._loop = loop
        task = self._driver.task(self._begin())
        self._tasks.append(task)
        begun = starting.setdefault(loop, weakref.WeakSet())
        begun.add(task)
        task.add_done_callback(begun.discard)

    async def _begin(self) -> None:
        await asyncio.sleep(0)  # never inside the call to `start`
        try:
            named = self._prepare()
            resolved = [] if named is None else await self._loop.getaddrinfo(named.host, named.port, **LOOKUP)
        except Exception as error:
            self._fail(error)
        else:
            self._begin_at(resolved)

    def _listen(self, resolved: list[tcp.Resolved]) -> Address:
        if isinstance(self._address, Pipe):
            return self._listen_pipe(self._address)
        return super()._listen(resolved)

    def _listen_pipe(self, address: Pipe) -> Address:
        from .loop_pipes import listen_pipe

        self._pipe = listen_pipe(
            self._loop,
            address.path,
            self._admit_to_pipe,
            self._trouble,
            readable_all=self._settings.readable_all,
            writable_all=self._settings.writable_all,
        )
        return address

    def _admit_to_pipe(self, peer: Peer) -> TransportLink | None:
        receiver = self._acceptor.accept(peer)
        return None if receiver is None else TransportLink(self._driver, receiver, peer)

    def _open(self, door: Door) -> None:
        """Accept whenever somebody waits.

        Not by ``loop.sock_accept`` where there is another way: a task that is cancelled at the wrong moment loses
        the connection it was just given.
        """
        try:
            door.open()
        except NotImplementedError:  # a Proactor has no readers
            self._tasks.append(self._driver.task(self._accept(door)))

    async def _accept(self, door: Door) -> None:
        while True:
            try:
                sock, where = await self._loop.sock_accept(door.sock)
            except OSError as error:
                await asyncio.sleep(door.backed_off(error))
            else:
                door.came(sock, where)

    def _carry(self, sock: socket.socket, peer: Peer, receiver: Receiver) -> None:
        self._driver.carry_accepted(sock, peer, receiver)

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()  # where one of them calls this it has nothing left to wait for
        super().close()

    def _release(self) -> None:
        if self._pipe is not None:
            self._pipe.close()
        super()._release()
