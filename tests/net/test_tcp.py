"""The network's habits: socket options, who can reach a server, IPv4 and IPv6, every address of a name, errors."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import json
import logging
import os
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from node_ipc import (
    IPC,
    AddressError,
    AddressInUse,
    ConnectDenied,
    ConnectError,
    ConnectionLost,
    ConnectTimeout,
    IPCError,
    blocking,
)
from node_ipc.config.address import Tcp
from node_ipc.config.config import Config
from node_ipc.net import tcp
from node_ipc.net.connect import addresses
from node_ipc.net.steps import Await, LookUp, Resolved

DEADLINE = 60.0
"""Seconds that anything awaited may take; a test machine may be busy."""
PROGRAM = Path(__file__).with_name("one_loopback.py")


@pytest.fixture(scope="module")
def tls() -> tuple[dict[str, Any], dict[str, Any]]:
    """For the server, and for the client."""
    authority = trustme.CA()
    own = authority.issue_cert("localhost", "127.0.0.1", "::1")
    return (
        {"key": own.private_key_pem.bytes(), "cert": own.cert_chain_pems[0].bytes()},
        {"ca": authority.cert_pem.bytes()},
    )


@pytest.fixture
async def instances() -> AsyncIterator[Callable[..., IPC]]:
    """Makes independent instances and stops them at the end, the latest first."""
    made: list[IPC] = []

    def make(**config: Any) -> IPC:
        ipc = IPC()
        ipc.config.update(**{"silent": True, "stop_retrying": True, **config})
        made.append(ipc)
        return ipc

    yield make
    for ipc in reversed(made):
        await asyncio.wait_for(ipc.stop(), DEADLINE)


async def listening(ipc: IPC, host: str = "127.0.0.1") -> int:
    """Start an echo server; its port."""
    ipc.serve_net(host, 0)
    ipc.server.on("message", lambda data, socket: socket.emit("message", data))
    await asyncio.wait_for(ipc.server.start(), DEADLINE)
    port: int = ipc.server.port
    return port


async def reached(ipc: IPC, host: str, port: int) -> str:
    """Connect and be answered; the address that was reached."""
    ipc.connect_to_net("world", host, port)
    client = ipc.of.world
    answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def failed(error: Exception) -> None:
        if not answered.done():
            answered.set_exception(error)

    client.on("message", answered.set_result)
    client.on("error", failed)
    client.emit("message", "hello")
    await asyncio.wait_for(answered, DEADLINE)
    return str(client.peer.host)


# --- the options of a socket ------------------------------------------------------------------------------


def sockets_at(port: int) -> list[socket.socket]:
    """Copies of this process's connected sockets with this port at either end."""
    found = []
    for fd in list(filter(is_socket, map(int, os.listdir("/proc/self/fd")))):  # before there are copies
        sock = socket.socket(fileno=os.dup(fd))
        if sock.family in (socket.AF_INET, socket.AF_INET6) and port in ports_of(sock):
            found.append(sock)
        else:
            sock.close()
    return found


def is_socket(fd: int) -> bool:
    try:
        return stat.S_ISSOCK(os.fstat(fd).st_mode)
    except OSError:  # the one that listed the directory
        return False


def ports_of(sock: socket.socket) -> tuple[int, ...]:
    """Both ports of a connected socket."""
    try:
        return sock.getsockname()[1], sock.getpeername()[1]
    except OSError:
        return ()


def habits(sock: socket.socket) -> dict[str, int]:
    level = socket.IPPROTO_TCP
    return {
        "no delay": sock.getsockopt(level, socket.TCP_NODELAY),
        "keepalive": sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
        "idle": sock.getsockopt(level, socket.TCP_KEEPIDLE),
        "every": sock.getsockopt(level, socket.TCP_KEEPINTVL),
        "probes": sock.getsockopt(level, socket.TCP_KEEPCNT),
        "unacknowledged": sock.getsockopt(level, socket.TCP_USER_TIMEOUT),
    }


AS_THEY_MUST_BE = {"no delay": 1, "keepalive": 1, "idle": 15, "every": 5, "probes": 3, "unacknowledged": 30_000}


def check_habits(port: int) -> None:
    both = sockets_at(port)
    try:
        assert [habits(sock) for sock in both] == [AS_THEY_MUST_BE, AS_THEY_MUST_BE]
    finally:
        for sock in both:
            sock.close()


@pytest.mark.skipif(sys.platform != "linux", reason="the sockets are found in /proc")
@pytest.mark.parametrize("secure", [False, True])
async def test_both_ends_of_a_link_have_the_habits(secure: bool, tls: Any, instances: Callable[..., IPC]) -> None:
    server_tls, client_tls = tls if secure else (False, False)
    port = await listening(instances(tls=server_tls))
    await reached(instances(tls=client_tls), "127.0.0.1", port)
    check_habits(port)


@pytest.mark.skipif(sys.platform != "linux", reason="the sockets are found in /proc")
async def test_the_blocking_front_has_them_too(instances: Callable[..., IPC]) -> None:
    port = await listening(instances())

    def talk() -> None:
        with blocking.connect(f"tcp://127.0.0.1:{port}", timeout=DEADLINE) as client:
            client.emit("message", "hello")
            assert client.receive("message", timeout=DEADLINE) == "hello"
            check_habits(port)

    await asyncio.to_thread(talk)


def test_a_unix_socket_has_nothing_to_tune() -> None:
    here, there = socket.socketpair()
    with here, there:
        tcp.tune(here)
        assert not here.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_an_option_that_the_system_does_not_take_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "TCP_KEEPIDLE", 9999)
    monkeypatch.delattr(socket, "TCP_USER_TIMEOUT")
    with socket.socket() as sock:
        tcp.tune(sock)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 5


# --- who can reach a server -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "secure", "who"),
    [
        ("0.0.0.0", False, "every machine that reaches any of its addresses"),
        ("0.0.0.0", True, None),
        ("127.0.0.1", False, None),
        ("127.8.9.10", False, None),
        ("localhost", False, None),
    ],
)
async def test_a_server_open_to_other_machines_without_tls_says_so_once(
    host: str,
    secure: bool,
    who: str | None,
    tls: Any,
    instances: Callable[..., IPC],
    caplog: pytest.LogCaptureFixture,
) -> None:
    port = await listening(instances(tls=tls[0] if secure else False), host)
    warned = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warned) == (who is not None)
    if who is not None:
        assert f"the server at tcp://{host}:{port} is open to {who}, without TLS" in warned[0].getMessage()
        assert "Set config.tls, or network_host to 127.0.0.1" in warned[0].getMessage()


class Bound:
    """A socket as far as ``exposed`` looks."""

    def __init__(self, family: int, host: str) -> None:
        self.family = family
        self._host = host

    def getsockname(self) -> tuple[str, int]:
        return self._host, 8000


@pytest.mark.parametrize(
    ("family", "host", "who"),
    [
        (socket.AF_INET, "192.0.2.7", "whoever reaches 192.0.2.7"),
        (socket.AF_INET6, "2001:db8::7", "whoever reaches 2001:db8::7"),
        (socket.AF_INET6, "fe80::1%eth0", "whoever reaches fe80::1%eth0"),
        (socket.AF_INET6, "::", "every machine that reaches any of its addresses"),
        (socket.AF_INET6, "::1", None),
        (socket.AF_UNIX, "/run/app.world", None),
    ],
)
def test_who_can_reach_an_address(family: int, host: str, who: str | None) -> None:
    sock: Any = Bound(family, host)
    assert tcp.exposed(sock) == who


def test_one_warning_for_several_sockets(caplog: pytest.LogCaptureFixture) -> None:
    sockets: Any = [Bound(socket.AF_INET, "127.0.0.1"), *[Bound(socket.AF_INET, f"192.0.2.{n}") for n in (1, 2)]]
    tcp.warn_if_exposed(Tcp("world.example", 8000), sockets)
    assert len(caplog.records) == 1
    assert "whoever reaches 192.0.2.1" in caplog.text


def gone(sock: socket.socket) -> None:
    """``tune`` on a system that does not take options for a connection that is over."""
    raise OSError(errno.EINVAL, "Invalid argument")


async def test_a_connection_that_is_gone_before_it_is_served_is_dropped(
    instances: Callable[..., IPC], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ipc = instances()
    port = await listening(ipc)
    monkeypatch.setattr(tcp, "tune", gone)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    assert await asyncio.wait_for(reader.read(), DEADLINE) == b""
    writer.close()
    assert f"a connection to tcp://127.0.0.1:{port} was refused: [Errno 22] Invalid argument" in caplog.text
    assert not ipc.server.sockets


def test_on_the_blocking_front_too(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    with blocking.serve("tcp://127.0.0.1:0") as server:
        monkeypatch.setattr(tcp, "tune", gone)
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            server.poll(DEADLINE)
            assert client.recv(1) == b""
        assert f"a connection to {server.address} was refused: [Errno 22] Invalid argument" in caplog.text
        assert not server.sockets


# --- IPv4 and IPv6 ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
async def test_both_families(host: str, secure: bool, tls: Any, instances: Callable[..., IPC]) -> None:
    server_tls, client_tls = tls if secure else (False, False)
    port = await listening(instances(tls=server_tls), host)
    possible = {"localhost": ("127.0.0.1", "::1")}.get(host, (host,))
    assert await reached(instances(tls=client_tls), host, port) in possible


@pytest.mark.skipif(sys.platform != "linux", reason="namespaces are Linux's")
@pytest.mark.parametrize(("family", "address"), [("inet", "127.0.0.1"), ("inet6", "::1")])
def test_localhost_where_only_one_family_exists(family: str, address: str) -> None:
    done = subprocess.run(
        [sys.executable, str(PROGRAM), family], capture_output=True, text=True, timeout=60, env={**os.environ}
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["has"] == {"inet": family == "inet", "inet6": family == "inet6"}
    assert told["answer"] == "hello"
    assert told["went_to"] == told["seen_from"] == address


def test_a_free_port_is_the_same_for_all_addresses_of_a_name() -> None:
    resolved = [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 0, 0, 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.2", 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 0)),  # not an address of this machine
    ]
    sockets = tcp.listen_tcp([*resolved, resolved[0]], 0, 16)
    try:
        assert [sock.getsockname()[0] for sock in sockets] == ["127.0.0.1", "::1", "127.0.0.2"]
        assert len({sock.getsockname()[1] for sock in sockets}) == 1
        assert all(sock.getblocking() is False for sock in sockets)
    finally:
        for sock in sockets:
            sock.close()


def test_a_port_that_is_free_at_one_address_only_is_left_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    places = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"127.0.0.{n}", 0)) for n in (2, 3)]
    new_bound, tried = tcp.new_bound, []

    def taken_at_the_second(family: int, kind: socket.SocketKind, where: Any) -> socket.socket:
        tried.append(where)
        if where[0] == "127.0.0.3" and len(tried) <= busy:
            raise OSError(errno.EADDRINUSE, "Address already in use")
        return new_bound(family, kind, where)

    monkeypatch.setattr(tcp, "new_bound", taken_at_the_second)
    busy = 6
    for sock in tcp.listen_tcp(places, 0, 16):
        sock.close()
    assert len(tried) == 8
    busy = 1000
    with pytest.raises(OSError):
        tcp.listen_tcp(places, 0, 16)
    assert len(tried) == 8 + 2 * tcp.FREE_PORT_TRIES


def test_one_address_that_is_taken_gives_back_the_others() -> None:
    with socket.create_server(("127.0.0.2", 0)) as taken:
        port = taken.getsockname()[1]
        both = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"127.0.0.{n}", port)) for n in (3, 2)]
        with pytest.raises(OSError) as error:
            tcp.listen_tcp(both, port, 16)
        assert error.value.errno == errno.EADDRINUSE
        socket.create_server(("127.0.0.3", port)).close()


@pytest.mark.parametrize("resolved", [[], [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 0))]])
def test_a_name_without_an_address_here(resolved: Any) -> None:
    with pytest.raises(OSError) as error:
        tcp.listen_tcp(resolved, 0, 16)
    assert error.value.errno == errno.EADDRNOTAVAIL


# --- every address of a name ------------------------------------------------------------------------------


@pytest.fixture
def stuck() -> Iterator[Callable[[str, int], None]]:
    """Makes an address whose server never answers: its queue is full, and Linux drops what comes then."""
    sockets: list[socket.socket] = []

    def make(host: str, port: int) -> None:
        server = socket.create_server((host, port), backlog=0)
        sockets.append(server)
        for _ in range(4):
            waiting = socket.socket()
            sockets.append(waiting)
            waiting.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                waiting.connect((host, port))

    yield make
    for sock in sockets:
        sock.close()


def named(*hosts: str) -> Callable[[str], list[str]]:
    """A lookup that gives these addresses to ``world.example``."""
    return lambda host: list(hosts) if host == "world.example" else [host]


async def test_the_second_address_where_the_first_refuses(instances: Callable[..., IPC]) -> None:
    port = await listening(instances())
    client = instances()
    client.config.interfaces.lookup = named("127.0.0.2", "127.0.0.1")
    assert await reached(client, "world.example", port) == "127.0.0.1"


async def test_a_lookup_may_be_async_and_give_one_address(instances: Callable[..., IPC]) -> None:
    port = await listening(instances())
    client = instances()

    async def look_up(host: str) -> str:
        assert host == "world.example"
        return "127.0.0.1"

    client.config.interfaces.lookup = look_up
    assert await reached(client, "world.example", port) == "127.0.0.1"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a full queue refuses")
async def test_an_address_that_leads_nowhere_leaves_time_for_the_next(
    stuck: Callable[[str, int], None], instances: Callable[..., IPC]
) -> None:
    port = await listening(instances())
    stuck("127.0.0.2", port)
    client = instances(connect_timeout=1000)
    client.config.interfaces.lookup = named("127.0.0.2", "127.0.0.1")
    assert await reached(client, "world.example", port) == "127.0.0.1"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a full queue refuses")
async def test_nobody_answers_in_time(stuck: Callable[[str, int], None], instances: Callable[..., IPC]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    stuck("127.0.0.1", port)
    client = instances(connect_timeout=100)
    with pytest.raises(ConnectTimeout, match=rf"no answer from tcp://127\.0\.0\.1:{port} within 0\.1 s"):
        await reached(client, "127.0.0.1", port)


async def test_a_connection_that_is_reset_at_once_is_an_attempt_that_failed(
    instances: Callable[..., IPC], monkeypatch: pytest.MonkeyPatch
) -> None:
    port = await listening(instances())
    monkeypatch.setattr(socket.socket, "getpeername", lambda sock: sock.getsockopt(-1, -1))  # an OSError
    with pytest.raises(ConnectError, match="cannot connect"):
        await reached(instances(), "127.0.0.1", port)
    gc.collect()  # a socket that nobody closed is a warning, and so an error


async def test_the_error_is_that_of_the_last_address(instances: Callable[..., IPC]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    client = instances()
    client.config.interfaces.lookup = named("127.0.0.2", "127.0.0.1")
    with pytest.raises(ConnectError, match=rf"cannot connect to tcp://world\.example:{port}: Connect"):
        await reached(client, "world.example", port)


@pytest.mark.parametrize("family", [4, 6])
async def test_only_the_family_that_is_asked_for(family: int, instances: Callable[..., IPC]) -> None:
    port = await listening(instances(), {4: "127.0.0.1", 6: "::1"}[family])
    client = instances()
    client.config.interfaces.family = family
    client.config.interfaces.lookup = named(*{4: ["127.0.0.1"], 6: ["::1"]}[family])
    assert (":" in await reached(client, "world.example", port)) == (family == 6)


async def test_a_name_without_any_address(instances: Callable[..., IPC]) -> None:
    client = instances()
    client.config.interfaces.lookup = lambda host: []
    with pytest.raises(ConnectError, match="the host name has no address"):
        await reached(client, "world.example", 1)


async def test_a_lookup_that_fails_is_an_attempt_that_fails(instances: Callable[..., IPC]) -> None:
    client = instances()

    def look_up(host: str) -> str:
        raise LookupError("no such name in the table")

    client.config.interfaces.lookup = look_up
    with pytest.raises(ConnectError, match="no such name in the table"):
        await reached(client, "world.example", 1)


async def test_the_address_that_a_client_comes_from(instances: Callable[..., IPC]) -> None:
    server, client = instances(), instances()
    port = await listening(server)
    client.config.interfaces.local_address = "127.0.0.9"
    await reached(client, "127.0.0.1", port)
    [peer] = server.server.sockets
    assert peer.peer.host == "127.0.0.9"


async def test_an_address_that_a_client_cannot_come_from(instances: Callable[..., IPC]) -> None:
    client = instances()
    client.config.interfaces.local_address = "192.0.2.1"
    with pytest.raises(ConnectError, match="Cannot assign requested address"):
        await reached(client, "127.0.0.1", 1)


def test_a_port_to_come_from() -> None:
    config = Config()
    with socket.create_server(("127.0.0.1", 0)) as free:
        config.interfaces.local_port = free.getsockname()[1]
    with tcp.new_stream(socket.AF_INET, config.settings()) as sock:
        assert sock.getsockname()[1] == config.interfaces.local_port


# --- errors -----------------------------------------------------------------------------------------------

WHERE = Tcp("world.example", 80)
OURS = IPCError("already ours")
REFUSED = ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed ('127.0.0.1', 80)")
UNKNOWN = socket.gaierror(socket.EAI_NONAME, "Name or service not known")


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (OSError(errno.EADDRINUSE, "x"), AddressInUse, "somebody listens at tcp://world.example:80 already"),
        (UNKNOWN, AddressError, "the host name is not known here"),
        (PermissionError(errno.EACCES, "Permission denied"), AddressError, "ports below 1024 are for root"),
        (OSError(errno.EADDRNOTAVAIL, "x"), AddressError, "no interface of this machine has that address"),
        (OSError(errno.ENOBUFS, "no room"), AddressError, "no room"),
    ],
)
def test_why_nobody_can_be_served(error: Exception, kind: type, words: str) -> None:
    failure = tcp.listen_failed(WHERE, error)
    assert type(failure) is kind
    assert words in str(failure)
    assert failure.__cause__ is error


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (TimeoutError(), ConnectTimeout, "no answer from tcp://world.example:80 within 2.5 s"),
        (PermissionError(errno.EACCES, "Permission denied"), ConnectDenied, "Permission denied"),
        (UNKNOWN, ConnectError, "the host name is not known here"),
        (REFUSED, ConnectError, "cannot connect to tcp://world.example:80: Connection refused. Start the"),
        (OSError("odd"), ConnectError, "odd"),
        (KeyError("table"), ConnectError, "KeyError('table')"),
    ],
)
def test_why_no_link_came_about(error: Exception, kind: type, words: str) -> None:
    failure = tcp.connect_failed(WHERE, error, 2.5)
    assert type(failure) is kind
    assert words in str(failure)
    assert failure.__cause__ is error


def test_our_own_errors_stay_as_they_are() -> None:
    assert tcp.listen_failed(WHERE, OURS) is OURS
    assert tcp.connect_failed(WHERE, OURS, 1.0) is OURS
    assert tcp.link_failed(OURS) is OURS


def test_how_a_link_ended() -> None:
    assert tcp.link_failed(None) is None
    for error, words in (
        (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), "Connection reset by peer"),
        (ValueError("odd"), "the link broke: odd"),
        (OSError(), "OSError"),
    ):
        lost = tcp.link_failed(error)
        assert isinstance(lost, ConnectionLost)
        assert words in str(lost)
        assert lost.__cause__ is error


# --- looking a name up without an event loop --------------------------------------------------------------


def looked_up(address: Tcp, settings: Any) -> list[Resolved]:
    """What a driver without an event loop finds."""
    steps = addresses(address, settings)
    try:
        step = next(steps)
        while True:
            if isinstance(step, LookUp):
                step = steps.send(step.at_once())
                continue
            assert isinstance(step, Await)
            if isinstance(step.what, Coroutine):
                step.what.close()
            step = steps.throw(NotImplementedError())
    except StopIteration as end:
        found: list[Resolved] = end.value
        return found


def test_looking_up_and_waiting_for_it() -> None:
    config = Config()
    config.interfaces.lookup = named("127.0.0.2", "127.0.0.1")
    found = looked_up(Tcp("world.example", 80), config.settings())
    assert [where for *_, where in found] == [("127.0.0.2", 80), ("127.0.0.1", 80)]
    assert looked_up(Tcp("127.0.0.1", 80), Config().settings())[0][-1] == ("127.0.0.1", 80)
    config.interfaces.lookup = lambda host: "127.0.0.5"
    assert looked_up(Tcp("world.example", 80), config.settings())[0][-1] == ("127.0.0.5", 80)


def test_looking_up_goes_by_hints_and_family() -> None:
    config = Config()
    config.interfaces.hints = socket.AI_NUMERICHOST
    assert looked_up(Tcp("127.0.0.1", 80), config.settings())
    with pytest.raises(socket.gaierror):
        looked_up(Tcp("localhost", 80), config.settings())
    config.interfaces.family = 6
    assert looked_up(Tcp("::1", 80), config.settings())[0][0] == socket.AF_INET6
    with pytest.raises(socket.gaierror):
        looked_up(Tcp("127.0.0.1", 80), config.settings())


def test_an_async_lookup_needs_a_loop() -> None:
    config = Config()

    async def look_up(host: str) -> str:
        return host

    class Promise:
        def __await__(self) -> Iterator[Any]:
            return iter(())

    for lookup in (look_up, lambda host: Promise()):
        config.interfaces.lookup = lookup
        with pytest.raises(AddressError, match="is async, and there is no event loop here"):
            looked_up(Tcp("world.example", 80), config.settings())
