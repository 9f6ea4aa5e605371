"""Receives NumPy arrays in events, and answers requests with one. Start this, then send.py, once or many times at once;
it ends when the last sender has gone.

The arrays travel as raw bytes beside the JSON: nothing is written as text, and they are read into the memory where they
stay.
"""

import asyncio
import contextlib

import msgspec
import numpy

import node_ipc


class Frame(msgspec.Struct):
    at: float
    pixels: numpy.ndarray


async def main():
    async with node_ipc.serve("arrays") as server:
        ended = asyncio.Event()

        @server.on("frame")
        def frame(data: Frame, socket):
            print("frame of", data.pixels.shape, data.pixels.dtype, "sum", data.pixels.sum(), flush=True)

        @server.handle("negative")
        def negative(image: numpy.ndarray):
            return 255 - image

        @server.on("close")
        def gone(socket):
            if not server.sockets:
                ended.set()

        print("ready for arrays", flush=True)
        await ended.wait()


with contextlib.suppress(KeyboardInterrupt):
    node_ipc.run(main())
