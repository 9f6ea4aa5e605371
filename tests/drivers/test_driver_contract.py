"""One contract, every driver: the same checks in memory, on asyncio and uvloop, in the caller's thread; over Unix
sockets, TCP, TLS, and on Windows over named pipes. Datagrams have theirs at the end.

The ends are wires (``node_ipc.testing.Wire``) that write down what the driver tells them and when.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import os
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from node_ipc import AddressError, AddressInUse, Config, ConnectError, ConnectTimeout, FrameTooLarge, TLSError
from node_ipc.config.address import Handed, Pipe, Tcp, Tls, Udp, Unix
from node_ipc.config.handed import handed
from node_ipc.core.seam import Peer
from node_ipc.testing import MemoryDriver, Wire

MIB = 1024 * 1024
SECONDS = 20.0
WINDOWS = sys.platform == "win32"
numbers = itertools.count()


class Ledger(Wire):
    """A wire that also counts, and notices when it is told something inside a call of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []
        self.inside = ""
        self.reads: list[int] = []
        self.pauses = False
        """Whether it stops reading inside each read."""
        self.answers_end = True
        """Whether it closes when the other end does, as a session does."""
        self.attempt: Any = None
        """What ``open`` gave."""

    def note(self, what: str) -> None:
        assert not self.inside or what == "pause", f"{what} came inside {self.inside}"
        self.told.append(what)

    def calling(self, verb: str, call: Callable[[], Any]) -> None:
        self.inside = verb
        try:
            call()
        finally:
            self.inside = ""

    def write(self, data: bytes) -> None:
        self.calling("write", lambda: super(Ledger, self).write(data))

    def close(self) -> None:
        self.calling("close", super().close)

    def abort(self) -> None:
        self.calling("abort", super().abort)

    def opened(self, link: Any) -> None:
        self.note("opened")
        super().opened(link)

    def failed(self, error: Exception) -> None:
        self.note("failed")
        super().failed(error)

    def received(self, data: bytes) -> None:
        assert type(data) is bytes and 0 < len(data) <= 64 * 1024
        self.reads.append(len(data))
        super().received(data)
        if self.pauses:
            self._open_link().pause_reading()

    def ending(self) -> None:
        self.note("ending")
        super().ending()

    def ended(self) -> None:
        self.note("ended")
        super().ended()
        if self.answers_end:
            self._open_link().close()

    def pause(self) -> None:
        self.note("pause")
        super().pause()

    def writable(self) -> None:
        self.note("writable")
        super().writable()

    def lost(self, error: Exception | None) -> None:
        self.note("lost")
        super().lost(error)


class Desk:
    """An acceptor: a ledger for each connection."""

    def __init__(self) -> None:
        self.address: Any = None
        self.error: Exception | None = None
        self.ledgers: list[Ledger] = []
        self.peers: list[Peer] = []
        self.refuses = False
        self.inside = False

    def listening(self, address: Any) -> None:
        assert not self.inside
        self.address = address

    def not_listening(self, error: Exception) -> None:
        assert not self.inside
        self.error = error

    def accept(self, peer: Peer) -> Ledger | None:
        self.peers.append(peer)
        if self.refuses:
            return None
        self.ledgers.append(Ledger())
        return self.ledgers[-1]


class Rig:
    """A driver, an address for it, and a way to let it work."""

    has_half_close = True

    def __init__(self, transport: str, directory: Path) -> None:
        self.transport = transport
        self.settings = Config(**options(transport)).settings()
        self.client_settings = self.settings
        self.place = place(transport, directory)
        self.driver: Any = self.make()
        self.desks: list[Desk] = []
        self.listeners: list[Any] = []
        self.wires: list[Ledger] = []

    def make(self) -> Any:
        raise NotImplementedError

    def until(self, condition: Callable[[], Any]) -> None:
        raise NotImplementedError

    def turns(self) -> None:
        """Let the driver do all it can do at once."""
        passed: list[bool] = []
        self.driver.call_later(0.02, lambda: passed.append(True))
        self.until(lambda: passed)

    def clear(self) -> None:
        """End whatever a check left open."""
        for listener in self.listeners:
            listener.close()
        self.turns()
        ledgers = [*self.wires, *(ledger for desk in self.desks for ledger in desk.ledgers)]
        for ledger in ledgers:
            if ledger.link is not None and not ledger.is_lost:
                ledger.link.abort()
        self.until(lambda: all(ledger.link is None or ledger.is_lost for ledger in ledgers))

    def finish(self) -> None: ...

    # what every check begins with

    def listen(self) -> tuple[Desk, Any]:
        desk = Desk()
        desk.inside = True
        listener = self.driver.listen(self.place, desk, self.settings)
        desk.inside = False
        self.desks.append(desk)
        self.listeners.append(listener)
        self.until(lambda: desk.address or desk.error)
        return desk, listener

    def open(self, address: Any, **settings: Any) -> Ledger:
        wire = Ledger()
        self.wires.append(wire)
        own = Config(**options(self.transport), **settings).settings() if settings else self.client_settings
        wire.calling("open", lambda: setattr(wire, "attempt", self.driver.open(address, wire, own)))
        return wire

    def pair(self) -> tuple[Ledger, Ledger, Any]:
        desk, listener = self.listen()
        client = self.open(desk.address)
        self.until(lambda: client.link and desk.ledgers and desk.ledgers[0].link)
        return client, desk.ledgers[0], listener


class MemoryRig(Rig):
    def make(self) -> Any:
        driver = MemoryDriver()
        driver.speaks_tls = True
        return driver

    def until(self, condition: Callable[[], Any]) -> None:
        self.driver.run_until(condition, SECONDS)

    def turns(self) -> None:
        self.driver.advance(0.02)

    def finish(self) -> None:
        self.driver.close()


class LoopRig(Rig):
    def make(self) -> Any:
        from node_ipc.drivers.loop import EventLoopDriver

        self.loop = self.new_loop()
        driver = EventLoopDriver()
        driver.attach(self.loop)
        return driver

    def new_loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.new_event_loop()

    def until(self, condition: Callable[[], Any]) -> None:
        async def wait() -> None:
            async with asyncio.timeout(SECONDS):
                while not condition():
                    await asyncio.sleep(0.001)

        self.loop.run_until_complete(wait())

    def finish(self) -> None:
        async def rest() -> None:
            others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            await asyncio.sleep(0)

        self.loop.run_until_complete(rest())
        self.loop.close()


class UvloopRig(LoopRig):
    def new_loop(self) -> asyncio.AbstractEventLoop:
        import uvloop

        loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
        return loop


class ThreadRig(Rig):
    def make(self) -> Any:
        from node_ipc.drivers.thread import ThreadDriver

        return ThreadDriver()

    def until(self, condition: Callable[[], Any]) -> None:
        assert self.driver.run_until(condition, SECONDS), "it did not come to that in time"

    def finish(self) -> None:
        self.driver.close()


@cache
def options(transport: str) -> dict[str, Any]:
    if transport != "tls":
        return {}
    import trustme

    authority = trustme.CA()
    server = authority.issue_cert("localhost", "127.0.0.1")
    return {
        "tls": {
            "key": server.private_key_pem.bytes().decode(),
            "cert": server.cert_chain_pems[0].bytes().decode(),
            "ca": authority.cert_pem.bytes().decode(),
            "request_cert": False,
        }
    }


def place(transport: str, directory: Path) -> Any:
    if transport == "unix":
        return Unix(f"{directory}/contract.sock")
    if transport == "pipe":
        return Pipe(f"contract-{os.getpid()}-{next(numbers)}")
    if transport == "udp4":
        return Udp("127.0.0.1", 0, "udp4")
    if transport == "udp6":
        return Udp("::1", 0, "udp6")
    return (Tls if transport == "tls" else Tcp)("127.0.0.1", 0)


RIGS = {
    "memory": (MemoryRig, ["unix", "tcp"] if WINDOWS else ["unix", "tcp", "tls"]),
    "asyncio": (LoopRig, ["pipe", "tcp"] if WINDOWS else ["unix", "tcp", "tls"]),
    "uvloop": (UvloopRig, [] if WINDOWS else ["unix", "tcp", "tls"]),
    "thread": (ThreadRig, ["pipe", "tcp"] if WINDOWS else ["unix", "tcp", "tls"]),
}


@pytest.fixture(params=[f"{name}-{transport}" for name, (_, transports) in RIGS.items() for transport in transports])
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    yield from made(request.param)


@pytest.fixture(params=[f"{name}-{family}" for name, (_, any_) in RIGS.items() if any_ for family in ("udp4", "udp6")])
def post(request: pytest.FixtureRequest) -> Iterator[Rig]:
    """A rig for datagrams."""
    yield from made(request.param)


def made(what: str) -> Iterator[Rig]:
    name, transport = what.split("-")
    with tempfile.TemporaryDirectory(prefix="ipc-") as directory:
        rig: Rig = RIGS[name][0](transport, Path(directory))
        rig.has_half_close = transport != "pipe"
        yield rig
        rig.clear()
        rig.finish()


# ---- opening and listening


def test_both_ends_are_told_once_that_they_are_open(rig: Rig) -> None:
    client, server, _ = rig.pair()
    rig.turns()
    assert client.told == server.told == ["opened"]


def test_nobody_there_is_one_failure_and_never_an_opening(rig: Rig) -> None:
    desk, listener = rig.listen()
    listener.close()
    rig.turns()
    client = rig.open(desk.address)
    rig.until(lambda: client.told)
    rig.turns()
    assert client.told == ["failed"]
    assert isinstance(client.error, ConnectError)


def test_an_address_in_use_is_said_and_harms_nobody(rig: Rig) -> None:
    if WINDOWS and rig.transport == "pipe" and is_wine():
        pytest.skip("wine does not enforce FILE_FLAG_FIRST_PIPE_INSTANCE; the contract test checks that it is passed")
    desk, _ = rig.listen()
    rig.place = desk.address
    second, _ = rig.listen()
    assert isinstance(second.error, AddressInUse)
    client = rig.open(desk.address)
    rig.until(lambda: client.link and desk.ledgers)


def is_wine() -> bool:
    import ctypes

    return hasattr(ctypes.WinDLL("ntdll"), "wine_get_version")  # type: ignore[attr-defined]


def test_port_0_becomes_the_real_one(rig: Rig) -> None:
    desk, _ = rig.listen()
    if rig.transport in ("tcp", "tls"):
        assert desk.address.port > 0
    else:
        assert desk.address == rig.place


def test_a_closed_listener_accepts_nobody_and_open_links_stay(rig: Rig) -> None:
    client, server, listener = rig.pair()
    listener.close()
    listener.close()
    rig.turns()
    client.write(b"still")
    rig.until(lambda: server.bytes == b"still")
    server.write(b"there")
    rig.until(lambda: client.bytes == b"there")


def test_who_is_refused_sees_the_end(rig: Rig) -> None:
    desk, _ = rig.listen()
    desk.refuses = True
    client = rig.open(desk.address)
    rig.until(lambda: client.is_lost or client.has_ended or client.error)
    assert desk.ledgers == []


def test_the_peer_is_who_the_kernel_says(rig: Rig) -> None:
    client, server, _ = rig.pair()
    assert client.link is not None and server.link is not None
    for peer in (client.link.peer, server.link.peer):
        assert peer.transport == ("memory" if type(rig) is MemoryRig else rig.transport)
        if rig.transport in ("tcp", "tls"):
            assert peer.host == "127.0.0.1" and peer.port
        elif type(rig) is not MemoryRig:
            assert peer.pid == os.getpid()
    if rig.transport == "unix" and type(rig) is not MemoryRig:
        assert (server.link.peer.uid, server.link.peer.gid) == (os.getuid(), os.getgid())
    if rig.transport == "tls":
        assert client.link.peer.certificate is not None


# ---- the steps of connecting, their time limits, and who goes no further


def has_names(rig: Rig) -> bool:
    return rig.transport in ("tcp", "tls")


@contextlib.contextmanager
def nobody_answers(rig: Rig, address: Any) -> Iterator[None]:
    """Connecting there takes all the time that there is: the queue is full."""
    if isinstance(rig, MemoryRig):
        where = address.path if rig.transport == "unix" else address.host
        rig.driver.silent.add(where)
        yield
        rig.driver.silent.discard(where)
        return
    family, where = (socket.AF_UNIX, address.path) if rig.transport == "unix" else (socket.AF_INET, tuple(address))
    with socket.socket(family) as silent, contextlib.ExitStack() as others:
        silent.bind(where)
        silent.listen(0)
        for _ in range(3):
            other = others.enter_context(socket.socket(family))
            other.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                other.connect(where)
        yield


class Place(NamedTuple):
    """A TCP address as the socket functions take it."""

    host: str
    port: int


def descriptors(rig: Rig) -> int:
    """The sockets that are open, besides those that a driver opens for itself when it first waits."""
    if isinstance(rig, MemoryRig):
        return len(rig.driver.connections)
    if isinstance(rig, ThreadRig):
        assert rig.driver.poller
    kinds = []
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            kinds.append(os.readlink(f"/proc/self/fd/{number}").partition(":")[0])
    return kinds.count("socket")


@pytest.mark.parametrize(("first", "seconds"), [("refuses", 12.0), ("is silent", 1.2)])
def test_the_first_address_of_a_name_that_answers_is_taken(rig: Rig, first: str, seconds: float) -> None:
    """Of two, each has half of the time."""
    if WINDOWS or not has_names(rig):
        pytest.skip("only names have several addresses")
    desk, _ = rig.listen()
    names = {"lookup": lambda host: ["127.0.0.2", "127.0.0.1"]}
    silent = nobody_answers(rig, Place("127.0.0.2", desk.address.port))
    with silent if first == "is silent" else contextlib.nullcontext():
        began = rig.driver.now()
        client = rig.open(
            type(desk.address)("localhost", desk.address.port), interfaces=names, connect_timeout=1000 * seconds
        )
        rig.until(lambda: client.told)
        took = rig.driver.now() - began
    assert client.told == ["opened"]
    assert client.link is not None and client.link.peer.host == "127.0.0.1"
    assert (took >= seconds / 2) == (first == "is silent")


def test_a_name_whose_addresses_all_refuse_fails_once(rig: Rig) -> None:
    if WINDOWS or not has_names(rig):
        pytest.skip("only names have several addresses")
    desk, listener = rig.listen()
    listener.close()
    names = {"lookup": lambda host: ["127.0.0.2", "127.0.0.1"]}
    client = rig.open(type(desk.address)("localhost", desk.address.port), interfaces=names)
    rig.until(lambda: client.told)
    rig.turns()
    assert client.told == ["failed"] and "Connection refused" in str(client.error)


async def never(host: str) -> str:
    await asyncio.get_running_loop().create_future()
    return host


class Never:
    """What is awaited without end."""

    def __await__(self) -> Any:
        yield from MemoryDriver().outcome(None).__await__()


STEPS = ["looking up", "connecting", "shaking hands"]


@contextlib.contextmanager
def stuck(rig: Rig, step: str) -> Iterator[tuple[Any, dict[str, Any]]]:
    """An address, and options, with which an attempt comes as far as this step and no further."""
    place = Unix(f"{rig.place.path}.full") if rig.transport == "unix" else None
    if step == "looking up":
        if not has_names(rig) or isinstance(rig, ThreadRig):
            pytest.skip("there is nothing to look up, or nothing else to do meanwhile")
        lookup: Any = (lambda host: Never()) if isinstance(rig, MemoryRig) else never
        yield type(rig.place)("localhost", 1), {"interfaces": {"lookup": lookup}}
    elif step == "connecting":
        port = 40_000 + os.getpid() % 9_000
        with nobody_answers(rig, place or Place("127.0.0.3", port)):
            yield place or type(rig.place)("127.0.0.3", port), {}
    elif rig.transport != "tls":
        pytest.skip("without TLS nobody shakes hands")
    elif isinstance(rig, MemoryRig):
        desk = Desk()
        rig.driver.speaks_tls = False
        rig.listeners.append(rig.driver.listen(rig.place, desk, rig.settings))
        rig.until(lambda: desk.address)
        rig.driver.speaks_tls = True
        yield Tls("localhost", desk.address.port), {"interfaces": {"lookup": lambda host: "127.0.0.1"}}
        for ledger in desk.ledgers:
            ledger.abort()
        rig.turns()
    else:
        with socket.create_server(("127.0.0.1", 0)) as server:
            yield Tls("127.0.0.1", server.getsockname()[1]), {}


@pytest.mark.skipif(WINDOWS, reason="a queue is filled as on Linux")
@pytest.mark.parametrize("step", STEPS)
def test_each_step_has_a_time_limit(rig: Rig, step: str) -> None:
    limit = {"handshake_timeout": 200} if step == "shaking hands" else {"connect_timeout": 200}
    with stuck(rig, step) as (address, more):
        before, began = descriptors(rig), rig.driver.now()
        client = rig.open(address, **more, **limit)
        rig.until(lambda: client.told)
        assert client.told == ["failed"]
        assert isinstance(client.error, TLSError if step == "shaking hands" else ConnectTimeout)
        assert rig.driver.now() - began >= 0.15
        rig.turns()
        assert descriptors(rig) == before


@pytest.mark.skipif(WINDOWS, reason="a queue is filled as on Linux")
@pytest.mark.parametrize("step", ["beginning", *STEPS])
def test_an_attempt_that_is_cancelled_tells_nothing_and_leaves_nothing_open(rig: Rig, step: str) -> None:
    with stuck(rig, "connecting" if step == "beginning" else step) as (address, more):
        rig.turns()
        before = descriptors(rig)
        client = rig.open(address, **more)
        if step != "beginning":
            rig.turns()
        if step == "shaking hands" or (step == "connecting" and has_names(rig) and not isinstance(rig, MemoryRig)):
            rig.until(lambda: descriptors(rig) > before)  # the first of a program may have to import ssl
            rig.turns()
        client.attempt.cancel()
        client.attempt.cancel()
        rig.turns()
        assert descriptors(rig) == before
        assert client.told == []
    if isinstance(rig, LoopRig):
        assert not [task for task in rig.driver.tasks if not task.done()]


def test_cancelling_what_is_open_does_nothing(rig: Rig) -> None:
    client, server, _ = rig.pair()
    client.attempt.cancel()
    rig.turns()
    client.write(b"still here")
    rig.until(lambda: server.bytes == b"still here")


@pytest.mark.parametrize("blocks", [True, False], ids=["blocking", "not blocking"])
def test_a_socket_that_is_handed_over_is_served(rig: Rig, blocks: bool) -> None:
    if isinstance(rig, MemoryRig) or rig.transport == "pipe":
        pytest.skip("nothing can be handed over")
    family = socket.AF_UNIX if rig.transport == "unix" else socket.AF_INET
    sock = socket.socket(family)
    sock.bind(rig.place.path if rig.transport == "unix" else ("127.0.0.1", 0))
    sock.setblocking(blocks)
    rig.place = handed(sock, tls=rig.transport == "tls")
    desk, listener = rig.listen()
    assert desk.address is rig.place
    first, second = rig.open(rig.place.where), rig.open(rig.place.where)
    rig.until(lambda: first.link and second.link and len(desk.ledgers) == 2)
    rig.turns()
    first.write(b"hello")
    rig.until(lambda: any(ledger.bytes == b"hello" for ledger in desk.ledgers))
    listener.close()
    assert sock.fileno() == -1


# ---- bytes


def has(end: Any, size: int) -> bool:
    return len(end.bytes) >= size


@pytest.mark.parametrize("sizes", [[1], [0x10000 + 1], [3] * 500, [4 * MIB]], ids=["1", "64k+1", "500x3", "4M"])
def test_bytes_arrive_as_they_were_written_both_ways(rig: Rig, sizes: list[int]) -> None:
    client, server, _ = rig.pair()
    data = os.urandom(sum(sizes))
    for sender, receiver in ((client, server), (server, client)):
        begin = 0
        for size in sizes:
            sender.write(data[begin : begin + size])
            begin += size
        rig.until(partial(has, receiver, len(data)))
        assert receiver.bytes == data


def test_a_full_kernel_pauses_the_writer_until_it_is_empty_again(rig: Rig) -> None:
    client, server, _ = rig.pair()
    assert client.link is not None and server.link is not None
    server.link.pause_reading()
    written = 0
    while not client.is_full:
        client.write(b"x" * 65536)
        written += 65536
        assert written <= 64 * MIB
        rig.turns() if written % MIB == 0 else None
    assert 0 < client.link.pending_bytes() <= written
    server.link.resume_reading()
    rig.until(lambda: not client.is_full and len(server.bytes) == written)
    assert client.link.pending_bytes() == 0
    assert client.told[:3] == ["opened", "pause", "writable"]


def test_a_paused_reader_reads_nothing_more_until_it_resumes(rig: Rig) -> None:
    client, server, _ = rig.pair()
    assert server.link is not None
    server.link.pause_reading()
    rig.turns()
    client.write(b"wait")
    rig.turns()
    assert server.bytes == b""
    server.link.resume_reading()
    rig.until(lambda: server.bytes == b"wait")


@pytest.mark.row(54)
@pytest.mark.parametrize("verb", ["close", "abort"])
def test_a_reader_that_is_paused_hears_of_the_end_and_then_reads_what_came_before(rig: Rig, verb: str) -> None:
    if WINDOWS and not isinstance(rig, MemoryRig):
        pytest.skip("Windows has no poll(2), and tells of an end only to those who read")
    client, server, _ = rig.pair()
    assert server.link is not None
    server.link.pause_reading()
    client.write(b"x" * 50_000)
    rig.turns()
    assert "ending" not in server.told
    getattr(client, verb)()
    rig.until(lambda: server.is_ending)
    rig.turns()
    assert server.bytes == b"" and server.told == ["opened", "ending"]
    server.link.resume_reading()
    rig.until(lambda: server.is_lost)
    assert server.bytes == b"x" * 50_000
    assert server.told.count("ending") == 1


def test_a_reader_may_pause_inside_its_own_read(rig: Rig) -> None:
    client, server, _ = rig.pair()
    assert server.link is not None
    server.pauses = True
    client.write(b"x" * MIB)
    rig.until(lambda: server.bytes)
    rig.turns()
    paused_at = len(server.bytes)
    assert paused_at <= 2 * 65536
    server.pauses = False
    server.link.resume_reading()
    rig.until(lambda: len(server.bytes) == MIB)


# ---- ending


def test_closing_sends_everything_first_and_both_ends_end_in_order(rig: Rig) -> None:
    client, server, _ = rig.pair()
    client.write(b"x" * MIB)
    client.close()
    rig.until(lambda: server.has_ended or server.is_lost)
    assert server.bytes == b"x" * MIB
    rig.until(lambda: client.is_lost and server.is_lost)
    rig.turns()
    assert client.error is None and server.error is None
    assert client.told.count("lost") == server.told.count("lost") == 1


def test_after_closing_the_other_end_may_still_send(rig: Rig) -> None:
    if not rig.has_half_close:
        pytest.skip("a pipe has no half-close: what Windows does is in loop_pipes.py")
    client, server, _ = rig.pair()
    server.answers_end = False
    client.close()
    rig.until(lambda: server.has_ended)
    server.write(b"last words")
    server.close()
    rig.until(lambda: client.is_lost and server.is_lost)
    assert client.bytes == b"last words"


def test_aborting_ends_both_at_once_and_drops_what_is_unsent(rig: Rig) -> None:
    client, server, _ = rig.pair()
    assert server.link is not None
    server.link.pause_reading()
    while not client.is_full:
        client.write(b"x" * MIB)
    client.abort()
    assert not client.is_lost, "lost came inside abort"
    rig.until(lambda: client.is_lost)
    server.link.resume_reading()
    rig.until(lambda: server.is_lost)
    assert client.told.count("lost") == server.told.count("lost") == 1


def test_calls_on_a_link_that_is_gone_do_nothing(rig: Rig) -> None:
    client, _, _ = rig.pair()
    client.abort()
    rig.until(lambda: client.is_lost)
    told = list(client.told)
    client.write(b"too late")
    client.close()
    client.abort()
    assert client.link is not None
    client.link.pause_reading()
    client.link.resume_reading()
    client.link.pending_bytes()
    rig.turns()
    assert client.told == told


def links_alive() -> int:
    kinds = {"StreamLink", "TransportLink", "PipeLink", "TLSLink", "TLSChannel"}
    return sum(type(each).__name__ in kinds for each in gc.get_objects())


@pytest.mark.row(16)
@pytest.mark.parametrize("verb", ["close", "abort"])
def test_what_a_link_held_is_freed_when_it_is_gone_and_not_when_a_collector_comes(rig: Rig, verb: str) -> None:
    gc.collect()
    before = links_alive()
    client, server, _ = rig.pair()
    client.write(b"x" * 100)
    rig.until(lambda: server.bytes)
    gc.collect()
    gc.disable()
    try:
        getattr(client, verb)()
        rig.until(lambda: client.is_lost and server.is_lost)
        client.link = server.link = None
        rig.turns()
        assert links_alive() == before
    finally:
        gc.enable()


def test_closing_twice_and_aborting_a_closing_link_is_one_end(rig: Rig) -> None:
    client, _, _ = rig.pair()
    client.close()
    client.close()
    client.abort()
    rig.until(lambda: client.is_lost)
    rig.turns()
    assert client.told.count("lost") == 1


# ---- time, turns and threads


def test_timers_run_in_order_and_can_be_cancelled(rig: Rig) -> None:
    ran: list[int] = []
    before = rig.driver.now()
    timers = [rig.driver.call_later(delay / 1000, lambda delay=delay: ran.append(delay)) for delay in (30, 10, 20, 0)]
    timers[2].cancel()
    timers[2].cancel()
    assert ran == []
    rig.until(lambda: len(ran) == 3)
    assert ran == [0, 10, 30]
    granularity = 0.016 if WINDOWS else 0.001  # asyncio runs what is due within one tick of the clock
    assert rig.driver.now() - before >= 0.030 - granularity
    timers[0].cancel()


def test_the_end_of_a_turn_is_told_once_to_each(rig: Rig) -> None:
    ended: list[str] = []

    class Session:
        def __init__(self, name: str) -> None:
            self.name = name

        def turn_ended(self) -> None:
            ended.append(self.name)

    def turn() -> None:
        rig.driver.turn_ends(Session("first"))
        rig.driver.turn_ends(Session("second"))
        assert ended == []

    rig.driver.call_later(0, turn)
    rig.until(lambda: ended)
    rig.turns()
    assert ended == ["first", "second"]


def test_calls_from_other_threads_come_in_order_in_the_drivers_thread(rig: Rig) -> None:
    rig.listen()  # a driver with nothing open has nothing that could wake it: it sleeps until its next timer
    ran: list[int] = []
    threads: set[int] = set()

    def call(number: int) -> None:
        threads.add(threading.get_ident())
        ran.append(number)

    def from_another() -> None:
        for number in range(1000):
            rig.driver.call_from_thread(lambda number=number: call(number))

    thread = threading.Thread(target=from_another)
    thread.start()
    if type(rig) is MemoryRig:
        thread.join()
    rig.until(lambda: len(ran) == 1000)
    thread.join()
    assert ran == list(range(1000))
    assert threads == {threading.get_ident()}


def test_an_outcome_is_settled_once(rig: Rig) -> None:
    outcome = rig.driver.outcome("value")
    heard: list[str] = []
    outcome.then(lambda: heard.append("before"))
    rig.driver.call_later(0, outcome.settle)
    rig.until(lambda: outcome.done)
    outcome.settle(ValueError("too late"))
    outcome.then(lambda: heard.append("after"))
    assert outcome.result() == "value"
    assert heard == ["before", "after"]


def test_the_clock_goes_forward_and_chance_is_between_0_and_1(rig: Rig) -> None:
    readings = [rig.driver.now() for _ in range(100)]
    assert readings == sorted(readings)
    assert all(0 <= rig.driver.random() < 1 for _ in range(100))


# ---- datagrams


class Box:
    """What a bound port is told, none of it inside a call of its own."""

    def __init__(self, rig: Rig, address: Any = None) -> None:
        self.bounds: list[Any] = []
        self.got: list[tuple[bytes, str, int]] = []
        self.errors: list[Exception] = []
        self.inside = True
        self.port = rig.driver.bind(address or rig.place, self, rig.settings)
        self.inside = False
        rig.listeners.append(self.port)

    @classmethod
    def ready(cls, rig: Rig, address: Any = None) -> Box:
        box = cls(rig, address)
        rig.until(lambda: box.bounds or box.errors)
        return box

    @property
    def place(self) -> tuple[str, int]:
        [address] = self.bounds
        return address.host, address.port

    def send(self, data: bytes, to: Box) -> None:
        self.inside = True
        self.port.send(data, *to.place)
        self.inside = False

    def bound(self, address: Any) -> None:
        assert not self.inside
        self.bounds.append(address)

    def not_bound(self, error: Exception) -> None:
        self.datagram_error(error)

    def datagram(self, data: bytes, host: str, port: int) -> None:
        assert type(data) is bytes and not self.inside
        self.got.append((data, host, port))

    def datagram_error(self, error: Exception) -> None:
        assert not self.inside
        self.errors.append(error)


def test_a_port_is_told_once_that_it_is_bound_and_where(post: Rig) -> None:
    box = Box.ready(post)
    post.turns()
    assert box.bounds == [Udp(post.place.host, box.place[1], post.place.family)]
    assert box.place[1] > 0
    assert box.port.pending_bytes() == 0


def has_datagrams(box: Box, count: int) -> bool:
    return len(box.got) == count


@pytest.mark.parametrize("blocks", [True, False], ids=["blocking", "not blocking"])
def test_a_port_that_is_handed_over_is_read_and_nothing_waits_in_it(post: Rig, blocks: bool) -> None:
    """As a socket from a service manager is: it blocks, and who read it to its end would wait there for ever."""
    if isinstance(post, MemoryRig):
        pytest.skip("nothing can be handed over")
    sock = socket.socket(socket.AF_INET if post.place.family == "udp4" else socket.AF_INET6, socket.SOCK_DGRAM)
    sock.bind((post.place.host, 0))
    sock.setblocking(blocks)
    port = sock.getsockname()[1]
    box = Box.ready(post, Handed((sock,), Udp(post.place.host, port, post.place.family)))
    other = Box.ready(post)
    for number in (1, 2):
        other.port.send(b"%d" % number, post.place.host, port)
        post.until(partial(has_datagrams, box, number))
    post.turns()
    box.port.close()
    assert sock.fileno() == -1


def test_localhost_is_of_the_family(post: Rig) -> None:
    box = Box.ready(post, Udp("localhost", 0, post.place.family))
    other = Box.ready(post)
    other.send(b"hello", box)
    post.until(lambda: box.got)
    assert box.got == [(b"hello", *other.place)]


def test_a_port_in_use_is_said_and_harms_nobody(post: Rig) -> None:
    box = Box.ready(post)
    second = Box.ready(post, box.bounds[0])
    assert [type(error) for error in second.errors] == [AddressInUse]
    Box.ready(post).send(b"hello", box)
    post.until(lambda: box.got)


def test_only_addresses_of_udp_are_bound(post: Rig) -> None:
    box = Box.ready(post, Tcp("127.0.0.1", 0))
    assert [type(error) for error in box.errors] == [AddressError]


@pytest.mark.parametrize("size", [0, 1, 1400, 65_507])
def test_a_datagram_arrives_as_it_is_and_can_be_answered(post: Rig, size: int) -> None:
    if WINDOWS and size == 0 and isinstance(post, LoopRig):
        pytest.skip("asyncio's own endpoints send no empty datagrams")
    box, other = Box.ready(post), Box.ready(post)
    data = bytes(number & 255 for number in range(size))
    other.send(data, box)
    post.until(lambda: box.got)
    assert box.got == [(data, *other.place)]
    box.port.send(b"answer", *box.got[0][1:])
    post.until(lambda: other.got)
    assert other.got == [(b"answer", *box.place)]


def test_datagrams_come_in_order(post: Rig) -> None:
    box, other = Box.ready(post), Box.ready(post)
    for number in range(200):
        other.send(b"%d" % number, box)
    post.until(lambda: len(box.got) == 200)
    assert [int(data) for data, *_ in box.got] == list(range(200))


def test_a_datagram_too_large_is_one_error_and_the_next_goes_out(post: Rig) -> None:
    box, other = Box.ready(post), Box.ready(post)
    other.send(b"x" * 65_528, box)
    other.send(b"small", box)
    post.until(lambda: box.got and other.errors)
    post.turns()
    assert [type(error) for error in other.errors] == [FrameTooLarge]
    assert box.got == [(b"small", *other.place)]


def test_a_port_closed_before_it_is_bound_says_nothing(post: Rig) -> None:
    box = Box(post)
    box.port.close()
    post.turns()
    assert (box.bounds, box.errors) == ([], [])


def test_a_closed_port_hears_and_sends_nothing_and_is_free(post: Rig) -> None:
    box, other = Box.ready(post), Box.ready(post)
    box.port.close()
    box.port.close()
    box.send(b"too late", other)
    post.turns()
    assert (box.errors, other.got) == ([], [])
    again = Box.ready(post, box.bounds[0])
    other.send(b"hello", again)
    post.until(lambda: again.got)
    assert box.got == []
