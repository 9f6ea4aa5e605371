"""Row 54: the end of a link is noticed also while it is not read, whoever paused it; what had arrived is delivered.

Real peers, killed: each reason of a pause on each driver and transport. ``tests/core/test_pauses.py`` has the same on
the memory driver, with more schedules.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import node_ipc
from node_ipc import BackpressureError, IPCError, blocking
from processes import Program
from stopwatch import Stopwatch
from tls_certificates import identity

PEER = Path(__file__).with_name("paused_peer.py")
NOTICED_SECONDS = 2.0
BUSY_SECONDS = 3.0
"""What a machine that runs other tests beside this one may add."""
FIRST, REST = 40, 20
"""Events before the pause, and those that nobody has read when the peer is killed."""
TRANSPORTS = ["unix", "tcp", "tls"]
LOOPS = ["asyncio", "uvloop"]
if sys.platform == "win32":
    pytest.skip("Windows has no poll(2), and tells of an end only to those who read", allow_module_level=True)


class Peer(Program):
    """``paused_peer.py``, told by lines what to send."""

    def __init__(self, *arguments: str) -> None:
        self._arguments = arguments
        super().__init__(sys.executable, "-u", str(PEER), *arguments, stdin=subprocess.PIPE)
        self.came: list[str] = []

    def say(self, name: str, first: int, count: int) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{name} {first} {count}\n")
        self.process.stdin.flush()
        self.wait_for(f"sent {first}")

    def close(self) -> None:
        super().close()
        assert self.process.stdin is not None
        self.process.stdin.close()


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    authority = identity("authority", authority=True)
    own = identity("server", authority, names=["localhost"])
    (tmp_path / "ca.pem").write_text(authority.cert)
    (tmp_path / "server.pem").write_text(own.key + own.cert)
    return tmp_path


@pytest.fixture
def peers() -> Iterator[Callable[..., Peer]]:
    made: list[Peer] = []

    def start(*arguments: str) -> Peer:
        made.append(Peer(*arguments))
        return made[-1]

    yield start
    for peer in made:
        peer.close()


class Place:
    """Where a server of this transport listens, and what its options are."""

    def __init__(self, transport: str, folder: Path) -> None:
        self.transport = transport
        self.folder = folder
        self.options: dict[str, Any] = {"socket_root": f"{folder}/", "silent": True}
        if transport == "tls":
            pem = (folder / "server.pem").read_text()
            self.options["tls"] = {"key": pem, "cert": pem}

    @property
    def address(self) -> str:
        return "world" if self.transport == "unix" else f"{self.transport}://localhost:0"

    def to_connect(self, server: Any) -> list[str]:
        """The peer's arguments, to connect to it."""
        place = str(self.folder / "app.world") if self.transport == "unix" else str(server.address.port)
        return ["connect", self.transport, place, *([str(self.folder)] if self.transport == "tls" else [])]

    def to_listen(self) -> list[str]:
        place = str(self.folder / "app.world") if self.transport == "unix" else "0"
        return ["listen", self.transport, place, *([str(self.folder)] if self.transport == "tls" else [])]

    def of(self, peer: Peer) -> tuple[str, dict[str, Any]]:
        """Where a client finds that peer."""
        where = peer.wait_for("at ").removeprefix("at ")
        tls = {"tls": {"ca": (self.folder / "ca.pem").read_text()}} if self.transport == "tls" else {}
        options = {"socket_root": f"{self.folder}/", "silent": True, **tls}
        return ("world" if self.transport == "unix" else f"{self.transport}://localhost:{where}"), options


@pytest.fixture(params=TRANSPORTS)
def place(request: pytest.FixtureRequest, certificates: Path) -> Place:
    return Place(request.param, certificates)


async def happened(condition: Callable[[], Any], seconds: float = 60.0) -> float:
    """Wait for it; the seconds that it took."""
    begun, watch = time.monotonic(), Stopwatch()
    while not condition():
        assert time.monotonic() < begun + seconds, "it never came"
        await asyncio.sleep(0.005)
    return watch.seconds


def run(loop: str, main: Any) -> None:
    factory = None
    if loop == "uvloop":
        factory = pytest.importorskip("uvloop").new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main)


def flood(socket: Any) -> None:
    """Emit until nothing more is read from a peer that does not read."""
    while not socket.is_reading_paused:
        socket.emit("much", "x" * 60_000)


# ---- a server, on a loop


async def serve_and_lose(place: Place, peers: Callable[..., Peer], reason: str) -> None:
    heard: list[int] = []
    name = "rpc.request" if reason == "requests" else "count"
    limits: dict[str, dict[str, Any]] = {
        "handlers": {"max_handler_frames": 3},
        "requests": {"max_request_bytes": 200, "max_handler_bytes": 200},
    }
    options = limits.get(reason, {})
    async with node_ipc.serve(place.address, soft_pending_bytes=100_000, **options, **place.options) as server:

        async def never(data: int) -> None:
            heard.append(data)
            await asyncio.sleep(3600)

        def hear(data: int, socket: Any) -> None:
            heard.append(data)
            if len(heard) == FIRST:
                flood(socket)

        server.on("count", hear if reason == "outgoing" else never)
        server.handle("work", never)
        peer = peers(*place.to_connect(server))
        await asyncio.to_thread(peer.wait_for, "open")
        await asyncio.to_thread(peer.say, name, 0, FIRST)
        await happened(lambda: server.sockets and server.sockets[0].is_reading_paused)
        (socket,) = server.sockets
        await asyncio.to_thread(peer.say, name, FIRST, REST)
        peer.process.kill()
        assert await happened(lambda: not server.sockets) < NOTICED_SECONDS + BUSY_SECONDS
        assert heard == list(range(FIRST + REST))
        assert socket.loss is not None and socket.loss.unheard == 0
        assert server.stats().messages_in == FIRST + REST


@pytest.mark.row(54)
@pytest.mark.parametrize("reason", ["handlers", "requests", "outgoing"])
@pytest.mark.parametrize("loop", LOOPS)
def test_a_server_whose_peer_is_killed_while_it_reads_nothing(
    loop: str, reason: str, place: Place, peers: Callable[..., Peer]
) -> None:
    run(loop, serve_and_lose(place, peers, reason))


# ---- a client, on a loop


async def connect_and_lose(place: Place, peers: Callable[..., Peer]) -> None:
    peer = peers(*place.to_listen())
    address, options = place.of(peer)
    async with node_ipc.connect(address, max_unread_events=5, stop_retrying=0, **options) as client:
        ends: list[Any] = []
        client.on("disconnect", ends.append)
        iteration = aiter(client)
        await asyncio.to_thread(peer.say, "count", 0, FIRST)
        found = [await anext(iteration)]
        await happened(lambda: client.stats().paused == {"inbox": 1})
        await asyncio.to_thread(peer.say, "count", FIRST, REST)
        peer.process.kill()
        assert await happened(lambda: ends) < NOTICED_SECONDS + BUSY_SECONDS
        found += [event async for event in iteration]
        assert [event.data for event in found if event.type == "count"] == list(range(FIRST + REST))
        assert ends[0].unheard == 0


@pytest.mark.row(54)
@pytest.mark.parametrize("loop", LOOPS)
def test_a_client_whose_server_is_killed_while_its_inbox_is_full(
    loop: str, place: Place, peers: Callable[..., Peer]
) -> None:
    run(loop, connect_and_lose(place, peers))


# ---- the blocking front, which works while it is called


@pytest.mark.row(54)
def test_a_blocking_server_whose_peer_is_killed_while_it_does_not_read(
    place: Place, peers: Callable[..., Peer]
) -> None:
    heard: list[int] = []

    def hear(data: int, socket: Any) -> None:
        heard.append(data)
        if len(heard) == FIRST:
            flood(socket)

    with blocking.serve(place.address, soft_pending_bytes=100_000, **place.options) as server:
        server.on("count", hear)
        peer = peers(*place.to_connect(server))
        while not server.sockets:  # for TLS the handshake is the server's, too
            server.poll(0.01)
        peer.wait_for("open")
        peer.say("count", 0, FIRST)
        while not server.sockets[0].is_reading_paused:
            server.poll(0.01)
        peer.say("count", FIRST, REST)
        peer.process.kill()
        watch = Stopwatch()
        while server.sockets and watch.seconds < NOTICED_SECONDS + BUSY_SECONDS:
            server.poll(0.01)
        assert server.sockets == []
        assert heard == list(range(FIRST + REST))


@pytest.mark.row(54)
def test_a_blocking_client_whose_server_is_killed_while_its_inbox_is_full(
    place: Place, peers: Callable[..., Peer]
) -> None:
    peer = peers(*place.to_listen())
    address, options = place.of(peer)
    with blocking.connect(address, max_inbox_bytes=2000, stop_retrying=0, **options) as client:
        ends: list[Any] = []
        client.on("disconnect", ends.append)
        peer.say("count", 0, FIRST)
        with pytest.raises(BackpressureError):
            while True:
                client.poll(0.01)
        peer.say("count", FIRST, REST)
        peer.process.kill()
        watch = Stopwatch()
        assert [client.receive("count", timeout=60) for _ in range(FIRST + REST)] == list(range(FIRST + REST))
        with pytest.raises(IPCError):
            client.receive("count", timeout=60)
        assert len(ends) == 1 and watch.seconds < NOTICED_SECONDS + BUSY_SECONDS
