"""The hub: a bus without a broker, between processes of one machine, over our own wire on a Unix socket.

A hub is a server of this library; a node's end is a client of it. What goes between the two are ordinary frames:
``sub``, ``unsub``, ``m`` (a message, both ways: its subject and what it is), ``ask`` and ``none`` (a message whose
sender wants to know whether anybody hears it), ``sync`` and ``synced``.

Both ends are in raw mode and cut the frames themselves, since nearly all of them are ``m``, of which the hub needs no
more than the subject: neighbours with the same one pass as they came, together, and no message is ever decoded here.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw, Struct

from ..config.address import Unix
from ..config.config import HARD_MESSAGE_SIZE, Config
from ..core.client import Client
from ..core.seam import nothing
from ..core.server import Server
from ..core.session import broadcast
from ..drivers.loop import EventLoopDriver
from ..errors import BackpressureError, IPCError, ProtocolError
from ..wire.framing import Splitter

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
END = b"\f"
MESSAGE = b'{"type":"m","data":["'
"""How a message begins; its subject follows, which never has a quote in it, and then it itself."""
ASK = b'{"type":"ask","data":['
"""The same, with a number before the subject."""


class _Frame(Struct):
    type: str
    data: Raw


_frame: Callable[[bytes], _Frame] = msgspec.json.Decoder(_Frame).decode
_subscription: Callable[[Raw], tuple[str, str]] = msgspec.json.Decoder(tuple[str, str]).decode
_subject: Callable[[Raw], str] = msgspec.json.Decoder(str).decode
_number: Callable[[Raw], int] = msgspec.json.Decoder(int).decode


def _framed(type: str, data: Any) -> bytes:
    return b'{"type":"%b","data":%b}\f' % (type.encode(), msgspec.json.encode(data))


def _message_to(subject: str, data: bytes) -> bytes:
    return b'%b%b",%b]}\f' % (MESSAGE, subject.encode(), data)


def _head(frame: bytes) -> bytes:
    """A message up to the end of its subject; nothing where it is none."""
    return frame[: frame.find(b'"', len(MESSAGE)) + 1] if frame.startswith(MESSAGE) else b""


def _splitter() -> Splitter:
    return Splitter(END, HARD_MESSAGE_SIZE)


def hub_config(socket_root: str = "/tmp/") -> Config:  # nosec B108 # node-ipc's own
    """The configuration of a hub, and of its clients."""
    return Config(
        socket_root=socket_root,
        raw_buffer=True,
        max_message_size=HARD_MESSAGE_SIZE,
        max_pending_bytes=PENDING,
        max_total_pending_bytes=4 * PENDING,
        max_connections=10_000,
        secure_socket_root=None,
        slow_timeout=math.inf,
        stop_retrying=0,
    )


def relay(server: Server) -> None:
    """Make a hub of a server that is not started yet."""
    _Hub(server)


class _End:
    """One node's end, as the hub knows it."""

    def __init__(self) -> None:
        self.splitter = _splitter()
        self.subjects: set[str] = set()


class _Hub:
    def __init__(self, server: Server) -> None:
        self._ends: dict[Session, _End] = {}
        self._hearers: dict[str, dict[Session, None]] = {}
        self._groups: dict[str, list[Session]] = {}
        server.on("connect", lambda socket: self._ends.update({socket: _End()}))
        server.on("data", self._read)
        server.on("close", self._closed)

    def _read(self, chunk: bytes, socket: Session) -> None:
        splitter = self._ends[socket].splitter
        run: list[bytes] = []
        head = b""
        for frame in splitter.split(chunk):
            if not (run and frame.startswith(head)):
                self._pass_on(head, run, socket)
                run = []
                head = _head(frame)
                if not head:
                    self._do(frame, socket)
                    continue
            run.append(frame)
        self._pass_on(head, run, socket)
        if splitter.fault is not None:
            socket.fail(splitter.fault)

    def _pass_on(self, head: bytes, run: list[bytes], socket: Session) -> None:
        """Give messages with one subject to all who hear it, as they came."""
        if run:
            hearers = self._hearers.get(head[len(MESSAGE) : -1].decode(), {})
            run.append(b"")
            self._send([hearer for hearer in hearers if hearer is not socket], END.join(run))

    def _send(self, to: list[Session], frames: bytes) -> None:
        for full in broadcast(to, frames):
            full.cut(BackpressureError(f"{full!r} does not read: more than {PENDING} bytes would wait for it"))

    def _do(self, frame: bytes, socket: Session) -> None:
        try:
            if frame.startswith(ASK):
                self._ask(frame, socket)
                return
            message = _frame(frame)
            if (do := _DOES.get(message.type)) is not None:
                do(self, message.data, socket)
        except ValueError as error:
            socket.fail(ProtocolError(f"what is no word to a hub: {frame!r:.100}: {error}"))

    def _subscribe(self, data: Raw, socket: Session) -> None:
        subject, group = _subscription(data)
        if group:
            self._groups.setdefault(subject, []).append(socket)
        else:
            self._hearers.setdefault(subject, {})[socket] = None
            self._ends[socket].subjects.add(subject)

    def _remove(self, subject: str, socket: Session) -> None:
        self._ends[socket].subjects.discard(subject)
        hearers = self._hearers.get(subject, {})
        hearers.pop(socket, None)
        if not hearers:
            self._hearers.pop(subject, None)

    def _ask(self, frame: bytes, socket: Session) -> None:
        number, _, rest = frame[len(ASK) : -2].partition(b',"')
        name, _, message = rest.partition(b'",')
        subject = name.decode()
        if (others := self._groups.get(subject)) is not None:
            to = self._next_of(others, socket)
        else:
            to = [hearer for hearer in self._hearers.get(subject, ()) if hearer is not socket]
        if to:
            self._send(to, _message_to(subject, message))
        else:
            self._send([socket], _framed("none", int(number)))

    def _next_of(self, members: list[Session], socket: Session) -> list[Session]:
        """The member that had none for longest, if there is another one."""
        for member in members:
            if member is not socket and member.is_open:
                members.remove(member)
                members.append(member)
                return [member]
        return []

    def _closed(self, socket: Session) -> None:
        for subject in tuple(self._ends[socket].subjects):
            self._remove(subject, socket)
        del self._ends[socket]
        for members in self._groups.values():
            if socket in members:
                members.remove(socket)


_DOES: dict[str, Callable[[_Hub, Raw, Session], None]] = {
    "sub": _Hub._subscribe,
    "unsub": lambda hub, data, socket: hub._remove(_subject(data), socket),
    "sync": lambda hub, data, socket: hub._send([socket], _framed("synced", _number(data))),
}


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
        client.on("data", partial(self._read, client, _splitter(), hears))
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

    def _read(self, client: Client, splitter: Splitter, hears: Hears, chunk: bytes) -> None:
        for frame in splitter.split(chunk):
            if client is not self._client:  # what is not heard after the end
                return
            if frame.startswith(MESSAGE):
                end = frame.index(b'"', len(MESSAGE))
                hears.heard(frame[len(MESSAGE) : end].decode(), frame[end + 2 : -2])
            else:
                message = _frame(frame)
                if message.type == "none":
                    self._unheard.pop(_number(message.data), nothing)()
                elif message.type == "synced":
                    waiting = self._syncs.pop(_number(message.data), None)
                    if waiting is not None and not waiting.done():
                        waiting.set_result(None)

    @property
    def _up(self) -> Client:
        if self._client is None:
            raise ConnectionError("the hub is gone")
        return self._client

    def publish(self, subject: str, data: bytes) -> bool:
        return self._up.emit(_message_to(subject, data))

    def request(self, subject: str, data: bytes, unheard: Callable[[], None]) -> None:
        self._numbers += 1
        self._unheard[self._numbers] = unheard
        if len(self._unheard) > MOST_UNHEARD:
            del self._unheard[next(iter(self._unheard))]
        self._up.emit(b'%b%d,"%b",%b]}\f' % (ASK, self._numbers, subject.encode(), data))

    def subscribe(self, subject: str, group: str = "") -> None:
        self._up.emit(_framed("sub", (subject, group)))

    def unsubscribe(self, subject: str) -> None:
        self._up.emit(_framed("unsub", subject))

    async def confirm(self) -> None:
        self._numbers += 1
        waiting = self._syncs[self._numbers] = asyncio.get_running_loop().create_future()
        self._up.emit(_framed("sync", self._numbers))
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
