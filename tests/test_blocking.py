"""The blocking front on real sockets: every verb, what it raises, and that it never waits for itself."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import resource
import signal
import socket as sockets
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

import node_ipc
from node_ipc import (
    AddressError,
    AddressInUse,
    BackpressureError,
    ClientState,
    Config,
    ConnectError,
    ConnectionLost,
    ConnectTimeout,
    Event,
    ForkError,
    InvalidEvent,
    InvalidPayload,
    MessageTimeout,
    NotConnected,
    Raw,
    ReceiveTimeout,
    RemoteError,
    RequestTimeout,
    Trace,
    WouldDeadlock,
    WrongThreadError,
    blocking,
)
from node_ipc.blocking import BlockingClient, BlockingServer
from node_ipc.config.options import UnknownOption
from node_ipc.core.outcome import Outcome
from node_ipc.errors import DrainTimeout
from processes import Program, wait_until_it_sleeps
from stopwatch import Stopwatch
from tls_certificates import Identity, identity

PEER = str(Path(__file__).with_name("blocking_peer.py"))
SECONDS = 60.0


class Order(msgspec.Struct):
    item: str
    count: int


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(socket_root=f"{tmp_path}/", retry=20, silent=True)


@pytest.fixture
def address(tmp_path: Path) -> str:
    return f"unix:{tmp_path}/world"


class Served:
    """A blocking server in a thread of its own; what handlers said is in ``heard``."""

    def __init__(self, address: str, prepare: Callable[[Any], object] = lambda server: None, **options: Any) -> None:
        self.heard: list[Any] = []
        self._prepare = prepare
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self.server: Any = None
        self.thread = threading.Thread(target=self._run, args=(address, options))
        self.thread.start()
        assert self._ready.wait(SECONDS)
        if self._failure is not None:
            raise self._failure

    def _run(self, address: str, options: dict[str, Any]) -> None:
        try:
            with blocking.serve(address, **options) as self.server:
                self.server.on("echo", lambda data, socket: socket.emit("echo", data))
                self.server.on("note", lambda data, socket: self.heard.append(data))
                self.server.on("close me", lambda data, socket: socket.close())
                self.server.handle("add", lambda params: params["a"] + params["b"])
                self._prepare(self.server)
                self._ready.set()
                self.server.serve_forever()
        except BaseException as error:
            self._failure = error
            self._ready.set()

    @property
    def address(self) -> str:
        return str(self.server.address)

    def call(self, what: Callable[[], object]) -> None:
        """Run this in the server's thread."""
        self.server._driver.call_from_thread(what)

    def let_in(self) -> None:
        """Wait until somebody who is connected is there for the server, too."""
        end = time.monotonic() + SECONDS
        while not self.server.sockets:
            assert time.monotonic() < end
            time.sleep(0.001)

    def stop(self) -> None:
        if self.server is not None:
            self.server.shutdown()
        self.thread.join(SECONDS)
        assert not self.thread.is_alive()


@pytest.fixture
def serve(address: str) -> Iterator[Callable[..., Served]]:
    """Servers in threads, by default at ``address``."""
    servers: list[Served] = []

    def start(where: str = address, prepare: Callable[[Any], object] = lambda server: None, **options: Any) -> Served:
        servers.append(Served(where, prepare, **options))
        return servers[-1]

    yield start
    for served in servers:
        served.stop()


@pytest.fixture
def served(serve: Callable[..., Served]) -> Served:
    return serve()


@pytest.fixture
def client(served: Served) -> Iterator[BlockingClient]:
    with blocking.connect(served.address) as client:
        served.let_in()
        yield client


@pytest.fixture
def peer(address: str) -> Iterator[Callable[..., Program]]:
    """Processes: ``peer("blocking_server")``; each has said where it is, or waits for nothing."""
    programs: list[Program] = []

    def start(role: str, where: str = address, *options: str, says: str | None = "at") -> Program:
        program = Program.python(PEER, role, where, *options)
        programs.append(program)
        if says is not None:
            program.wait_for(says)
        return program

    yield start
    for program in programs:
        program.close()


@contextlib.contextmanager
def listening(path: Path) -> Iterator[sockets.socket]:
    """A server of bare bytes."""
    with sockets.socket(sockets.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(SECONDS)
        yield listener


def until(client: BlockingClient, condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        client.poll(0.05)
        assert time.monotonic() < deadline


# ---- the verbs


def test_five_lines(served: Served) -> None:
    with blocking.connect(served.address, timeout=SECONDS) as world:
        assert world.state is ClientState.CONNECTED
        assert world.peer.pid == os.getpid()
        assert world.emit("echo", "hello") is True
        assert world.receive("echo", timeout=SECONDS) == "hello"
        assert world.request("add", {"a": 1, "b": 2}, timeout=SECONDS) == 3
    assert world.state.name == "CLOSED"


def test_an_id_is_found_where_its_server_is(config: Config, serve: Callable[..., Served]) -> None:
    serve("world", config=config)
    with blocking.connect("world", config=config) as world:
        world.emit("echo", [1, 2])
        assert world.receive("echo") == [1, 2]
        assert world.id == "world"


def test_events_wait_until_they_are_received_each_kind_in_its_order(client: BlockingClient, served: Served) -> None:
    served.call(lambda: [served.server.broadcast(kind, n) for n in range(3) for kind in ("even", "odd")])
    assert [client.receive("odd", timeout=SECONDS) for _ in range(3)] == [0, 1, 2]
    assert len(client.inbox) == 3
    assert [client.receive("even", timeout=SECONDS) for _ in range(3)] == [0, 1, 2]
    assert len(client.inbox) == 0


def test_iteration_gives_every_event_in_order_and_ends_with_the_client(served: Served) -> None:
    with blocking.connect(served.address, stop_retrying=0) as client:
        heard: list[Any] = []
        client.on("handled", heard.append)
        served.let_in()
        for n in range(5):
            served.call(partial(served.server.broadcast, "handled" if n == 2 else f"kind {n}", n))
        served.call(lambda: [socket.close() for socket in served.server.sockets])
        seen = list(client)
        assert [(event.type, event.data) for event in seen] == [
            ("kind 0", 0), ("kind 1", 1), ("handled", 2), ("kind 3", 3), ("kind 4", 4),
        ]  # fmt: skip
        assert heard == [2]
        assert client.state is ClientState.CLOSED


def test_receive_and_iteration_see_no_lifecycle_events(client: BlockingClient) -> None:
    with pytest.raises(InvalidEvent, match="connect"):
        client.receive("connect", timeout=0)
    assert client.inbox.wanted is None


def test_handlers_run_in_whatever_call_waits(client: BlockingClient, served: Served) -> None:
    heard: list[Any] = []
    threads: set[int] = set()

    @client.on("tick")
    def tick(data: Any) -> None:
        heard.append(data)
        threads.add(threading.get_ident())

    client.once("tick", lambda data: heard.append(f"once {data}"))
    served.call(lambda: [served.server.broadcast("tick", n) for n in range(3)])
    client.emit("echo", "done")
    assert client.receive("echo", timeout=SECONDS) == "done"
    until(client, lambda: len(heard) == 4)
    assert heard == [0, "once 0", 1, 2]
    assert threads == {threading.get_ident()}
    client.off("tick", tick)
    served.call(lambda: served.server.broadcast("tick", "to the inbox"))
    assert client.receive("tick", timeout=SECONDS) == "to the inbox"


def test_a_handler_registered_after_a_receive_gets_the_events(client: BlockingClient) -> None:
    client.emit("echo", 1)
    assert client.receive("echo", timeout=SECONDS) == 1
    heard: list[Any] = []
    client.on("echo", heard.append)
    client.emit("echo", 2)
    until(client, lambda: heard == [2])
    client.off("echo")
    everything: list[Any] = []
    client.on("*", lambda *event: everything.append(event))
    client.emit("echo", 3)
    assert client.receive("echo", timeout=SECONDS) == 3
    assert everything == [("echo", 3)]


def test_what_a_handler_raises_harms_only_itself(client: BlockingClient) -> None:
    errors: list[Any] = []
    client.on("error", errors.append)
    client.on("echo", lambda data: 1 / 0)
    client.emit("echo", 1)
    until(client, lambda: errors)
    assert isinstance(errors[0].__cause__, ZeroDivisionError)
    client.off("echo")
    client.emit("echo", 2)
    assert client.receive("echo", timeout=SECONDS) == 2


def test_an_async_handler_is_refused_where_it_is_registered(client: BlockingClient) -> None:
    async def handler(data: Any) -> None: ...

    with pytest.raises(TypeError, match="asyncio front"):
        client.on("echo", handler)


def test_payloads_are_decoded_to_the_type_that_is_asked_for(client: BlockingClient) -> None:
    order = Event("echo", Order)
    client.emit(order, Order("tea", 2))
    assert client.receive(order, timeout=SECONDS) == Order("tea", 2)
    client.emit("echo", {"item": "tea", "count": 3})
    assert client.receive("echo", type=Order, timeout=SECONDS).count == 3
    client.emit("echo", {"item": "tea"})
    with pytest.raises(InvalidPayload, match="count"):
        client.receive("echo", type=Order, timeout=SECONDS)
    client.emit("echo", [1, 2])
    assert bytes(client.receive("echo", type=Raw, timeout=SECONDS)) == b"[1,2]"
    client.emit("echo", "\ud800")
    assert client.receive("echo", timeout=SECONDS) == "\ud800"


def test_a_type_that_cannot_be_a_key_decodes_too(client: BlockingClient) -> None:
    from typing import Annotated

    client.emit("echo", 5)
    limited = Annotated[int, msgspec.Meta(ge=0, extra={"a": 1})]
    assert client.receive("echo", type=limited, timeout=SECONDS) == 5


def test_decoders_are_kept_for_a_bounded_number_of_names(client: BlockingClient, served: Served) -> None:
    served.call(lambda: [served.server.broadcast(f"kind {n}", n) for n in range(600)])
    assert [event.data for _, event in zip(range(600), client, strict=False)] == list(range(600))
    assert len(client.inbox._decoders) <= 256


# ---- requests


def test_requests_both_ways(served: Served) -> None:
    answers: list[Any] = []
    with blocking.connect(served.address) as client:
        client.handle("double", lambda n: n * 2)
        assert client.request("add", {"a": 2, "b": 3}) == 5
        with pytest.raises(RemoteError, match="no method"):
            client.request("subtract")

        def keep(answer: Outcome[Any]) -> None:
            answers.append(answer.result())

        def ask() -> None:
            from node_ipc.core.server import Server

            for socket in served.server.sockets:
                answer = Server.request(served.server, socket, "double", 21)
                answer.then(partial(keep, answer))

        served.call(ask)
        until(client, lambda: answers)
    assert answers == [42]


def test_requests_and_answers_that_nobody_asked_for(tmp_path: Path) -> None:
    with listening(tmp_path / "s") as listener, blocking.connect(f"unix:{tmp_path}/s") as client:
        there, _ = listener.accept()
        with there:
            for kind in ("rpc.response", "rpc.cancel", "rpc.request", "rpc.whatever", "ipc.ping"):
                there.sendall(b'{"type":"%s","data":{"id":1,"method":"nothing"}}\f' % kind.encode())
            there.sendall(b'{"type":"event","data":1}\f')
            assert client.receive("event", timeout=SECONDS) == 1
            assert len(client.inbox) == 0
            there.settimeout(SECONDS)
            answered = b""
            while b"nothing" not in answered:
                answered += there.recv(4096)
            assert b'"error"' in answered and b"rpc.response" in answered
            client.abort()


def test_a_blocking_server_asks_its_clients(peer: Callable[..., Program], address: str) -> None:
    with blocking.serve(address) as server:
        hello: list[Any] = []
        server.on("hello", lambda data, socket: hello.append((data, socket)))
        other = peer("callback_client", says=None)
        while not hello:
            assert server.poll(SECONDS)
        assert hello[0][0] == {"from": "callbacks"}
        socket = hello[0][1]
        assert server.request(socket, "double", 21, timeout=SECONDS) == 42
        assert type(socket) is blocking.Socket
        assert socket.request("double", 21, timeout=SECONDS) == 42, "it waits here, too"
        assert server.request_all("double", 4, timeout=SECONDS) == {socket: 8}
        with pytest.raises(RemoteError):
            server.request(socket, "nothing", timeout=SECONDS)
        server.emit(socket, "bye")
        while server.sockets:
            server.poll(SECONDS)
        assert "left" in other.ends()


# ---- both fronts, three transports, two processes


@pytest.fixture(scope="module")
def authority() -> Identity:
    return identity("authority", authority=True)


@pytest.mark.parametrize("role", ["blocking_server", "asyncio_server", "callback_server"])
def test_with_every_kind_of_server_in_another_process(role: str, peer: Callable[..., Program], address: str) -> None:
    other = peer(role)
    with blocking.connect(address) as client:
        assert client.peer.pid == other.process.pid
        for n in range(200):
            client.emit("echo", n)
            assert client.receive("echo", timeout=SECONDS) == n
        assert [client.request("add", {"a": n, "b": 1}) for n in range(50)] == list(range(1, 51))
        client.emit("stop")
        with pytest.raises((ReceiveTimeout, NotConnected)):
            client.receive("echo", timeout=0.5)
    assert "stopped" in other.ends()


def test_tcp(peer: Callable[..., Program]) -> None:
    other = peer("blocking_server", "tcp://127.0.0.1:0")
    where = other.lines[-1].removeprefix("at ")
    with blocking.connect(where) as client:
        assert (client.peer.transport, client.peer.host) == ("tcp", "127.0.0.1")
        payload = "x" * 3_000_000
        client.emit("echo", payload)
        assert client.receive("echo", timeout=SECONDS) == payload
        client.emit("stop")
    assert "stopped" in other.ends()


def test_tls(serve: Callable[..., Served], authority: Identity) -> None:
    server = identity("server", authority, names=["localhost"])
    served = serve("tls://localhost:0", tls=server.options)
    with blocking.connect(served.address, tls={"ca": authority.cert}) as client:
        assert client.peer.transport == "tls"
        assert client.peer.certificate is not None
        payload = "x" * 1_000_000
        client.emit("echo", payload)
        assert client.receive("echo", timeout=SECONDS) == payload
        assert client.request("add", {"a": 1, "b": 1}) == 2


def test_tls_that_cannot_be_verified_raises(serve: Callable[..., Served], authority: Identity) -> None:
    served = serve("tls://localhost:0", tls=identity("server", authority, names=["localhost"]).options)
    stranger = identity("somebody else", authority=True)
    with pytest.raises(ConnectError, match="TLS"):
        blocking.connect(served.address, tls={"ca": stranger.cert})
    with pytest.raises(ConnectError, match="TLS"):
        blocking.connect(served.address.replace("tls:", "tcp:"), tls=True)


def test_a_name_with_several_addresses(serve: Callable[..., Served]) -> None:
    served = serve("tcp://127.0.0.1:0")
    with blocking.connect(
        f"tcp://somewhere:{served.server.port}",
        interfaces={"lookup": lambda host: ["::1", "127.0.0.1"]},
    ) as client:
        assert client.peer.host == "127.0.0.1"
    with pytest.raises(AddressError, match="async"):

        async def lookup(host: str) -> str:
            return "127.0.0.1"

        blocking.connect(f"tcp://somewhere:{served.server.port}", interfaces={"lookup": lookup})


def test_raw_mode(tmp_path: Path) -> None:
    with (
        listening(tmp_path / "raw") as listener,
        blocking.connect(f"unix:{tmp_path}/raw", raw_buffer=True, encoding="hex") as client,
    ):
        there, _ = listener.accept()
        with there:
            client.emit(b"\x00\xff")
            assert there.recv(10) == b"\x00\xff"
            there.sendall(b"\xde\xad")
            assert client.receive("data", timeout=SECONDS) == b"\xde\xad"
            heard: list[bytes] = []
            client.on("data", heard.append)
            there.sendall(b"more")
            until(client, lambda: heard == [b"more"])
            assert len(client.inbox) == 0


def test_udp(tmp_path: Path) -> None:
    with blocking.serve_udp("127.0.0.1:0") as server, blocking.serve_udp(("127.0.0.1", 0)) as other:
        server.on("hello", lambda data, socket: server.emit(socket, "answer", data + 1))
        answers: list[Any] = []
        other.on("answer", answers.append)
        other.emit({"address": "localhost", "port": server.port}, "hello", 1)
        other.drain(SECONDS)
        assert other.pending_bytes == 0
        deadline = time.monotonic() + SECONDS
        while not answers:
            server.poll(0.01)
            other.poll(0.01)
            assert time.monotonic() < deadline
        assert answers == [2]
        server.stop()
        with pytest.raises(AddressInUse):
            blocking.serve(str(other.address))


@pytest.mark.row(27)
@pytest.mark.parametrize("family", [sockets.AF_UNIX, sockets.AF_INET])
def test_a_socket_that_is_bound_already_is_served_and_left(tmp_path: Path, family: int) -> None:
    path = tmp_path / "app.world"
    with sockets.socket(family) as manager, sockets.socket(family) as client:
        manager.bind(str(path) if family == sockets.AF_UNIX else ("127.0.0.1", 0))
        handed = manager.dup()
        with blocking.serve(handed) as server:
            server.on("ask", lambda data, socket: socket.emit("answer", data))
            client.connect(manager.getsockname())
            client.sendall(b'{"type":"ask","data":1}\f')
            while not server.stats().messages_out:
                assert server.poll(SECONDS)
            assert client.recv(100) == b'{"type":"answer","data":1}\f'
            client.close()
        assert handed.fileno() == -1, "the server closes what it was given"
        assert manager.getsockopt(sockets.SOL_SOCKET, sockets.SO_ACCEPTCONN)
        assert path.exists() == (family == sockets.AF_UNIX)


def test_options_and_configuration(config: Config) -> None:
    with pytest.raises(UnknownOption, match="max_retries"):
        blocking.connect("world", config=config, maxRetries=1)
    with pytest.raises(UnknownOption, match="max_retries"):
        blocking.serve("world", config=config, maxRetries=1)


# ---- connecting


def test_the_first_failed_attempt_raises_with_its_cause(config: Config) -> None:
    with pytest.raises(ConnectError, match="no server at") as caught:
        blocking.connect("nobody", config=config)
    assert isinstance(caught.value.__cause__, FileNotFoundError)


def test_a_connection_that_does_not_come_about_in_time(address: str, tmp_path: Path) -> None:
    began, watch = time.monotonic(), Stopwatch()
    with pytest.raises(ConnectTimeout, match=r"within 0\.3 s") as caught:
        blocking.connect(address, wait=True, timeout=0.3, retry=20)
    assert time.monotonic() - began >= 0.3 and watch.seconds < 5
    assert isinstance(caught.value.__cause__, ConnectError)


def test_a_server_whose_queue_is_full(tmp_path: Path) -> None:
    with sockets.socket(sockets.AF_UNIX) as full, contextlib.ExitStack() as waiting:
        full.bind(str(tmp_path / "full"))
        full.listen(0)
        for _ in range(4):
            other = waiting.enter_context(sockets.socket(sockets.AF_UNIX))
            other.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                other.connect(str(tmp_path / "full"))
        with pytest.raises(ConnectTimeout, match=r"within 0\.2 s"):
            blocking.connect(f"unix:{tmp_path}/full", connect_timeout=200)


def test_wait_connects_to_a_server_that_comes_later(peer: Callable[..., Program], address: str) -> None:
    late: list[Program] = []
    timer = threading.Timer(0.3, lambda: late.append(peer("blocking_server", says=None)))
    timer.start()
    with blocking.connect(address, wait=True, timeout=SECONDS, retry=50) as client:
        client.emit("echo", "at last")
        assert client.receive("echo", timeout=SECONDS) == "at last"
        assert client.last_error is not None
    timer.join()


def test_a_second_server_at_the_same_place_is_refused(served: Served) -> None:
    with pytest.raises(AddressInUse):
        blocking.serve(served.address)


def test_a_client_connects_anew_while_a_call_waits(peer: Callable[..., Program], address: str) -> None:
    first = peer("blocking_server")
    with blocking.connect(address, retry=20) as client:
        losses: list[Any] = []
        client.on("disconnect", losses.append)
        first.kill()
        second = peer("blocking_server")
        until(client, lambda: losses and client.state is ClientState.CONNECTED)
        assert client.peer.pid == second.process.pid
        client.emit("echo", 1)
        assert client.receive("echo", timeout=SECONDS) == 1


def test_emits_while_the_link_is_down_wait_and_go_out_in_order(peer: Callable[..., Program], address: str) -> None:
    first = peer("blocking_server")
    with blocking.connect(address, retry=20, max_queued_messages=5) as client:
        first.kill()
        until(client, lambda: client.state is not ClientState.CONNECTED)
        for n in range(5):
            client.emit("echo", n)
        with pytest.raises(BackpressureError, match="max_queued_messages"):
            client.emit("echo", 5)
        peer("blocking_server")
        assert [client.receive("echo", timeout=SECONDS) for _ in range(5)] == [0, 1, 2, 3, 4]


def test_a_killed_server(peer: Callable[..., Program], address: str) -> None:
    other = peer("blocking_server")
    with blocking.connect(address, stop_retrying=0) as client:
        losses: list[Any] = []
        client.on("disconnect", losses.append)
        client.handle("slow", lambda: None)
        other.kill()
        with pytest.raises(NotConnected, match="closed"):
            client.receive("echo", timeout=SECONDS)
        assert client.state is ClientState.CLOSED
        assert len(losses) == 1
        for call in (lambda: client.emit("echo"), lambda: client.request("add"), client.drain, client.poll):
            with pytest.raises(NotConnected):
                call()
        assert list(client) == []


def test_an_emit_into_a_broken_link_says_so(tmp_path: Path) -> None:
    with listening(tmp_path / "s") as listener, blocking.connect(f"unix:{tmp_path}/s", retry=10_000) as client:
        there, _ = listener.accept()
        there.sendall(b'{"type":"last","data":"words"}\f')
        there.close()
        losses: list[Any] = []
        client.on("disconnect", losses.append)
        with pytest.raises(ConnectionLost, match="while this was being written"):
            client.emit("hello")
        assert losses[0].in_flight == 1
        assert client.receive("last", timeout=0) == "words"  # what came before the end is not lost
        assert client.state is ClientState.WAITING
        client.abort()


def test_a_request_whose_link_breaks(served: Served) -> None:
    served.call(lambda: served.server.handle("hang up", lambda params, socket: socket.abort()))
    with blocking.connect(served.address) as client, pytest.raises(ConnectionLost, match="hang up"):
        client.request("hang up", timeout=SECONDS)


def test_reconnect_gives_a_fresh_client_each_time(served: Served) -> None:
    clients = []
    for client in blocking.reconnect(served.address, retry=1):
        clients.append(client)
        client.emit("echo", len(clients))
        assert client.receive("echo", timeout=SECONDS) == len(clients)
        if len(clients) == 3:
            break
        client.emit("close me")
        if len(clients) == 1:
            assert list(client) == []
        else:
            with pytest.raises(ConnectionError):
                client.receive("echo", timeout=SECONDS)
    assert len(set(clients)) == 3
    assert [client.state for client in clients[:2]] == [ClientState.CLOSED] * 2


def test_reconnect_waits_for_the_server_and_closes_what_is_left(peer: Callable[..., Program], address: str) -> None:
    other = peer("blocking_server", says=None)
    connections = blocking.reconnect(address, retry=20, timeout=SECONDS)
    first = next(connections)
    other.wait_for("at")
    other.kill()
    with pytest.raises(ConnectionError):
        first.receive("anything", timeout=SECONDS)
    peer("blocking_server", says=None)
    second = next(connections)
    assert second is not first
    second.emit("echo", 1)
    assert second.receive("echo", timeout=SECONDS) == 1
    connections.close()  # type: ignore[attr-defined]
    assert second.state is ClientState.CLOSED


# ---- time limits


def test_a_timeout_says_what_was_waited_for_and_how_long(client: BlockingClient) -> None:
    began, watch = time.monotonic(), Stopwatch()
    with pytest.raises(ReceiveTimeout, match=r"no event 'nothing' .* within 0\.2 s"):
        client.receive("nothing", timeout=0.2)
    with pytest.raises(ReceiveTimeout, match="within 0 s"):
        client.receive("nothing", timeout=0)
    assert time.monotonic() - began >= 0.2 and watch.seconds < 5


def test_a_timeout_says_what_came_instead(client: BlockingClient) -> None:
    client.emit("echo", 1)
    with pytest.raises(ReceiveTimeout, match=r"'nothing' from .* within 0\.2 s; unread meanwhile: 'echo' \(1\)$"):
        client.receive("nothing", timeout=0.2)
    with pytest.raises(ReceiveTimeout, match=r"unread meanwhile: 'echo' \(1\)$"):
        client.receive("nothing", timeout=0.1, latest=True)


def test_a_receive_that_times_out_loses_nothing(client: BlockingClient) -> None:
    for n in range(50):
        client.emit("echo", n)
        with contextlib.suppress(ReceiveTimeout):
            client.receive("other", timeout=0.0001)
    assert [client.receive("echo", timeout=SECONDS) for _ in range(50)] == list(range(50))


def test_long_time_limits_are_kept_by_the_direct_read(peer: Callable[..., Program], address: str) -> None:
    """In a process of one thread, where ``receive`` blocks in the kernel."""
    peer("blocking_server")
    program = (
        "import sys, time\n"
        "from node_ipc import blocking\n"
        "from node_ipc.errors import ReceiveTimeout\n"
        "with blocking.connect(sys.argv[1]) as client:\n"
        "    began = time.monotonic()\n"
        "    try:\n"
        "        client.receive('nothing', timeout=1.3)\n"
        "    except ReceiveTimeout:\n"
        "        print(1.3 <= time.monotonic() - began < 10)\n"
        "    client._driver.call_later(1.2, lambda: print('timer', time.monotonic() - began < 10))\n"
        "    try:\n"
        "        client.receive('nothing', timeout=2)\n"
        "    except ReceiveTimeout:\n"
        "        print('again')\n"
    )
    run = subprocess.run([sys.executable, "-c", program, address], capture_output=True, text=True, timeout=30)
    assert (run.stdout.split("\n"), run.stderr) == (["True", "timer True", "again", ""], "")


def test_a_request_whose_link_breaks_while_it_is_written(tmp_path: Path) -> None:
    with listening(tmp_path / "s") as listener, blocking.connect(f"unix:{tmp_path}/s", retry=5000) as client:
        listener.accept()[0].close()
        with pytest.raises(ConnectionLost):
            client.request("add", timeout=SECONDS)
        assert client.requests.pending == 0
        client.abort()


def test_a_request_that_cannot_be_sent_says_that_the_link_is_down(tmp_path: Path) -> None:
    with listening(tmp_path / "s") as listener, blocking.connect(f"unix:{tmp_path}/s", retry=5000) as client:
        listener.accept()[0].close()
        with pytest.raises((RequestTimeout, ConnectionLost)):
            client.request("add", timeout=0.1)
        with pytest.raises(RequestTimeout, match=r"'add' within 0\.1 s: the client is waiting"):
            client.request("add", timeout=0.1)
        client.abort()


def test_a_request_that_is_not_answered_in_time_is_forgotten_on_both_sides(tmp_path: Path) -> None:
    with listening(tmp_path / "s") as listener, blocking.connect(f"unix:{tmp_path}/s") as client:
        there, _ = listener.accept()
        with there:
            with pytest.raises(RequestTimeout, match=r"'add' within 0\.1 s"):
                client.request("add", timeout=0.1)
            assert client.requests.pending == 0
            sent = there.recv(4096)
            assert b"rpc.request" in sent and b"rpc.cancel" in sent
            there.sendall(b'{"type":"rpc.response","data":{"jsonrpc":"2.0","id":1,"result":3}}\f')
            until(client, lambda: client.requests.late == 1)


def test_close_and_drain_have_time_limits(tmp_path: Path) -> None:
    with listening(tmp_path / "s") as listener:
        client = blocking.connect(f"unix:{tmp_path}/s")
        there, _ = listener.accept()
        with there:
            client.on("noise", lambda: [client.emit("much", "x" * 100_000) for _ in range(20)])
            there.sendall(b'{"type":"noise"}\f')
            until(client, lambda: client.pending_bytes)
            with pytest.raises(DrainTimeout, match=r"after 0\.1 s"):
                client.drain(timeout=0.1)
            began, watch = time.monotonic(), Stopwatch()
            losses: list[Any] = []
            client.on("disconnect", losses.append)
            client.close(timeout=0.2)
            assert time.monotonic() - began >= 0.2 and watch.seconds < 3
            assert client.state is ClientState.CLOSED
            assert losses[0].dropped + losses[0].in_flight > 0


def test_close_sends_what_was_emitted(served: Served) -> None:
    client = blocking.connect(served.address)
    for n in range(2000):
        client.emit("note", n)
    client.close()
    deadline = time.monotonic() + SECONDS
    while len(served.heard) < 2000:
        assert time.monotonic() < deadline
        threading.Event().wait(0.005)
    assert served.heard == list(range(2000))


def test_leaving_by_an_exception_closes_and_by_ctrl_c_aborts(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    for raised, aborts in ((ValueError, 0), (KeyboardInterrupt, 1), (SystemExit, 1)):
        aborted: list[int] = []
        with pytest.raises(raised), blocking.connect(served.address) as client:
            abort = client.abort
            monkeypatch.setattr(client, "abort", lambda abort=abort, to=aborted: (to.append(1), abort()))
            raise raised
        assert len(aborted) == aborts
        assert client.state is ClientState.CLOSED


def test_ctrl_c_interrupts_a_wait_and_the_client_goes_on(served: Served, client: BlockingClient) -> None:
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        client.receive("nothing")
    client.emit("echo", 1)
    assert client.receive("echo", timeout=SECONDS) == 1


def test_ctrl_c_in_a_handler_keeps_what_came_with_it_in_order(tmp_path: Path) -> None:
    with listening(tmp_path / "s") as listener, blocking.connect(f"unix:{tmp_path}/s") as client:
        there, _ = listener.accept()
        with there:

            @client.on("interrupt")
            def interrupt() -> None:
                raise KeyboardInterrupt

            frames = [b'{"type":"n","data":%d}\f' % n for n in range(6)]
            frames.insert(3, b'{"type":"interrupt"}\f')
            there.sendall(b"".join(frames))
            with pytest.raises(KeyboardInterrupt):
                client.receive("n", timeout=SECONDS)
            assert [client.receive("n", timeout=SECONDS) for _ in range(6)] == list(range(6))
            client.abort()


def test_time_between_calls_is_not_counted_against_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        listening(tmp_path / "s") as listener,
        blocking.connect(
            f"unix:{tmp_path}/s", message_timeout=2000, slow_timeout=2000, soft_pending_bytes=1000
        ) as client,
    ):
        there, _ = listener.accept()
        with there:
            ahead = [0.0]
            monkeypatch.setattr(client._driver, "now", lambda: time.monotonic() + ahead[0])
            there.sendall(b'{"type":"half","data":"')
            client.on("go", lambda: client.emit("much", "x" * 1_000_000))
            there.sendall(b'wait"}\f{"type":"go"}\f{"type":"half","data":"')
            until(client, lambda: client.pending_bytes)
            for _ in range(5):
                ahead[0] += 60  # the program does something else for a minute
                client.poll(0.01)
            assert client.state is ClientState.CONNECTED
            there.sendall(b'done"}\f')
            assert client.receive("half", timeout=SECONDS) == "wait"
            assert client.receive("half", timeout=SECONDS) == "done"
            there.sendall(b'{"type":"half')
            errors: list[Any] = []
            client.on("error", errors.append)
            client.off("go")
            deadline = time.monotonic() + SECONDS
            while not errors and time.monotonic() < deadline:
                client.poll(0.01)  # but when it listens, and nothing comes for that long, the link is cut
                ahead[0] += 0.1
            assert isinstance(errors[0], (MessageTimeout, BackpressureError))


# ---- batches


def writes(client: BlockingClient) -> list[tuple[int, int]]:
    """Messages and bytes of each write from now on."""
    seen: list[tuple[int, int]] = []

    def hook(trace: Trace) -> None:
        if trace.what == "sent":
            seen.append((trace.messages, trace.bytes))

    client.on_trace(hook)
    return seen


def test_each_emit_is_one_write_and_a_batch_few(client: BlockingClient) -> None:
    sent = writes(client)
    for n in range(10):
        client.emit("note", n)
    assert [messages for messages, _ in sent] == [1] * 10
    sent.clear()
    with client.batch() as same:
        assert same is client
        for n in range(1000):
            client.emit("note", n)
    assert sum(messages for messages, _ in sent) == 1000
    assert len(sent) <= 1000 / 64 + 2
    sent.clear()
    with client.batch(), client.batch():
        client.emit("note", 1)
        client.emit("note", 2)
        client.emit("note", 3)
    assert [messages for messages, _ in sent][-1] == 2
    client.emit("note", 4)
    assert sent[-1][0] == 1


def test_a_call_that_waits_inside_a_batch_sends_it_first(client: BlockingClient) -> None:
    with client.batch():
        client.emit("echo", 1)
        client.emit("echo", 2)
        assert [client.receive("echo", timeout=SECONDS) for _ in range(2)] == [1, 2]
        assert client.request("add", {"a": 1, "b": 1}, timeout=SECONDS) == 2


def test_a_batch_of_more_than_the_kernel_takes_is_with_it_at_the_end(
    peer: Callable[..., Program], address: str
) -> None:
    peer("blocking_server")
    with blocking.connect(address) as client:
        with client.batch():
            for n in range(3000):
                client.emit("echo", [n, "x" * 1000])
        assert client.pending_bytes == 0
        assert [client.receive("echo", timeout=SECONDS)[0] for _ in range(3000)] == list(range(3000))


# ---- both sides at full speed


@pytest.mark.slow
@pytest.mark.parametrize("where", ["unix", "tcp"])
def test_both_sides_stream_at_full_speed(where: str, peer: Callable[..., Program], address: str) -> None:
    other = peer("streaming_server", address if where == "unix" else "tcp://127.0.0.1:0")
    with blocking.connect(other.lines[-1].removeprefix("at ")) as client:
        client.emit("go")
        for n in range(10_000):
            assert client.emit("up", {"n": n, "text": "x" * 4096})
        came = [client.receive("down", timeout=60)["n"] for _ in range(10_000)]
        assert came == list(range(10_000))
        assert client.receive("done", timeout=60) == 10_000
    assert "in order" in other.ends()


@pytest.mark.slow
@pytest.mark.parametrize("role", ["blocking_server", "asyncio_server"])
def test_an_echo_of_more_than_every_buffer_holds(role: str, peer: Callable[..., Program], address: str) -> None:
    peer(role)
    with blocking.connect(address) as client:
        for n in range(10_000):
            client.emit("echo", [n, "x" * 4096])
        assert [client.receive("echo", timeout=60)[0] for _ in range(10_000)] == list(range(10_000))


def test_what_handlers_of_everything_heard_does_not_fill_the_inbox(tmp_path: Path) -> None:
    heard: list[int] = []
    with (
        listening(tmp_path / "s") as listener,
        blocking.connect(f"unix:{tmp_path}/s", max_inbox_bytes=20_000) as client,
    ):
        client.on("*", lambda type, data=None: heard.append(data) if type == "flood" else None)
        there, _ = listener.accept()
        with there:
            for first in range(0, 2_000, 100):
                there.sendall(b"".join(b'{"type":"flood","data":%d}\f' % n for n in range(first, first + 100)))
                while len(heard) < first + 100:
                    client.poll(SECONDS)
        assert heard == list(range(2_000)) and client.inbox.missed == 2_000 - len(client.inbox) > 1_000
        assert client.receive("flood", timeout=SECONDS) == client.inbox.missed, "the newest of it can be received"


def test_a_full_inbox_raises_and_nothing_is_lost(tmp_path: Path) -> None:
    with (
        listening(tmp_path / "s") as listener,
        blocking.connect(f"unix:{tmp_path}/s", max_inbox_bytes=200_000, max_pending_bytes=1_000_000) as client,
    ):
        there, _ = listener.accept()
        with there:
            there.setblocking(False)
            flood = b"".join(b'{"type":"flood","data":%d}\f' % n for n in range(100_000))
            fed = there.send(flood[:2_000_000])
            with pytest.raises(BackpressureError, match=r"flood.*max_inbox_bytes \(200000\)"):
                while True:
                    client.receive("other", timeout=SECONDS)
                    raise AssertionError
            with pytest.raises(BackpressureError, match="max_inbox_bytes"):
                client.request("add", timeout=SECONDS)
            with pytest.raises(BackpressureError, match="max_inbox_bytes"):
                client.poll()
            emitted = 0
            with pytest.raises(BackpressureError, match="max_inbox_bytes"):
                while True:
                    client.emit("note", "x" * 50_000)
                    emitted += 1
            with pytest.raises(BackpressureError, match="max_inbox_bytes"):
                client.drain(timeout=SECONDS)
            assert emitted > 10
            assert client.state is ClientState.CONNECTED
            whole = flood[:fed].count(b"\f")
            came: list[Any] = []
            while len(came) < whole:
                came.append(client.receive("flood", timeout=SECONDS))
            assert came == list(range(whole))
            assert not client.inbox.full
            client.abort()


# ---- in handlers


def test_what_would_wait_for_its_own_thread_raises_at_once(client: BlockingClient) -> None:
    raised: dict[str, str] = {}
    calls: dict[str, Callable[[], object]] = {
        "receive": lambda: client.receive("nothing"),
        "request": lambda: client.request("add"),
        "iteration": lambda: next(iter(client)),
        "poll": lambda: client.poll(None),
    }

    @client.on("echo")
    def echo(data: Any) -> None:
        for name, call in calls.items():
            try:
                call()
            except WouldDeadlock as error:
                raised[name] = str(error)

    client.emit("echo")
    until(client, lambda: raised)
    assert set(raised) == set(calls)
    for name, said in raised.items():
        assert said.startswith(f"{name}() in a handler")
        assert ("Return first, and ask outside of handlers" if name == "request" else "on()") in said
    client.off("echo")
    client.emit("echo", 2)
    assert client.receive("echo", timeout=SECONDS) == 2


def test_drain_in_a_handler_raises_only_where_it_would_wait(tmp_path: Path) -> None:
    with listening(tmp_path / "s") as listener, blocking.connect(f"unix:{tmp_path}/s") as client:
        there, _ = listener.accept()
        with there:
            said: list[Any] = []

            @client.on("go")
            def go() -> None:
                client.drain()
                said.append(client.emit("much", "x" * 10_000_000))
                client.emit("more")
                try:
                    client.drain()
                except WouldDeadlock as error:
                    said.append(str(error))

            there.sendall(b'{"type":"go"}\f')
            until(client, lambda: len(said) == 2)
            assert "drain() in a handler" in said[1]
            client.abort()


def test_emit_in_a_handler_does_not_wait_and_arrives(served: Served, client: BlockingClient) -> None:
    client.on("echo", lambda data: client.emit("note", data))
    client.emit("echo", "by handler")
    until(client, lambda: served.heard)
    assert served.heard == ["by handler"]


def test_close_in_a_handler_ends_the_iteration(served: Served) -> None:
    with blocking.connect(served.address) as client:
        client.on("echo", lambda data: client.close())
        client.emit("echo")
        assert [event.type for event in client] == ["echo"]
        assert client.state is ClientState.CLOSED


def test_a_server_s_handlers_may_not_wait_for_it_either(address: str, peer: Callable[..., Program]) -> None:
    said: list[str] = []
    with blocking.serve(address) as server:

        @server.on("hello")
        def hello(data: Any, socket: Any) -> None:
            for call in (server.serve_forever, server.poll, lambda: server.request(socket, "double", 1)):
                try:
                    call()
                except WouldDeadlock as error:
                    said.append(str(error))
            server.emit(socket, "bye")
            server.stop()

        peer("callback_client", says=None)
        server.serve_forever()
    assert [text.split("(")[0] for text in said] == ["serve_forever", "poll", "request"]


def test_a_handler_may_wait_for_another_server(
    address: str, tmp_path: Path, peer: Callable[..., Program], serve: Callable[..., Served]
) -> None:
    """A chain of services, each blocking: what is waited for is somebody else's work."""
    peer("blocking_server")

    def prepare(server: BlockingServer) -> None:
        behind = blocking.connect(address)

        @server.handle("forward")
        def forward(params: Any) -> Any:
            return behind.request("add", params, timeout=SECONDS) * 100

        server.on("end", lambda: behind.close())

    front = serve(f"unix:{tmp_path}/front", prepare)
    with blocking.connect(front.address) as client:
        assert client.request("forward", {"a": 1, "b": 2}, timeout=SECONDS) == 300
        client.emit("end")
        client.emit("echo")
        client.receive("echo", timeout=SECONDS)


def test_a_client_and_its_server_in_one_thread(address: str) -> None:
    with blocking.serve(address) as server, blocking.connect(address) as client:
        heard: list[Any] = []
        server.on("note", heard.append)
        client.emit("note", 1)
        while not heard:
            server.poll(1)
        for call in (
            lambda: client.receive("x"),
            lambda: client.request("x"),
            lambda: next(iter(client)),
        ):
            with pytest.raises(WouldDeadlock, match="this very thread"):
                call()
        server.on("echo", lambda data, socket: socket.emit("echo", data))
        client.emit("echo", 2)
        server.poll(1)
        assert client.receive("echo") == 2  # it is there already
        watch = Stopwatch()
    assert watch.seconds < 3


def test_a_closed_client_says_so_also_where_waiting_is_refused(tmp_path: Path) -> None:
    """Beside its server, and in a handler: nothing else would help."""
    address = f"{tmp_path}/s"
    with blocking.serve(address) as server, blocking.connect(address) as client:
        said: list[str] = []
        calls: tuple[Callable[[], Any], ...] = (
            lambda: client.request("x"),
            lambda: client.receive("x"),
            lambda: client.receive("x", latest=True),
            lambda: client.poll(),
            lambda: client.emit("x"),
            lambda: client.drain(),
        )

        @server.on("connect")
        def call_all(*_: Any) -> None:
            for call in calls[:2] + calls[3:]:
                with pytest.raises(NotConnected) as closed:
                    call()
                said.append(str(closed.value))

        client.close()
        for call in calls:
            with pytest.raises(NotConnected, match="is closed"):
                call()
        assert list(client) == []
        while not said:
            server.poll(1)
        assert len(said) == 5 and all("is closed" in each for each in said)


def test_a_handshake_with_a_server_of_the_same_thread_raises_at_once(authority: Identity) -> None:
    options = identity("server", authority, names=["localhost"]).options
    with blocking.serve("tls://localhost:0", tls=options) as server:
        with pytest.raises(WouldDeadlock, match=r"connect\(\) would wait for ever"):
            blocking.connect(server.address, tls={"ca": authority.cert})


@pytest.mark.filterwarnings("ignore:.* is called in a coroutine:RuntimeWarning")
def test_a_client_in_the_event_loop_that_runs_its_server(config: Config) -> None:
    """As in an async handler, or in a notebook that serves."""

    async def main() -> None:
        async with node_ipc.serve("world", config=config) as server:
            server.on("note", heard.append)
            client = blocking.connect("world", config=config)
            client.emit("note", 1)
            for call in (lambda: client.receive("x"), lambda: client.request("x"), lambda: next(iter(client))):
                with pytest.raises(WouldDeadlock, match=r"in asyncio use node_ipc\.connect"):
                    call()
            while not heard:
                await asyncio.sleep(0)
            client.close()

    heard: list[int] = []
    watch = Stopwatch()
    asyncio.run(main())
    assert watch.seconds < 3
    with blocking.serve("world", config=config) as server:  # the loop's server is forgotten
        server.shutdown()


# ---- threads and forks


def test_a_forked_child_may_ask_its_parent(config: Config) -> None:
    with blocking.serve("world", config=config) as server:
        server.handle("add", lambda numbers: sum(numbers))
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                with blocking.connect("world", config=config) as client:
                    code = client.request("add", [1, 2], timeout=SECONDS) != 3
            finally:
                os._exit(code)
        deadline = time.monotonic() + SECONDS
        while (ended := os.waitpid(pid, os.WNOHANG)) == (0, 0):
            server.poll(0.05)
            assert time.monotonic() < deadline
        assert ended == (pid, 0)


def test_other_threads_may_only_emit(served: Served, client: BlockingClient) -> None:
    calls: dict[str, Callable[[], object]] = {
        "receive": lambda: client.receive("x"),
        "request": lambda: client.request("x"),
        "iteration": lambda: next(iter(client)),
        "poll": lambda: client.poll(),
        "close": lambda: client.close(),
        "abort": lambda: client.abort(),
        "batch": lambda: client.batch(),
        "on": lambda: client.on("x", print),
        "handle": lambda: client.handle("x", print),
        "server": lambda: served.server.poll(),
        "its abort": lambda: served.server.abort(),
    }
    raised: list[str] = []

    def work() -> None:
        for name, call in calls.items():
            try:
                call()
            except WrongThreadError:
                raised.append(name)
        client.emit("echo", "from afar")

    thread = threading.Thread(target=work)
    thread.start()
    assert client.receive("echo", timeout=SECONDS) == "from afar"
    thread.join()
    client.poll()  # the client's own thread may; and what belongs to the server's is refused here
    assert raised == [name for name in calls if name not in ("server", "its abort")] + ["server", "its abort"]
    with pytest.raises(WrongThreadError):
        served.server.poll()


def test_an_emit_from_another_thread_wakes_the_owner(client: BlockingClient) -> None:
    driver: Any = client._driver

    def ask() -> None:
        deadline = time.monotonic() + SECONDS
        while not driver.busy and time.monotonic() < deadline:
            pass
        client.emit("echo", "wake up")

    thread = threading.Thread(target=ask)
    thread.start()
    assert client.receive("echo", timeout=SECONDS) == "wake up"
    thread.join()


def test_many_threads_emit_and_each_keeps_its_order(served: Served, client: BlockingClient) -> None:
    def work(name: int) -> None:
        for n in range(500):
            client.emit("echo", [name, n])

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    came: dict[int, list[int]] = {name: [] for name in range(4)}
    for _ in range(2000):
        name, n = client.receive("echo", timeout=SECONDS)
        came[name].append(n)
    for thread in threads:
        thread.join()
    assert all(numbers == list(range(500)) for numbers in came.values())


def test_what_other_threads_emitted_goes_out_before_closing(served: Served) -> None:
    with blocking.connect(served.address) as client:
        thread = threading.Thread(target=client.emit, args=("note", "last"))
        thread.start()
        thread.join()
    served.stop()
    assert served.heard == ["last"]


def test_a_forked_child_cannot_use_the_link(peer: Callable[..., Program], address: str) -> None:
    peer("blocking_server")
    program = (
        "import os, sys\n"
        "from node_ipc import blocking, ForkError\n"
        "with blocking.connect(sys.argv[1]) as client, blocking.serve(sys.argv[1] + '2') as server:\n"
        "    path = sys.argv[1].removeprefix('unix:') + '2'\n"
        "    pid = os.fork()\n"
        "    calls = [lambda: client.emit('echo', 'child'), lambda: client.receive('x'), client.close, client.abort,\n"
        "             lambda: client.request('x'), server.poll, server.stop, lambda: server.broadcast('x')]\n"
        "    if pid == 0:\n"
        "        raised = 0\n"
        "        for call in calls:\n"
        "            try:\n"
        "                call()\n"
        "            except ForkError:\n"
        "                raised += 1\n"
        "        sys.exit(raised)\n"
        "    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == len(calls), os.path.exists(path))\n"
        "    for n in range(100):\n"
        "        client.emit('echo', n)\n"
        "        assert client.receive('echo', timeout=10) == n\n"
        "    print('fine')\n"
        "print(os.path.exists(path))\n"
    )
    run = subprocess.run([sys.executable, "-c", program, address], capture_output=True, text=True, timeout=30)
    assert (run.stdout.split("\n"), run.stderr) == (["True True", "fine", "False", ""], "")


# ---- servers


def test_a_server_polls_beside_other_work(address: str) -> None:
    with blocking.serve(address) as server:
        assert isinstance(server, BlockingServer)
        assert server.poll() is False
        began = time.monotonic()
        assert server.poll(0.2) is False
        assert time.monotonic() - began >= 0.2
        with blocking.connect(address) as client:
            heard: list[Any] = []
            server.on("note", lambda data, socket: heard.append((data, socket.peer.pid)))
            client.emit("note", 1)
            while not heard:
                assert server.poll(SECONDS)
            assert heard == [(1, os.getpid())]
            server.broadcast("all", {"n": 1})
            server.broadcast("all", {"n": 2})
            client.on("all", heard.append)
            until(client, lambda: len(heard) == 3)
            assert heard[1:] == [{"n": 1}, {"n": 2}]
            server.drain()
            client.abort()
        server.stop()
        server.stop()
    assert not os.path.exists(address.removeprefix("unix:"))


def test_a_signal_handler_may_stop_the_server(address: str) -> None:
    program = (
        "import signal, sys\n"
        "from node_ipc import blocking\n"
        "with blocking.serve(sys.argv[1]) as server:\n"
        "    signal.signal(signal.SIGTERM, lambda *_: server.stop())\n"
        "    print('ready', flush=True)\n"
        "    server.serve_forever()\n"
        "print('stopped')\n"
    )
    run = Program.python("-c", program, address)
    try:
        run.wait_for("ready")
        run.process.send_signal(signal.SIGTERM)
        assert run.ends()[-1] == "stopped"
    finally:
        run.close()


@pytest.mark.parametrize("where", ["", "tcp://127.0.0.1:0"], ids=["unix", "tcp"])
def test_serve_forever_goes_on_where_a_handler_starts_the_server_behind_its_stop(address: str, where: str) -> None:
    server = blocking.serve(where or address)
    at = str(server.address)
    lives: list[str] = []

    @server.on("restart")
    def restart() -> None:
        server.stop()
        server.start()

    server.on("start", lambda: lives.append("start"))
    server.on("end", lambda: server.stop())

    def play() -> None:
        with blocking.connect(at, timeout=SECONDS, retry=20) as client:
            up: list[Any] = []
            client.on("disconnect", lambda: client.once("connect", lambda: up.append(1)))
            client.emit("restart")
            until(client, lambda: up)
            client.emit("end")
            client.drain()

    player = threading.Thread(target=play)
    player.start()
    server.serve_forever()
    player.join(SECONDS)
    assert lives[-1] == "start" and server.state.name == "CLOSED" and not player.is_alive()
    assert server.stats().links == 2


def test_a_server_that_a_handler_starts_while_stop_waits_can_be_served(tmp_path: Path) -> None:
    path = tmp_path / "world"
    server = blocking.serve(path)
    begun: list[Any] = []
    server.once("close", lambda: begun.append(server.start()))
    with sockets.socket(sockets.AF_UNIX) as peer:
        peer.connect(str(path))
        assert server.poll(SECONDS) and server.sockets
        server.stop(0)
    assert begun and server.state.name == "STARTING"
    while not begun[0].done:
        assert server.poll(SECONDS)
    assert server.state.name == "LISTENING" and path.exists()
    server.stop()


def test_ctrl_c_ends_serve_forever_and_the_file_goes(address: str) -> None:
    program = (
        "import sys\n"
        "from node_ipc import blocking\n"
        "try:\n"
        "    with blocking.serve(sys.argv[1]) as server:\n"
        "        print('ready', flush=True)\n"
        "        server.serve_forever()\n"
        "except KeyboardInterrupt:\n"
        "    print('interrupted')\n"
    )
    run = Program.python("-c", program, address)
    try:
        run.wait_for("ready")
        assert os.path.exists(address.removeprefix("unix:"))
        run.interrupt()
        assert run.ends()[-1] == "interrupted"
        assert not os.path.exists(address.removeprefix("unix:"))
    finally:
        run.close()


def serving(address: str, last: str = "") -> Program:
    """A program that serves, and says so from inside ``serve_forever``."""
    program = (
        "import sys\n"
        "from node_ipc import blocking\n"
        "with blocking.serve(sys.argv[1]) as server:\n"
        "    server.on('start', lambda: print('ready', flush=True))\n"
        f"    {last or 'pass'}\n"
        "    try:\n"
        "        server.serve_forever()\n"
        "    finally:\n"
        "        print('cleaned up')\n"
        "print('not reached')\n"
    )
    run = Program.python("-c", program, address)
    run.wait_for("ready")
    return run


def test_sigterm_ends_serve_forever_in_order(address: str) -> None:
    run = serving(address, "server.on('disconnect', print)")
    try:
        with blocking.connect(address, retry=20) as client:
            client.emit("n", 1)
            run.process.send_signal(signal.SIGTERM)
            until(client, lambda: client.state is not ClientState.CONNECTED)
        assert run.process.wait(SECONDS) == 0
        assert run.ends()[-1] == "cleaned up"
        assert not os.path.exists(address.removeprefix("unix:"))
    finally:
        run.close()


def test_a_second_sigterm_ends_a_server_whose_handler_does_not_return(address: str) -> None:
    run = serving(address, "server.on('loop', lambda: [print('looping', flush=True), exec('while True: pass')])")
    try:
        with blocking.connect(address, close_timeout=0) as client:
            client.emit("loop")
            run.wait_for("looping")
            deadline = time.monotonic() + SECONDS
            while run.process.poll() is None:
                assert time.monotonic() < deadline
                run.process.send_signal(signal.SIGTERM)
                time.sleep(0.01)
        assert run.process.returncode == -signal.SIGTERM
    finally:
        run.close()


def test_a_handler_of_sigterm_that_is_there_stays(address: str) -> None:
    with blocking.serve(address) as server:
        heard: list[int] = []
        before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
        try:
            mine = signal.getsignal(signal.SIGTERM)
            server.on("start", server.stop)
            server.serve_forever()
            assert signal.getsignal(signal.SIGTERM) is mine
        finally:
            signal.signal(signal.SIGTERM, before)
    assert heard == []


def test_ctrl_c_in_a_wait_shows_the_call_and_nothing_below_it(address: str) -> None:
    run = serving(address)
    try:
        wait_until_it_sleeps(run.process.pid)
        run.interrupt()
        said = run.ends(-signal.SIGINT)
        assert said[-1] == "KeyboardInterrupt"
        assert len([line for line in said if line.lstrip().startswith("File ")]) == 2
    finally:
        run.close()


def test_a_blocking_relay_answers_what_it_hears(peer: Callable[..., Program], address: str) -> None:
    with blocking.serve(address) as server:
        came: list[Any] = []
        seen: list[Any] = []
        server.on("ready", lambda data, socket: came.append(socket))
        server.on("seen", seen.append)
        other = peer("relay", says=None)
        while not came:
            server.poll(SECONDS)
        server.emit(came[0], "one", 1)
        server.emit(came[0], "two", 2)
        while len(seen) < 2:
            server.poll(SECONDS)
        assert seen == [["one", 1], ["two", 2]]
        server.emit(came[0], "stop")
        while server.sockets:
            server.poll(SECONDS)
        assert "left" in other.ends()


def test_emit_of_a_server_waits_for_its_reader_and_serves_meanwhile(peer: Callable[..., Program], address: str) -> None:
    with blocking.serve(address) as server, sockets.socket(sockets.AF_UNIX) as slow:
        slow.connect(address.removeprefix("unix:"))
        while not server.sockets:
            server.poll(SECONDS)
        socket = server.sockets[0]
        taken: list[int] = []

        def read() -> None:
            with contextlib.suppress(ConnectionError):  # the abort below
                while data := slow.recv(1 << 16):
                    taken.append(len(data))

        reader = threading.Thread(target=read)
        server._driver.call_later(0.1, reader.start)
        for _ in range(20):
            assert server.emit(socket, "much", "x" * 100_000)
        assert socket.pending_bytes == 0
        assert sum(taken) > 1_000_000
        socket.abort()
        server.poll(1)
        reader.join(SECONDS)
        assert not reader.is_alive()
        with pytest.raises(NotConnected):
            server.emit(socket, "late")


def test_emit_of_a_server_to_a_link_that_breaks(address: str) -> None:
    with blocking.serve(address) as server, sockets.socket(sockets.AF_UNIX) as slow:
        slow.connect(address.removeprefix("unix:"))
        while not server.sockets:
            server.poll(SECONDS)
        server._driver.call_later(0.1, slow.close)
        with pytest.raises(ConnectionLost):
            server.emit(server.sockets[0], "much", "x" * 5_000_000)


# ---- what it costs


def test_importing_it_loads_no_loop_no_tls_and_no_log(peer: Callable[..., Program], address: str) -> None:
    """Nor does a conversation. (msgspec imports typing_extensions where that is installed, which loads inspect.)"""
    peer("blocking_server")
    program = (
        "import sys\n"
        "sys.modules['typing_extensions'] = None\n"
        "before = set(sys.modules)\n"  # what measures coverage in every process is there already
        "from node_ipc import blocking\n"
        "with blocking.connect(sys.argv[1], timeout=60) as world:\n"
        "    world.emit('echo', {'a': 1})\n"
        "    assert world.receive('echo', timeout=60) == {'a': 1}\n"
        "    assert world.request('add', {'a': 1, 'b': 2}, timeout=60) == 3\n"
        "heavy = ['asyncio', 'ssl', 'logging', 'threading', 'inspect', 'dataclasses', 'concurrent', 'subprocess',\n"
        "         'random', 'ipaddress', 'email', 'http', 'json', 'tempfile', 'node_ipc.aio', 'node_ipc.callbacks']\n"
        "print([name for name in heavy if name in sys.modules and name not in before])\n"
    )
    run = subprocess.run([sys.executable, "-c", program, address], capture_output=True, text=True, timeout=30)
    assert (run.stdout, run.stderr) == ("[]\n", "")


def test_one_poll_handles_all_that_has_arrived(tmp_path: Path) -> None:
    with blocking.serve(f"unix:{tmp_path}/s") as server, blocking.connect(f"unix:{tmp_path}/s") as client:
        here: list[Any] = []
        there: list[int] = []
        server.on("n", lambda data, socket: here.append(data[0]))
        client.on("n", lambda data: there.append(data[0]))
        for number in range(12):  # two reads, and no more than any kernel holds
            client.emit("n", [number, "x" * 10_000])
        assert server.poll(0) and here == list(range(12))
        for number in range(12):
            server.broadcast("n", [number, "x" * 10_000])
        assert client.poll(0) and there == list(range(12))
        assert not client.poll(0) and not server.poll(0)


def test_a_poll_ends_though_more_and_more_arrives(tmp_path: Path) -> None:
    with blocking.serve(f"unix:{tmp_path}/s") as server, blocking.connect(f"unix:{tmp_path}/s") as client:
        server.on("for ever", lambda data: client.emit("for ever"))  # the sender is one's own handler
        client.emit("for ever")
        watch = Stopwatch()
        assert server.poll(0)
        assert watch.seconds < 10


@pytest.mark.parametrize("threads", [False, True])
def test_a_round_trip_costs_few_system_calls(
    threads: bool, peer: Callable[..., Program], address: str, tmp_path: Path
) -> None:
    """One ``sendto`` and one ``recvfrom`` for each; where another thread may wake the waiter, a poll too."""
    pytest.importorskip("shutil")
    import shutil

    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    peer("blocking_server")
    program = (
        "import sys\n"
        "if sys.argv[2] == 'True':\n"
        "    import threading\n"
        "    threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
        "from node_ipc import blocking\n"
        "with blocking.connect(sys.argv[1]) as client:\n"
        "    for n in range(500):\n"
        "        client.emit('echo', n)\n"
        "        client.receive('echo', timeout=20)\n"
    )
    trace = tmp_path / "trace"
    command = ["strace", "-f", "-c", "-o", str(trace), sys.executable, "-c", program, address, str(threads)]
    subprocess.run(command, check=True, timeout=60)
    counts = {line.split()[-1]: int(line.split()[3]) for line in trace.read_text().splitlines() if "." in line[:8]}
    assert 500 <= counts["sendto"] <= 510
    assert 500 <= counts["recvfrom"] <= 510
    polls = sum(counts.get(name, 0) for name in ("epoll_wait", "poll", "ppoll", "epoll_pwait"))
    assert polls <= (530 if threads else 20)


def test_nothing_is_left_over(address: str, serve: Callable[..., Served]) -> None:
    served = serve()

    def cycle() -> None:
        with blocking.connect(served.address) as client:
            client.emit("echo", 1)
            client.receive("echo", timeout=SECONDS)
        with contextlib.suppress(ConnectError):
            blocking.connect(address + "-nobody")
        with blocking.serve(address + "-other"):
            pass

    cycle()
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    threads = threading.active_count()
    for _ in range(20):
        cycle()
    deadline = time.monotonic() + SECONDS
    while len(os.listdir("/proc/self/fd")) > before:  # the server's thread hears of the last end a moment later
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)
    assert threading.active_count() == threads
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > before
    assert ForkError is not None


# ---- what is given back


def open_descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="no /proc on this system")
def test_what_is_stopped_or_closed_in_a_handler_gives_back_what_it_waited_with(tmp_path: Path) -> None:
    before = open_descriptors()
    server = blocking.serve("world", socket_root=f"{tmp_path}/")
    server.on("bye", server.stop)
    client = blocking.connect("world", socket_root=f"{tmp_path}/", stop_retrying=0)
    client.on("disconnect", client.close)
    client.emit("bye")
    with pytest.raises(NotConnected):
        while True:
            server.poll(0.01)
            client.poll(0.01)
    while not server.closed.done:
        server.poll(0.01)
    assert server.poll(None) is False
    assert open_descriptors() == before


IN_A_COROUTINE = """
import asyncio, sys, threading
from node_ipc import blocking

ready, is_over = threading.Event(), threading.Event()

def serve():
    with blocking.serve("world", socket_root=sys.argv[1]) as server:
        server.handle("add", sum)
        ready.set()
        while not is_over.is_set():
            server.poll(0.01)

async def make():
    with blocking.connect("world", socket_root=sys.argv[1]) as world:  # line 15
        for _ in range(3):
            print(world.request("add", [1, 2]))

async def use(world):
    for _ in range(3):
        print(world.request("add", [1, 2]))  # line 21

thread = threading.Thread(target=serve)
thread.start()
ready.wait()
try:
    asyncio.run(make())
    with blocking.connect("world", socket_root=sys.argv[1]) as world:
        print(world.request("add", [1, 2]))
        asyncio.run(use(world))
    asyncio.run(asyncio.to_thread(lambda: blocking.connect("world", socket_root=sys.argv[1]).close()))
finally:
    is_over.set()
    thread.join()
"""


def test_who_blocks_a_running_loop_is_warned_once_at_their_own_line(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", IN_A_COROUTINE, f"{tmp_path}/"], capture_output=True, text=True, timeout=60
    )
    assert run.stdout.split() == ["3"] * 7
    made, used = [line for line in run.stderr.splitlines() if "RuntimeWarning" in line]
    assert made.startswith("<string>:15: RuntimeWarning: blocking.connect() is called in a coroutine")
    assert used.startswith("<string>:21: RuntimeWarning: request() of the blocking front is called in a coroutine")
    assert "asyncio.to_thread" in made and "Traceback" not in run.stderr
