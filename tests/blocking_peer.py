"""The other process of the blocking front's tests: ``python blocking_peer.py ROLE ADDRESS [OPTIONS]``."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

SIZE, COUNT = 4096, 10_000


def echo(server: Any) -> None:
    """What every server here does."""
    server.on("echo", lambda data, socket: socket.emit("echo", data))
    server.on("close me", lambda data, socket: socket.close())

    @server.handle("add")  # type: ignore[misc,untyped-decorator,unused-ignore]
    def add(params: Any) -> Any:
        return params["a"] + params["b"]


def blocking_server(address: str, options: dict[str, Any]) -> None:
    from node_ipc import blocking

    with blocking.serve(address, **options) as server:
        echo(server)
        server.on("stop", lambda data, socket: server.stop())
        print("at", server.address)
        server.serve_forever()
    print("stopped")


def streaming_server(address: str, options: dict[str, Any]) -> None:
    """Emits everything it has as soon as somebody asks, while that one does the same."""
    from node_ipc import blocking

    with blocking.serve(address, **options) as server:
        came: list[int] = []
        server.on("up", lambda data: came.append(data["n"]))
        asked: list[Any] = []
        server.on("go", lambda data, socket: asked.append(socket))
        print("at", server.address)
        while not asked:
            server.poll(None)
        for n in range(COUNT):
            server.emit(asked[0], "down", {"n": n, "text": "x" * SIZE})
        while len(came) < COUNT:
            server.poll(None)
        print("in order" if came == list(range(COUNT)) else f"out of order: {came[:20]}")
        server.emit(asked[0], "done", len(came))
        while server.sockets:
            server.poll(None)


def asyncio_server(address: str, options: dict[str, Any]) -> None:
    import node_ipc

    async def main() -> None:
        async with node_ipc.serve(address, **options) as server:
            echo(server)
            server.on("stop", lambda data, socket: server.stop())
            print("at", server.address)
            await server.serve_forever()
        print("stopped")

    asyncio.run(main())


def callback_server(address: str, options: dict[str, Any]) -> None:
    from node_ipc import IPC

    ipc = IPC()
    ipc.config.update(silent=True, **options)

    def started() -> None:
        echo(ipc.server)
        ipc.server.on("stop", lambda data, socket: ipc.stop())
        print("at", ipc.server.address)

    ipc.serve(address.removeprefix("unix:"), started)
    ipc.server.start()
    ipc.run()
    print("stopped")


def callback_client(address: str, options: dict[str, Any]) -> None:
    """Says hello, answers requests, and leaves when it is told to."""
    from node_ipc import IPC

    ipc = IPC()
    ipc.config.update(silent=True, **options)

    def connecting(ipc: Any) -> None:
        world = ipc.of.world
        world.on("connect", lambda: world.emit("hello", {"from": "callbacks"}))
        world.on("bye", lambda: ipc.disconnect("world"))
        world.handle("double", lambda n: 2 * n)

    ipc.connect_to("world", address.removeprefix("unix:"), connecting)
    ipc.run()
    print("left")


def relay(address: str, options: dict[str, Any]) -> None:
    """A blocking client that asks what it is asked: one client's answers are another's questions."""
    from node_ipc import blocking

    with blocking.connect(address, wait=True, timeout=30, **options) as client:
        client.emit("ready")
        for event in client:
            if event.type == "stop":
                break
            client.emit("seen", [event.type, event.data])
    print("left")


if __name__ == "__main__":
    role, address, *rest = sys.argv[1:]
    globals()[role](address, json.loads(rest[0]) if rest else {})
