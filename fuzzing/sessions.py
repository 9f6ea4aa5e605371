"""Whatever a peer sends a server, in whatever pieces, becomes events and ``error`` events with a documented error, no
lifecycle event of its own, and the next peer is served as if nothing had been."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from node_ipc import Config, Server
from node_ipc.config.address import Unix
from node_ipc.core.seam import Peer
from node_ipc.core.session import Session
from node_ipc.core.trace import Trace
from node_ipc.drivers.memory import MemoryDriver
from node_ipc.errors import HandlerError, IPCError

from .choices import Choices

__all__ = ["Bench", "one_input"]

CONFIGS: tuple[dict[str, Any], ...] = (
    {},
    {"parser": "fast"},
    {
        "parser": "assured",
        "allowed_events": ["ping", "pong", "typed", "slow", "rpc.request", "rpc.response", "rpc.cancel"],
    },
    {"raw_buffer": True},
    {"max_message_size": 32, "max_event_name_length": 12, "message_timeout": 1000},
    {"identify_peer": True, "allow_reserved_events": True, "heartbeat": 500, "heartbeat_timeout": 1000},
    {"delimiter": "<EOF>", "max_handler_frames": 1},
)
WAITS = (0.0, 0.0, 0.0, 0.01, 0.6, 31.0)


class Order(msgspec.Struct):
    id: int


class _Link:
    """A link whose other end is the target's: what a driver reads and tells, without the work of carrying it.

    ``MemoryDriver`` is only the clock here; its own links would take two thirds of the time.
    """

    peer = Peer("memory", pid=1, uid=1000, gid=1000)

    def __init__(self, driver: MemoryDriver, server: Server) -> None:
        self.written = b""
        self.is_lost = self._is_ending = False
        self._driver = driver
        self._unread: list[bytes] = []
        self._is_paused = self._has_ended = self._is_closed = False
        session = server.accept(self.peer)
        assert session is not None
        self._session = session
        session.opened(self)

    # what the peer does

    def send(self, data: bytes) -> None:
        self._unread.append(data)
        self._read()

    def end(self) -> None:
        self._has_ended = True
        self._read()

    def _read(self) -> None:
        while self._unread and not self._is_paused and not self._is_ending:
            self._session.received(self._unread.pop(0))
        if self._has_ended and not self._is_paused and not self._is_ending:
            self._session.ended()
            if self._is_closed:
                self.abort()

    # what the session does

    def write(self, data: bytes) -> None:
        assert data and not self._is_closed and not self._is_ending
        self.written += data

    def write_parts(self, parts: list[Any]) -> None:
        self.write(b"".join(parts))

    def read_into(self, room: memoryview) -> int:
        return 0

    def pending_bytes(self) -> int:
        return 0

    def unread_bytes(self) -> int | None:
        return None

    def all_arrived(self) -> bool:
        return True

    def close(self) -> None:
        self._is_closed = True
        if self._has_ended:
            self.abort()

    def abort(self) -> None:
        if not self._is_ending:
            self._is_ending = True
            self._driver.call_later(0, self._lose)

    def _lose(self) -> None:
        self.is_lost = True
        self._session.lost(None)

    def pause_reading(self) -> None:
        self._is_paused = True

    def resume_reading(self) -> None:
        self._is_paused = False
        self._driver.call_later(0, self._read)


class Bench:
    """One server, kept from input to input: a peer that harms the next one is a finding."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.driver = MemoryDriver()
        settings = Config(secure_socket_root=True, socket_root="/fuzz/", **options).settings()
        self.raw = settings.profile == "raw"
        self.settings = settings
        self.delimiter = settings.delimiter_bytes
        self.server = Server(Unix("/fuzz/app.world"), self.driver, settings)
        self.lifecycle: list[str] = []
        self.wrong: list[object] = []
        self._honest: _Link | None = None
        """A peer that stays; each hostile one is a new one."""
        self._listen()

    def _listen(self) -> None:
        server = self.server
        if self.settings.allow_reserved_events:  # then a peer may send these, and the handlers hear them
            server.on_trace(self._traced)
        else:
            server.on("connect", lambda socket: self.lifecycle.append("opened"))
            server.on("close", lambda socket: self.lifecycle.append("lost"))
            server.on("error", self._error)
        if self.raw:
            server.on("data", self._raw)
        else:
            server.on("ping", self._ping)
            server.on("typed", self._typed, type=Order)
            server.on("slow", self._slow)
            server.on("*", self._everything)
            server.handle("add", lambda params: params["a"] + params["b"])
        server.start()
        self.driver.run_until_idle()

    def _error(self, error: object, socket: Session | None) -> None:
        """What a handler asserts arrives here too, and an assertion here would be one more failing handler."""
        known = isinstance(error, IPCError)
        if isinstance(error, HandlerError):  # only what the handler of "add" does with odd numbers
            known = error.event == "add" and isinstance(error.__cause__, (TypeError, KeyError))
        if not known:
            self.wrong.append(error)

    def _traced(self, trace: Trace) -> None:
        if trace.what in ("opened", "lost"):
            self.lifecycle.append(trace.what)
        elif trace.what == "error":
            self._error(trace.detail, None)

    def _raw(self, data: bytes, socket: Session) -> None:
        assert data and data.__class__ is bytes
        socket.emit(data)

    def _ping(self, data: Any, socket: Session) -> None:
        if socket.is_open:
            socket.emit("pong", data)

    def _typed(self, order: Order, socket: Session) -> None:
        assert isinstance(order, Order) and isinstance(order.id, int)

    async def _slow(self, data: Any, socket: Session) -> None:
        await self.driver.sleep(0.05)

    def _everything(self, type: str, *arguments: Any) -> None:
        assert isinstance(type, str)

    def hear(self, pieces: Iterable[bytes], wait: float) -> None:
        others = len(self.server.sockets)
        link = _Link(self.driver, self.server)
        for piece in pieces:
            if not link.is_lost:
                link.send(piece)
            self.driver.advance(wait)
        if not link.is_lost:
            link.end()
            self.driver.advance(6)
        assert self.wrong == [], self.wrong
        assert link.is_lost and len(self.server.sockets) == others, "the peer ended, and the server did not hear of it"
        assert self.lifecycle == ["opened", "lost"], self.lifecycle
        self.lifecycle.clear()
        self._still_serves()

    def _still_serves(self) -> None:
        if self._honest is None:
            self._honest = _Link(self.driver, self.server)
        question = b"hello" if self.raw else b'{"type":"ping","data":7}' + self.delimiter
        answer = b"hello" if self.raw else b'{"type":"pong","data":7}' + self.delimiter
        self._honest.send(question)
        assert self._honest.written == answer, self._honest.written
        self._honest.written = b""
        if self.settings.heartbeat:  # it answers none
            self._honest.abort()
            self._honest = None
            self.driver.run_until_idle()
        self.lifecycle.clear()


_benches: dict[int, Bench] = {}


def one_input(data: bytes) -> None:
    choices = Choices(data)
    number = choices.byte() % len(CONFIGS)
    bench = _benches.pop(number, None) or Bench(CONFIGS[number])
    wait = choices.one_of(WAITS)
    bench.hear(choices.pieces(), wait)
    _benches[number] = bench  # not after a finding: each one stands for itself
