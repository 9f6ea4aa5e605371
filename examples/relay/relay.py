"""Passes every "measurement" on to everybody else, and never looks inside: the payload stays bytes.

Start this, then as many sources and listeners as you like: `node-ipc listen`, or your own.
"""

import contextlib

import node_ipc
from node_ipc import Raw, Socket


async def main():
    async with node_ipc.serve("relay") as server:

        @server.on("measurement")
        def measurement(data: Raw, socket: Socket):
            server.broadcast("measurement", data, exclude=[socket])

        print("the relay is ready", flush=True)
        await server.serve_forever()


with contextlib.suppress(KeyboardInterrupt):
    node_ipc.run(main())
