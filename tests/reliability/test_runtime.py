"""Forks, storms of starts and stops, and running out of descriptors (reliability rows 41, 42 and 43)."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import resource
import select
import shutil
import socket as sockets
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trustme

from children import DEADLINE, Child, Gate, Signal
from node_ipc import IPC, Config, ForkError
from stopwatch import Stopwatch

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")


@pytest.fixture
def own() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="ipc-", dir="/tmp"))
    yield path
    shutil.rmtree(path)


def quiet(**options: Any) -> IPC:
    return IPC(Config(silent=True, **{"retry": 20, **options}))


async def until(condition: Callable[[], Any], seconds: float = DEADLINE) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.001)


# ---- 41: a forked child cannot corrupt its parent


class Fleet:
    """A server and ten clients in one process, all connected."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.server = quiet()
        self.clients = [quiet() for _ in range(10)]
        self.at_server: list[Any] = []
        self.at_clients: list[Any] = []

    async def connect(self) -> None:
        self.server.serve(self.path)
        self.server.server.on("number", lambda data, socket: self.at_server.append(data))
        await self.server.server.start()
        for client in self.clients:
            await client.connect_to("world", self.path)
            client.of.world.on("number", self.at_clients.append)
        await until(lambda: len(self.server.server.sockets) == 10)

    def emit(self, numbers: range) -> None:
        for number in numbers:
            for client in self.clients:
                client.of.world.emit("number", number)
            self.server.server.broadcast("number", number)

    async def stop(self) -> None:
        for client in self.clients:
            await client.stop()
        await self.server.stop()


def outcomes_in_child(calls: dict[str, Callable[[], Any]]) -> dict[str, str]:
    """Fork, and call each in the child: the names of the exceptions. The child ends without any clean-up."""
    from_child, to = os.pipe()
    pid = os.fork()
    if pid == 0:
        found = {}
        try:
            for name, call in calls.items():
                try:
                    call()
                    found[name] = "nothing"
                except BaseException as error:
                    found[name] = type(error).__name__
            os.write(to, json.dumps(found).encode())
        finally:
            os._exit(0)
    os.close(to)
    answer = b""
    while select.select([from_child], [], [], DEADLINE)[0] and (chunk := os.read(from_child, 65536)):
        answer += chunk
    os.close(from_child)
    os.waitpid(pid, 0)
    found = json.loads(answer)
    return dict(found)


@pytest.mark.row(41)
async def test_a_forked_child_is_refused_everything_and_the_parent_loses_nothing(own: Path) -> None:
    fleet = Fleet(f"{own}/app.world")
    await fleet.connect()
    server, client = fleet.server.server, fleet.clients[0]
    world, socket = client.of.world, server.sockets[0]
    fleet.emit(range(50))  # some of it may wait in the process when it forks

    found = outcomes_in_child(
        {
            "client.emit": lambda: world.emit("number", -1),
            "client.request": lambda: world.request("number"),
            "client.close": world.close,
            "client.abort": world.abort,
            "client.on": lambda: world.on("number", print),
            "socket.emit": lambda: socket.emit("number", -1),
            "socket.close": socket.close,
            "socket.abort": socket.abort,
            "server.emit": lambda: server.emit(socket, "number", -1),
            "server.broadcast": lambda: server.broadcast("number", -1),
            "server.stop": server.stop,
            "server.abort": server.abort,
            "ipc.stop": fleet.server.stop,
            "ipc.disconnect": lambda: client.disconnect("world"),
            "ipc.connect_to": lambda: client.connect_to("other", fleet.path),
            "ipc.serve": lambda: client.serve(fleet.path),
            "ipc.run": client.run,
        }
    )

    assert found == dict.fromkeys(found, ForkError.__name__)
    fleet.emit(range(50, 100))
    expected = [number for number in range(100) for _ in range(10)]
    await until(lambda: len(fleet.at_server) >= 1000 and len(fleet.at_clients) >= 1000)
    assert sorted(fleet.at_server) == sorted(fleet.at_clients) == expected
    assert os.path.exists(fleet.path)
    await fleet.stop()
    assert os.listdir(own) == []


@pytest.mark.row(41)
async def test_a_forked_child_may_have_an_instance_of_its_own(own: Path) -> None:
    fleet = Fleet(f"{own}/app.world")
    await fleet.connect()
    unused = quiet()  # made before the fork, and never run: the child may

    def talk(instance: Callable[[], IPC], number: int) -> None:
        async def main() -> None:
            ipc = instance()
            await ipc.connect_to("world", fleet.path)
            ipc.of.world.emit("number", number)
            await ipc.stop()

        asyncio.run(main())

    # The parent has to accept while the child connects, so it may not wait for the child here.
    loop = asyncio.get_running_loop()
    pid = os.fork()
    if pid == 0:
        try:
            asyncio._set_running_loop(None)  # what Python 3.12 does by itself in a child
            talk(quiet, 1)
            talk(lambda: unused, 2)
        finally:
            os._exit(0)
    await until(lambda: sorted(fleet.at_server) == [1, 2])
    assert os.waitpid(pid, 0) == (pid, 0)
    assert loop.is_running()
    await fleet.stop()


# ---- 42: starts and stops without end


CYCLES = 1_000 if os.environ.get("NIGHTLY") == "repeats" else 250


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    directory = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    for name, blob in {
        "key": certificate.private_key_pem,
        "cert": certificate.cert_chain_pems[0],
        "ca": authority.cert_pem,
    }.items():
        blob.write_to_path(str(directory / name))
    return {name: str(directory / name) for name in ("key", "cert", "ca")}


async def stream_cycle(where: dict[str, Any], server_tls: Any, client_tls: Any) -> None:
    """Start, connect, say something both ways, and stop."""
    ipc, asking = quiet(tls=server_tls), quiet(tls=client_tls)
    if "path" in where:
        ipc.serve(where["path"])
    else:
        ipc.serve_net("127.0.0.1", 0)
    ipc.server.on("ask", lambda data, socket: socket.emit("answer", data))
    await ipc.server.start()
    if "path" in where:
        asking.connect_to("world", where["path"])
    else:
        asking.connect_to_net("world", "127.0.0.1", ipc.server.port)
    heard = asyncio.get_running_loop().create_future()
    asking.of.world.on("answer", heard.set_result)
    asking.of.world.emit("ask", 1)
    async with asyncio.timeout(DEADLINE):
        assert await heard == 1
        await asking.stop()
        await ipc.stop()


async def datagram_cycle() -> None:
    ipc, asking = quiet(), quiet()
    heard = asyncio.get_running_loop().create_future()
    port, other = ipc.serve_udp("127.0.0.1", 0), asking.serve_udp("127.0.0.1", 0)
    await port.start()
    await other.start()
    port.on("ask", lambda data, peer: port.emit(peer, "answer", data))
    other.on("answer", heard.set_result)
    other.emit({"address": "127.0.0.1", "port": port.port}, "ask", 1)
    async with asyncio.timeout(DEADLINE):
        assert await heard == 1
        await asking.stop()
        await ipc.stop()


@pytest.mark.slow
@pytest.mark.row(42)
@pytest.mark.lane(name="repeats")
@pytest.mark.parametrize("transport", ["unix", "tcp", "tls", "udp"])
def test_starts_and_stops_by_hundreds_leave_nothing(
    own: Path, transport: str, certificates: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    cycles: dict[str, Callable[[], Any]] = {
        "unix": partial(stream_cycle, {"path": f"{own}/app.world"}, False, False),
        "tcp": partial(stream_cycle, {}, False, False),
        "tls": partial(
            stream_cycle,
            {},
            {"private": certificates["key"], "public": certificates["cert"]},
            {"ca": Path(certificates["ca"]).read_text()},
        ),
        "udp": datagram_cycle,
    }
    cycle = cycles[transport]

    async def main() -> None:
        for _ in range(20):  # what is made once is there by now
            await cycle()
        gc.collect()
        before = descriptors(), len(asyncio.all_tasks())
        begun = time.monotonic()
        for _ in range(CYCLES):
            await cycle()
        seconds = time.monotonic() - begun
        gc.collect()
        assert (descriptors(), len(asyncio.all_tasks())) == before
        assert seconds <= 60
        assert pending_timers() == []

    asyncio.run(main())
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert os.listdir(own) == []


def pending_timers() -> list[Any]:
    """Timers of the loop that are neither due nor cancelled."""
    scheduled: list[asyncio.TimerHandle] = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
    return [timer for timer in scheduled if not timer.cancelled()]


# ---- 43: out of descriptors


class Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


def serve_with_few_descriptors(path: str, ready: Signal, begin: Gate, end: Gate) -> dict[str, Any]:
    """In a child: an echo server that may open 20 descriptors more; what it cost between ``begin`` and ``end``."""

    async def main() -> dict[str, Any]:
        lines = Lines()
        logging.getLogger("node_ipc").addHandler(lines)
        ipc = quiet(max_connections=1000)
        ipc.serve(path)
        ipc.server.on("ask", lambda data, socket: socket.emit("answer", data))
        await ipc.server.start()
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit_with_spare(20), hard))
        ready.give()
        await until(lambda: begin.is_open)
        cpu, begun = time.process_time(), time.monotonic()
        while not end.is_open:
            await asyncio.sleep(0.05)
        return {
            "cpu": (time.process_time() - cpu) / (time.monotonic() - begun),
            "lines": lines.texts,
            "seconds": time.monotonic() - begun,
        }

    return asyncio.run(main())


def limit_with_spare(spare: int) -> int:
    """The RLIMIT_NOFILE that leaves so many descriptors: those below it that nobody has."""
    taken = {int(name) for name in os.listdir("/proc/self/fd")}
    limit = free = 0
    while free < spare:
        free += limit not in taken
        limit += 1
    return limit


class Plain:
    """A client of the kernel's only."""

    def __init__(self, path: str) -> None:
        self.socket = sockets.socket(sockets.AF_UNIX)
        self.socket.connect(path)
        self.socket.settimeout(DEADLINE)

    def ask(self, server: int) -> float:
        """Seconds until the answer of the server's process."""
        watch = Stopwatch(server)
        self.socket.sendall(b'{"type":"ask","data":1}\f')
        assert self.socket.recv(1000).endswith(b"\f")
        return watch.seconds


@pytest.mark.slow
@pytest.mark.row(43)
def test_out_of_descriptors_it_stays_calm_and_recovers(own: Path) -> None:
    path = f"{own}/app.world"
    ready, begin, end = Signal(), Gate(), Gate()
    with Child(lambda: serve_with_few_descriptors(path, ready, begin, end)) as child:
        ready.wait()
        before = Plain(path)
        before.ask(child.pid)
        waiting = [Plain(path) for _ in range(100)]  # the kernel takes them all into its queue
        begin.open()
        begun, slowest = time.monotonic(), 0.0
        while time.monotonic() - begun < 5:
            slowest = max(slowest, before.ask(child.pid))
            select.select([], [], [], 0.05)
        end.open()
        found = child.result()
        assert slowest <= 0.1, "the client that was there is served as before"
        assert found["cpu"] <= 0.2
        assert 1 <= len(found["lines"]) <= 2 * (found["seconds"] + 1)
        assert all("cannot accept connections" in line and "Too many open files" in line for line in found["lines"])
        for plain in [before, *waiting]:
            plain.socket.close()


@pytest.mark.row(43)
def test_it_accepts_again_once_descriptors_are_free(own: Path) -> None:
    path = f"{own}/app.world"
    ready, begin, end = Signal(), Gate(), Gate()
    with Child(lambda: serve_with_few_descriptors(path, ready, begin, end)) as child:
        ready.wait()
        begin.open()
        waiting = [Plain(path) for _ in range(100)]
        last = Plain(path)
        last.socket.sendall(b'{"type":"ask","data":"last"}\f')
        assert not select.select([last.socket], [], [], 1.0)[0], "there are no descriptors for it"
        watch = Stopwatch(child.pid)
        for plain in waiting:
            plain.socket.close()
        assert last.socket.recv(1000).endswith(b"\f")
        assert watch.seconds <= 1.5
        end.open()
        child.result()
        last.socket.close()
