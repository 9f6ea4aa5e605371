"""Python at the other end: a client or server of this library with the same face as ``peers.NodeEnd``."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from functools import partial
from pathlib import Path
from typing import Any

from node_ipc import IPC

from .peers import ABSENT, DEADLINE, Event, Mailbox, Repeat

PROGRAM = Path(__file__).with_name("python_server.py")
LIFECYCLE = ("start", "connect", "disconnect", "destroy", "close", "socket.disconnected")


class PythonEnd:
    """One independent ``IPC``: a server after ``serve*``, a client after ``connect*``."""

    kind = "python"

    def __init__(self, config: dict[str, Any], hear: tuple[str, ...], echo: bool) -> None:
        self.ipc = IPC()
        for name, value in {"silent": True, **config}.items():
            setattr(self.ipc.config, name, value)
        self.events = Mailbox("python")
        self.sockets: list[Any] = []
        self._hear = (*LIFECYCLE, *hear)
        self._echo = echo
        self._id = ""

    # ---- opening ----

    async def serve(self, *where: Any) -> PythonEnd:
        """Listen at the configured id, or at ``(host, port[, udp type])``."""
        (self.ipc.serve_net if where else self.ipc.serve)(*where)
        for type in self._hear:
            self.ipc.server.on(type, partial(self._server_heard, type))
        await asyncio.wait_for(self.ipc.server.start(), DEADLINE)
        return self

    def connect(self, id: str, *where: Any) -> PythonEnd:
        """Begin to connect to this id, or to it at ``(host, port)``."""
        self._id = id
        (self.ipc.connect_to_net if where else self.ipc.connect_to)(id, *where)
        for type in self._hear:
            self.ipc.of[id].on(type, partial(self._client_heard, type))
        return self

    # ---- hearing ----

    def _server_heard(self, type: str, *arguments: Any) -> None:
        first, second = [*arguments, *(ABSENT, None)[len(arguments) :]][:2]
        if type == "connect":
            self.sockets.append(first)
        if type in LIFECYCLE:
            self.events.put(Event(type, socket=self._number(first), id=second))
            return
        claimed = getattr(second, "claimed_id", None)
        self.events.put(Event(type, first, self._number(second), claimed, _sender(second)))
        if self._echo and type != "error":
            self.ipc.server.emit(second, *self._message(type, first))

    def _client_heard(self, type: str, *arguments: Any) -> None:
        data = arguments[0] if arguments and type not in LIFECYCLE else ABSENT
        self.events.put(Event(type, data))
        if self._echo and type not in LIFECYCLE and type != "error":
            self.ipc.of[self._id].emit(*self._message(type, data))

    def _message(self, type: str, data: Any) -> tuple[Any, ...]:
        return (data,) if self.ipc.config.raw_buffer else (type, data)

    def _number(self, socket: Any) -> int | None:
        return next((number for number, known in enumerate(self.sockets) if known is socket), None)

    async def event(self, type: str) -> Event:
        return await self.events.take(type)

    # ---- emitting ----

    async def emit(
        self, type: str, data: Any = ABSENT, *, to: int | None = None, peer: tuple[str, int] | None = None
    ) -> None:
        payload = () if data is ABSENT else (_value(data),)
        self._endpoint().emit(*self._recipient(to, peer), type, *payload)

    async def send(self, data: bytes | str, *, to: int | None = None, peer: tuple[str, int] | None = None) -> None:
        self._endpoint().emit(*self._recipient(to, peer), data)

    async def broadcast(self, type: str, data: Any = ABSENT) -> None:
        self.ipc.server.broadcast(type, *(() if data is ABSENT else (_value(data),)))

    async def burst(self, type: str, count: int, *, to: int | None = None) -> None:
        emit, recipient = self._endpoint().emit, self._recipient(to, None)
        for n in range(count):
            emit(*recipient, type, {"n": n})

    async def expect_burst(self, type: str, total: int) -> None:
        """Count events of this type; ``counted`` is reported when all came."""
        received = 0
        misplaced: list[list[Any]] = []

        def count(data: Any) -> None:
            nonlocal received
            if data["n"] != received:
                misplaced.append([received, data["n"]])
            received += 1
            if received == total:
                self.events.put(Event("counted", {"received": received, "misplaced": misplaced[:10]}))

        self._endpoint().on(type, count)

    def _endpoint(self) -> Any:
        return self.ipc.of[self._id] if self._id else self.ipc.server

    def _recipient(self, to: int | None, peer: tuple[str, int] | None) -> tuple[Any, ...]:
        if peer is not None:
            return ({"address": peer[0], "port": peer[1]},)
        return () if to is None else (self.sockets[to],)

    # ---- closing ----

    async def disconnect(self) -> None:
        self.ipc.disconnect(self._id)

    async def drop(self, socket: int) -> None:
        self.sockets[socket].close()

    async def stop(self) -> None:
        await asyncio.wait_for(self.ipc.server.stop(), DEADLINE)

    async def close(self) -> None:
        """End whatever this end has open."""
        if self._id:
            self.ipc.disconnect(self._id)
        elif self.ipc.server:
            await self.stop()


class PythonProcess:
    """An echo server of this library in a process of its own."""

    def __init__(self, config: dict[str, Any], where: tuple[Any, ...]) -> None:
        self._told = json.dumps({"config": config, "where": where})

    async def listening(self) -> PythonProcess:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, str(PROGRAM), self._told, stdin=PIPE, stdout=PIPE
        )
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), DEADLINE)
        assert line == b"listening\n", f"the Python server did not start: {line!r}"
        return self

    async def kill(self) -> None:
        """``kill -9``, and wait until the process is gone."""
        if self._process.returncode is None:
            self._process.kill()
        await asyncio.wait_for(self._process.wait(), DEADLINE)

    async def close(self) -> None:
        await self.kill()


def _value(data: Any) -> Any:
    return data.value if isinstance(data, Repeat) else data


def _sender(source: Any) -> tuple[str, int] | None:
    """Where a datagram came from: the address object that UDP handlers get."""
    if isinstance(source, dict):
        return source["address"], source["port"]
    return (source.address, source.port) if isinstance(getattr(source, "port", None), int) else None
