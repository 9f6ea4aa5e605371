"""A server with a client, on one of the machines of ``world.py``: emits numbers to a room and counts what it hears.

    python machine.py URL SOCKET LATE

Told by lines of JSON what to do; answers ``state`` with all it knows. LATE: seconds that it comes back later, at most.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from collections import Counter
from typing import Any

import node_ipc
from node_ipc.cluster.engines import bus_of
from node_ipc.config import bus_options

url, path, late = sys.argv[1:]
BEAT = 200
TURN = 0.01


class Late:
    """A bus that is connected again later than others'."""

    def __init__(self) -> None:
        self._bus = bus_of(bus_options.bus(url))
        self._is_first = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bus, name)

    async def connect(self, hears: Any) -> int | None:
        if not self._is_first:
            await asyncio.sleep(random.random() * float(late))
        limit: int | None = await self._bus.connect(hears)
        self._is_first = False
        return limit


class Heard:
    """What came of one sender."""

    def __init__(self, number: int) -> None:
        self.first = number
        self.last = number - 1
        self.count = self.wrong = 0

    def take(self, number: int) -> None:
        self.wrong += number <= self.last
        self.last = max(self.last, number)
        self.count += 1


class Machine:
    def __init__(self, server: node_ipc.AsyncServer, client: node_ipc.AsyncClient) -> None:
        self.server, self.client = server, client
        self.rate = self.sent = 0
        self.heard: dict[str, Heard] = {}
        self.gaps: Counter[str] = Counter()
        self.answers: dict[str, list[float]] = {"up": [], "down": []}
        self.errors: Counter[str] = Counter()
        client.on("x", self._take)
        server.on("bus.gap", lambda node, count: self.gaps.update({node: count}))
        server.on("error", lambda error, *_: self.errors.update([type(error).__name__]))
        server.handle("echo", lambda data: data)
        server.handle("name", lambda: self.name)

    @property
    def name(self) -> str:
        return self.server.everywhere.name

    @property
    def state(self) -> str:
        stats = self.server.stats().bus
        assert stats is not None
        return stats.state

    def _take(self, data: list[Any]) -> None:
        sender, number = data
        if sender != self.name:
            self.heard.setdefault(sender, Heard(number)).take(number)

    async def emit(self) -> None:
        """At this rate, whatever the loop's delays are."""
        due, at = 0.0, time.monotonic()
        while True:
            await asyncio.sleep(TURN)
            now = time.monotonic()
            due, at = min(due + self.rate * (now - at), self.rate / 4), now
            while due >= 1:
                due -= 1
                self.server.to("a").emit("x", [self.name, self.sent])
                self.sent += 1

    async def ask(self) -> None:
        """How long its own client waits for an answer, with the bus and without it."""
        while True:
            began, before = time.perf_counter(), self.state
            await self.client.request("echo", 1)
            took = time.perf_counter() - began
            if before == self.state and (times := self.answers.get(before)) is not None:
                times.append(took)
            await asyncio.sleep(0.02)

    def report(self) -> dict[str, Any]:
        stats = self.server.stats().bus
        assert stats is not None
        with open("/proc/self/statm") as file:
            resident = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        return {
            "name": self.name,
            "state": stats.state,
            "nodes": len(self.server.everywhere.nodes),
            "sent": self.sent,
            "dropped": stats.dropped,
            "heard": {name: vars(heard) for name, heard in self.heard.items()},
            "gaps": self.gaps,
            "answers": self.answers,
            "errors": self.errors,
            "resident": resident,
        }

    async def find(self) -> dict[str, Any]:
        """Whether it can find and ask the others."""
        found = await self.server.everywhere.sockets(room="a", timeout=5)
        asked = await self.server.everywhere.request("name", timeout=5) if len(found) > 1 else None
        return {"found": len(found), "missing": len(found.missing), "asked": asked}


async def main() -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async with (
        node_ipc.serve(path, bus=Late(), bus_heartbeat=BEAT, bus_group="world", silent=True) as server,
        node_ipc.connect(path, max_pending_bytes=64 << 20) as client,
    ):
        while not server.sockets:
            await asyncio.sleep(0.01)
        server.sockets[0].join("a")
        machine = Machine(server, client)
        work = [asyncio.create_task(machine.emit()), asyncio.create_task(machine.ask())]
        while line := await reader.readline():
            command = json.loads(line)
            if "rate" in command:
                machine.rate = command["rate"]
            answer = await machine.find() if command.get("find") else machine.report()
            print(json.dumps(answer), flush=True)
        for task in work:
            task.cancel()


node_ipc.run(main())
