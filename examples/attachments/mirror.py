"""Turns pictures round: `python mirror.py`. With `ask` it has mirror.mjs, which is node-ipc 14, turn one.

Bytes are emitted as any other data. The first message asks the other end whether it can read them beside the JSON; from
its answer on they go so, raw, in both directions.
"""

import contextlib
import sys

import msgspec

import node_ipc

SIZES = {"max_message_size": 64 * 1024 * 1024, "max_pending_bytes": 64 * 1024 * 1024}


class Picture(msgspec.Struct):
    name: str
    pixels: node_ipc.Bytes


class Mirrored(msgspec.Struct):
    name: str
    raw: bool
    pixels: node_ipc.Bytes


async def serve():
    async with node_ipc.serve("mirror", **SIZES) as server:

        @server.on("picture")
        def picture(data: Picture, socket):
            socket.emit("mirrored", {"name": data.name, "raw": True, "pixels": bytes(data.pixels)[::-1]})

        print("ready", flush=True)
        await server.serve_forever()


async def ask():
    pixels = bytes(number % 251 for number in range(1024)) * 4096
    async with node_ipc.connect("mirror", timeout=10, **SIZES) as mirror:
        for number in range(4):
            mirror.emit("picture", {"name": f"number {number + 1}", "pixels": pixels})
            mirrored = await mirror.receive("mirrored", type=Mirrored, timeout=20)
            right = bytes(mirrored.pixels)[::-1] == pixels
            print(f"{mirrored.name}: {'right' if right else 'wrong'}, raw there {mirrored.raw}", flush=True)


with contextlib.suppress(KeyboardInterrupt):
    node_ipc.run(ask() if sys.argv[1:2] == ["ask"] else serve())
