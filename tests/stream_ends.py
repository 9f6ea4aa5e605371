"""What the tests of the stream drivers share: ends that write down what they are told, and both drivers.

``pump`` and ``run_until`` are the caller's driver's; ``OwnLoop`` is asyncio's with a loop that turns when it is told.
"""

from __future__ import annotations

import asyncio
import gc
import select
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVarTuple

import pytest
import uvloop

from node_ipc import Config, Peer
from node_ipc.config.address import Tcp, Unix
from node_ipc.core.seam import Link
from node_ipc.drivers import loop as event_loop
from node_ipc.drivers.loop import EventLoopDriver
from node_ipc.drivers.thread import ThreadDriver
from node_ipc.net.steps import Watched

SECONDS = 20.0
DRIVERS = ["epoll", "selectors", "asyncio"]
"""The caller's driver on each of the two that it can wait with, and asyncio's."""
LOOPS = ["uvloop", "proactor"]
"""Loops that carry links themselves. Of a Proactor there is all but the named pipes."""


Ts = TypeVarTuple("Ts")


class End:
    """A receiver that keeps what it is told, in order."""

    def __init__(self) -> None:
        self.link: Link | None = None
        self.told: list[Any] = []
        self.bytes = b""
        self.close_at_end = True

    def opened(self, link: Link) -> None:
        self.link = link
        self.told.append("opened")

    def failed(self, error: Exception) -> None:
        self.told.append(error)

    def received(self, data: bytes) -> None:
        assert 0 < len(data) <= 65536
        self.bytes += data

    def ending(self) -> None:
        self.told.append("ending")

    def ended(self) -> None:
        self.told.append("ended")
        if self.close_at_end:
            self.there.close()

    def pause(self) -> None:
        self.told.append("pause")

    def writable(self) -> None:
        self.told.append("writable")

    def lost(self, error: Exception | None) -> None:
        self.told.append(("lost", error))

    @property
    def there(self) -> Link:
        assert self.link is not None
        return self.link

    @property
    def is_lost(self) -> bool:
        return any(isinstance(what, tuple) for what in self.told)


class Hall:
    """An acceptor."""

    def __init__(self) -> None:
        self.address: Any = None
        self.error: Exception | None = None
        self.ends: list[End] = []
        self.peers: list[Peer] = []
        self.refuses = False

    def listening(self, address: Any) -> None:
        self.address = address

    def not_listening(self, error: Exception) -> None:
        self.error = error

    def accept(self, peer: Peer) -> End | None:
        self.peers.append(peer)
        if self.refuses:
            return None
        self.ends.append(End())
        return self.ends[-1]


class OwnLoop(EventLoopDriver):
    """The asyncio driver on a loop of its own."""

    def __init__(self, factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.SelectorEventLoop) -> None:
        super().__init__()
        self.attach(factory())
        self.had: list[Callable[[], None]] = []
        """Closes what listened or was watched."""

    @property
    def there(self) -> asyncio.AbstractEventLoop:
        assert self.loop is not None
        return self.loop

    def pump(self) -> None:
        """What is ready, and what that puts off to the next turn."""
        for _ in range(3):
            self.there.call_soon(self.there.stop)
            self.there.run_forever()

    def run_until(self, done: Callable[[], Any], timeout: float) -> bool:
        async def wait() -> bool:
            deadline = self.there.time() + timeout
            while not done():
                if self.there.time() >= deadline:
                    return False
                await asyncio.sleep(0.001)
            return True

        return self.there.run_until_complete(wait())

    def watch(self, watched: Watched, interest: int, direct: Callable[[], None] | None = None) -> None:
        self.had.append(watched.discard)
        super().watch(watched, interest, direct)

    def carry(self, sock: Any, peer: Peer, receiver: Any, *, alone: bool) -> Awaitable[None] | None:
        waiting = super().carry(sock, peer, receiver, alone=alone)
        return None if waiting is None else self._noted(waiting, receiver)

    async def _noted(self, waiting: Awaitable[None], receiver: Any) -> None:
        await waiting
        self.had.append(receiver.there.abort)  # uvloop does not end while a transport is open

    def listen(self, address: Any, acceptor: Any, settings: Any) -> Any:
        listener = super().listen(address, acceptor, settings)
        self.had.append(listener.close)
        return listener

    def close(self) -> None:
        """End what is open, the tasks and the loop."""
        for task in self.tasks:
            task.cancel()
        for end in self.had:
            end()
        if self.loop is not None and not self.loop.is_closed():
            self.pump()
            self.loop.close()
        del self.had[:]
        gc.collect()  # tests of other modules count descriptors


AnyDriver = ThreadDriver | OwnLoop


class WithoutReaders(asyncio.SelectorEventLoop):
    """A loop that cannot watch, as a Proactor."""

    def add_reader(self, fd: Any, callback: Callable[[*Ts], Any], *args: *Ts) -> None:
        raise NotImplementedError


def driver_of(name: str, monkeypatch: pytest.MonkeyPatch) -> AnyDriver:
    """One of ``DRIVERS`` or ``LOOPS``."""
    if name == "asyncio":
        return OwnLoop()
    if name == "uvloop":
        return OwnLoop(uvloop.new_event_loop)
    if name == "proactor":
        monkeypatch.setattr(event_loop, "_poller_of", lambda loop: None)
        return OwnLoop(WithoutReaders)
    if name == "selectors":
        monkeypatch.delattr(select, "epoll")
    return ThreadDriver()


def settings(**options: Any) -> Any:
    return Config(**options).settings()


def listen(driver: AnyDriver, address: Any, **options: Any) -> tuple[Hall, Any]:
    hall = Hall()
    listener = driver.listen(address, hall, settings(socket_root="/tmp/", **options))
    assert hall.address is None
    assert driver.run_until(lambda: hall.address or hall.error, SECONDS)
    return hall, listener


def pair(driver: AnyDriver, address: Any, **options: Any) -> tuple[End, End, Any]:
    """A connected client's end and server's end, and the listener."""
    hall, listener = listen(driver, address, **options)
    end = End()
    driver.open(hall.address, end, settings(**options))
    assert end.told == []
    assert driver.run_until(lambda: end.link and hall.ends and hall.ends[0].link, SECONDS)
    return end, hall.ends[0], listener


KINDS = [pytest.param(lambda tmp: Unix(f"{tmp}/s"), id="unix"), pytest.param(lambda tmp: Tcp("127.0.0.1", 0), id="tcp")]
Make = Callable[[Path], Any]
