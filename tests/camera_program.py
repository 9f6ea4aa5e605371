"""A camera as a process of its own: ``python camera_program.py FRONT ADDRESS PAYLOAD TIMES``.

It emits thirty frames a second and notes when: the file TIMES has a double for each, written before it is emitted.
"""

from __future__ import annotations

import asyncio
import os
import struct
import sys
import time
from collections.abc import Callable
from itertools import count
from typing import Any

import numpy

SECONDS = 1 / 30


def filming(broadcast: Callable[..., Any]) -> Callable[[], None]:
    """What emits the next frame."""
    payload, path = sys.argv[3:]
    times = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0))
    pixels = numpy.zeros((480, 640, 3), "uint8") if payload == "array" else "x" * 480 * 640 * 3
    numbers = count()

    def film() -> None:
        os.write(times, struct.pack("d", time.monotonic()))
        broadcast("frame", {"number": next(numbers), "pixels": pixels}, keep="latest")

    return film


async def film_on(film: Callable[[], None]) -> None:
    while True:
        film()
        await asyncio.sleep(SECONDS)


async def of_asyncio(address: str) -> None:
    import node_ipc

    async with node_ipc.serve(address) as server:
        print("films")
        await film_on(filming(server.broadcast))


async def of_callbacks(address: str) -> None:
    from node_ipc import IPC

    ipc = IPC()
    ipc.config.silent = True
    ipc.serve(address)
    await ipc.server.start()
    print("films")
    await film_on(filming(ipc.server.broadcast))


def of_blocking(address: str) -> None:
    from node_ipc import blocking

    with blocking.serve(address) as server:
        print("films")
        film = filming(server.broadcast)
        while True:
            film()
            server.poll(SECONDS)  # which ends as soon as anything has happened


if __name__ == "__main__":
    front, address = sys.argv[1:3]
    if front == "blocking":
        of_blocking(address)
    else:
        asyncio.run(of_asyncio(address) if front == "asyncio" else of_callbacks(address))
