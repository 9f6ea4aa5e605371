"""Only type-checked, never run: what mypy --strict and pyright strict must accept of the public face.

Lines that must be refused carry an ignore with its code; both checkers report an ignore that is not needed, so each
of them is a test, too.
"""

from __future__ import annotations

from typing import Any, assert_type

import msgspec

import node_ipc
from node_ipc import IPC, Event, Raw, Socket, blocking, ipc


class Order(msgspec.Struct):
    item: str
    count: int


order = Event("order", Order)


async def asyncio_front() -> None:
    async with node_ipc.connect("world", timeout=1, retry=100) as world:
        assert_type(world.emit("message", "hello"), bool)
        world.emit(order, Order("tea", 2))
        world.emit(order, "tea")  # type: ignore[misc]  # pyright: ignore[reportArgumentType, reportCallIssue]
        assert_type(await world.receive(order), Order)
        assert_type(await world.receive("order", type=Order, timeout=5), Order)
        assert_type(await world.receive("anything"), Any)
        assert_type(await world.request("add", {"a": 1}, type=int), int)
        assert_type(await world.request(order, Order("tea", 2), type=str), str)
        assert_type(await world.request("add"), Any)
        async for event in world:
            assert_type(event.type, str)
        await world.drain()
        await world.close(timeout=1)


def handlers(server: node_ipc.Server, client: node_ipc.Client) -> None:
    @server.on("order")
    def ordered(data: Order, socket: Socket) -> None:
        socket.emit(order, data)
        socket.emit("reply", {"count": data.count})

    @server.on("relay")
    def relay(data: Raw) -> None:
        server.broadcast("relay", data)

    def right(data: Order, socket: Socket) -> None: ...

    def fewer(data: Order) -> None: ...

    def none() -> None: ...

    def wrong(data: int) -> None: ...

    server.on(order, right)
    server.on(order, fewer)
    server.on(order, none)
    server.on(order, wrong)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]
    client.on(order, fewer)
    client.once(order, none)

    @server.handle("add")
    async def add(params: Order) -> int:
        return params.count

    assert_type(server.sockets, list[Socket])
    client.emit(b"raw bytes")
    client.emit([1, 2, 3])


def callback_front() -> None:
    ipc.config.retry = 100
    another = IPC()
    another.connect_to("world", lambda: None)
    another.serve_net(8000, "udp4", lambda: None)
    another.run(loop="auto")


def blocking_front() -> None:
    with blocking.connect("world", timeout=5) as world:
        world.emit("message", "hello")
        assert_type(world.receive(order, timeout=5), Order)
        assert_type(world.request("add", {"a": 1}, timeout=5, type=int), int)
