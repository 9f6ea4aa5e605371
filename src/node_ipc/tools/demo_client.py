"""The client of ``node-ipc demo``: says three things, each after the answer to the one before, and leaves.

python -m node_ipc.tools.demo_client SOCKET_ROOT
"""

from __future__ import annotations

import sys
from typing import Any

from ..callbacks import IPC, ipc
from ..core.session import Loss
from .demo_server import report

ORDER = {"item": "tea", "cups": 2, "note": "☕ without sugar"}


def connecting(ipc: IPC) -> None:
    world = ipc.of.world

    def say(type: str, data: Any) -> None:
        report("says", type, data=data)
        world.emit(type, data)

    @world.on("connect")
    def connected() -> None:
        report("connects", "to world", data=str(world.peer))
        say("message", "hello")

    @world.on("*")
    def heard(type: str, data: Any = None) -> None:
        if type in ("message", "bill", "news"):
            report("hears", type, data=data)

    world.on("message", lambda: say("order", ORDER))
    world.on("bill", lambda: say("everybody", "tea is ready"))
    world.on("news", lambda: ipc.disconnect("world"))

    @world.on("disconnect")
    def disconnected(loss: Loss) -> None:
        report("leaves", "world", data=str(loss))


def main() -> None:
    """Talk with the server and end."""
    ipc.config.id = "hello"
    ipc.config.socket_root = sys.argv[1]
    ipc.config.silent = True
    ipc.config.max_retries = 20
    ipc.connect_to("world", connecting)
    ipc.run()


if __name__ == "__main__":
    main()
