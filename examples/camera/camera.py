"""A camera that sends 50 frames a second to whoever looks. Start this, then viewer.py; Ctrl-C ends it.

A viewer that is slower gets fewer frames: the newest takes the place of the one that still waits for it, so one waits
at most. It is not cut off for that, and holds nobody up.
"""

import asyncio
import contextlib
import time

import msgspec

import node_ipc


class Frame(msgspec.Struct):
    number: int
    taken_at: float
    pixels: bytes  # between two Python ends raw, beside the JSON


async def main():
    async with node_ipc.serve("camera") as server:
        print("the camera is ready", flush=True)
        number = 0
        while True:
            number += 1
            server.broadcast("frame", Frame(number, time.time(), bytes(200_000)), keep="latest")
            await asyncio.sleep(1 / 50)


with contextlib.suppress(KeyboardInterrupt):
    node_ipc.run(main())
