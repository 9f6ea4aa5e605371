"""Servers on a real bus, each with a client, for the tests of buses."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from unittest.mock import patch

import node_ipc
from brokers import Broker
from node_ipc import AsyncClient, AsyncServer
from node_ipc.cluster import members
from node_ipc.cluster.engines import bus_of
from node_ipc.config import bus_options

BEAT = 100
DEADLINE = 60.0
PATIENT = round(1000 * DEADLINE / BEAT)
"""So many heartbeats that do not come, and a node is gone, where a test is of something else: with three, one that gets
no processor for 350 ms is gone for the others until its next heartbeat."""


class Ends:
    """Servers on one bus, each with one client that is in some rooms."""

    def __init__(self, broker: Broker, stack: AsyncExitStack) -> None:
        self.broker = broker
        self.servers: list[AsyncServer] = []
        self.clients: list[AsyncClient] = []
        self.heard: list[list[Any]] = []
        self.gaps: list[Counter[str]] = []
        self.events: list[list[str]] = []
        self.errors: list[list[Exception]] = []
        self._buses: list[Any] = []
        self._stack = stack

    async def add(self, *rooms: str, missed_beats: int = PATIENT, **options: Any) -> None:
        """One more server. missed_beats: after how many of them a node is gone; ``members.MISSED_BEATS`` in real."""
        number = len(self.servers)
        bus = options.pop("bus", None) or bus_of(bus_options.bus(self.broker.url))
        whole: dict[str, Any] = {"bus_heartbeat": BEAT, "bus_group": "test"} | options
        path = f"{self.broker.folder}/s{number}"
        with patch.object(members, "MISSED_BEATS", missed_beats):
            server = await self._stack.enter_async_context(node_ipc.serve(path, bus=bus, **whole))
        gaps: Counter[str] = Counter()
        events: list[str] = []
        errors: list[Exception] = []
        server.on("bus.gap", lambda node, count: gaps.update({node: count}))
        for name in ("bus.up", "bus.down"):
            server.on(name, lambda *_, name=name: events.append(name))
        server.on("error", lambda error: errors.append(error))
        client = await self._stack.enter_async_context(node_ipc.connect(path))
        heard: list[Any] = []
        client.on("x", heard.append)
        await until(lambda: server.sockets)
        if rooms:
            server.sockets[0].join(*rooms)
        self.servers.append(server)
        self.clients.append(client)
        self.heard.append(heard)
        self.gaps.append(gaps)
        self.events.append(events)
        self.errors.append(errors)
        self._buses.append(bus)

    async def know_each_other(self) -> None:
        """Until all do, and the broker has dealt with what they joined: it may be busier than they are."""
        await until(lambda: all(len(server.everywhere.nodes) == len(self.servers) - 1 for server in self.servers))
        await until(lambda: all("bus.up" in events for events in self.events))
        for bus in self._buses:
            if not isinstance(bus, str):
                await bus.confirm()

    async def joined(self) -> None:
        """Until all know each other, and have for some heartbeats."""
        await self.know_each_other()
        await asyncio.sleep(4 * BEAT / 1000)


@asynccontextmanager
async def ends(broker: Broker, *rooms: tuple[str, ...], **options: Any) -> AsyncIterator[Ends]:
    async with AsyncExitStack() as stack:
        made = Ends(broker, stack)
        for names in rooms:
            await made.add(*names, **options)
        await made.joined()
        yield made


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not condition():
            await asyncio.sleep(0.005)
