"""Whatever a peer sends a server, in whatever pieces, becomes events and ``error`` events with a documented error, no
lifecycle event of its own, and the next peer is served as if nothing had been."""

from __future__ import annotations

from typing import Any

import msgspec

from node_ipc import Config, Server
from node_ipc.errors import HandlerError, IPCError
from node_ipc.session import Session
from node_ipc.testing import Wire
from node_ipc.trace import Trace
from node_ipc.transport.address import Unix
from node_ipc.transport.memory import MemoryDriver

from .choices import Choices

__all__ = ["one_input"]

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


class _Bench:
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

    def hear(self, choices: Choices) -> None:
        peer = self._peer()
        wait = choices.one_of(WAITS)
        for piece in choices.pieces():
            if not peer.is_lost:
                peer.write(piece)
            self.driver.advance(wait)
        if not peer.is_lost:
            peer.close()
            self.driver.advance(6)
        assert self.wrong == []
        assert not self.server.sockets, "the peer ended, and the server did not hear of it"
        assert self.lifecycle == ["opened", "lost"], self.lifecycle
        self.lifecycle.clear()
        if not peer.is_lost:
            peer.abort()
        self._still_serves()

    def _peer(self) -> Wire:
        peer = Wire.connected(self.driver, self.server.address, self.settings)
        assert peer.link is not None and self.server.sockets, peer.error
        return peer

    def _still_serves(self) -> None:
        peer = self._peer()
        question = b"hello" if self.raw else b'{"type":"ping","data":7}' + self.delimiter
        answer = b"hello" if self.raw else b'{"type":"pong","data":7}' + self.delimiter
        peer.write(question)
        self.driver.run_until_idle()
        assert peer.bytes == answer, peer.bytes
        peer.abort()
        self.driver.run_until_idle()
        self.lifecycle.clear()


_benches: dict[int, _Bench] = {}


def one_input(data: bytes) -> None:
    choices = Choices(data)
    number = choices.byte() % len(CONFIGS)
    bench = _benches.pop(number, None) or _Bench(CONFIGS[number])
    bench.hear(choices)
    _benches[number] = bench  # not after a finding: each one stands for itself
