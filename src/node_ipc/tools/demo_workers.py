"""The server of ``node-ipc demo --cluster``: several workers that a hub joins.

python -m node_ipc.tools.demo_workers ADDRESS COUNT
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from ..scale import workers

if TYPE_CHECKING:
    from ..aio import AsyncServer
    from ..core.session import Session

__all__ = ["main"]


def setup(server: AsyncServer) -> None:
    """The handlers of each worker."""

    @server.on("join")
    def join(room: str, socket: Session) -> None:
        socket.join(room)
        socket.emit("joined")

    @server.on("say")
    def say(data: dict[str, str], socket: Session) -> None:
        server.to(data["room"]).emit("said", {"text": data["text"], "worker": os.getpid()})

    @server.handle("pid")
    def pid() -> int:
        return os.getpid()

    @server.handle("who")
    async def who(room: str) -> dict[str, Any]:
        found = await server.everywhere.sockets(room=room)
        return {
            "sockets": len(found),
            "nodes": len({one.node for one in found}),
            "missing": len(found.missing),
            "others": len(server.everywhere.nodes),
        }


def main() -> None:
    address, count = sys.argv[1:]
    workers.run(setup, address, count=int(count), bus=True, bus_heartbeat=200, silent=True)


if __name__ == "__main__":
    main()
