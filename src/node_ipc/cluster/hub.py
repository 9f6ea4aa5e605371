"""The hub: a bus without a broker, between processes of one machine, over our own wire on a Unix socket.

A hub is a server of this library whose rooms are the bus's subjects; a node's end is a client of it. What goes between
the two are ordinary events: ``sub``, ``unsub``, ``m`` (a message, both ways), ``ask`` and ``none`` (a message whose
sender wants to know whether anybody hears it), ``sync`` and ``synced``.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec import Raw

from ..config.address import Unix
from ..config.config import HARD_MESSAGE_SIZE, Config
from ..core.client import Client
from ..core.server import Server
from ..drivers.loop import EventLoopDriver
from ..errors import IPCError

if TYPE_CHECKING:
    from ..config.address import Address
    from ..config.bus_options import BusPlace
    from ..core.session import Session
    from .bus import Hears

__all__ = ["HubBus", "hub_config", "make", "relay"]

OVERHEAD = 64 * 1024
"""Bytes of a message besides the frame in it, at the most."""
PENDING = 64 * 1024 * 1024
"""Bytes that wait for one worker that does not read; past that it is cut, and finds out what it missed."""


def hub_config(socket_root: str = "/tmp/") -> Config:  # nosec B108 # node-ipc's own
    """The configuration of a hub, and of its clients."""
    return Config(
        socket_root=socket_root,
        max_message_size=HARD_MESSAGE_SIZE,
        max_message_values=math.inf,
        max_pending_bytes=PENDING,
        max_total_pending_bytes=4 * PENDING,
        max_rooms_per_socket=math.inf,
        max_connections=10_000,
        secure_socket_root=None,
        slow_timeout=math.inf,
        stop_retrying=0,
    )


def relay(server: Server) -> None:
    """Make a hub of a server that is not started yet."""
    _Hub(server)


class _Hub:
    def __init__(self, server: Server) -> None:
        self._server = server
        self._groups: dict[str, list[Session]] = {}
        server.on("sub", self._subscribe, type=tuple[str, str])
        server.on("unsub", self._unsubscribe, type=str)
        server.on("m", self._message, type=tuple[str, Raw])
        server.on("ask", self._ask, type=tuple[int, str, Raw])
        server.on("sync", lambda number, socket: socket.emit("synced", number))
        server.on("close", self._closed)

    def _subscribe(self, data: tuple[str, str], socket: Session) -> None:
        subject, group = data
        if group:
            self._groups.setdefault(subject, []).append(socket)
        else:
            socket.join(subject)

    def _unsubscribe(self, subject: str, socket: Session) -> None:
        socket.leave(subject)

    def _message(self, data: tuple[str, Raw], socket: Session) -> None:
        if data[0] in self._server.rooms:
            self._server.to(data[0]).except_(socket).emit("m", data)

    def _ask(self, data: tuple[int, str, Raw], socket: Session) -> None:
        number, subject, message = data
        if (others := self._groups.get(subject)) is not None:
            heard = self._give_to_one(others, (subject, message), socket)
        else:
            target = self._server.to(subject).except_(socket)
            heard = bool(target.sockets)
            target.emit("m", (subject, message))
        if not heard:
            socket.emit("none", number)

    def _give_to_one(self, members: list[Session], message: tuple[str, Raw], socket: Session) -> bool:
        """The member that had none for longest gets it."""
        for member in members:
            if member is not socket and member.is_open:
                members.remove(member)
                members.append(member)
                member.emit("m", message)
                return True
        return False

    def _closed(self, socket: Session) -> None:
        for members in self._groups.values():
            if socket in members:
                members.remove(socket)


class HubBus:
    """A node's end of a hub."""

    name = "hub"
    size_option = "max_message_size"
    has_groups = True

    def __init__(self, path: str) -> None:
        self._path = path
        self._client: Client | None = None
        self._unheard: dict[int, Callable[[], None]] = {}
        self._syncs: dict[int, asyncio.Future[None]] = {}
        self._numbers = 0

    async def connect(self, hears: Hears) -> int | None:
        driver = EventLoopDriver()
        driver.attach(asyncio.get_running_loop())
        where: Address = Unix(self._path)
        client = Client("hub", where, driver, hub_config().settings())
        failed: list[IPCError] = []
        client.on("error", failed.append)
        try:
            await client.connect()
        except IPCError as error:
            raise failed[0] if failed else error from None
        except BaseException:
            client.abort()
            raise
        self._client = client
        self._unheard.clear()
        client.on("m", lambda data: hears.heard(data[0], bytes(data[1])), type=tuple[str, Raw])
        client.on("none", self._nobody, type=int)
        client.on("synced", self._synced, type=int)
        client.on("disconnect", lambda loss: self._lost(client, hears, loss.reason))
        client.on_drained.append(hears.writable)
        return HARD_MESSAGE_SIZE - OVERHEAD

    def _lost(self, client: Client, hears: Hears, reason: Exception | None) -> None:
        if client is not self._client:
            return
        self._client = None
        for waiting in self._syncs.values():
            if not waiting.done():
                waiting.set_exception(ConnectionError("the hub is gone"))
        self._syncs.clear()
        hears.lost(reason)

    def _nobody(self, number: int) -> None:
        unheard = self._unheard.pop(number, None)
        if unheard is not None:
            unheard()

    def _synced(self, number: int) -> None:
        waiting = self._syncs.pop(number, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    @property
    def _up(self) -> Client:
        if self._client is None:
            raise ConnectionError("the hub is gone")
        return self._client

    def publish(self, subject: str, data: bytes) -> bool:
        return self._up.emit("m", (subject, Raw(data)))

    def request(self, subject: str, data: bytes, unheard: Callable[[], None]) -> None:
        self._numbers += 1
        self._unheard[self._numbers] = unheard
        if len(self._unheard) > MOST_UNHEARD:
            del self._unheard[next(iter(self._unheard))]
        self._up.emit("ask", (self._numbers, subject, Raw(data)))

    def subscribe(self, subject: str, group: str = "") -> None:
        self._up.emit("sub", (subject, group))

    def unsubscribe(self, subject: str) -> None:
        self._up.emit("unsub", subject)

    async def confirm(self) -> None:
        self._numbers += 1
        waiting = self._syncs[self._numbers] = asyncio.get_running_loop().create_future()
        self._up.emit("sync", self._numbers)
        await waiting

    def health(self) -> str:
        return f"unix:{self._path}"

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            try:
                await client.close()
            except asyncio.CancelledError:
                client.abort()
                raise


MOST_UNHEARD = 16_384
"""Requests of which nobody has said yet that nobody hears them; those that are heard are never spoken of again."""


def make(place: BusPlace) -> HubBus:
    """The bus at a URL such as ``unix:/run/app.bus``."""
    return HubBus(place.url.partition(":")[2].removeprefix("//"))
