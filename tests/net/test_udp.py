"""UDP over real sockets on 127.0.0.0/8 and ::1: asyncio, uvloop, and the endpoint that a Proactor loop needs."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import fcntl
import gc
import logging
import multiprocessing
import os
import socket
import struct
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, TypeVarTuple

import pytest
import uvloop

import node_ipc
from node_ipc import (
    IPC,
    AddressError,
    AddressInUse,
    AddressNotValidated,
    Config,
    ConnectError,
    DatagramPeer,
    DatagramServer,
    ForkError,
    FrameTooLarge,
    NotConnected,
    ProtocolError,
    blocking,
)
from node_ipc.config.address import Handed, Udp, Unix
from node_ipc.core.server import ServerState
from node_ipc.drivers.loop import EventLoopDriver
from node_ipc.drivers.thread import ThreadDriver
from node_ipc.net import udp
from stopwatch import Stopwatch

DEADLINE = 60.0
"""Seconds that anything awaited may take."""
LOOPBACK = {"udp4": "127.0.0.1", "udp6": "::1"}

Ts = TypeVarTuple("Ts")
Run = Callable[[Coroutine[Any, Any, None]], None]


class WithoutReaders(asyncio.SelectorEventLoop):
    """Like a Proactor loop, in that a program cannot add readers; its own endpoints work."""

    def add_reader(self, fd: Any, callback: Callable[[*Ts], Any], *args: *Ts) -> None:
        raise NotImplementedError


FACTORIES: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.SelectorEventLoop,
    "uvloop": uvloop.new_event_loop,
    "endpoint": WithoutReaders,
}


def runner(loop: str) -> Run:
    def run(main: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=FACTORIES[loop]) as made:
            made.run(asyncio.wait_for(main, DEADLINE))
        gc.collect()  # a socket that nobody closed is a warning, and so an error

    return run


@pytest.fixture(params=FACTORIES)
def run(request: pytest.FixtureRequest) -> Run:
    return runner(request.param)


@pytest.fixture(params=LOOPBACK)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class End:
    """A bound port of this library, and what it heard."""

    def __init__(self, server: DatagramServer) -> None:
        self.server = server
        self.heard: asyncio.Queue[tuple[Any, DatagramPeer]] = asyncio.Queue()
        self.faults: asyncio.Queue[Any] = asyncio.Queue()
        event = "data" if server.settings.raw_buffer else "message"
        server.on(event, lambda data, socket: self.heard.put_nowait((data, socket)))
        server.on("error", self.faults.put_nowait)

    @property
    def place(self) -> tuple[str, int]:
        where: Any = self.server.address
        return where.host, where.port

    async def payload(self) -> Any:
        return (await self.heard.get())[0]


@contextlib.asynccontextmanager
async def bound(family: str = "udp4", host: str | None = None, port: int = 0, **options: Any) -> AsyncIterator[End]:
    host = host or LOOPBACK[family]
    where = f"{family}://[{host}]:{port}" if ":" in host else f"{family}://{host}:{port}"
    async with node_ipc.serve_udp(where, **options) as server:
        yield End(server)


@contextlib.contextmanager
def stranger(host: str = "127.0.0.1", port: int = 0) -> Iterator[socket.socket]:
    """A plain socket, bound there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.bind((host, port))
        sock.settimeout(DEADLINE)
        yield sock


def frame(data: bytes = b'"hi"') -> bytes:
    return b'{"type":"message","data":' + data + b"}\f"


def port_of(end: End) -> udp.Port:
    port = end.server._port
    assert isinstance(port, udp.Port)
    return port


# ---- there and back


def test_hello_is_answered(run: Run, family: str) -> None:
    async def main() -> None:
        async with bound(family) as world, bound(family) as hello:
            world.server.on("message", lambda data, socket: socket.emit("message", f"{data} world!"))
            hello.server.emit(world.place, "message", "hello")
            data, socket = await hello.heard.get()
            assert data == "hello world!"
            assert (socket.address, socket.port) == world.place

    run(main())


@pytest.mark.parametrize("data", [b"\0", bytes(range(256)), b"x" * 65_507], ids=len)
def test_bytes_arrive_as_they_are(run: Run, family: str, data: bytes) -> None:
    async def main() -> None:
        async with bound(family, raw_buffer=True) as world, bound(family, raw_buffer=True) as hello:
            world.server.on("data", lambda data, socket: socket.emit(data))
            hello.server.emit(world.place, data)
            assert await hello.payload() == data

    run(main())


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_an_empty_datagram_is_one_too(loop: str) -> None:
    async def main() -> None:
        async with bound(raw_buffer=True) as world, bound(raw_buffer=True) as hello:
            hello.server.emit(world.place, b"")
            assert await world.payload() == b""

    runner(loop)(main())


def test_thousands_in_windows_arrive_in_order(run: Run) -> None:
    async def main() -> None:
        async with bound() as world, bound() as hello:
            world.server.on("message", lambda data, socket: socket.emit("message", data))
            for start in range(0, 3000, 100):
                for number in range(start, start + 100):
                    hello.server.emit(world.place, "message", number)
                assert [await hello.payload() for _ in range(100)] == list(range(start, start + 100))

    run(main())


@pytest.mark.row(40)
def test_threads_may_emit(run: Run) -> None:
    async def main() -> None:
        async with bound() as world, bound() as hello:
            barrier = threading.Barrier(4)

            def emit(name: int) -> None:
                barrier.wait()
                for number in range(50):
                    hello.server.emit(world.place, "message", [name, number])

            threads = [threading.Thread(target=emit, args=(name,)) for name in range(4)]
            for thread in threads:
                thread.start()
            heard = [await world.payload() for _ in range(200)]
            for thread in threads:
                thread.join()
            for name in range(4):
                assert [number for who, number in heard if who == name] == list(range(50))

    run(main())


@pytest.mark.row(41)
def test_a_forked_child_is_refused_and_the_parent_goes_on(run: Run) -> None:
    async def main() -> None:
        async with bound() as world, bound() as hello:
            child = os.fork()
            if child == 0:  # no assertion gets out of here: the exit status tells
                status = 1
                try:
                    hello.server.emit(world.place, "message", "from the child")
                except ForkError:
                    status = 42
                finally:
                    os._exit(status)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42
            hello.server.emit(world.place, "message", "from the parent")
            assert await world.payload() == "from the parent"

    run(main())


# ---- binding


def test_port_0_is_a_free_one_and_localhost_is_of_the_family(run: Run, family: str) -> None:
    async def main() -> None:
        async with bound(family, host="localhost") as world, bound(family) as hello:
            assert str(world.server.address).startswith(f"{family}://") and world.place[1] > 0
            hello.server.emit((LOOPBACK[family], world.place[1]), "message", 1)
            assert await world.payload() == 1

    run(main())


def test_a_port_in_use_is_refused_at_once(run: Run, family: str) -> None:
    async def main() -> None:
        async with bound(family) as world:
            watch = Stopwatch()
            with pytest.raises(AddressInUse, match=str(world.place[1])):
                async with bound(family, port=world.place[1]):
                    pass
            assert watch.seconds < 0.2

    run(main())


def test_udp6_does_not_hear_ipv4(run: Run) -> None:
    async def main() -> None:
        async with bound("udp6", host="::", raw_buffer=True) as six:
            port = six.place[1]
            async with bound("udp4", host="0.0.0.0", port=port, raw_buffer=True) as four:
                with stranger() as sock, stranger("::1") as sock6:
                    sock.sendto(b"four", ("127.0.0.1", port))
                    sock6.sendto(b"six", ("::1", port))
                    assert await four.payload() == b"four"
                    assert await six.payload() == b"six"
                    assert six.heard.empty() and four.heard.empty()

    run(main())


@pytest.mark.parametrize(
    ("where", "error"),
    [
        ("udp4://198.51.100.77:0", "no interface of this machine has that address"),
        ("udp4://nobody.invalid:0", "not known"),
        ("udp6://[2001:db8::77]:0", "no interface of this machine has that address"),
        ("udp6://nobody.invalid:0", "not known"),
    ],
)
def test_an_address_that_is_not_here_is_an_error(run: Run, where: str, error: str) -> None:
    async def main() -> None:
        with pytest.raises(AddressError, match=error):
            await node_ipc.serve(where)

    run(main())


def test_only_udp_addresses_are_bound(run: Run) -> None:
    async def main() -> None:
        heard = Heard()
        driver = EventLoopDriver()
        driver.attach(asyncio.get_running_loop())
        driver.bind(Unix("/tmp/x"), heard, Config().settings())
        assert isinstance(await heard.told.get(), AddressError)

    run(main())


class Heard:
    """A receiver that keeps what it is told."""

    def __init__(self) -> None:
        self.told: asyncio.Queue[Any] = asyncio.Queue()

    def bound(self, address: Any) -> None:
        self.told.put_nowait(address)

    not_bound = datagram_error = bound

    def datagram(self, data: bytes, host: str, port: int) -> None:
        self.told.put_nowait((data, host, port))


@pytest.mark.parametrize("turns", [0, 1, 2, 5])
def test_a_port_closed_while_it_is_bound_says_nothing(run: Run, turns: int) -> None:
    async def main() -> None:
        heard = Heard()
        driver = EventLoopDriver()
        port = driver.bind(Udp("127.0.0.1", 0, "udp4"), heard, Config().settings())
        for _ in range(turns):
            await asyncio.sleep(0)
        was_bound = not heard.told.empty()
        port.close()
        while driver.tasks:
            await asyncio.sleep(0)
        port.close()
        assert heard.told.qsize() == was_bound

    run(main())


def test_a_port_closed_before_there_is_a_loop_is_never_bound(run: Run) -> None:
    heard = Heard()
    driver = EventLoopDriver()
    driver.bind(Udp("127.0.0.1", 0, "udp4"), heard, Config().settings()).close()

    async def main() -> None:
        driver.attach(asyncio.get_running_loop())
        assert not driver.tasks
        await asyncio.sleep(0)
        assert heard.told.empty()

    run(main())


def test_a_server_stopped_while_it_starts_is_closed(run: Run) -> None:
    async def main() -> None:
        driver = EventLoopDriver()
        server = DatagramServer(Udp("127.0.0.1", 0, "udp4"), driver, Config().settings())
        started = server.start()
        await server.stop()
        with pytest.raises(NotConnected):
            await started

    run(main())


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_port_may_outlive_its_loop(loop: str) -> None:
    port: Any = None

    async def main() -> None:
        nonlocal port
        heard = Heard()
        port = EventLoopDriver().bind(Udp("127.0.0.1", 0, "udp4"), heard, Config().settings())
        await heard.told.get()

    with asyncio.Runner(loop_factory=FACTORIES[loop]) as made:
        made.run(main())
    port.close()
    gc.collect()


@pytest.mark.parametrize("loop", ["asyncio", "endpoint"])
@pytest.mark.parametrize("end", ["close", "loop"])
@pytest.mark.parametrize("name", ["world", "nobody.invalid"])
def test_a_port_closed_while_its_name_is_looked_up_says_nothing(loop: str, end: str, name: str, look_ups: Any) -> None:
    heard = Heard()

    async def main() -> None:
        driver = EventLoopDriver()
        driver.attach(asyncio.get_running_loop())
        port = driver.bind(Udp(name, 0, "udp4"), heard, Config().settings())
        answer = await asked_for(look_ups, 1)
        if end == "close":
            port.close()
        else:
            for task in driver.tasks:
                task.cancel()
        answer.set()
        while driver.tasks:
            await asyncio.sleep(0)

    runner(loop)(main())
    assert heard.told.empty()


def test_a_port_beyond_loopback_is_a_warning(run: Run, caplog: Any) -> None:
    async def main() -> None:
        with caplog.at_level(logging.WARNING, "node_ipc"):
            async with bound(), bound("udp6"):
                assert caplog.records == []
            caplog.clear()  # of a block that gave no handler a turn
            async with bound(host="0.0.0.0") as world:
                [record] = caplog.records
                assert f"udp4://0.0.0.0:{world.place[1]} is open to every machine" in record.getMessage()

    run(main())


def test_a_socket_that_was_handed_over_is_served(run: Run) -> None:
    async def main() -> None:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        where = Udp("127.0.0.1", sock.getsockname()[1], "udp4")
        driver = EventLoopDriver()
        driver.attach(asyncio.get_running_loop())
        server = DatagramServer(Handed((sock,), where), driver, Config().settings())
        world = End(server)
        await server.start()
        async with bound() as hello:
            hello.server.emit((where.host, where.port), "message", 1)
            assert await world.payload() == 1
        await server.stop()

    run(main())


def test_the_receive_buffer_is_larger_than_usual(run: Run) -> None:
    async def main() -> None:
        async with bound() as world:
            with stranger() as usual:
                sock = port_of(world).sock
                assert sock is not None
                sizes = [each.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) for each in (sock, usual)]
            assert sizes[0] > sizes[1]

    run(main())


def test_stop_gives_the_port_back(run: Run) -> None:
    async def main() -> None:
        async with bound() as world:
            place = world.place
        with stranger(*place):
            pass
        with pytest.raises(NotConnected):
            world.server.emit(place, "message")
        await world.server.start()
        async with bound() as hello:
            hello.server.emit(world.place, "message", 1)
            assert await world.payload() == 1
        await world.server.stop()
        assert world.server.state is ServerState.CLOSED

    run(main())


@pytest.mark.row(42)
def test_starting_and_stopping_leaks_nothing(run: Run) -> None:
    async def main() -> None:
        async with bound() as hello:
            for round in range(200):
                if round == 10:  # what a loop makes once is there by now
                    before = len(os.listdir("/proc/self/fd"))
                async with bound() as world:
                    hello.server.emit(world.place, "message", round)
                    assert await world.payload() == round
            await asyncio.sleep(0.01)
            assert len(os.listdir("/proc/self/fd")) == before

    run(main())


# ---- names


@pytest.fixture
def look_ups(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, threading.Event]]:
    """Names that are asked for; each answer waits until the test sets its event."""
    asked: list[tuple[str, threading.Event]] = []
    real = socket.getaddrinfo

    def slow(host: Any, port: Any, family: int = 0, *arguments: Any) -> Any:
        answer = threading.Event()
        asked.append((host, answer))
        assert answer.wait(DEADLINE)
        world = "::1" if family == socket.AF_INET6 else "127.0.0.1"
        return real(world if host == "world" else host, port, family, *arguments)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    return asked


async def asked_for(look_ups: list[tuple[str, threading.Event]], count: int) -> threading.Event:
    while len(look_ups) < count:
        await asyncio.sleep(0.001)
    return look_ups[count - 1][1]


@pytest.mark.parametrize("loop", ["asyncio", "endpoint"])  # uvloop asks its own resolver
def test_a_name_is_looked_up_once_and_order_is_kept(loop: str, family: str, look_ups: Any) -> None:
    async def main() -> None:
        async with bound(family) as world, bound(family) as hello:
            named = {"address": "world", "port": world.place[1]}
            for number in range(3):
                hello.server.emit(named, "message", number)
            hello.server.emit(world.place, "message", "overtakes")
            assert await world.payload() == "overtakes"
            assert hello.server.stats().pending_bytes > 3 * len(frame(b"0"))
            (await asked_for(look_ups, 1)).set()
            assert [await world.payload() for _ in range(3)] == [0, 1, 2]
            hello.server.emit(named, "message", 3)
            assert await world.payload() == 3
            assert [name for name, _ in look_ups] == ["world"]
            assert hello.server.stats().pending_bytes == 0

    runner(loop)(main())


@pytest.mark.parametrize("loop", ["asyncio", "endpoint"])
def test_stop_waits_for_a_name(loop: str, look_ups: Any) -> None:
    async def main() -> None:
        async with bound() as world, bound() as hello:
            hello.server.emit(("world", world.place[1]), "message", "last words")
            closed = hello.server.stop()
            (await asked_for(look_ups, 1)).set()
            assert await world.payload() == "last words"
            await closed

    runner(loop)(main())


@pytest.mark.parametrize("loop", ["asyncio", "endpoint"])
@pytest.mark.parametrize("name", ["world", "nobody.invalid"])
def test_a_name_that_comes_too_late_is_forgotten(loop: str, name: str, look_ups: Any) -> None:
    async def main() -> None:
        async with bound() as hello:
            hello.server.emit((name, 9), "message", "never said")
            answer = await asked_for(look_ups, 1)
            hello.server.abort()
            await hello.server.closed
            answer.set()
            while port_tasks := [task for task in asyncio.all_tasks() if "_resolve" in repr(task)]:
                await asyncio.wait(port_tasks)
            assert hello.faults.empty()

    runner(loop)(main())


def test_a_name_that_nobody_knows_is_an_error_event(run: Run, family: str) -> None:
    async def main() -> None:
        async with bound(family) as hello:
            for name in ("nobody.invalid", "x" * 70 + ".invalid"):
                hello.server.emit((name, 4711), "message")
                error = await hello.faults.get()
                assert isinstance(error, AddressError) and f"{name}:4711" in str(error)
                assert error.__cause__ is not None
            assert hello.server.stats().pending_bytes == 0

    run(main())


@pytest.mark.parametrize(
    ("host", "family", "place"),
    [
        ("127.0.0.1", socket.AF_INET, ("127.0.0.1", 0)),
        ("::1", socket.AF_INET6, ("::1", 0)),
        ("fe80::1%7", socket.AF_INET6, ("fe80::1", 7)),
        ("fe80::1%lo", socket.AF_INET6, ("fe80::1", socket.if_nametoindex("lo"))),
        ("fe80::1%nowhere", socket.AF_INET6, None),
        ("127.0.0.1", socket.AF_INET6, None),
        ("::1", socket.AF_INET, None),
        ("localhost", socket.AF_INET, ("127.0.0.1", 0)),
        ("LocalHost", socket.AF_INET6, ("::1", 0)),
        ("localhost.localdomain", socket.AF_INET, None),
        ("", socket.AF_INET, None),
    ],
)
def test_which_hosts_are_addresses_already(host: str, family: int, place: Any) -> None:
    assert udp.numeric(host, family) == place


def ignore(what: object) -> None:
    """What an outbox says that no test wants to hear."""


def test_a_link_local_sender_can_be_answered() -> None:
    assert udp.sender(("fe80::1", 5000, 0, 7)) == ("fe80::1%7", 5000)
    assert udp.sender(("fe80::1%lo", 5000, 0, 1)) == ("fe80::1%lo", 5000)
    assert udp.sender(("::1", 5000, 0, 0)) == ("::1", 5000)
    sent: list[Any] = []

    def send(data: Any, where: Any) -> bool:
        sent.append(where)
        return True

    outbox = udp.Outbox(socket.AF_INET6, send, ignore, ignore)
    outbox.send(b"", *udp.sender(("fe80::1", 5000, 0, 7)))
    assert sent == [("fe80::1", 5000, 0, 7)]


def test_of_datagrams_that_wait_the_newest_of_an_event_takes_the_place_of_the_one_to_the_same_address() -> None:
    sent: list[Any] = []
    is_full = [True]

    def put(data: bytes, where: Any) -> bool:
        if not is_full[0]:
            sent.append((data, where))
        return not is_full[0]

    outbox = udp.Outbox(socket.AF_INET, put, ignore, ignore)
    for number in range(3):
        for host, port in (("127.0.0.1", 1), ("127.0.0.1", 2), ("later", 1)):
            replaced = outbox.take_out(host, port, "frame")
            outbox.send(b"frame %d" % number, host, port, "frame")
            assert replaced == (0 if number == 0 else len(b"frame 0"))
        outbox.send(b"other", "127.0.0.1", 1)
        outbox.send(b"price", "127.0.0.1", 1, "price")
    assert outbox.pending_bytes == 3 * 7 + 6 * 5 + 9 * udp.BOOKKEEPING
    is_full[0] = False
    outbox.found("later", ("127.0.0.3", 0))
    assert outbox.flush() and outbox.pending_bytes == 0
    to_one = [data for data, where in sent if where == ("127.0.0.1", 1)]
    assert to_one == [*[b"other", b"price"] * 2, b"frame 2", b"other", b"price"]
    assert [data for data, where in sent if where != ("127.0.0.1", 1)] == [b"frame 2"] * 2


def test_hosts_are_kept_within_a_bound() -> None:
    asked: list[str] = []
    outbox = udp.Outbox(socket.AF_INET, lambda data, where: True, asked.append, ignore)
    outbox.send(b"", "name", 1)
    outbox.found("name", ("127.0.0.1", 0))
    for number in range(udp.KNOWN_HOSTS):
        outbox.send(b"", f"127.{number // 250}.0.{number % 250}", 1)
    assert len(outbox._places) == udp.KNOWN_HOSTS
    outbox.send(b"", "name", 1)
    assert asked == ["name", "name"]


@pytest.mark.parametrize(
    ("number", "kind"),
    [(errno.EMSGSIZE, FrameTooLarge), (errno.ECONNREFUSED, ConnectError), (errno.EIO, ConnectError)],
)
def test_what_a_port_says_of_an_earlier_datagram(number: int, kind: type[Exception]) -> None:
    failure = udp.port_failed(OSError(number, "the kernel's words"))
    assert type(failure) is kind and "the kernel's words" in str(failure)


def test_the_first_address_of_a_name_counts() -> None:
    resolved = [(socket.AF_INET, 2, 17, "", (host, 0)) for host in ("127.0.0.5", "127.0.0.6")]
    assert udp.place_of(resolved) == ("127.0.0.5", 0)
    six = [(socket.AF_INET6, 2, 17, "", ("fe80::1%lo", 0, 0, 3))]
    assert udp.place_of(six) == ("fe80::1", 3)
    with pytest.raises(OSError):
        udp.place_of([])


def test_localhost_is_bound_in_either_family_whatever_the_resolver_says(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolver(*asked: Any, **more: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "many a hosts file has it for one family only")

    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    for family, host in LOOPBACK.items():
        where: Any = Udp("localhost", 0, family)  # type: ignore[arg-type]
        with udp.bind(udp.at_once(where), 0) as sock:
            assert sock.getsockname()[0] == host
    with pytest.raises(socket.gaierror):
        udp.look_up(Udp("world.example", 0, "udp4")).at_once()


def test_a_name_is_bound_at_the_first_address_that_is_here() -> None:
    resolved = [(socket.AF_INET, 2, 17, "", (host, 0)) for host in ("198.51.100.77", "127.0.0.5")]
    with udp.bind(resolved, 0) as sock:
        assert sock.getsockname()[0] == "127.0.0.5"
        with pytest.raises(OSError) as taken:
            udp.bind([*resolved[1:], *resolved], sock.getsockname()[1])
    assert taken.value.errno == errno.EADDRINUSE
    with pytest.raises(OSError) as nowhere:
        udp.bind([], 0)
    assert nowhere.value.errno == errno.EADDRNOTAVAIL


def test_several_processes_may_share_a_port_where_both_ask_for_it() -> None:
    resolved = [(socket.AF_INET, 2, 17, "", ("127.0.0.1", 0))]
    with udp.bind(resolved, 0, reuse_port=True) as one:
        with udp.bind(resolved, one.getsockname()[1], reuse_port=True) as another:
            assert another.getsockname() == one.getsockname()


# ---- a kernel that is full, and one that complains


class Balking:
    """A socket whose kernel says what the test wants, for so many sends."""

    def __init__(self, sock: socket.socket, *errors: OSError) -> None:
        self._sock = sock
        self._errors = list(errors)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def sendto(self, data: bytes, where: Any) -> int:
        if self._errors:
            raise self._errors.pop(0)
        return self._sock.sendto(data, where)


def balk(end: End, *errors: OSError) -> None:
    port: Any = port_of(end)
    port.sock = Balking(port.sock, *errors)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop", "endpoint"])
def test_what_the_kernel_does_not_take_waits_in_order(loop: str) -> None:
    async def main() -> None:
        async with bound() as world, bound(soft_pending_bytes=200) as hello:
            drained = asyncio.Event()
            hello.server.on_drained.append(drained.set)
            balk(hello, BlockingIOError(), BlockingIOError(), BlockingIOError())
            results = [hello.server.emit(world.place, "message", number) for number in range(5)]
            assert results == [True, True, False, False, False]
            assert hello.server.stats().pending_bytes > 5 * len(frame(b"0"))
            assert [await world.payload() for _ in range(5)] == list(range(5))
            await drained.wait()
            assert hello.server.stats().pending_bytes == 0
            hello.server.emit(world.place, "message", 5)
            assert await world.payload() == 5

    runner(loop)(main())


@pytest.mark.parametrize("loop", ["asyncio", "uvloop", "endpoint"])
def test_what_waits_when_the_port_is_closed_is_dropped(loop: str) -> None:
    async def main() -> None:
        async with bound() as world, bound() as hello:
            balk(hello, *[BlockingIOError() for _ in range(100_000)])
            hello.server.emit(world.place, "message", 1)
            closed = hello.server.stop(0.05)
            await closed
            assert hello.server.stats().pending_bytes == 0

    runner(loop)(main())


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_an_unreachable_port_is_told_and_the_next_datagram_goes_out_all_the_same(loop: str) -> None:
    """Where a kernel reports ICMP's "port unreachable", it does so at a call that has nothing to do with it."""

    async def main() -> None:
        async with bound() as world, bound() as hello:
            balk(hello, ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"))
            hello.server.emit(world.place, "message", 1)
            assert await world.payload() == 1
            error = await hello.faults.get()
            assert isinstance(error, ConnectError) and "did not arrive" in str(error)
            balk(hello, *[ConnectionResetError(errno.ECONNRESET, "reset") for _ in range(2)])
            hello.server.emit(world.place, "message", 2)
            assert [type(await hello.faults.get()) for _ in range(2)] == [ConnectError] * 2
            hello.server.emit(world.place, "message", 3)
            assert await world.payload() == 3

    runner(loop)(main())


def test_a_real_port_unreachable_is_told() -> None:
    async def main() -> None:
        async with bound() as hello:
            with stranger() as gone:
                place = gone.getsockname()
            sock = port_of(hello).sock
            assert sock is not None
            sock.setsockopt(socket.IPPROTO_IP, 11, 1)  # IP_RECVERR (ip(7)): report errors of unconnected sockets
            hello.server.emit(place, "message")
            error = await hello.faults.get()
            assert isinstance(error, ConnectError) and isinstance(error.__cause__, ConnectionRefusedError)

    runner("asyncio")(main())


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.EMSGSIZE, FrameTooLarge),
        (errno.EACCES, AddressError),
        (errno.EINVAL, AddressError),
        (errno.ENETUNREACH, ConnectError),
        (errno.EPERM, ConnectError),
    ],
)
@pytest.mark.parametrize("loop", ["asyncio", "uvloop", "endpoint"])
def test_what_the_kernel_refuses_is_one_error_event_never_inside_emit(loop: str, number: int, error: Any) -> None:
    async def main() -> None:
        async with bound() as hello:
            balk(hello, OSError(number, os.strerror(number)))
            assert hello.server.emit(("127.0.0.1", 4711), "message") is True
            assert hello.faults.empty()
            failure = await hello.faults.get()
            assert type(failure) is error and "127.0.0.1:4711" in str(failure)
            assert isinstance(failure.__cause__, OSError) and failure.__cause__.errno == number

    runner(loop)(main())


def test_the_largest_datagram_is_the_kernels_too(run: Run) -> None:
    async def main() -> None:
        async with bound() as hello:
            port_of(hello).send(b"x" * 65_508, *hello.place)
            error = await hello.faults.get()
            assert isinstance(error, (FrameTooLarge, ConnectError)), error
            assert "too long" in str(error).lower() or "65508" in str(error)

    run(main())


def test_errors_of_a_port_that_was_closed_are_not_told(run: Run) -> None:
    async def main() -> None:
        async with bound() as hello:
            port_of(hello).send(b"x" * 65_508, *hello.place)
            hello.server.abort()
            port_of_it = hello.server._binding
            assert port_of_it is not None
            port_of_it.close()
            await hello.server.closed
            port_of_it.send(b"", *hello.place)
            assert hello.faults.empty()

    run(main())


# ---- reading


def test_a_flood_leaves_turns_to_others(run: Run) -> None:
    """Handlers that take long end the turn's reading early, so a timer is not late by a whole flood."""

    async def main() -> None:
        async with bound(raw_buffer=True) as world:
            world.server.on("data", lambda: time.sleep(0.001))
            with stranger() as sock:
                for _ in range(150):
                    sock.sendto(b"x", world.place)
            turns = 0
            while world.heard.qsize() < 150:
                turns += 1
                await asyncio.sleep(0)
            assert turns >= 20

    run(main())


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_no_more_than_64_datagrams_are_read_in_a_turn(loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udp, "SECONDS_PER_TURN", 1.0)

    async def main() -> None:
        async with bound(raw_buffer=True) as world:
            with stranger() as sock:
                for _ in range(150):
                    sock.sendto(b"x", world.place)
            port_of(world).readable()
            assert world.heard.qsize() == 64
            while world.heard.qsize() < 150:
                await asyncio.sleep(0)

    runner(loop)(main())


def test_a_handler_that_stops_the_port_hears_no_more(run: Run) -> None:
    async def main() -> None:
        async with bound(raw_buffer=True) as world:
            world.server.on("data", lambda: world.server.abort())
            with stranger() as sock:
                for _ in range(10):
                    sock.sendto(b"x", world.place)
            await world.server.closed
            assert world.heard.qsize() == 1

    run(main())


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_port_closed_in_the_middle_of_a_turn_is_read_no_more(loop: str) -> None:
    async def main() -> None:
        async with bound(raw_buffer=True) as world:
            port = port_of(world)
            world.server.on("data", port.close)
            with stranger() as sock:
                for _ in range(10):
                    sock.sendto(b"x", world.place)
            while world.heard.empty():
                await asyncio.sleep(0)
            assert world.heard.qsize() == 1

    runner(loop)(main())


def test_an_endpoint_that_is_closed_tells_nothing_more() -> None:
    async def main() -> None:
        async with bound(raw_buffer=True) as world:
            port = port_of(world)
            port.close()
            port.came(b"x", ("127.0.0.1", 1))
            port.troubled(OSError(errno.EIO, "broken"))
            await asyncio.sleep(0)
            assert world.heard.empty() and world.faults.empty()
        async with bound() as world:
            port_of(world).troubled(OSError(errno.EIO, "broken"))
            assert "broken" in str(await world.faults.get())

    runner("endpoint")(main())


# ---- rows 17 and 18


@pytest.mark.own_process
@pytest.mark.row(17)
@pytest.mark.slow
@pytest.mark.parametrize("data", [b'{"type":"mess', frame()], ids=["half", "whole"])
def test_twenty_thousand_source_ports_neither_fill_the_table_nor_drive_anybody_out(data: bytes) -> None:
    async def main() -> None:
        async with bound(host="0.0.0.0", udp_peer_ttl=600_000) as world:
            place = ("127.0.0.1", world.place[1])
            served = sent = 0

            def serve() -> None:
                nonlocal served
                served += 1

            world.server.off("*", "*")
            world.server.on("error", serve)
            world.server.on("message", serve)
            before = resident()
            with stranger() as used:
                for batch in range(0, 20_000, 50):
                    if batch % 4000 == 0:
                        sent += bool(used.sendto(frame(), place))
                    sent += flood(data, f"127.0.{1 + batch % 100 // 50}.{1 + batch // 100}", 10_000 + batch, place)
                    while served < sent:
                        await asyncio.sleep(0)
                    assert len(world.server.sockets) <= 1024
                assert used.getsockname() == (world.server.sockets[-1].address, world.server.sockets[-1].port)
            assert sent > 19_000
            assert resident() - before <= 8 * 1024 * 1024
            assert len(world.server.sockets) == (1024 if data == frame() else 1)

    runner("asyncio")(main())


def flood(data: bytes, host: str, first: int, place: tuple[str, int]) -> int:
    """One datagram from each of 50 ports."""
    sent = 0
    for port in range(first, first + 50):
        with contextlib.suppress(OSError), stranger(host, port) as sock:  # a port that a daemon of this machine has
            sent += bool(sock.sendto(data, place))
    return sent


def resident() -> int:
    gc.collect()
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


CLONE_NEWUSER, CLONE_NEWNET = 0x1000_0000, 0x4000_0000
SIOCSIFADDR, SIOCSIFFLAGS, IFF_UP = 0x8916, 0x8914, 1


def address_off_loopback() -> str:
    """In a child: an address that other machines could have, in a network of its own.

    Where the kernel gives it none, the address that this machine has; what it sends to itself stays inside.
    """
    if ctypes.CDLL(None).unshare(CLONE_NEWNET | (0 if os.geteuid() == 0 else CLONE_NEWUSER)) == 0:
        with socket.socket() as any_socket:
            address = struct.pack("16sH2s4s8x", b"lo:1", socket.AF_INET, b"", socket.inet_aton("192.0.2.7"))
            fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))
            fcntl.ioctl(any_socket, SIOCSIFADDR, address)
        return "192.0.2.7"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("198.51.100.1", 9))  # which sends nothing, and chooses the address
        return str(sock.getsockname()[0])


@pytest.mark.row(18)
def test_an_unvalidated_address_off_loopback_gets_three_times_its_bytes(run: Run) -> None:
    async def main() -> None:
        address = address_off_loopback()
        async with bound(host="0.0.0.0") as world:
            place = (address, world.place[1])
            all_asked = all_sent = 0
            refused: asyncio.Queue[Any] = asyncio.Queue()

            def answer(data: str, socket: DatagramPeer) -> None:
                sent = 0
                try:
                    while True:
                        socket.emit("message", "y" * 10)
                        sent += len(frame(b'"' + b"y" * 10 + b'"'))
                except AddressNotValidated:
                    refused.put_nowait(sent)

            world.server.on("message", answer)
            with stranger(address) as sock:
                for size in (1, 100, 1000):
                    asked = frame(b'"' + b"x" * size + b'"')
                    sock.sendto(asked, place)
                    sent = await refused.get()
                    all_asked, all_sent = all_asked + len(asked), all_sent + sent
                    assert 3 * all_asked - 39 < all_sent <= 3 * all_asked
                    assert sum(len(sock.recv(100)) for _ in range(sent // 39)) == sent
                world.server.broadcast("message", "z" * 200)
                assert isinstance(await world.faults.get(), AddressNotValidated)
                world.server.emit({"address": address, "port": sock.getsockname()[1]}, "message", "z" * 200)
                assert len(sock.recv(1000)) > 200

    child = multiprocessing.get_context("fork").Process(target=lambda: run(main()))
    child.start()
    child.join()
    assert child.exitcode == 0


@pytest.mark.row(18)
def test_the_library_itself_sends_nothing(run: Run) -> None:
    async def main() -> None:
        async with bound() as world:
            with stranger() as sock:
                sock.settimeout(0)
                for data in (b"junk", b"", b"\f", frame(), b'{"type":"rpc.request","data":{"id":1,"method":"x"}}\f'):
                    sock.sendto(data, world.place)
                assert await world.payload() == "hi"
                assert [type(await world.faults.get()) for _ in range(2)] == [ProtocolError, ProtocolError]
                world.server.stop()
                await world.server.closed
                with pytest.raises(BlockingIOError):
                    sock.recv(1)

    run(main())


@pytest.mark.row(9)
def test_hostile_envelopes_call_no_lifecycle_handler_and_harm_nobody(run: Run) -> None:
    hostile = [b"null", b"5", b"[]", b'""', b"{}", b'{"type":null}', b'{"type":[]}', b'{"type":"' + b"x" * 300 + b'"}']
    names = ["connect", "error", "close", "start", "data", "destroy", "__class__", "__proto__", "constructor", "*"]
    hostile += [b'{"type":"%b","data":1}' % name.encode() for name in names]

    async def main() -> None:
        async with bound() as world:
            called: list[Any] = []
            took: list[float] = []
            for name in ("connect", "close", "start", "data", "destroy", "disconnect", "socket.disconnected"):
                world.server.on(name, lambda *arguments: called.append(arguments))
            with stranger() as sock:
                for envelope in hostile:
                    sock.sendto(envelope + b"\f", world.place)
                    sock.sendto(frame(), world.place)
                    watch = Stopwatch()
                    assert await world.payload() == "hi"
                    took.append(watch.seconds)
            assert called == [(world.server,)] * 2, "connect and start: the port's own"
            assert max(took) < 0.1

    run(main())


# ---- the callback front


def test_run_ends_when_the_port_is_stopped() -> None:
    ipc = node_ipc.IPC()
    ipc.config.silent = True
    heard: list[Any] = []

    def started() -> None:
        @ipc.server.on("message")
        def message(data: Any, socket: Any) -> None:
            heard.append((data, socket["address"], socket["port"] == ipc.server.port))
            ipc.server.stop()

        port.emit({"address": "127.0.0.1", "port": ipc.server.port}, "message", "to myself")

    port = ipc.serve_udp("127.0.0.1", 0, "udp4", started)
    ipc.server.start()
    ipc.run()
    assert heard == [("to myself", "127.0.0.1", True)]


def test_udp4_is_never_bound_to_the_other_family() -> None:
    ipc = node_ipc.IPC()
    ipc.config.silent = True
    ipc.config.network_host = "::1"
    ipc.serve_net(0, "udp4")
    assert str(ipc.server.address) == "udp4://127.0.0.1:0"
    with pytest.raises(AddressError):
        ipc.serve_net("::2", 0, "udp4")


def test_an_error_of_start_that_nobody_hears_is_raised_by_run() -> None:
    with stranger() as taken:
        ipc = node_ipc.IPC()
        ipc.config.silent = True
        ipc.serve_net("127.0.0.1", taken.getsockname()[1], "udp4")
        ipc.server.start()
        with pytest.raises(AddressInUse):
            ipc.run()


def test_the_log_says_where_a_port_is_bound(capsys: Any) -> None:
    lines: list[str] = []
    ipc = node_ipc.IPC()
    ipc.config.logger = lines.append
    ipc.config.log_in_color = False
    ipc.config.log_payloads = True

    def started(port: DatagramServer) -> None:
        port.emit(("127.0.0.1", 9), "m", 1)
        port.stop()

    ipc.serve_udp("127.0.0.1", 0, started)
    ipc.server.start()
    ipc.run()
    assert "starting server on udp4://127.0.0.1:0" in lines
    assert any(line.startswith("dispatching event m 1") for line in lines)


def test_a_round_trip_waits_for_no_timer() -> None:
    """It takes tens of microseconds on loopback; this fails where each waits 10 ms."""

    async def main() -> None:
        async with bound() as world, bound() as hello:
            world.server.on("message", lambda data, socket: socket.emit("message", data))
            watch = Stopwatch()
            for number in range(500):
                hello.server.emit(world.place, "message", number)
                await hello.payload()
            assert watch.seconds < 4

    runner("asyncio")(main())


# ---- a socket that somebody else has bound


def handed_port(family: str) -> socket.socket:
    """As a service manager hands it over: bound, and in blocking mode."""
    sock = socket.socket(udp.FAMILIES[family], socket.SOCK_DGRAM)
    sock.bind((LOOPBACK[family], 0))
    return sock


def test_asyncio_serves_a_port_that_is_handed_over(run: Run, family: str) -> None:
    async def main() -> None:
        sock = handed_port(family)
        place = sock.getsockname()
        async with bound(family) as hello, node_ipc.serve(sock) as server:
            server.on("message", lambda data, peer: server.emit(peer, "message", data + 1))
            hello.server.emit((place[0], place[1]), "message", 1)
            assert await hello.payload() == 2

    run(main())


def test_the_callback_front_serves_a_port_that_is_handed_over(run: Run, family: str) -> None:
    async def main() -> None:
        sock = handed_port(family)
        place = sock.getsockname()
        ipc = IPC()
        ipc.config.silent = True
        ipc.serve(sock)
        ipc.server.on("message", lambda data, peer: ipc.server.emit(peer, "message", data + 1))
        await ipc.server.start()
        async with bound(family) as hello:
            hello.server.emit((place[0], place[1]), "message", 1)
            assert await hello.payload() == 2
        await ipc.server.stop()

    run(main())


def test_the_blocking_front_serves_a_port_that_is_handed_over_and_does_not_wait_in_it(family: str) -> None:
    sock = handed_port(family)
    place = sock.getsockname()
    heard: list[Any] = []
    with blocking.serve(sock) as server, stranger(LOOPBACK[family]) as other:
        server.on("message", lambda data, peer: heard.append(data))
        other.sendto(frame(), place)
        deadline = time.monotonic() + 20
        while not heard and time.monotonic() < deadline:
            server.poll(0.1)
        assert server.poll(0) is False, "it waited for one more"
    assert heard == ["hi"] and sock.fileno() == -1


def test_serve_udp_gives_what_serve_gives_for_a_udp_address(run: Run, family: str) -> None:
    url = "udp4://127.0.0.1:0" if family == "udp4" else "udp6://[::1]:0"

    async def main() -> None:
        other: Any
        async with node_ipc.serve_udp(handed_port(family)) as port, node_ipc.serve(url) as other:
            assert type(port) is type(other) is node_ipc.AsyncDatagramServer and port.port > 0
            heard = asyncio.get_running_loop().create_future()
            port.on("message", lambda data, peer: heard.set_result(data))
            other.emit((LOOPBACK[family], port.port), "message", 1)
            assert await asyncio.wait_for(heard, 20) == 1

    run(main())
    other: Any
    with blocking.serve_udp(handed_port(family)) as port, blocking.serve(url) as other:
        assert type(port) is type(other) is blocking.DatagramServer
        heard: list[Any] = []
        port.on("message", heard.append)
        other.emit((LOOPBACK[family], port.port), "message", 1)
        assert port.poll(20) and heard == [1]


def test_the_callback_fronts_serve_udp(run: Run, family: str) -> None:
    async def main() -> None:
        ipc = IPC()
        ipc.config.update(silent=True, network_host="localhost", network_port=1)
        first = ipc.serve_udp(LOOPBACK[family], 0)
        assert str(first.address).startswith(family) and ipc.server is first  # type: ignore[comparison-overlap]
        second = ipc.serve_udp(handed_port(family))
        third = ipc.serve_udp(lambda: None)
        assert str(third.address) == "udp4://localhost:1"
        assert str(ipc.serve_udp("localhost", "udp6").address) == "udp6://[localhost]:1"
        with pytest.raises(AddressError, match="serve_udp takes"):
            ipc.serve_udp(8000, "localhost")
        with socket.create_server(("127.0.0.1", 0)) as stream, pytest.raises(AddressError, match="is no UDP port"):
            ipc.serve_udp(stream)
        await second.start()
        second.on("message", lambda data, peer: second.emit(peer, "message", data + 1))
        async with bound(family) as hello:
            hello.server.emit((LOOPBACK[family], second.port), "message", 1)
            assert await hello.payload() == 2
        await second.stop()

    run(main())


@pytest.mark.parametrize("front", ["asyncio", "blocking"])
@pytest.mark.parametrize("when", ["bind", "send"])
def test_a_kernel_that_cannot_watch_a_port_ends_it_with_an_error(
    when: str, front: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``epoll_ctl`` fails with ENOSPC where ``max_user_watches`` is used up, and with ENOMEM."""
    errors: list[Any] = []

    def refuse(driver: Any, watched: Any, interest: int, direct: Any = None) -> None:
        if interest:
            raise OSError(errno.ENOSPC, "no watches are left")

    def press(server: Any, driver: Any) -> None:
        """The kernel is full, so the port has to wait until it is not."""
        server.on("error", errors.append)
        monkeypatch.setattr(udp, "put", lambda *arguments: False)
        monkeypatch.setattr(driver, "watch", refuse)
        server.emit(("127.0.0.1", 9), "x", 1)
        server.emit(("127.0.0.1", 9), "x", 2)
        assert not errors

    def assert_closed(server: Any) -> None:
        assert server.state is ServerState.CLOSED and server.stats().errors == 1
        with pytest.raises(NotConnected):
            server.emit(("127.0.0.1", 9), "x", 3)

    async def main() -> None:
        if when == "bind":
            monkeypatch.setattr(EventLoopDriver, "watch", refuse)
        async with node_ipc.serve("udp4://127.0.0.1:0") as server:
            press(server, EventLoopDriver)
            while not errors:
                await asyncio.sleep(0)
            assert_closed(server)

    def waits() -> None:
        if when == "bind":
            monkeypatch.setattr(ThreadDriver, "watch", refuse)
        with blocking.serve("udp4://127.0.0.1:0") as server:
            press(server, ThreadDriver)
            while not errors:
                server.poll(0.01)
            assert_closed(server)

    with pytest.raises(AddressError, match="no watches") if when == "bind" else contextlib.nullcontext():
        waits() if front == "blocking" else runner("asyncio")(main())
    assert when == "bind" or errors[0].__cause__.errno == errno.ENOSPC
