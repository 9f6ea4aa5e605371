"""Only type-checked, never run: what mypy --strict and pyright strict must accept of the public face.

Lines that must be refused carry an ignore for each checker; both report an ignore that is not needed, so each of them
is a test, too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, assert_type

import msgspec

import node_ipc
from node_ipc import (
    IPC,
    AsyncClient,
    AsyncDatagramServer,
    AsyncServer,
    Client,
    Event,
    Raw,
    RemoteError,
    Socket,
    blocking,
    ipc,
)
from node_ipc.blocking import BlockingClient, BlockingServer
from node_ipc.core.outcome import Outcome


class Order(msgspec.Struct):
    item: str
    count: int


order = Event("order", Order)
side = Event("side", Literal["buy", "sell"])
found = Event("found", Order | None)
count = Event("count", Annotated[int, msgspec.Meta(ge=0)])
key = Event("key", int | str)
done = Event("done", None)
orders = Event("orders", list[Order])


def types_that_are_no_classes() -> None:
    assert_type(side, Event[Literal["buy", "sell"]])
    assert_type(found, Event[Order | None])
    assert_type(count, Event[int])
    assert_type(key, Event[int | str])
    assert_type(done, Event[None])
    assert_type(orders, Event[list[Order]])
    assert_type(Event("anything", Any), Event[Any])
    Event("three", 3)  # type: ignore[arg-type]  # pyright: ignore


async def what_is_waited_for(world: AsyncClient, socket: Socket, server: node_ipc.Server) -> None:
    assert_type(await world.receive(side), Literal["buy", "sell"])
    assert_type(await world.receive(found), Order | None)
    assert_type(await world.receive(count), int)
    assert_type(await world.receive("side", type=Literal["buy", "sell"]), Literal["buy", "sell"])
    assert_type(await world.receive("found", type=Order | None, timeout=5), Order | None)
    assert_type(await world.receive("count", type=Annotated[int, msgspec.Meta(ge=0)]), int)
    assert_type(await world.receive("key", type=int | str), int | str)
    assert_type(await world.receive("orders", type=list[Order]), list[Order])
    await world.receive("three", type=3)  # type: ignore[call-overload]  # pyright: ignore
    assert_type(await world.request("find", 1, type=Order | None), Order | None)
    assert_type(await world.request("side", type=Literal["buy", "sell"]), Literal["buy", "sell"])
    assert_type(await world.request(found, None, timeout=5, type=Annotated[int, msgspec.Meta(ge=0)]), int)
    assert_type(await world.request(found, None), Any)
    assert_type(await socket.request(key, "a", type=int | None), int | None)
    assert_type(await socket.request("key", type=Literal[1, 2]), Literal[1, 2])
    assert_type(await server.request(socket, key, 1, type=int | None), int | None)
    assert_type(await server.request(socket, "key", type=Annotated[str, msgspec.Meta(max_length=3)]), str)
    await socket.request(key, 1.5)  # type: ignore[misc]  # pyright: ignore
    world.emit(side, "sell")
    world.emit(found, None)
    world.emit(side, "give")  # type: ignore[misc]  # pyright: ignore

    @world.on(found)
    def hear(data: Order | None) -> None: ...

    @world.on(found)  # type: ignore[arg-type]  # pyright: ignore
    def misfit(data: Order) -> None: ...


def what_is_waited_for_in_a_thread(world: BlockingClient, server: BlockingServer, socket: Socket) -> None:
    assert_type(world.receive(side, timeout=5), Literal["buy", "sell"])
    assert_type(world.receive("found", type=Order | None), Order | None)
    assert_type(world.receive("count", type=Annotated[int, msgspec.Meta(ge=0)]), int)
    assert_type(world.receive("anything"), Any)
    assert_type(world.request("find", 1, type=Order | None), Order | None)
    assert_type(world.request(found, None, type=Literal["buy", "sell"]), Literal["buy", "sell"])
    assert_type(world.request(found, None), Any)
    assert_type(server.request(socket, "find", type=Order | None), Order | None)
    assert_type(server.request(socket, found, None, type=int), int)
    assert_type(server.request_all("find", type=int | None), dict[blocking.Socket, int | Exception | None])


async def asyncio_front() -> None:
    async with node_ipc.connect("world", timeout=1, retry=100) as world:
        assert_type(world.emit("message", "hello"), bool)
        world.emit(order, Order("tea", 2))
        world.emit(order, "tea")  # type: ignore[misc]  # pyright: ignore
        world.emit(order)  # type: ignore[call-overload]  # pyright: ignore
        world.emit(order, Order("tea", 2), keep="latest")
        world.emit(node_ipc.Event("frame", Order, keep="latest"), Order("tea", 2))
        node_ipc.Event("frame", Order, keep="last")  # type: ignore[arg-type]  # pyright: ignore
        world.emit("message", "hello", keep="last")  # type: ignore[call-overload]  # pyright: ignore
        assert_type(await world.receive(order), Order)
        assert_type(await world.receive("order", type=Order, timeout=5), Order)
        assert_type(await world.receive("anything"), Any)
        print((await world.receive(order)).price)  # type: ignore[attr-defined]  # pyright: ignore
        assert_type(await world.request("add", {"a": 1}, type=int), int)
        assert_type(await world.request(order, Order("tea", 2), type=str), str)
        assert_type(await world.request("add"), Any)
        await world.request(order, "tea")  # type: ignore[misc]  # pyright: ignore
        async for event in world:
            assert_type(event.type, str)
        await world.drain()
        await world.close(timeout=1)
        world.close(1, 2)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def right(data: Order, socket: Socket) -> None: ...
def fewer(data: Order) -> None: ...
def none() -> None: ...
def wrong(data: int) -> None: ...
def wrong_socket(data: Order, socket: int) -> None: ...
def too_many(data: Order, socket: Socket, more: int) -> None: ...


def handlers_of_a_server(server: node_ipc.Server) -> None:
    server.on(order, right)
    server.on(order, fewer)
    server.on(order, none)
    server.on(order, wrong)  # type: ignore[arg-type]  # pyright: ignore
    server.on(order, wrong_socket)  # type: ignore[arg-type]  # pyright: ignore
    server.on(order, too_many)  # type: ignore[arg-type]  # pyright: ignore
    server.once(order, right)
    server.once(order, wrong)  # type: ignore[arg-type]  # pyright: ignore
    server.on(order, lambda data, socket: socket.emit(order, data))

    @server.on(order)
    def ordered(data: Order, socket: Socket) -> int:
        socket.emit(order, data)
        socket.emit("reply", {"count": data.count})
        socket.emit(order, "tea")  # type: ignore[misc]  # pyright: ignore
        return data.count

    assert_type(ordered(Order("tea", 2), server.sockets[0]), int)

    @server.on(order)
    async def slowly(data: Order) -> None: ...

    @server.on(order)  # type: ignore[arg-type]  # pyright: ignore
    def misfit(data: int) -> None: ...

    @server.on("relay")
    def relay(data: Raw) -> None:
        server.broadcast("relay", data)

    @server.on("order", type=Order)
    def named(data: Order, socket: Socket) -> None: ...

    assert_type(server.sockets, list[Socket])


def handlers_of_a_client(client: node_ipc.Client) -> None:
    client.on(order, fewer)
    client.once(order, none)
    client.on(order, right)  # type: ignore[arg-type]  # pyright: ignore
    client.on(order, wrong)  # type: ignore[arg-type]  # pyright: ignore

    @client.on(order)
    def ordered(data: Order) -> None: ...

    @client.once(order)  # type: ignore[arg-type]  # pyright: ignore
    def misfit(data: int) -> None: ...

    client.emit(b"raw bytes")
    client.emit([1, 2, 3])


def handlers_of_a_udp_port(port: node_ipc.DatagramServer) -> None:
    @port.on(order)
    def ordered(data: Order, socket: node_ipc.DatagramPeer) -> None:
        socket.emit(order, data)

    port.on(order, right)  # type: ignore[arg-type]  # pyright: ignore
    port.emit(("127.0.0.1", 8000), order, Order("tea", 2))
    port.emit(("127.0.0.1", 8000), order, 2)  # type: ignore[misc]  # pyright: ignore
    port.emit(("127.0.0.1", 8000), order, Order("tea", 2), keep="latest")
    port.broadcast(order, Order("tea", 2))


async def requests(server: node_ipc.Server, socket: Socket) -> None:
    @server.handle("add")
    async def add(params: Order) -> int:
        return params.count

    @server.handle(order)
    def ordered(params: Order, socket: Socket) -> str:
        return params.item

    @server.handle(order)  # type: ignore[arg-type]  # pyright: ignore
    def misfit(params: int) -> None: ...

    @server.handle(order)
    async def reported(data: Order, socket: Socket, request: node_ipc.Request) -> str:
        assert_type(request.progress(1), bool)
        return data.item

    def told(data: Order, socket: Socket, request: node_ipc.Request) -> str:
        return data.item

    assert_type(server.handle(order, told), Callable[[Order, Socket, node_ipc.Request], str])
    server.handle(order, fewer)
    server.handle(order, wrong)  # type: ignore[arg-type]  # pyright: ignore
    assert_type(await server.request(socket, order, Order("tea", 2), type=int), int)
    assert_type(await server.request(socket, "add"), Any)
    assert_type(await socket.request("add", 1, type=int), int)
    await server.request(socket, order, 1)  # type: ignore[misc]  # pyright: ignore
    await socket.request(order, 1)  # type: ignore[misc]  # pyright: ignore
    assert_type(await server.request_all("add"), dict[Socket, Any | Exception])
    assert_type(await server.request_all("add", type=int), dict[Socket, int | Exception])
    assert_type(await server.request_all(order, Order("tea", 2), type=int | None), dict[Socket, int | Exception | None])
    await server.request_all(order, "tea")  # type: ignore[misc]  # pyright: ignore
    server.emit(socket, order, Order("tea", 2))
    server.emit(socket, order, 2)  # type: ignore[misc]  # pyright: ignore
    server.broadcast(order, Order("tea", 2), exclude=[socket])
    server.broadcast(order, 2)  # type: ignore[misc]  # pyright: ignore
    socket.join("a", "b")
    assert_type(socket.rooms, frozenset[str])
    assert_type(server.to("a").except_(socket, "b").emit(order, Order("tea", 2)), bool)
    server.to("a").emit(order, 2)  # type: ignore[misc]  # pyright: ignore
    server.to("a").emit(order, Order("tea", 2), keep="latest")
    server.broadcast("frame", b"", keep="latest")
    server.emit(socket, "frame", keep="first")  # type: ignore[call-overload]  # pyright: ignore
    assert_type(server.rooms["a"], list[Socket])
    server.emit("order", Order("tea", 2))  # type: ignore[call-overload]  # pyright: ignore


def an_answer_that_is_an_error(error: RemoteError) -> None:
    assert_type(error.code, int)


def callback_front() -> None:
    ipc.config.retry = 100
    another = IPC()
    another.connect_to("world", lambda: None)
    assert_type(another.connect_to("world"), Outcome[Client])
    assert_type(another.connect_to_net("world", 8000), Outcome[Client])
    another.serve_net(8000, "udp4", lambda: None)
    another.run(loop="auto")


def blocking_front() -> None:
    with blocking.connect("world", timeout=5) as world:
        world.emit("message", "hello")
        world.on(order, fewer)
        world.on(order, right)  # type: ignore[arg-type]  # pyright: ignore
        assert_type(world.receive(order, timeout=5), Order)
        assert_type(world.receive("order", type=Order), Order)
        assert_type(world.request("add", {"a": 1}, timeout=5, type=int), int)
        assert_type(world.request(order, Order("tea", 2), type=int), int)
        world.request(order, "tea")  # type: ignore[misc]  # pyright: ignore
        for event in world:
            assert_type(event, node_ipc.Received)


async def what_the_asyncio_front_gives() -> None:
    assert_type(await node_ipc.connect("world"), AsyncClient)
    assert_type(await node_ipc.serve("world"), AsyncServer)
    assert_type(await node_ipc.serve_udp("127.0.0.1:8000"), AsyncDatagramServer)
    async with node_ipc.connect("world") as client:
        assert_type(client, AsyncClient)
        client.emitt("message")  # type: ignore[attr-defined]  # pyright: ignore
        client.requests_all("add")  # type: ignore[attr-defined]  # pyright: ignore
    async with node_ipc.serve("world", backlog=5) as server:
        assert_type(server, AsyncServer)
        assert_type(server.port, int)
        server.broadcats("message")  # type: ignore[attr-defined]  # pyright: ignore
        server.emit(("127.0.0.1", 8000), "message")  # type: ignore[call-overload]  # pyright: ignore

        @server.on("message")
        def message(data: str, socket: Socket) -> None:
            socket.emit("reply", data)
            socket.emitt("reply", data)  # type: ignore[attr-defined]  # pyright: ignore

        await server.serve_forever()
    async with node_ipc.serve_udp(("127.0.0.1", 0), udp_peer_ttl=1000) as port:
        assert_type(port, AsyncDatagramServer)
        port.emit(("127.0.0.1", port.port), order, Order("tea", 2))
        port.braodcast("message")  # type: ignore[attr-defined]  # pyright: ignore
        port.request("add")  # type: ignore[attr-defined]  # pyright: ignore
    node_ipc.serve_udp("world", tls=True, timeout=5)
    node_ipc.serve_udp(8000)  # type: ignore[arg-type]  # pyright: ignore


def what_the_blocking_front_gives() -> None:
    with blocking.connect("world") as client:
        assert_type(client, blocking.Client)
        client.emitt("message")  # type: ignore[attr-defined]  # pyright: ignore
        assert_type(client.close(), None)
    with blocking.serve("world") as server:
        assert_type(server, blocking.Server)
        assert_type(server.port, int)
        server.broadcats("message")  # type: ignore[attr-defined]  # pyright: ignore

        @server.on("message")
        def message(data: str, socket: Socket) -> None: ...

        server.serve_forever()
    with blocking.serve_udp("127.0.0.1:0") as port:
        assert_type(port, blocking.DatagramServer)
        port.emit({"address": "127.0.0.1", "port": port.port}, "message")
        port.braodcast("message")  # type: ignore[attr-defined]  # pyright: ignore
        assert_type(port.poll(), bool)
    for client in blocking.reconnect("world"):
        client.emitt("message")  # type: ignore[attr-defined]  # pyright: ignore


def what_the_callback_front_gives() -> None:
    another = IPC()
    another.serve(lambda: None)
    assert_type(another.server, node_ipc.Server)

    @another.server.on("message")
    def message(data: str, socket: Socket) -> None:
        another.server.broadcast("reply", data, exclude=[socket])

    another.server.broadcats("message")  # type: ignore[attr-defined]  # pyright: ignore
    another.of.world.emitt("message")  # type: ignore[attr-defined]  # pyright: ignore
    another.of["world"].emitt("message")  # type: ignore[attr-defined]  # pyright: ignore
    another.serveNet(8000)  # type: ignore[attr-defined]  # pyright: ignore
    port = another.serve_udp("127.0.0.1", 8000)
    assert_type(port, node_ipc.DatagramServer)
    port.emit(("127.0.0.1", 8001), "message", 1)
    port.braodcast("message")  # type: ignore[attr-defined]  # pyright: ignore


def names_that_no_module_has() -> None:
    node_ipc.conect("world")  # type: ignore[attr-defined]  # pyright: ignore
    blocking.serv("world")  # type: ignore[attr-defined]  # pyright: ignore


def what_is_emitted_and_answered_on_the_blocking_front(
    client: blocking.Client, server: blocking.Server, socket: blocking.Socket
) -> None:
    client.emit(order, Order("tea", 2))
    client.emit(b"raw bytes")
    client.emit(order, "tea")  # type: ignore[misc]  # pyright: ignore
    client.emit(order)  # type: ignore[call-overload]  # pyright: ignore
    server.emit(socket, order, Order("tea", 2))
    server.emit(socket, b"raw bytes")
    server.emit(socket, order, "tea")  # type: ignore[misc]  # pyright: ignore
    server.emit("message", "tea")  # type: ignore[call-overload]  # pyright: ignore
    assert_type(socket.request("find", type=Order | None), Order | None)
    assert_type(socket.request(found, None), Any)
    socket.request(order, "tea")  # type: ignore[misc]  # pyright: ignore
    assert_type(server.sockets, list[blocking.Socket])
    assert_type(server.rooms["a"], list[blocking.Socket])
    assert_type(server.to("a").except_(socket).sockets, list[blocking.Socket])

    @server.handle(order)
    def asked_back(params: Order, socket: blocking.Socket) -> int:
        return assert_type(socket.request("price", type=int), int)

    @server.on(order)
    def heard(data: Order, socket: blocking.Socket) -> None:
        socket.emit(order, data)


def whole(params: Order, socket: Socket, request: node_ipc.Request) -> None: ...
def wrong_request(params: Order, socket: Socket, request: int) -> None: ...


def what_handlers_of_requests_take(client: Client, server: node_ipc.Server) -> None:
    server.handle(order, whole)
    server.handle(order, wrong_request)  # type: ignore[arg-type]  # pyright: ignore

    @client.handle(order)
    def told(params: Order, socket: Socket, request: node_ipc.Request) -> None:
        request.progress(params.count)

    @client.handle(order)  # type: ignore[arg-type]  # pyright: ignore
    def misfit(params: Order, socket: Socket, request: int) -> None: ...
