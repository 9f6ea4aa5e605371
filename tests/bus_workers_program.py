"""Workers that a hub joins, for the tests: python bus_workers_program.py ADDRESS COUNT [BUS]"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from typing import Any

import node_ipc
from node_ipc.scale import workers

address, count, *bus = sys.argv[1:]
logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)


def setup(server: node_ipc.AsyncServer) -> None:
    lost = 0

    @server.on("bus.gap")
    def gap(node: str, missing: int) -> None:
        nonlocal lost
        lost += missing

    @server.on("bus.up")
    def up() -> None:
        print(f"up {os.getpid()}\n", end="", flush=True)  # in one piece: the lines of several processes do not mix

    @server.on("join")
    def join(room: str, socket: node_ipc.Socket) -> None:
        socket.join(room)
        socket.emit("joined", os.getpid())

    @server.on("look")
    def look(room: str) -> None:
        """Who is in this room, at any worker, hears which process this is."""
        server.to(room).emit("seen", os.getpid())

    @server.on("say")
    async def say(data: dict[str, Any]) -> None:
        """So many events to a room, with pauses between them."""
        for number in range(data["count"]):
            server.to(data["room"]).emit("said", number)
            await asyncio.sleep(data["pause"])

    @server.handle("lost")
    def told() -> int:
        return lost

    @server.handle("nodes")
    def nodes() -> int:
        return len(server.everywhere.nodes)

    @server.handle("state")
    def state() -> str:
        stats = server.stats().bus
        assert stats is not None
        return stats.state


workers.run(setup, address, count=int(count), bus=bus[0] if bus else True, bus_heartbeat=100)
