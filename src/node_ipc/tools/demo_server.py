"""The server of ``node-ipc demo``: answers, tells everybody, and stops when its client has gone.

python -m node_ipc.tools.demo_server SOCKET_ROOT
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from ..callbacks import ipc
from ..core.server import Server
from ..core.session import Session

ORPHAN_SECONDS = 120.0
"""Whoever started this is gone if nobody has connected and left by then."""


def report(does: str, type: str, **data: Any) -> None:
    """A line for whoever watches."""
    print(json.dumps({"does": does, "type": type, **data}), flush=True)


def started() -> None:
    server: Server = ipc.server

    @server.on("connect")
    def connected(socket: Session) -> None:
        report("accepts", f"socket {socket.id}", data=str(socket.peer))

    @server.on("*")
    def heard(type: str, data: Any = None) -> None:
        if type in ("message", "order", "everybody"):
            report("hears", type, data=data)

    @server.on("message")
    def message(data: Any, socket: Session) -> None:
        answer = f"{data} world!"
        report("says", "message", data=answer)
        server.emit(socket, "message", answer)

    @server.on("order")
    def order(data: Any, socket: Session) -> None:
        bill = {"for": data["item"], "total": data["cups"] * 2.5}
        report("says", "bill", data=bill)
        server.emit(socket, "bill", bill)

    @server.on("everybody")
    def everybody(data: Any) -> None:
        report("broadcasts", "news", data=data)
        server.broadcast("news", data)

    @server.on("socket.disconnected")
    def gone(socket: Session) -> None:
        report("loses", f"socket {socket.id}")
        ipc.stop()

    asyncio.get_running_loop().call_later(ORPHAN_SECONDS, ipc.stop)
    report("listens", "at", data=str(server.address))


def main() -> None:
    """Serve until the first client has gone."""
    ipc.config.id = "world"
    ipc.config.socket_root = sys.argv[1]
    ipc.config.silent = True
    ipc.serve(started)
    ipc.server.start()
    ipc.run()


if __name__ == "__main__":
    main()
