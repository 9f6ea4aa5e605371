"""Named pipes with the real kernel (or wine's): the listener, the loop's transports, the caller's thread."""

import asyncio
import ctypes
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from node_ipc.core.seam import Peer
from node_ipc.drivers.thread_pipes import PipeChannel, PipePort
from node_ipc.errors import AddressInUse, ConnectError, ConnectTimeout, PeerRefused
from node_ipc.net.pipe import (
    Instances,
    PipeHandle,
    WinAPI,
    client_of,
    create_instance,
    open_instance,
    security_descriptor,
)
from pipe_ends import connect_pipe, listen_pipe, open_pipe

WINE = sys.platform == "win32" and hasattr(ctypes.WinDLL("ntdll"), "wine_get_version")
LIMIT = 20.0


class Recorder(asyncio.Protocol):
    """Keeps what it hears; ``answer`` makes the answers."""

    def __init__(self, answer: Callable[[bytes], bytes] = lambda data: b"") -> None:
        self.answer = answer
        self.data = bytearray()
        self.opened: asyncio.Future[asyncio.Transport] = asyncio.get_running_loop().create_future()
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self.ended = False
        self.peer: Peer
        """Who listens there; set by ``open_pipe``."""
        self._news = asyncio.Event()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.opened.set_result(transport)

    def data_received(self, data: bytes) -> None:
        self.data += data
        self._news.set()
        if answer := self.answer(bytes(data)):
            self.transport.write(answer)

    def eof_received(self) -> None:
        self.ended = True

    def connection_lost(self, error: Exception | None) -> None:
        self.lost.set_result(error)

    async def read(self, size: int) -> bytes:
        """Wait for that many bytes in all."""
        async with asyncio.timeout(LIMIT):
            while len(self.data) < size:
                self._news.clear()
                await self._news.wait()
        return bytes(self.data)


class Server:
    """A listener that echoes, and what it heard."""

    def __init__(self) -> None:
        self.sockets: list[Recorder] = []
        self.peers: list[Peer] = []
        self.troubles: list[Exception] = []
        self.refuse = False
        self.answer: Callable[[bytes], bytes] = lambda data: data

    def accept(self, peer: Peer) -> Recorder | None:
        self.peers.append(peer)
        if self.refuse:
            return None
        self.sockets.append(Recorder(self.answer))
        return self.sockets[-1]


@asynccontextmanager
async def serving(path: str) -> AsyncIterator[Server]:
    server = Server()
    listener = listen_pipe(asyncio.get_running_loop(), path, server.accept, server.troubles.append)
    try:
        yield server
    finally:
        listener.close()
        for socket in server.sockets:
            socket.transport.abort()
            async with asyncio.timeout(LIMIT):
                await socket.lost
        assert server.troubles == []


async def connected(path: str, timeout: float = LIMIT) -> Recorder:
    protocol: Recorder = await open_pipe(asyncio.get_running_loop(), path, Recorder, timeout)
    async with asyncio.timeout(LIMIT):
        await protocol.opened
    return protocol


async def gone(protocol: Recorder) -> Exception | None:
    async with asyncio.timeout(LIMIT):
        return await protocol.lost


# --- the event loop ------------------------------------------------------------------


async def test_echo(path: str) -> None:
    async with serving(path):
        client = await connected(path)
        client.transport.write(b"hello")
        assert await client.read(5) == b"hello"
        client.transport.close()
        assert await gone(client) is None


async def test_4_mib_both_ways(path: str) -> None:
    data = os.urandom(1 << 20) * 4
    async with serving(path):
        client = await connected(path)
        for start in range(0, len(data), 100_000):
            client.transport.write(data[start : start + 100_000])
        assert await client.read(len(data)) == data
        client.transport.abort()
        await gone(client)


async def test_what_was_written_before_close_arrives(path: str) -> None:
    data = os.urandom(1 << 20)
    async with serving(path) as server:
        server.answer = lambda received: b""
        client = await connected(path)
        client.transport.write(data)
        client.transport.close()
        assert await gone(client) is None
        assert await server.sockets[0].read(len(data)) == data
        assert await gone(server.sockets[0]) is None
        assert server.sockets[0].ended


async def test_50_clients_at_once(path: str) -> None:
    async with serving(path) as server:
        clients = await asyncio.gather(*(connected(path) for _ in range(50)))
        for number, client in enumerate(clients):
            client.transport.write(b"%03d" % number)
        for number, client in enumerate(clients):
            assert await client.read(3) == b"%03d" % number
        assert len(server.sockets) == 50
        for client in clients:
            client.transport.close()
        for client in clients:
            await gone(client)
        for socket in server.sockets:
            assert await gone(socket) is None


async def test_broadcast(path: str) -> None:
    async with serving(path) as server:
        clients = [await connected(path) for _ in range(10)]
        for client in clients:
            client.transport.write(b"?")
            await client.read(1)
        for socket in server.sockets:
            socket.transport.write(b"to all")
        for client in clients:
            assert await client.read(7) == b"?to all"
            client.transport.abort()
            await gone(client)


async def test_peers_are_named_by_their_process(path: str) -> None:
    async with serving(path) as server:
        client = await connected(path)
        client.transport.write(b"?")
        await client.read(1)
        assert server.peers == [Peer("pipe", pid=os.getpid())]
        assert client.peer == Peer("pipe", pid=os.getpid())
        client.transport.abort()
        await gone(client)


async def test_a_refused_client_sees_the_end(path: str) -> None:
    async with serving(path) as server:
        server.refuse = True
        client = await connected(path)
        await gone(client)
        assert bytes(client.data) == b""
        server.refuse = False
        client = await connected(path)
        client.transport.write(b"?")
        assert await client.read(1) == b"?"
        client.transport.abort()
        await gone(client)


async def test_clients_that_leave_at_once_harm_nobody(path: str) -> None:
    api = WinAPI()
    async with serving(path):
        for _ in range(20):
            while (handle := open_instance(path, api)) is None:
                await asyncio.sleep(0)
            handle.close()
        client = await connected(path)
        client.transport.write(b"still there")
        assert await client.read(11) == b"still there"
        client.transport.abort()
        await gone(client)


async def test_no_server(path: str) -> None:
    with pytest.raises(ConnectError) as caught:
        await connected(path)
    assert isinstance(caught.value.__cause__, FileNotFoundError)
    assert path in str(caught.value)


async def test_no_server_any_more_after_close(path: str) -> None:
    async with serving(path):
        pass
    with pytest.raises(ConnectError):
        await connected(path)
    async with serving(path):
        client = await connected(path)
        client.transport.write(b"again")
        assert await client.read(5) == b"again"
        client.transport.abort()
        await gone(client)


async def test_a_busy_pipe_is_waited_for(path: str) -> None:
    api, loop = WinAPI(), asyncio.get_running_loop()
    only = create_instance(path, api, first=True)
    holder = open_instance(path, api)
    assert holder is not None
    waiting = loop.create_task(connected(path))
    for _ in range(3):
        await asyncio.sleep(0)
    assert not waiting.done()
    another = create_instance(path, api, first=False)
    client = await waiting
    client.transport.abort()
    await gone(client)
    for handle in (only, holder, another):
        handle.close()


async def test_a_pipe_that_stays_busy_is_an_error(path: str) -> None:
    api = WinAPI()
    only = create_instance(path, api, first=True)
    holder = open_instance(path, api)
    assert holder is not None
    with pytest.raises(ConnectTimeout, match=r"busy for 0\.1 s"):
        await connected(path, timeout=0.1)
    only.close()
    holder.close()


async def test_closing_the_listener_keeps_its_clients(path: str) -> None:
    server = Server()
    listener = listen_pipe(asyncio.get_running_loop(), path, server.accept, server.troubles.append)
    client = await connected(path)
    client.transport.write(b"a")
    await client.read(1)
    listener.close()
    listener.close()
    client.transport.write(b"b")
    assert await client.read(2) == b"ab"
    client.transport.close()
    await gone(client)
    await gone(server.sockets[0])


SERVER = """
import asyncio, sys
from pipe_ends import listen_pipe

class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
    def data_received(self, data):
        self.transport.write(data)

async def main():
    listener = listen_pipe(asyncio.get_running_loop(), sys.argv[1], lambda peer: Echo(), print)
    print("ready", flush=True)
    await asyncio.get_running_loop().create_future()

asyncio.run(main())
"""


def started(path: str) -> subprocess.Popen[bytes]:
    """A server in a process of its own, listening."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip() == b"ready"
    return process


def killed(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate(timeout=LIMIT)


async def test_a_killed_server_is_the_end_and_a_new_one_is_found(path: str) -> None:
    process = await asyncio.to_thread(started, path)
    client = await connected(path)
    assert client.peer.pid not in (None, os.getpid())
    client.transport.write(b"one")
    assert await client.read(3) == b"one"
    await asyncio.to_thread(killed, process)
    await gone(client)
    with pytest.raises(ConnectError):
        await connected(path)

    process = await asyncio.to_thread(started, path)
    client = await connected(path)
    client.transport.write(b"two")
    assert await client.read(3) == b"two"
    client.transport.abort()
    await gone(client)
    await asyncio.to_thread(killed, process)


# --- the caller's thread -------------------------------------------------------------


class Door:
    """A pipe of the caller's thread, and what it heard."""

    def __init__(self, port: PipePort, handle: PipeHandle, *, accepted: bool = False) -> None:
        self.port = port
        self.data = bytearray()
        self.ended = False
        self.errors: list[OSError] = []
        self.writes = 0
        self.channel = PipeChannel(port, handle, self._received, self._written, self.errors.append, accepted=accepted)

    def _received(self, data: bytes) -> None:
        assert isinstance(data, bytes)
        self.data += data
        self.ended = self.ended or not data
        if data:
            self.channel.read_start()

    def _written(self) -> None:
        self.writes += 1


def until(port: PipePort, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline
        port.poll(0.5)


class Hall:
    """A listener of the caller's thread and its open doors."""

    def __init__(self, port: PipePort, path: str) -> None:
        self.port = port
        self.doors: list[Door] = []
        self.listener = Instances(
            path,
            WinAPI(),
            accept=port.accept,
            call_later=self._never,
            connected=self._connected,
            trouble=self._trouble,
        )

    def _connected(self, handle: PipeHandle, peer: Peer) -> None:
        assert peer == Peer("pipe", pid=os.getpid())
        door = Door(self.port, handle, accepted=True)
        door.channel.read_start()
        self.doors.append(door)

    def _never(self, delay: float, callback: Callable[[], None]) -> Any:
        raise AssertionError("nothing had to be tried again")

    def _trouble(self, error: Exception) -> None:
        raise AssertionError from error

    def close(self) -> None:
        self.listener.close()
        for door in self.doors:
            door.channel.close()


def test_blocking_there_and_back(path: str) -> None:
    api, port = WinAPI(), PipePort()
    hall = Hall(port, path)
    client = Door(port, connect_pipe(path, LIMIT, api))
    client.channel.read_start()
    assert client.channel.write_start(b"hello") or client.channel.pending_bytes() == 5
    until(port, lambda: bool(hall.doors) and hall.doors[0].data == b"hello")
    hall.doors[0].channel.write_start(b"world")
    until(port, lambda: client.data == b"world")
    client.channel.close()
    until(port, lambda: hall.doors[0].ended)
    hall.close()
    port.close()


def test_blocking_large_writes_end_when_they_are_read(path: str) -> None:
    data = os.urandom(1 << 20) * 4
    api, port = WinAPI(), PipePort()
    hall = Hall(port, path)
    client = Door(port, connect_pipe(path, LIMIT, api))
    if not client.channel.write_start(data):
        assert client.channel.pending_bytes() == len(data)
        with pytest.raises(RuntimeError, match="under way"):
            client.channel.write_start(b"more")
        until(port, lambda: client.writes == 1)
    assert client.channel.pending_bytes() == 0
    until(port, lambda: bool(hall.doors) and len(hall.doors[0].data) == len(data))
    assert hall.doors[0].data == data
    client.channel.close()
    hall.close()
    port.close()


def test_blocking_80_clients_in_one_thread(path: str) -> None:
    """More than the 63 that waiting for events could hold."""
    api, port = WinAPI(), PipePort()
    hall = Hall(port, path)
    clients = []
    for number in range(80):
        clients.append(Door(port, connect_pipe(path, LIMIT, api)))
        until(port, lambda wanted=number + 1: len(hall.doors) == wanted)  # type: ignore[misc]
    for number, client in enumerate(clients):
        client.channel.write_start(b"%03d" % number)
    until(port, lambda: all(len(door.data) == 3 for door in hall.doors))
    assert sorted(int(door.data) for door in hall.doors) == list(range(80))
    for client in clients:
        client.channel.close()
    until(port, lambda: all(door.ended for door in hall.doors))
    hall.close()
    port.close()


def test_blocking_time_limit(path: str) -> None:
    api, port = WinAPI(), PipePort()
    hall = Hall(port, path)
    client = Door(port, connect_pipe(path, LIMIT, api))
    client.channel.read_start()
    until(port, lambda: bool(hall.doors))
    begun = time.monotonic()
    port.poll(0.2)
    assert 0.15 < time.monotonic() - begun < LIMIT
    assert client.data == b"" and not client.ended and not client.errors
    # The read that was waited for in vain is still under way.
    hall.doors[0].channel.write_start(b"late")
    until(port, lambda: client.data == b"late")
    client.channel.close()
    hall.close()
    port.close()


def test_blocking_wake_ends_the_wait(path: str) -> None:
    port = PipePort()
    threading.Timer(0.05, port.wake).start()
    begun = time.monotonic()
    port.poll(LIMIT)
    assert time.monotonic() - begun < LIMIT / 2
    port.wake()
    port.poll(LIMIT)
    port.close()
    port.poll(LIMIT)


def test_blocking_writing_to_a_peer_that_left_is_lost(path: str) -> None:
    api, port = WinAPI(), PipePort()
    hall = Hall(port, path)
    client = Door(port, connect_pipe(path, LIMIT, api))
    until(port, lambda: bool(hall.doors))
    hall.close()
    client.channel.write_start(b"anybody?")
    until(port, lambda: bool(client.errors))
    assert isinstance(client.errors[0], OSError)
    client.channel.close()
    port.close()


def test_blocking_close_is_silent(path: str) -> None:
    api, port = WinAPI(), PipePort()
    hall = Hall(port, path)
    client = Door(port, connect_pipe(path, LIMIT, api))
    client.channel.read_start()
    client.channel.close()
    hall.close()
    port.poll(0.1)
    assert client.data == b"" and not client.ended and not client.errors
    port.close()


def test_blocking_reading_on_after_the_end(path: str) -> None:
    api, port = WinAPI(), PipePort()
    hall = Hall(port, path)
    client = Door(port, connect_pipe(path, LIMIT, api))
    client.channel.read_start()
    client.channel.read_start()
    until(port, lambda: bool(hall.doors))
    hall.close()
    until(port, lambda: client.ended)
    client.ended = False
    client.channel.read_start()
    assert not client.ended, "never inside the call"
    until(port, lambda: client.ended)
    assert not client.errors
    client.channel.close()
    port.close()


def test_blocking_a_write_that_nobody_reads_is_lost_with_its_reader(path: str) -> None:
    api, port = WinAPI(), PipePort()
    server = create_instance(path, api, first=True)
    client = Door(port, connect_pipe(path, LIMIT, api))
    assert not client.channel.write_start(bytes(1 << 22))
    port.poll(0)
    assert client.writes == 0 and not client.errors
    server.close()
    until(port, lambda: bool(client.errors))
    assert client.writes == 0 and client.channel.pending_bytes() == 0
    client.channel.close()
    port.close()
    port.close()
    port.wake()


def test_blocking_a_client_that_came_before_it_was_waited_for(path: str) -> None:
    api, port = WinAPI(), PipePort()
    server = create_instance(path, api, first=True)
    client = connect_pipe(path, LIMIT, api)
    told: list[OSError | None] = []
    port.accept(server, told.append)
    assert told == [], "never inside the call"
    until(port, lambda: told == [None])
    client.close()
    server.close()
    port.close()


def test_blocking_connect_without_a_server(path: str) -> None:
    with pytest.raises(ConnectError) as caught:
        connect_pipe(path, LIMIT, WinAPI())
    assert isinstance(caught.value.__cause__, FileNotFoundError)


def test_blocking_connect_waits_while_the_pipe_is_busy(path: str) -> None:
    api = WinAPI()
    only = create_instance(path, api, first=True)
    holder = connect_pipe(path, LIMIT, api)
    with pytest.raises(ConnectTimeout):
        connect_pipe(path, 0.3, api)
    made: list[PipeHandle] = []
    threading.Timer(0.3, lambda: made.append(create_instance(path, api, first=False))).start()
    client = connect_pipe(path, LIMIT, api)
    for handle in (only, holder, client, *made):
        handle.close()


# --- rights --------------------------------------------------------------------------


@pytest.mark.row(28)
def test_the_pipe_belongs_to_this_user(path: str) -> None:
    api = WinAPI()
    server = create_instance(path, api, first=True)
    client = open_instance(path, api)
    assert client is not None
    assert api.user_sid().startswith("S-1-")
    assert api.owner_sid(client.fileno()) == api.user_sid()
    assert client_of(server, api) == Peer("pipe", pid=os.getpid())
    server.close()
    client.close()


@pytest.mark.row(28)
def test_a_pipe_of_another_user_is_left_at_once(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    api = WinAPI()
    server = create_instance(path, api, first=True)
    monkeypatch.setattr(api, "user_sid", lambda: "S-1-5-21-1-2-3-1001")
    with pytest.raises(PeerRefused, match="nothing was sent"):
        open_instance(path, api)
    server.close()


@pytest.mark.row(28)
def test_windows_takes_the_descriptor(path: str) -> None:
    api = WinAPI()
    for widened in ({}, {"readable_all": True}, {"writable_all": True}):
        create_instance(path, api, first=True, **widened).close()
        text = security_descriptor(api.user_sid(), **widened)
        assert text.startswith(f"O:{api.user_sid()}D:P(A;;GA;;;{api.user_sid()})(A;;GA;;;SY)")


@pytest.mark.row(28)
@pytest.mark.skipif(WINE, reason="wine ignores FILE_FLAG_FIRST_PIPE_INSTANCE; the contract test looks at the flag")
def test_a_second_server_on_the_name_is_refused(path: str) -> None:
    api = WinAPI()
    first = create_instance(path, api, first=True)
    with pytest.raises(AddressInUse):
        create_instance(path, api, first=True)
    first.close()


def test_failing_calls_raise_what_windows_says(path: str) -> None:
    api = WinAPI()
    handle = create_instance(path, api, first=True)
    number = handle.fileno()
    handle.close()
    with pytest.raises(OSError, match="WinError 6"):
        api.owner_sid(number)
    with pytest.raises(OSError, match="WinError"):
        api.client_process(number)
    with pytest.raises(OSError, match="WinError"):
        api.process_user_sid(0)
    assert api.process_user_sid(os.getpid()) == api.user_sid()
