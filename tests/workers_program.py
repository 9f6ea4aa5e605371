"""Workers for the tests of ``node_ipc.scale.workers``: each answers, crashes, hangs or leaves, as it is told.

    python workers_program.py ADDRESS COUNT OPTIONS [SETUP]

ADDRESS may also be "inherited", the service manager's sockets, "bound", one of this program's on every address, or a
JSON list of several.
OPTIONS are options of the configuration, as JSON; "tls" and "loop" may be among them. SETUP is what goes wrong at
the start: "raises", "one raises" (the first that comes, while the others are still at it), "own" (raises a
BaseException of its own), or "dies" (once it serves).
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import sys
import time
from functools import partial
from typing import Any

import node_ipc
from node_ipc.scale import workers

say = partial(print, flush=True)  # in one piece: the lines of several processes do not mix
address, count, options, *trouble = sys.argv[1:]
chance, place_of_chance = os.pipe()
os.set_blocking(chance, False)
os.write(place_of_chance, b"1")  # for one process, whichever reads it


class Own(BaseException):
    """Nothing that ``except Exception`` would catch."""


def is_first() -> bool:
    try:
        return bool(os.read(chance, 1))
    except BlockingIOError:
        return False


async def setup(server: node_ipc.AsyncServer) -> None:
    await asyncio.sleep(0)
    if trouble == ["raises"]:
        raise LookupError("no such database")
    if trouble == ["own"]:
        raise Own("over\x1b[31m\nERROR forged")
    if trouble == ["one raises"]:
        if is_first():
            raise LookupError("no such database")
        await asyncio.sleep(0.5)

    @server.on("start")
    def started() -> None:
        say(f"serving {server.address} {os.getpid()}")
        if trouble == ["dies"]:
            os._exit(7)

    @server.on("who")
    def who(data: Any, socket: Any) -> None:
        server.emit(socket, "pid", os.getpid())

    @server.on("many")
    def many(data: int, socket: Any) -> None:
        for number in range(data):
            socket.emit("number", number)
        say("emitted")

    @server.on("spread")
    def spread() -> None:
        server.broadcast("spread", os.getpid())

    @server.on("later")
    async def later(data: Any, socket: Any) -> None:
        say("begun")
        try:
            await asyncio.sleep(0.3)
        finally:
            say("handler ended")

    @server.on("hang")
    def hang() -> None:
        say("hanging")
        time.sleep(60)

    @server.on("leave")
    def leave() -> None:
        server.stop()


def place() -> Any:
    if address == "inherited":
        return node_ipc.systemd_sockets()
    if address.startswith("["):
        return json.loads(address)
    return socket.create_server(("0.0.0.0", 0)) if address == "bound" else address


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)]
    workers.run(setup, place(), count=int(count), **json.loads(options))
    assert before == [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)]
    say("run has returned")


if __name__ == "__main__":
    main()
