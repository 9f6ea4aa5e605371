"""One end of a link between the machines of ``links.py``: emits numbers, and looks at those that it hears.

    python link_end.py serve|connect|datagrams URL NAME OPTIONS

Told by lines of JSON what to do; answers with all it knows. OPTIONS: a configuration as JSON; for datagrams, which have
no link, where the other end is.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from typing import Any

import node_ipc
from node_ipc import Loss

role, url, name, options = sys.argv[1:]
TURN = 0.01
PATIENCE = 3.0
"""Seconds that a request waits; the network may be worse."""
EXPECTED = ("RequestTimeout", "ConnectionLost", "NotConnected", "BackpressureError")


def text(number: int) -> str:
    """Of some bytes, or of three packets."""
    return chr(97 + number % 26) * (number * 7919 % 3000)


class Heard:
    """What came of one sender; datagrams may come twice and in another order, and are whole all the same.

    The order is that of each link: what a lost one had taken may come after what the new one brings.
    """

    def __init__(self) -> None:
        self.count = self.misplaced = self.twice = self.broken = 0
        self._numbers: set[int] = set()
        self._last: dict[int, int] = {}

    def take(self, number: int, data: str, link: int) -> None:
        self.misplaced += number <= self._last.get(link, -1)
        self.twice += number in self._numbers
        self.broken += data != text(number)
        self.count += 1
        self._numbers.add(number)
        self._last[link] = number

    def report(self) -> dict[str, int]:
        return {key: value for key, value in vars(self).items() if not key.startswith("_")}


class End:
    def __init__(self) -> None:
        self.rate = self.sent = self.refused = self.told = self.links = self.answers = self.unanswered = 0
        self.heard: dict[str, Heard] = {}
        self.errors: Counter[str] = Counter()

    def take(self, data: list[Any], link: int = 0) -> None:
        sender, number, payload = data
        self.heard.setdefault(sender, Heard()).take(number, payload, link)

    def lost(self, loss: Loss) -> None:
        self.told += loss.dropped + loss.in_flight

    def failed(self, error: Exception, *_: Any) -> None:
        self.errors[type(error).__name__] += 1

    def other(self) -> Any:
        """Whom it can emit to and ask, if there is somebody."""
        raise NotImplementedError

    def emit_to(self, other: Any, *message: Any) -> None:
        other.emit(*message)

    async def emit(self) -> None:
        due = 0.0
        while True:
            await asyncio.sleep(TURN)
            due = min(due + self.rate * TURN, self.rate / 4)
            while due >= 1:
                due -= 1
                if (other := self.other()) is not None:
                    self._emit_one(other)

    def _emit_one(self, other: Any) -> None:
        try:
            self.emit_to(other, "x", [name, self.sent, text(self.sent)])
        except (node_ipc.BackpressureError, node_ipc.NotConnected):
            self.refused += 1
        else:
            self.sent += 1

    async def ask(self) -> None:
        """What is answered is right; whatever else there is has a name."""
        number = 0
        while True:
            await asyncio.sleep(5 * TURN)
            if (other := self.other()) is not None and self.rate:
                number += 1
                await self._ask_one(other, number)

    async def _ask_one(self, other: Any, number: int) -> None:
        try:
            assert await other.request("echo", number, timeout=PATIENCE) == number
        except node_ipc.IPCError as error:
            assert type(error).__name__ in EXPECTED, error
            self.unanswered += 1
        else:
            self.answers += 1

    async def is_answered(self) -> bool:
        """Then all that was sent before has arrived, or is told."""
        other = self.other()
        if other is None:
            return False
        try:
            return bool(await other.request("echo", -1, timeout=PATIENCE) == -1)
        except node_ipc.IPCError:
            return False

    def report(self) -> dict[str, Any]:
        heard = {sender: each.report() for sender, each in self.heard.items()}
        return {key: value for key, value in vars(self).items() if not key.startswith("_")} | {"heard": heard}

    async def work(self) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        work = [asyncio.create_task(self.emit()), asyncio.create_task(self.ask())]
        print("ready", flush=True)
        while line := await reader.readline():
            command = json.loads(line)
            self.rate = command.get("rate", self.rate)
            answer = await self.is_answered() if command.get("ask") else self.report()
            print(json.dumps(answer), flush=True)
            for task in work:
                if task.done():
                    task.result()
        for task in work:
            task.cancel()


class Server(End):
    def __init__(self, server: node_ipc.AsyncServer) -> None:
        super().__init__()
        self._server = server
        server.on("x", lambda data, socket: self.take(data, socket.id))
        server.on("error", self.failed)
        server.on("connect", self._connected)
        server.on("socket.disconnected", lambda socket: self.lost(socket.loss))
        server.handle("echo", lambda data: data)

    def _connected(self, *_: Any) -> None:
        self.links += 1

    def other(self) -> Any:
        return self._server.sockets[-1] if self._server.sockets else None


class Client(End):
    def __init__(self, client: node_ipc.AsyncClient) -> None:
        super().__init__()
        self._client = client
        client.on("x", lambda data: self.take(data, self.links))
        client.on("error", self.failed)
        client.on("connect", self._connected)
        client.on("disconnect", self.lost)
        client.handle("echo", lambda data: data)

    def _connected(self, *_: Any) -> None:
        self.links += 1

    def other(self) -> Any:
        return self._client


class Datagrams(End):
    """They have no links, and so no requests."""

    def __init__(self, server: node_ipc.AsyncDatagramServer, other: str) -> None:
        super().__init__()
        self._server = server
        host, port = other.rsplit(":", 1)
        self._other = {"address": host, "port": int(port)}
        server.on("x", lambda data, *_: self.take(data))
        server.on("error", self.failed)

    def other(self) -> Any:
        return self._other

    def emit_to(self, other: Any, *message: Any) -> None:
        self._server.emit(other, *message)

    async def ask(self) -> None: ...


async def main() -> None:
    config = json.loads(options)
    if role == "serve":
        async with node_ipc.serve(url, **config) as server:
            await Server(server).work()
    elif role == "datagrams":
        async with node_ipc.serve_udp(url, silent=True) as datagrams:
            await Datagrams(datagrams, config["to"]).work()
    else:
        async with node_ipc.connect(url, wait=True, timeout=30, **config) as client:
            await Client(client).work()


node_ipc.run(main())
