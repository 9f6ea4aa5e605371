r"""The library's front on named pipes: with itself, and with a real node-ipc in both roles."""

import asyncio
import itertools
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from node_ipc import IPC, ConnectError, blocking, runtime_socket_root
from node_ipc.core.seam import Peer

from .node_peer import DEADLINE, NodePeer

_numbers = itertools.count()


@pytest.fixture
def name() -> str:
    """An id that nobody else uses."""
    return f"front-{os.getpid()}-{next(_numbers)}"


class Ears:
    """Handlers that keep what they hear."""

    def __init__(self, endpoint: Any, *types: str) -> None:
        self._heard = {type: asyncio.Queue[tuple[Any, ...]]() for type in types}
        for type, queue in self._heard.items():
            endpoint.on(type, self._keeper(queue))

    @staticmethod
    def _keeper(queue: "asyncio.Queue[tuple[Any, ...]]") -> Any:
        def keep(first: Any = None, socket: Any = None) -> None:
            queue.put_nowait((first, socket))

        return keep

    async def hear(self, type: str) -> tuple[Any, Any]:
        async with asyncio.timeout(DEADLINE):
            first, second = await self._heard[type].get()
            return first, second


@pytest.fixture
async def ipcs() -> AsyncIterator[Any]:
    """Makes instances, and stops them at the end."""
    made: list[IPC] = []

    def make(**options: Any) -> IPC:
        ipc = IPC()
        for option, value in {"silent": True, "retry": 50, **options}.items():
            setattr(ipc.config, option, value)
        made.append(ipc)
        return ipc

    yield make
    for ipc in made:
        async with asyncio.timeout(DEADLINE):
            await ipc.stop()


async def served(ipc: IPC) -> Any:
    ipc.serve()
    async with asyncio.timeout(DEADLINE):
        await ipc.server.start()
    return ipc.server


# --- with itself -----------------------------------------------------------------


async def test_there_and_back(ipcs: Any, name: str) -> None:
    server = await served(ipcs(id=name))
    assert str(server.address) == f"pipe:tmp-app.{name}"
    server.on("message", lambda data, socket: socket.emit("message", f"{data} world!"))
    ipc = ipcs()
    ipc.connect_to(name)
    ears = Ears(ipc.of[name], "message", "disconnect")
    ipc.of[name].emit("message", "hello")
    assert await ears.hear("message") == ("hello world!", None)
    assert server.sockets[0].peer == Peer("pipe", pid=os.getpid())
    ipc.disconnect(name)
    await ears.hear("disconnect")


async def test_a_full_path_is_taken_as_it_is(ipcs: Any, name: str) -> None:
    ipc, path = ipcs(), rf"\\.\pipe\{name}"
    ipc.serve(path)
    heard = Ears(ipc.server, "message")
    await ipc.server.start()
    ipc.connect_to("other", path)
    ipc.of.other.emit("message", 1)
    assert (await heard.hear("message"))[0] == 1


async def test_4_mib_in_one_message(ipcs: Any, name: str) -> None:
    server = await served(ipcs(id=name))
    server.on("message", lambda data, socket: socket.emit("message", data))
    ipc, text = ipcs(), "é" * (1 << 21)
    ipc.connect_to(name)
    ears = Ears(ipc.of[name], "message")
    ipc.of[name].emit("message", text)
    assert (await ears.hear("message"))[0] == text


async def test_50_clients_and_a_broadcast(ipcs: Any, name: str) -> None:
    server = await served(ipcs(id=name))
    heard = Ears(server, "message")
    ears = []
    for number in range(50):
        ipc = ipcs()
        ipc.connect_to(name)
        ears.append(Ears(ipc.of[name], "message"))
        ipc.of[name].emit("message", number)
    assert sorted([(await heard.hear("message"))[0] for _ in range(50)]) == list(range(50))
    server.broadcast("message", "to all")
    for ear in ears:
        assert await ear.hear("message") == ("to all", None)


async def test_what_was_emitted_before_disconnect_arrives(ipcs: Any, name: str) -> None:
    server = await served(ipcs(id=name))
    heard = Ears(server, "message")
    ipc = ipcs()
    async with asyncio.timeout(DEADLINE):
        await ipc.connect_to(name)
    for number in range(500):
        ipc.of[name].emit("message", {"number": number, "text": "x" * 2000})
    ipc.disconnect(name)
    for number in range(500):
        assert (await heard.hear("message"))[0]["number"] == number


async def test_what_a_server_emitted_before_stop_arrives(ipcs: Any, name: str) -> None:
    ipc = ipcs(id=name)
    server = await served(ipc)
    client = ipcs(stop_retrying=True)
    client.connect_to(name)
    ears = Ears(client.of[name], "message", "connect")
    await ears.hear("connect")
    while not server.sockets:
        await asyncio.sleep(0)
    for number in range(500):
        server.broadcast("message", {"number": number, "text": "x" * 2000})
    server.stop()
    for number in range(500):
        assert (await ears.hear("message"))[0]["number"] == number


async def test_no_server_is_tried_again_until_there_is_one(ipcs: Any, name: str) -> None:
    ipc = ipcs()
    ipc.connect_to(name)
    ears = Ears(ipc.of[name], "error", "connect")
    error, _ = await ears.hear("error")
    assert isinstance(error, ConnectError) and isinstance(error.__cause__, FileNotFoundError)
    await served(ipcs(id=name))
    await ears.hear("connect")


async def test_no_server_and_no_retry(ipcs: Any, name: str) -> None:
    ipc = ipcs(stop_retrying=True)
    with pytest.raises(ConnectError):
        await ipc.connect_to(name)


SERVER = """
import sys
from node_ipc import ipc
ipc.config.id = sys.argv[1]
ipc.config.silent = True

def started():
    ipc.server.on("message", lambda data, socket: ipc.server.emit(socket, "message", data))
    print("ready", flush=True)

ipc.serve(started)
ipc.server.start()
ipc.run()
"""


async def test_a_killed_server_and_its_successor(ipcs: Any, name: str) -> None:
    def started() -> subprocess.Popen[bytes]:
        process = subprocess.Popen([sys.executable, "-c", SERVER, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdout is not None and process.stdout.readline().strip() == b"ready"
        return process

    def killed(process: "subprocess.Popen[bytes]") -> None:
        process.kill()
        process.communicate(timeout=DEADLINE)

    process = await asyncio.to_thread(started)
    ipc = ipcs()
    ipc.connect_to(name)
    ears = Ears(ipc.of[name], "message", "connect", "disconnect")
    await ears.hear("connect")
    ipc.of[name].emit("message", 1)
    assert (await ears.hear("message"))[0] == 1

    await asyncio.to_thread(killed, process)
    await ears.hear("disconnect")
    ipc.of[name].emit("message", 2)
    process = await asyncio.to_thread(started)
    await ears.hear("connect")
    assert (await ears.hear("message"))[0] == 2
    ipc.disconnect(name)
    await asyncio.to_thread(killed, process)


STOPPED = """
import asyncio, signal, sys, threading
from node_ipc import ipc
ipc.config.id = sys.argv[1]
ipc.config.silent = True
ipc.serve(lambda: threading.Timer(0.1, signal.raise_signal, [signal.SIGINT]).start())
ipc.server.on("connect", print)
ipc.server.start()
ipc.connect_to(sys.argv[1])
ipc.run()
print(ipc.server.state.value, len(ipc.of), flush=True)
"""


async def test_run_ends_in_order_when_it_is_interrupted(name: str) -> None:
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-W", "always", "-c", STOPPED, name],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=DEADLINE,
    )
    assert done.stderr.decode() == ""
    assert done.stdout.split()[-2:] == [b"closed", b"0"]
    assert done.returncode == 0


async def test_tcp_on_the_loop_of_windows(ipcs: Any) -> None:
    ipc = ipcs()
    ipc.serve_net("127.0.0.1", 0)
    ipc.server.on("message", lambda data, socket: socket.emit("message", data))
    await ipc.server.start()
    ipc.connect_to_net("world", "127.0.0.1", ipc.server.address.port)
    ears = Ears(ipc.of.world, "message")
    for data in ("größer", "x" * 300_000, {"a": 1}):
        ipc.of.world.emit("message", data)
        assert (await ears.hear("message"))[0] == data


# --- with node-ipc ---------------------------------------------------------------


def where_it_looks(version: str) -> dict[str, Any]:
    """What a server of ours is told so that this node-ipc's clients find it: 14 looks in its owner-only place."""
    return {"socket_root": runtime_socket_root()} if version == "v14" else {}


async def test_a_node_client(ipcs: Any, name: str, version: str) -> None:
    server = await served(ipcs(id=name, **where_it_looks(version)))
    heard = Ears(server, "message", "connect", "socket.disconnected")
    async with NodePeer(version) as node:
        client = await node.open("connectTo", id=name)
        await client.event("connect")
        socket, _ = await heard.hear("connect")
        for data in ("größer", {"a": [1, None, 2.5]}, "x" * 200_000, "", None):
            await client.emit("message", data)
            expected = data if version == "v14" else data or {}  # up to 12 node-ipc sends null and "" as {}
            assert await heard.hear("message") == (expected, socket)
        server.emit(socket, "message", {"to": "one"})
        assert (await client.event("message"))["data"] == {"to": "one"}
        server.broadcast("message", {"to": "all"})
        assert (await client.event("message"))["data"] == {"to": "all"}
        await client.ask("disconnect")
        await heard.hear("socket.disconnected")


async def test_several_node_clients_and_a_broadcast(ipcs: Any, name: str, version: str) -> None:
    server = await served(ipcs(id=name, **where_it_looks(version)))
    heard = Ears(server, "connect")
    async with NodePeer(version) as node:
        clients = [await node.open("connectTo", id=name) for _ in range(10)]
        for _ in clients:
            await heard.hear("connect")
        server.broadcast("message", "to all")
        for client in clients:
            assert (await client.event("message"))["data"] == "to all"


async def test_a_node_server(ipcs: Any, name: str, version: str) -> None:
    async with NodePeer(version) as node:
        server = await node.open("serve", config={"id": name}, echo=True)
        ipc = ipcs(stop_retrying=True)
        ipc.connect_to(name)
        ears = Ears(ipc.of[name], "message", "connect", "disconnect")
        await ears.hear("connect")
        await server.event("connect")
        for data in ("größer", {"a": [1, None, 2.5]}, "x" * 200_000):
            ipc.of[name].emit("message", data)
            assert (await ears.hear("message"))[0] == data
        await server.ask("broadcast", type="message", data="to all")
        assert (await ears.hear("message"))[0] == "to all"
        await server.ask("drop", to=0)
        await ears.hear("disconnect")


async def test_a_blocking_client_and_a_node_server(name: str, version: str) -> None:
    def talk() -> list[Any]:
        with blocking.connect(name, timeout=DEADLINE) as world:
            for data in ("größer", "x" * 200_000):
                world.emit("message", data)
            return [world.receive("message", timeout=DEADLINE) for _ in range(2)]

    async with NodePeer(version) as node:
        await node.open("serve", config={"id": name}, echo=True)
        assert await asyncio.to_thread(talk) == ["größer", "x" * 200_000]


async def test_a_node_client_and_a_blocking_server(name: str, version: str) -> None:
    ready = threading.Event()

    def serve() -> None:
        with blocking.serve(name, **where_it_looks(version)) as server:
            server.on("message", lambda data, socket: socket.emit("message", data))
            server.on("socket.disconnected", lambda: server.stop())
            ready.set()
            server.serve_forever()

    async with NodePeer(version) as node:
        serving = asyncio.create_task(asyncio.to_thread(serve))
        await asyncio.to_thread(ready.wait, DEADLINE)
        client = await node.open("connectTo", id=name)
        await client.emit("message", "größer")
        assert (await client.event("message"))["data"] == "größer"
        await client.ask("disconnect")
        async with asyncio.timeout(DEADLINE):
            await serving


async def test_a_killed_node_server_and_its_successor(ipcs: Any, name: str, version: str) -> None:
    ipc = ipcs()
    async with NodePeer(version) as node:
        await node.open("serve", config={"id": name}, echo=True)
        ipc.connect_to(name)
        ears = Ears(ipc.of[name], "message", "connect", "disconnect")
        await ears.hear("connect")
        node.kill()
        await ears.hear("disconnect")
    async with NodePeer(version) as node:
        await node.open("serve", config={"id": name}, echo=True)
        await ears.hear("connect")
        ipc.of[name].emit("message", "again")
        assert (await ears.hear("message"))[0] == "again"


async def test_a_node_client_finds_our_server_again(ipcs: Any, name: str, version: str) -> None:
    async with NodePeer(version) as node:
        first = ipcs(id=name, **where_it_looks(version))
        server = await served(first)
        client = await node.open("connectTo", id=name, config={"retry": 100})
        await client.event("connect")
        async with asyncio.timeout(DEADLINE):
            await server.stop()
        await client.event("disconnect")
        server = await served(ipcs(id=name, **where_it_looks(version)))
        heard = Ears(server, "message")
        await client.event("connect")
        await client.emit("message", "again")
        assert (await heard.hear("message"))[0] == "again"
