r"""The pipes of this library and a real node-ipc: the same name, the same bytes, both roles.

Without the library's own front: what goes wrong here is the transport's fault.
"""

import asyncio
import json
import os
from typing import Any

from node_ipc.config.address import local_server
from node_ipc.core.seam import Peer
from pipe_ends import listen_pipe, open_pipe

from .node_peer import DEADLINE, NodePeer


class Frames(asyncio.Protocol):
    """Takes a connection's messages apart."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[Any] = asyncio.Queue()
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self._rest = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        *frames, self._rest = (self._rest + data).split(b"\f")
        for frame in frames:
            self.messages.put_nowait(json.loads(frame))

    def connection_lost(self, error: Exception | None) -> None:
        self.lost.set_result(error)

    def emit(self, type: str, data: Any) -> None:
        self.transport.write(json.dumps({"type": type, "data": data}).encode() + b"\f")

    async def next(self) -> Any:
        async with asyncio.timeout(DEADLINE):
            return await self.messages.get()


def node_ipc_name() -> str:
    return f"wire-{os.getpid()}"


def path_of(name: str) -> str:
    address = local_server(name, socket_root="/tmp/", appspace="app.")
    assert str(address) == f"pipe:tmp-app.{name}"
    return rf"\\.\pipe\tmp-app.{name}"


async def test_a_node_client_and_our_pipe() -> None:
    name, clients = node_ipc_name(), asyncio.Queue[Frames]()

    def accept(peer: Peer) -> Frames:
        assert peer.pid not in (None, os.getpid())
        clients.put_nowait(Frames())
        return clients._queue[-1]  # type: ignore[attr-defined,no-any-return]

    listener = listen_pipe(asyncio.get_running_loop(), path_of(name), accept, print)
    async with NodePeer("v9") as node:
        client = await node.open("connectTo", id=name, config={"stopRetrying": True})
        await client.event("connect")
        socket = await clients.get()
        await client.emit("message", {"text": "größer"})
        assert await socket.next() == {"type": "message", "data": {"text": "größer"}}
        socket.emit("message", "x" * 100_000)
        assert (await client.event("message"))["length"] == 100_002
        socket.transport.close()
        await client.event("disconnect")
    listener.close()
    await asyncio.wait((socket.lost,), timeout=DEADLINE)
    assert socket.lost.done(), f"closed, and connection_lost() did not come: {vars(socket.transport)}"


async def test_our_pipe_and_a_node_server() -> None:
    name = node_ipc_name()
    async with NodePeer("v9") as node:
        server = await node.open("serve", config={"id": name, "appspace": "app."}, echo=True)
        client: Frames = await open_pipe(asyncio.get_running_loop(), path_of(name), Frames, DEADLINE)
        await server.event("connect")
        for size in (1, 70_000, 1_000_000):
            client.emit("message", "y" * size)
            assert await client.next() == {"type": "message", "data": "y" * size}
        node.kill()
        async with asyncio.timeout(DEADLINE):
            await client.lost
