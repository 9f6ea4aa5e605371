"""A daemon that keeps a to-do list: command.py talks to it. Ctrl-C, or `command.py stop`, ends it."""

import contextlib

import node_ipc


async def main():
    items = []
    async with node_ipc.serve("todo") as server:

        @server.handle("add")
        def add(text: str):
            items.append(text)
            server.broadcast("changed", items)
            return len(items)

        @server.handle("list")
        def list_items():
            return items

        @server.handle("stop")
        def stop():
            server.stop()  # its answer goes out first

        print("the daemon is ready", flush=True)
        await server.serve_forever()


with contextlib.suppress(KeyboardInterrupt):
    node_ipc.run(main())
