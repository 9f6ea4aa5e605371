"""UDP on the Proactor loop: with itself, and with a real node-ipc in both roles."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

import node_ipc
from node_ipc import AddressError, AddressInUse, DatagramPeer, ProtocolError

from .node_peer import DEADLINE, NodePeer

LOOPBACK = {"udp4": "127.0.0.1", "udp6": "::1"}
every_family = pytest.mark.parametrize("family", LOOPBACK)


class End:
    """A bound port of this library, and what it heard."""

    def __init__(self, server: Any) -> None:
        self.server = server
        self.place: tuple[str, int] = (server.address.host, server.address.port)
        self._heard: asyncio.Queue[tuple[Any, DatagramPeer]] = asyncio.Queue()
        self._faults: asyncio.Queue[Any] = asyncio.Queue()
        event = "data" if server.settings.raw_buffer else "message"
        server.on(event, lambda data, socket: self._heard.put_nowait((data, socket)))
        server.on("error", self._faults.put_nowait)

    async def hear(self) -> tuple[Any, DatagramPeer]:
        async with asyncio.timeout(DEADLINE):
            return await self._heard.get()

    async def fault(self) -> Any:
        async with asyncio.timeout(DEADLINE):
            return await self._faults.get()


@asynccontextmanager
async def bound(family: str = "udp4", port: int = 0, **options: Any) -> AsyncIterator[End]:
    host = "[::1]" if family == "udp6" else "127.0.0.1"
    async with node_ipc.serve(f"{family}://{host}:{port}", **options) as server:
        yield End(server)


def free_port() -> int:
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@every_family
async def test_hello_is_answered(family: str) -> None:
    assert type(asyncio.get_running_loop()).__name__ == "ProactorEventLoop"
    async with bound(family) as world, bound(family) as hello:
        world.server.on("message", lambda data, socket: socket.emit("message", f"{data} world!"))
        for host in (world.place[0], "localhost"):
            hello.server.emit((host, world.place[1]), "message", "hello")
            data, socket = await hello.hear()
            assert data == "hello world!"
            assert (socket.address, socket.port) == world.place


@every_family
async def test_a_thousand_arrive_in_order(family: str) -> None:
    async with bound(family) as world, bound(family) as hello:
        world.server.on("message", lambda data, socket: socket.emit("message", data))
        for start in range(0, 1000, 20):
            for number in range(start, start + 20):
                hello.server.emit(world.place, "message", number)
            assert [(await hello.hear())[0] for _ in range(20)] == list(range(start, start + 20))


async def test_the_largest_datagram_and_every_byte() -> None:
    async with bound(raw_buffer=True) as world, bound(raw_buffer=True) as hello:
        for data in (bytes(range(256)), b"x" * 65_507):
            hello.server.emit(world.place, data)
            assert (await world.hear())[0] == data


async def test_a_port_in_use_is_refused() -> None:
    async with bound() as world:
        with pytest.raises(AddressInUse):
            async with bound(port=world.place[1]):
                pass


async def test_a_name_that_nobody_knows_is_an_error_event() -> None:
    async with bound() as hello:
        hello.server.emit(("nobody.invalid", 4711), "message")
        assert isinstance(await hello.fault(), AddressError)


async def test_a_port_goes_on_after_it_sent_to_nobody_and_heard_junk() -> None:
    """Windows reports ICMP's "port unreachable" at a later call, which must not end the reading."""
    async with bound() as world, bound() as hello:
        for number in range(3):
            world.server.emit(("127.0.0.1", free_port()), "message")
            hello.server.emit(world.place, "message", number)
            assert (await world.hear())[0] == number
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.sendto(b"junk", world.place)
        while not isinstance(await world.fault(), ProtocolError):
            pass
        hello.server.emit(world.place, "message", "end")
        assert (await world.hear())[0] == "end"


async def test_a_port_can_be_bound_again_after_it_was_stopped() -> None:
    async with bound() as world:
        place = world.place
    async with bound(port=place[1]) as world, bound() as hello:
        hello.server.emit(place, "message", 1)
        assert (await world.hear())[0] == 1


@every_family
async def test_a_real_node_answers_and_asks(family: str, version: str) -> None:
    host = LOOPBACK[family]
    async with NodePeer(version) as node, bound(family) as here:
        port = free_port()
        end = await node.open("serveNet", where=[host, port, family], echo=True)
        here.server.emit({"address": host, "port": port}, "message", {"form\ffeed": "\f", "n": [1, None, "é"]})
        data, socket = await here.hear()
        assert data == {"form\ffeed": "\f", "n": [1, None, "é"]}
        assert (socket.address, socket.port) == (host, port)
        await end.ask("emit", type="message", data="from node", peer={"address": host, "port": here.place[1]})
        assert (await here.hear())[0] == "from node"
