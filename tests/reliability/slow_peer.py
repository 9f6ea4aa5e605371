"""A peer whose handlers take 2 ms a message, to be killed: a server, or a client; it writes down what it heard.

Run as ``slow_peer.py FRONT ROLE ADDRESS LOG`` with the options of its config as JSON on the standard input.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from typing import Any

import node_ipc
from node_ipc import Config, blocking

FRONT, ROLE, ADDRESS, LOG = sys.argv[1:]
LINES = os.open(LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
CONFIG = Config(silent=True, retry=20, max_connections=1000, **json.load(sys.stdin))


def heard(data: Any, *_: Any) -> None:
    time.sleep(0.002)
    os.write(LINES, f"{data[0]} {data[1]}\n".encode())


def ready(address: Any = "") -> None:
    os.write(1, f"{address}\n".encode())


async def main() -> None:
    if ROLE == "server":
        async with node_ipc.serve(ADDRESS, config=CONFIG) as server:
            server.on("number", heard)
            ready(server.address)
            await asyncio.Event().wait()
    async with node_ipc.connect(ADDRESS, config=CONFIG) as client:
        client.on("number", heard)
        ready()
        await asyncio.Event().wait()


def blocking_main() -> None:
    if ROLE == "server":
        with blocking.serve(ADDRESS, config=CONFIG) as server:
            server.on("number", heard)
            ready(server.address)
            server.serve_forever()
    with blocking.connect(ADDRESS, config=CONFIG) as client:
        client.on("number", heard)
        ready()
        while True:
            client.poll(1)


if FRONT == "blocking":
    blocking_main()
else:
    node_ipc.run(main())
