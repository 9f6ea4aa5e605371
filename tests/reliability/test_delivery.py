"""Load, slow and hostile peers, and delivery, on real sockets with real processes (reliability rows 10 to 16, 31 to
33, 35, 36, 40).
"""

from __future__ import annotations

import asyncio
import bisect
import contextlib
import gc
import json
import os
import resource
import signal
import socket as sockets
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

import node_ipc
from node_ipc import (
    AsyncServer,
    BackpressureError,
    Config,
    Loss,
    MessageTimeout,
    NotConnected,
    Socket,
    WrongThreadError,
    blocking,
)
from stopwatch import Stopwatch
from tls_certificates import identity

MIB = 1024 * 1024
NIGHTLY = os.environ.get("NIGHTLY")
"""The long lane that runs, if any: with ``chaos`` row 32 is 64 clients and 200 kills (200 s)."""
READERS = Path(__file__).with_name("readers.py")


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(socket_root=f"{tmp_path}/", retry=20, silent=True, max_connections=10_000)


def path_of(config: Config) -> str:
    return f"{config.socket_root}app.world"


async def until(condition: Callable[[], Any], seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.002)


def resident() -> int:
    """This process's resident bytes."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


class Process:
    """A peer in a process of its own."""

    def __init__(self, *arguments: str) -> None:
        self._arguments = arguments
        self.process: asyncio.subprocess.Process

    async def __aenter__(self) -> Process:
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(READERS),
            *self._arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert await self.line() == "ready"
        return self

    async def line(self) -> str:
        assert self.process.stdout is not None
        async with asyncio.timeout(60):
            return (await self.process.stdout.readline()).decode().strip()

    async def __aexit__(self, *exception: object) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


@pytest.fixture
async def server(config: Config) -> AsyncIterator[Any]:
    async with node_ipc.serve("world", config=config) as server:
        yield server


# ---- B: load and hostile peers


@pytest.mark.own_process
@pytest.mark.slow
@pytest.mark.row(10)
@pytest.mark.lane(name="repeats")
@pytest.mark.timeout(300)
async def test_a_reader_that_stops_costs_bounded_memory_and_harms_nobody(config: Config) -> None:
    """100 peers of which one does not read, and 8,000 messages of 16 KiB for each; in the lane 20,000: 32 GB."""
    count, payload = 20_000 if NIGHTLY == "repeats" else 8_000, "x" * (16 * 1024)
    cuts: list[tuple[Any, Any, float]] = []
    async with node_ipc.serve("world", config=config) as server:
        server.on("error", lambda error, socket: cuts.append((error, socket, time.monotonic())))
        async with Process("stop", path_of(config)):
            await until(lambda: server.sockets)
            (stopped,) = server.sockets
            async with Process("flood", path_of(config), "99") as readers:
                await until(lambda: len(server.sockets) == 100)
                before = worst = resident()
                full_at = 0.0
                begun, watch = time.monotonic(), Stopwatch()
                for number in range(count):
                    server.broadcast("number", [f"{number:010} {time.monotonic():012.4f}", payload])
                    if number % 5 == 0:
                        await all_taken(socket for socket in server.sockets if socket is not stopped)
                        worst = max(worst, resident())
                    if not full_at and stopped.pending_bytes + len(payload) + 100 > config.max_pending_bytes:
                        full_at = time.monotonic()
                slower = (time.monotonic() - begun) / watch.seconds  # for what other programs had of the processors
                assert worst - before <= config.max_pending_bytes + 32 * MIB
                assert [(type(error), socket) for error, socket, _ in cuts] == [(BackpressureError, stopped)]
                assert 0 <= cuts[0][2] - full_at <= 1
                assert len(server.sockets) == 99
                await server.stop(timeout=30)
                assert json.loads(await readers.line()) == [[count, True]] * 99
                assert float(await readers.line()) <= 0.1 * slower  # seconds, of 99 % of the reads


async def all_taken(sockets: Iterable[Socket]) -> None:
    """Until these peers have taken what was sent: the paced sender of the promise."""
    waiting = list(sockets)
    async with asyncio.timeout(60):
        while waiting:
            await asyncio.sleep(0)
            waiting = [socket for socket in waiting if socket.pending_bytes]


@pytest.mark.row(11)
async def test_a_cut_peer_leaves_nothing_and_is_said_once(config: Config) -> None:
    config.max_pending_bytes = 64 * 1024
    config.soft_pending_bytes = 32 * 1024
    errors: list[Any] = []
    gone: list[Any] = []
    async with node_ipc.serve("world", config=config) as server:
        server.on("error", lambda error, socket: errors.append(socket))
        server.on("socket.disconnected", lambda socket: gone.append(socket))
        before = descriptors()
        for _ in range(10):
            peers = []
            for _ in range(100):
                peer = sockets.socket(sockets.AF_UNIX)
                peer.setblocking(False)
                peer.connect(path_of(config))
                peers.append(peer)
                if len(peers) % 50 == 0:
                    await until(lambda: len(server.sockets) == len(peers))  # noqa: B023 - awaited here
            while server.sockets:
                server.broadcast("fill", "x" * 60_000)
                await asyncio.sleep(0)
            for peer in peers:
                peer.close()
        await until(lambda: len(gone) == 1000)
        assert len(errors) == len(set(errors)) == 1000
        assert set(gone) == set(errors)
        assert descriptors() == before
        assert len(asyncio.all_tasks()) == 1


@pytest.mark.own_process
@pytest.mark.row(12)
async def test_slow_handlers_push_back_on_the_sender(config: Config, server: AsyncServer) -> None:
    running = most = 0
    release = asyncio.Event()

    @server.on("work")
    async def work(data: str) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await release.wait()
        running -= 1

    frame = b'{"type":"work","data":"' + b"x" * 1000 + b'"}\f'
    peer = sockets.socket(sockets.AF_UNIX)
    peer.setblocking(False)
    peer.connect(path_of(config))
    await until(lambda: server.sockets)
    before, sent = resident(), 0
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(2):  # a flood of up to 1 GiB
            while sent < 1024 * MIB:
                await loop.sock_sendall(peer, frame * 64)
                sent += 64 * len(frame)
    except TimeoutError:
        pass
    assert most == config.max_handler_frames
    assert sent < 16 * MIB
    assert resident() - before <= 16 * MIB
    release.set()
    peer.close()
    await until(lambda: running == 0 and not server.sockets)


@pytest.mark.row(13)
async def test_half_frames_expire_and_whole_streams_do_not(config: Config) -> None:
    config.message_timeout = 1000
    lost: dict[Any, tuple[float, float]] = {}
    errors: list[Any] = []
    got, clock = 0, Stopwatch()

    def count(data: Any) -> None:
        nonlocal got
        got += 1

    async with node_ipc.serve("world", config=config) as server:
        server.on("socket.disconnected", lambda socket: lost.setdefault(socket, (time.monotonic(), clock.seconds)))
        server.on("error", lambda error: errors.append(error))
        server.on("tick", count)
        drippers = []
        for _ in range(100):
            drippers += [connected(config), connected(config)]
            await asyncio.sleep(0)
        stream = connected(config)
        await until(lambda: len(server.sockets) == 201)
        for peer in drippers:
            peer.send(b'{"type":"ti')
        begun, ours = time.monotonic(), clock.seconds
        frame, sent = b'{"type":"tick","data":1}\f', 0
        stream.send(frame[:10])
        while time.monotonic() - begun < 5.0:  # always cut in the middle of a frame, never idle long enough
            stream.send(frame[10:] + frame[:10])
            sent += 1
            if sent % 3 == 0:
                for peer in drippers:
                    drip(peer)
            await asyncio.sleep(0.02)
        assert len(lost) == 200
        assert all(when - begun >= 1.0 - 0.1 and by_ours - ours <= 1.5 for when, by_ours in lost.values())
        assert {type(error) for error in errors} == {MessageTimeout}
        await until(lambda: got == sent)
        for peer in (*drippers, stream):
            peer.close()


def connected(config: Config) -> sockets.socket:
    peer = sockets.socket(sockets.AF_UNIX)
    peer.connect(path_of(config))
    return peer


def drip(peer: sockets.socket) -> None:
    try:
        peer.send(b" ")
    except (BrokenPipeError, ConnectionError):
        pass  # it was cut, as it must be


@pytest.mark.row(14)
@pytest.mark.parametrize("quota", ["max_connections", "max_connections_per_uid"])
async def test_over_the_limit_connections_are_refused_fast_and_the_rest_is_served(config: Config, quota: str) -> None:
    config.max_connections = 1000
    setattr(config, quota, 100)
    most = 0
    async with node_ipc.serve("world", config=config) as server:
        server.on("ping", lambda data, socket: socket.emit("pong", data))
        client = await node_ipc.connect("world", config=config)
        loop = asyncio.get_running_loop()
        kept: list[sockets.socket] = []
        refusals, pings = [], []
        everything = Stopwatch()
        for number in range(5_000):
            peer = sockets.socket(sockets.AF_UNIX)
            peer.setblocking(False)
            peer.connect(path_of(config))
            watch = Stopwatch()
            if len(kept) < 99:
                kept.append(peer)
                await until(lambda: len(server.sockets) == len(kept) + 1)
            else:
                assert await asyncio.wait_for(loop.sock_recv(peer, 1), 60) == b""
                refusals.append(watch.seconds)
                peer.close()
            most = max(most, len(server.sockets))
            if number % 50 == 0:
                watch = Stopwatch()
                client.emit("ping", number)
                assert await client.receive("pong", timeout=60) == number
                pings.append(watch.seconds)
        assert everything.seconds <= 10
        assert most == 100
        assert server.stats().refused == len(refusals) == 5_000 - 99
        assert sorted(refusals)[int(len(refusals) * 0.99)] <= 0.05
        assert sorted(pings)[-1] <= 0.1
        kept.pop().close()
        await until(lambda: len(server.sockets) == 99)
        again = sockets.socket(sockets.AF_UNIX)
        again.connect(path_of(config))
        await until(lambda: len(server.sockets) == 100)
        for peer in (*kept, again):
            peer.close()
        await client.close()


@pytest.mark.own_process
@pytest.mark.row(16)
async def test_an_idle_connection_is_small(config: Config) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(8192, hard), hard))
    try:
        async with node_ipc.serve("world", config=config) as server:
            await connect_and_close(config, server, 50)  # what the first ones cost once
            gc.collect()
            before = resident()
            async with Process("read", path_of(config), "2000"):
                await until(lambda: len(server.sockets) == 2000)
                gc.collect()
                assert (resident() - before) / 2000 <= 12 * 1024
            await until(lambda: not server.sockets)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def connect_and_close(config: Config, server: Any, count: int) -> None:
    async with Process("read", path_of(config), str(count)):
        await until(lambda: len(server.sockets) == count)
    await until(lambda: not server.sockets)


# ---- E: delivery


@pytest.mark.row(31)
async def test_what_is_emitted_while_the_server_is_down_arrives_in_order(config: Config) -> None:
    server = await node_ipc.serve("world", config=config)
    client = await node_ipc.connect("world", config=config)
    await server.stop()
    await until(lambda: client.state.value != "connected")
    for number in range(100):
        client.emit("number", number)
    got: list[int] = []
    async with node_ipc.serve("world", config=config) as server:
        server.on("number", got.append)
        await until(lambda: len(got) >= 100)
    assert got == list(range(100))
    await until(lambda: client.state.value != "connected")
    with pytest.raises(BackpressureError, match="'too-many'"):
        for _ in range(config.max_queued_messages + 1):
            client.emit("too-many")
    lost: list[Loss] = []
    client.on("disconnect", lost.append)
    await client.close()
    assert lost[0].dropped == config.max_queued_messages
    with pytest.raises(NotConnected):
        client.emit("late")


SERVER = """
import asyncio, sys
import node_ipc
async def main():
    config = node_ipc.Config(socket_root=sys.argv[1], max_connections=int(sys.argv[2]), silent=True)
    async with node_ipc.serve("world", config=config) as server:
        @server.on("number")
        def number(data, socket):
            sys.stdout.write(f"{data[0]} {data[1]}\\n")
        server.on("ask", lambda data, socket: (sys.stdout.flush(), socket.emit("heard")))
        print("ready", flush=True)
        await server.serve_forever()
node_ipc.run(main(), loop="asyncio")
"""


@pytest.mark.row(32)
@pytest.mark.lane(name="chaos")
@pytest.mark.timeout(1500 if NIGHTLY == "chaos" else 300)
async def test_order_is_kept_and_loss_comes_only_with_a_disconnect(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_property: Callable[[str, object], None]
) -> None:
    """Clients emit numbers while the server is killed again and again; a checker reads what the servers printed.

    Every client is back before the next kill. With the pauses that grow while links are short (row 33) that would
    take minutes of waiting: here each retry is a first one.
    """
    monkeypatch.setattr("node_ipc.core.client.STEADY_SECONDS", 0.0)
    count, kills = (64, 200) if NIGHTLY == "chaos" else (16, 12)
    script = tmp_path / "server.py"
    script.write_text(SERVER)
    log = tmp_path / "log"
    clients: list[Any] = []
    losses: dict[int, list[Loss]] = {number: [] for number in range(count)}
    sent = dict.fromkeys(range(count), 0)
    with log.open("wb") as out:
        process = await started(script, config, out)
        for number in range(count):
            client = await node_ipc.connect("world", config=config, timeout=60, retry=10)
            client.on("disconnect", losses[number].append)
            client.on("error", lambda error: None)
            clients.append(client)
        for _ in range(kills):
            deadline = time.monotonic() + 0.15
            while time.monotonic() < deadline:
                emit_one_each(clients, sent)
                await asyncio.sleep(0)
            process.send_signal(signal.SIGKILL)
            await process.wait()
            emit_one_each(clients, sent)
            process = await started(script, config, out)
            await until(lambda: all(client.state.value == "connected" for client in clients))
        for client in clients:
            client.emit("ask")
            await client.receive("heard", timeout=60)
            await client.close()
        process.send_signal(signal.SIGTERM)
        await process.wait()
    heard = log.read_text()
    record_property("servers killed", kills)
    record_property(
        "sent, heard, told as lost", [sum(sent.values()), len(heard.splitlines()), sum(map(told, losses.values()))]
    )
    check_history(heard, sent, losses, kills)


async def started(script: Path, config: Config, out: Any) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-u",
        str(script),
        config.socket_root,
        str(config.max_connections),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert (await asyncio.wait_for(process.stdout.readline(), 60)).strip() == b"ready"
    asyncio.get_running_loop().create_task(copied(process.stdout, out))
    return process


async def copied(stream: asyncio.StreamReader, out: Any) -> None:
    while data := await stream.read(1 << 16):
        out.write(data)


def emit_one_each(clients: list[Any], sent: Any) -> None:
    for number, client in enumerate(clients):
        try:
            client.emit("number", [number, sent[number]])
        except BackpressureError:
            continue  # refused, so it does not count as sent
        sent[number] += 1


def check_history(log: str, sent: dict[int, int], losses: dict[int, list[Loss]], kills: int) -> None:
    """Each client's numbers rise, none comes twice, and of those that are missing its disconnects said how many."""
    for number in sent:
        got = [int(line.split()[1]) for line in log.splitlines() if line.split()[0] == str(number)]
        assert got == sorted(set(got)), f"client {number}: out of order, or twice"
        assert len(losses[number]) >= kills
        assert len(got) + told(losses[number]) >= sent[number]


def told(losses: Iterable[Loss]) -> int:
    return sum(loss.dropped + loss.in_flight for loss in losses)


SLOW_PEER = Path(__file__).with_name("slow_peer.py")
KILLS = 134 if NIGHTLY == "chaos" else 4
"""Of servers, in each of six ways, which with the 200 above are a thousand."""
CLIENT_KILLS = 500 if NIGHTLY == "chaos" else 8
"""Of clients, in each of two ways."""
WORKER_KILLS = 1000 if NIGHTLY == "chaos" else 8


class SlowPeer:
    """A process whose handlers take 2 ms a message, and what it heard before it was killed."""

    def __init__(self, front: str, role: str, log: Path, options: dict[str, Any]) -> None:
        self.front, self.role, self.log, self.options = front, role, log, options

    async def start(self, address: str) -> str:
        """Until it is ready; the address, where it serves."""
        self._process = await asyncio.create_subprocess_exec(
            *[sys.executable, str(SLOW_PEER), self.front, self.role, address, str(self.log)],
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(self.options).encode())
        self._process.stdin.close()
        line = await asyncio.wait_for(self._process.stdout.readline(), 60)
        assert line
        return line.decode().strip()

    async def kill(self) -> None:
        self._process.kill()
        await self._process.wait()

    def heard(self) -> list[tuple[int, int]]:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [(int(line.split()[0]), int(line.split()[1])) for line in lines]


@pytest.mark.lane(name="chaos")
@pytest.mark.timeout(600 if NIGHTLY == "chaos" else 120)
@pytest.mark.row(32)
@pytest.mark.parametrize("front", ["asyncio", "blocking"])
@pytest.mark.parametrize("transport", ["unix", "tcp", "tls"])
async def test_what_a_killed_server_had_not_handled_is_told(
    transport: str,
    front: str,
    tmp_path: Path,
    config: Config,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    """The kernel had taken it whole, and the server had read most of it: it was in a block of 64 KiB."""
    monkeypatch.setattr("node_ipc.core.client.STEADY_SECONDS", 0.0)  # each retry is a first one
    authority = identity("authority", authority=True)
    theirs: dict[str, Any] = {}
    ours: dict[str, Any] = {}
    if transport == "tls":
        theirs = {"tls": identity("server", authority, names=["localhost"]).options}
        ours = {"tls": {"ca": authority.cert}}
    server = SlowPeer(front, "server", tmp_path / "log", {"socket_root": config.socket_root, **theirs})
    address = {"unix": "world", "tcp": "tcp://localhost:0", "tls": "tls://localhost:0"}[transport]
    sent = [0, 0, 0]
    losses: list[list[Loss]] = [[], [], []]
    address = await server.start(address)
    async with contextlib.AsyncExitStack() as stack:
        clients = []
        for number in range(3):
            connecting = node_ipc.connect(address, config=config, timeout=60, retry=10, **ours)
            clients.append(await stack.enter_async_context(connecting))
            clients[number].on("disconnect", losses[number].append)
            clients[number].on("error", lambda error: None)
        for _ in range(KILLS):
            for _ in range(40):
                for _ in range(25):
                    emit_one_each(clients, sent)
                await asyncio.sleep(0.002)
            await server.kill()
            await until(lambda: all(client.state.value != "connected" for client in clients))
            await server.start(address)
            await until(lambda: all(client.state.value == "connected" for client in clients))
        await server.kill()
        await until(lambda: all(len(each) > KILLS for each in losses))
    got = server.heard()
    record_property("servers killed", KILLS + 1)
    record_property("sent, heard, told as lost", [sum(sent), len(got), sum(map(told, losses))])
    assert len(got) == len(set(got)) > 0
    for number in range(3):
        lost = sent[number] - sum(1 for client, _ in got if client == number)
        assert lost > 0
        assert told(losses[number]) >= lost, f"{lost} were lost and {told(losses[number])} told"


@pytest.mark.lane(name="chaos")
@pytest.mark.timeout(600 if NIGHTLY == "chaos" else 120)
@pytest.mark.row(32)
@pytest.mark.parametrize("front", ["asyncio", "blocking"])
async def test_what_a_killed_client_had_not_handled_is_told_to_the_server(
    front: str, tmp_path: Path, config: Config, record_property: Callable[[str, object], None]
) -> None:
    losses: list[Loss] = []
    sent = 0
    async with node_ipc.serve("world", config=config) as server:
        server.on("socket.disconnected", lambda socket: losses.append(socket.loss))
        client = SlowPeer(front, "client", tmp_path / "log", {"socket_root": config.socket_root})
        for _ in range(CLIENT_KILLS):
            await client.start("world")
            [socket] = server.sockets
            for _ in range(20):
                for _ in range(100):
                    socket.emit("number", [0, sent])
                    sent += 1
                await asyncio.sleep(0.002)
            await client.kill()
            await until(lambda: not server.sockets)
    got = client.heard()
    record_property("clients killed", CLIENT_KILLS)
    record_property("sent, heard, told as lost", [sent, len(got), told(losses)])
    assert len(losses) == CLIENT_KILLS and len(got) == len(set(got)) < sent
    assert len(got) + told(losses) >= sent


WORKERS = """
import os, sys
from node_ipc.scale import workers
workers.STEADY_SECONDS = 0.0  # each that dies is started again at once
lines = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
async def setup(server):
    server.on("number", lambda data: os.write(lines, f"{data[0]} {data[1]}\\n".encode()))
    server.handle("who", lambda params: os.getpid())
    server.on("start", lambda: os.write(1, b"serving\\n"))  # in one piece: the lines of several do not mix
workers.run(setup, sys.argv[1], count=3, silent=True)
"""


@pytest.mark.lane(name="chaos")
@pytest.mark.timeout(1500 if NIGHTLY == "chaos" else 120)
@pytest.mark.row(32)
async def test_what_a_killed_worker_had_not_handled_is_told(
    tmp_path: Path, config: Config, monkeypatch: pytest.MonkeyPatch, record_property: Callable[[str, object], None]
) -> None:
    """Three workers serve six clients; the one that serves the first of them is killed, again and again."""
    monkeypatch.setattr("node_ipc.core.client.STEADY_SECONDS", 0.0)  # each retry is a first one
    log, count = tmp_path / "log", 6
    sent = dict.fromkeys(range(count), 0)
    losses: dict[int, list[Loss]] = {number: [] for number in range(count)}
    command = [sys.executable, "-c", WORKERS, path_of(config), str(log)]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(process.wait)
        stack.callback(process.terminate)
        for _ in range(3):
            assert await asyncio.wait_for(process.stdout.readline(), 60) == b"serving\n"
        clients = []
        for number in range(count):
            client = await stack.enter_async_context(node_ipc.connect("world", config=config, timeout=60, retry=10))
            client.on("disconnect", losses[number].append)
            client.on("error", lambda error: None)
            clients.append(client)
        for kill in range(1, WORKER_KILLS + 1):
            worker = await clients[0].request("who", timeout=60)
            for _ in range(10):
                for _ in range(10):
                    emit_one_each(clients, sent)
                await asyncio.sleep(0.002)
            os.kill(worker, signal.SIGKILL)
            await until(lambda: len(losses[0]) >= kill)  # noqa: B023 - awaited here
            emit_one_each(clients, sent)
            await until(lambda: all(client.state.value == "connected" for client in clients))
        for client in clients:
            await client.request("who", timeout=60)  # answered after what was emitted before
    heard = [(int(line.split()[0]), int(line.split()[1])) for line in log.read_text().splitlines()]
    record_property("workers killed", WORKER_KILLS)
    record_property("sent, heard, told as lost", [sum(sent.values()), len(heard), sum(map(told, losses.values()))])
    for number in sent:
        got = [each for client, each in heard if client == number]
        assert got == sorted(set(got)), f"client {number}: out of order, or twice"
        assert len(got) + told(losses[number]) >= sent[number]


@pytest.mark.lane(name="chaos")
@pytest.mark.timeout(600 if NIGHTLY == "chaos" else 120)
@pytest.mark.row(32)
@pytest.mark.filterwarnings("ignore:.* is called in a coroutine:RuntimeWarning")
@pytest.mark.parametrize("transport", ["unix", "tcp"])
async def test_a_blocking_client_is_told_what_a_killed_server_had_not_handled(
    transport: str, tmp_path: Path, config: Config
) -> None:
    server = SlowPeer("asyncio", "server", tmp_path / "log", {"socket_root": config.socket_root})
    address = await server.start("world" if transport == "unix" else "tcp://localhost:0")
    losses: list[Loss] = []
    with blocking.connect(address, config=config, stop_retrying=True) as client:
        client.on("disconnect", losses.append)
        for number in range(2000):
            client.emit("number", [0, number])
        await asyncio.sleep(0.1)
        await server.kill()
        with pytest.raises(NotConnected):
            client.receive("nothing", timeout=60)
    assert 0 < len(server.heard()) < 2000
    assert len(server.heard()) + told(losses) >= 2000


@pytest.mark.row(33)
async def test_200_clients_come_back_after_a_restart_and_not_all_at_once(config: Config, tmp_path: Path) -> None:
    """With the delays of the defaults. Each round of retries is 20 % either way of its middle, so the first alone
    cannot be spread wider than 200 ms: the server is down for two of them, and all attempts count, with the time at
    which they were due: a loop that gets no processor makes those of a while together."""
    del config.retry
    script = tmp_path / "server.py"
    script.write_text(SERVER)
    due: list[float] = []
    with (tmp_path / "log").open("wb") as out:
        process = await started(script, config, out)
        clients = await asyncio.gather(*(connected_client(config, due) for _ in range(200)))
        due.clear()
        process.send_signal(signal.SIGKILL)
        await process.wait()
        await until(lambda: all(client.retries >= 2 for client in clients))
        process = await started(script, config, out)
        watch = Stopwatch(process.pid)
        await until(lambda: all(client.state.value == "connected" for client in clients))
        seconds = watch.seconds
        for client in clients:
            client.abort()
        process.send_signal(signal.SIGTERM)
        await process.wait()
    assert seconds <= 3
    assert len(due) >= 400
    assert most_within(0.1, due) <= 0.25 * len(due)


async def connected_client(config: Config, due: list[float]) -> Any:
    """One that notes when each of its retries is due."""
    client = await node_ipc.connect("world", config=config, timeout=60)
    client.on("error", lambda error: None)
    loop = asyncio.get_running_loop()
    client.on_trace(
        lambda trace: due.append(loop.time() + trace.detail) if trace.what == "retrying" else None, traffic=False
    )
    return client


def most_within(seconds: float, times: list[float]) -> int:
    """How many of these are in the fullest span of so many seconds, wherever it begins."""
    ordered = sorted(times)
    return max(bisect.bisect_right(ordered, first + seconds) - index for index, first in enumerate(ordered))


STOPPED_SECONDS = 5.0


@pytest.mark.own_process
@pytest.mark.slow
@pytest.mark.row(35)
@pytest.mark.parametrize("stopped", ["client", "server"])
async def test_a_stopped_peer_neither_leaks_nor_stalls(config: Config, tmp_path: Path, stopped: str) -> None:
    if stopped == "server":
        script = tmp_path / "server.py"
        script.write_text(SERVER)
        with (tmp_path / "log").open("wb") as out:
            process = await started(script, config, out)
            client = await node_ipc.connect("world", config=config, timeout=60)
            before = resident()
            process.send_signal(signal.SIGSTOP)
            stopped_at, emitted, refused = time.monotonic(), 0, 0
            while time.monotonic() - stopped_at < STOPPED_SECONDS:
                try:
                    client.emit("number", [0, emitted])
                    emitted += 1
                except BackpressureError:
                    refused += 1
                    await asyncio.sleep(0.001)
                if emitted % 1000 == 0:
                    await asyncio.sleep(0)
            assert refused
            assert client.pending_bytes <= config.max_pending_bytes + 2 * MIB
            assert resident() - before <= config.max_pending_bytes + 32 * MIB
            process.send_signal(signal.SIGCONT)
            await client.drain()
            client.emit("ask")
            await client.receive("heard", timeout=60)
            await client.close()
            process.send_signal(signal.SIGTERM)
            await process.wait()
        lines = (tmp_path / "log").read_text().splitlines()
        assert lines == [f"0 {number}" for number in range(emitted)]
        return
    async with node_ipc.serve("world", config=config) as server:
        server.on("ping", lambda data, socket: socket.emit("pong", data))
        async with Process("read", path_of(config), "1") as reader, node_ipc.connect("world", config=config) as client:
            await until(lambda: len(server.sockets) == 2)
            reader.process.send_signal(signal.SIGSTOP)
            slow = server.sockets[0]
            emitted, waits, before = 0, [], resident()
            stopped_at = time.monotonic()
            while time.monotonic() - stopped_at < STOPPED_SECONDS:
                for _ in range(2000):
                    if slow.pending_bytes < config.soft_pending_bytes:
                        slow.emit("number", emitted)
                        emitted += 1
                watch = Stopwatch()
                client.emit("ping", emitted)
                assert await client.receive("pong", timeout=60) == emitted
                waits.append(watch.seconds)
            assert slow.pending_bytes >= config.soft_pending_bytes
            assert resident() - before <= config.max_pending_bytes + 32 * MIB
            assert sorted(waits)[len(waits) * 99 // 100] <= 0.1
            reader.process.send_signal(signal.SIGCONT)
            await server.drain()
            await server.stop(timeout=60)
            assert json.loads(await reader.line()) == [[emitted, True]]


@pytest.mark.slow
@pytest.mark.row(36)
async def test_stop_drains_and_ends_on_time(config: Config) -> None:
    before = descriptors()
    async with node_ipc.serve("world", config=config) as server:
        async with Process("read", path_of(config), "5") as readers:
            await until(lambda: len(server.sockets) == 5)
            for number in range(10_000):
                server.broadcast("number", number)
            begun = time.monotonic()
            await server.stop(timeout=30)
            assert time.monotonic() - begun < 30, "it waits for nobody who has everything"
            assert json.loads(await readers.line()) == [[10_000, True]] * 5
    async with node_ipc.serve("world", config=config) as server:
        async with Process("read", path_of(config), "5") as readers, Process("stop", path_of(config)):
            await until(lambda: len(server.sockets) == 6)
            for number in range(10_000):
                server.broadcast("number", [number, "x" * 50])
            begun, watch = time.monotonic(), Stopwatch()
            await server.stop(timeout=5)
            assert time.monotonic() - begun >= 4.9 and watch.seconds <= 5.5
            assert json.loads(await readers.line()) == [[10_000, True]] * 5
    assert not os.path.exists(path_of(config)) and not os.path.exists(path_of(config) + ".lock")
    assert descriptors() == before
    assert len(asyncio.all_tasks()) == 1


# ---- F: threads


@pytest.mark.row(40)
async def test_emit_is_safe_from_threads_and_everything_else_refuses(config: Config, server: AsyncServer) -> None:
    got: dict[int, list[int]] = {number: [] for number in range(8)}
    total = 0

    @server.on("from-thread")
    def heard(data: list[int]) -> None:
        nonlocal total
        got[data[0]].append(data[1])
        total += 1

    async with node_ipc.connect("world", config=config) as client:
        refused: list[Exception] = []

        def emit_all(number: int) -> None:
            for value in range(10_000):
                while True:
                    try:
                        client.emit("from-thread", [number, value])
                        break
                    except BackpressureError:
                        time.sleep(0.001)  # the loop has to come to it
            for call in (client.close, lambda: client.on("x", print), lambda: client.request("x"), client.abort):
                try:
                    call()
                except WrongThreadError as error:
                    refused.append(error)

        threads = [threading.Thread(target=emit_all, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        await until(lambda: total == 80_000)
        for thread in threads:
            thread.join()
        assert all(values == list(range(10_000)) for values in got.values())
        assert len(refused) == 8 * 4


async def test_a_socket_can_be_emitted_to_from_a_thread(config: Config, server: Any) -> None:
    async with node_ipc.connect("world", config=config) as client:
        await until(lambda: server.sockets)
        (socket,) = server.sockets
        assert isinstance(socket, Socket)
        await asyncio.to_thread(socket.emit, "from-thread", 1)
        assert await client.receive("from-thread", timeout=60) == 1
