"""Any datagram from any address becomes events and ``error`` events with a documented error, carries nothing over to
the next, enters nobody into the table who sent no whole message, and draws at most three times its bytes out."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import msgspec

from node_ipc import Config
from node_ipc.config.address import Udp
from node_ipc.core.datagram import AMPLIFICATION, DatagramPeer, DatagramServer
from node_ipc.drivers.memory import MemoryDriver
from node_ipc.errors import AddressNotValidated, FrameTooLarge, HandlerError, InvalidPayload, IPCError

from .choices import Choices

__all__ = ["Bench", "one_input"]

CONFIGS: tuple[dict[str, Any], ...] = (
    {},
    {"parser": "fast", "delimiter": "||"},
    {"raw_buffer": True},
    {"max_udp_peers": 4, "max_message_size": 64, "identify_peer": True},
)
HOSTS = ("127.0.0.1", "192.0.2.1", "192.0.2.2", "198.51.100.7", "203.0.113.9", "203.0.113.10")


class Order(msgspec.Struct):
    id: int


class Bench:
    """One port, kept from input to input."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.driver = MemoryDriver()
        settings = Config(**options).settings()
        self.raw = settings.profile == "raw"
        self.delimiter = settings.delimiter_bytes
        self.most = settings.max_udp_peers
        self.server = DatagramServer(Udp("127.0.0.1", 8000, "udp4"), self.driver, settings)
        self.lifecycle: list[str] = []
        self.messages = 0
        self.wrong: list[object] = []
        self.server.on("connect", lambda server: self.lifecycle.append("connect"))
        self.server.on("start", lambda server: self.lifecycle.append("start"))
        self.server.on("error", self._error)
        self.server.on("*", self._everything)
        if not self.raw:
            self.server.on("ping", self._answer)
            self.server.on("typed", self._typed, type=Order)
            self.server.on("slow", self._slow)
        else:
            self.server.on("data", lambda data, socket: self._answer(data, socket))
        self.server.start()
        self.driver.run_until_idle()
        assert self.lifecycle == ["connect", "start"]
        self.lifecycle.clear()
        self.sent: dict[str, int] = {}
        self.received: dict[str, int] = {}
        self.answers: list[bytes] = []
        port = self.server._port
        assert port is not None
        port.send = self._sending  # type: ignore[method-assign]

    def _sending(self, data: bytes, host: str, port: int) -> None:
        assert len(data) <= 65_507
        self.sent[host] = self.sent.get(host, 0) + len(data)
        self.answers.append(data)

    def _error(self, error: object, socket: DatagramPeer | None) -> None:
        """What a handler asserts arrives here too, and an assertion here would be one more failing handler."""
        if not isinstance(error, IPCError) or isinstance(error, HandlerError):
            self.wrong.append(error)
        self.messages += isinstance(error, InvalidPayload)  # of a whole message

    def _everything(self, type: str, *arguments: Any) -> None:
        self.messages += type != "error"

    def _answer(self, data: Any, socket: DatagramPeer) -> None:
        try:
            if self.raw:
                socket.emit(data * 2)
            else:
                socket.emit("pong", [data, data])
        except AddressNotValidated:
            assert not socket.address.startswith("127.")
        except FrameTooLarge:
            assert len(json.dumps(data)) >= 18  # twice that and the frame around it are more than 64 bytes

    def _typed(self, order: Order, socket: DatagramPeer) -> None:
        assert isinstance(order.id, int)

    async def _slow(self, data: Any, socket: DatagramPeer) -> None:
        await self.driver.sleep(0.05)

    def hear(self, pieces: Iterable[bytes]) -> None:
        """Each piece: a byte for who sends it and how long it takes, and the datagram."""
        self.driver.advance(60)  # nobody is left of the time before
        assert not self.server.sockets
        self.sent.clear()
        self.received.clear()
        for piece in pieces:
            host = HOSTS[piece[0] % len(HOSTS)]
            self._datagram(piece[1:], host)
            self.driver.advance((piece[0] >> 5) / 10)
        self.driver.advance(1)
        assert self.wrong == [], self.wrong
        self._still_serves()

    def _datagram(self, data: bytes, host: str) -> None:
        before, known = self.messages, len(self.server.sockets)
        self.received[host] = self.received.get(host, 0) + len(data)
        self.server.datagram(data, host, 4000)
        now = len(self.server.sockets)
        assert now <= min(known + 1, self.most)
        assert now == known or self.messages > before, "entered into the table without a message"
        for host, sent in self.sent.items():
            assert host.startswith("127.") or sent <= AMPLIFICATION * self.received[host], "an amplifier"
        assert self.lifecycle == []

    def _still_serves(self) -> None:
        self.answers.clear()
        question = b"hello" if self.raw else b'{"type":"ping","data":7}' + self.delimiter
        answer = b"hellohello" if self.raw else b'{"type":"pong","data":[7,7]}' + self.delimiter
        self.server.datagram(question, "127.0.0.1", 4001)
        self.driver.run_until_idle()
        assert self.answers == [answer], self.answers
        self.answers.clear()


_benches: dict[int, Bench] = {}


def one_input(data: bytes) -> None:
    choices = Choices(data)
    number = choices.byte() % len(CONFIGS)
    bench = _benches.pop(number, None) or Bench(CONFIGS[number])
    bench.hear(choices.pieces())
    _benches[number] = bench
