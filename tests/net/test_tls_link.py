"""TLS over links: who hears what and when, limits, certificates that change, and sixteen ways to be refused."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from test_tls import MATRIX, PLAIN_SERVER, Certificates, bad_files, dated, limited, made, plain_context

from node_ipc import IPC, AddressError, ConfigError, NotConnected, Socket
from node_ipc.config.address import Tls
from node_ipc.core.seam import Peer
from node_ipc.errors import ConnectionLost, TLSError, WrongThreadError
from node_ipc.net.tls import ServerTLS, TLSChannel, client_context
from node_ipc.net.tls_link import MOST_BYTES, SHUTDOWN_SECONDS, TRANSITIONS, TLSLink, TLSState
from stopwatch import Stopwatch
from tls_certificates import FOR_CLIENTS, Identity, identity

HOST = "localhost"
DEADLINE = 60.0
"""Seconds that anything awaited may take; a test machine may be busy."""


@pytest.fixture
def certs() -> Certificates:
    return made()


# --- two ends with the callback front ---------------------------------------------------------------------


class End:
    """An ``IPC`` with one server or one client, and what it heard."""

    def __init__(self, **config: Any) -> None:
        self.ipc = IPC()
        for name, value in {"silent": True, "stop_retrying": True, **config}.items():
            setattr(self.ipc.config, name, value)
        self.heard: list[tuple[str, Any]] = []
        self.sockets: list[Any] = []
        self._news = asyncio.Event()

    def note(self, event: str, value: Any = None) -> None:
        self.heard.append((event, value))
        self._news.set()

    async def hears(self, event: str) -> Any:
        """The oldest such event that nobody took yet; it is taken."""
        async with asyncio.timeout(DEADLINE):
            while True:
                for index, (name, value) in enumerate(self.heard):
                    if name == event:
                        del self.heard[index]
                        return value
                self._news.clear()
                await self._news.wait()

    def count(self, event: str) -> int:
        return sum(name == event for name, _ in self.heard)

    async def fault(self) -> Exception | None:
        """What it says about a link that failed or was lost."""
        async with asyncio.timeout(DEADLINE):
            while True:
                for name, value in self.heard:
                    if name in ("error", "lost"):
                        error: Exception | None = value
                        return error
                self._news.clear()
                await self._news.wait()


class ServerEnd(End):
    async def start(self, host: str = HOST) -> ServerEnd:
        self.ipc.serve_net(host, 0)
        server = self.ipc.server
        server.on("connect", self._connected)
        server.on("message", self._echo)
        server.on("error", lambda error: self.note("error", error))
        server.on("socket.disconnected", lambda socket: self.note("lost", socket.loss.reason))
        await asyncio.wait_for(server.start(), DEADLINE)
        return self

    def _connected(self, socket: Socket) -> None:
        self.sockets.append(socket)
        self.note("connect", socket)

    def _echo(self, data: Any, socket: Socket) -> None:
        self.note("message", data)
        socket.emit("message", data)

    @property
    def port(self) -> int:
        port: int = self.ipc.server.port
        return port

    async def close(self) -> None:
        await asyncio.wait_for(self.ipc.server.stop(), DEADLINE)


class ClientEnd(End):
    def connect(self, port: int, host: str = HOST) -> ClientEnd:
        self.ipc.connect_to_net("world", host, port)
        self.world = world = self.ipc.of.world
        world.on("connect", lambda: self.note("connect"))
        world.on("message", lambda data: self.note("message", data))
        world.on("error", lambda error: self.note("error", error))
        world.on("disconnect", lambda loss: self.note("lost", loss.reason))
        return self

    async def close(self) -> None:
        if closing := self.ipc.disconnect("world"):
            await asyncio.wait_for(closing, DEADLINE)


@pytest.fixture
async def ends() -> AsyncIterator[list[End]]:
    """Whoever is in this list is closed at the end, the latest first."""
    opened: list[Any] = []
    yield opened
    for end in reversed(opened):
        await end.close()


async def serve(ends: list[Any], tls: Any, **config: Any) -> ServerEnd:
    server = ServerEnd(tls=tls, **config)
    ends.append(server)
    return await server.start()


def connect(ends: list[Any], server: ServerEnd, tls: Any, host: str = HOST, **config: Any) -> ClientEnd:
    client = ClientEnd(tls=tls, **config)
    ends.append(client)
    return client.connect(server.port, host)


@contextlib.asynccontextmanager
async def bare(server: ServerEnd) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A TCP connection to it."""
    where = server.ipc.server.address
    assert isinstance(where, Tls)
    reader, writer = await asyncio.open_connection(where.host, server.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


# --- what a link that works does --------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 100_000, 3_000_000])
async def test_messages_of_any_size_go_there_and_back(size: int, certs: Certificates, ends: list[Any]) -> None:
    server = await serve(ends, certs.mutual_server)
    client = connect(ends, server, certs.mutual_client)
    text = "ä" * size
    client.world.emit("message", text)
    assert await client.hears("message") == text


async def test_both_ends_know_each_other_s_certificate(certs: Certificates, ends: list[Any]) -> None:
    server = await serve(ends, certs.mutual_server)
    client = connect(ends, server, certs.mutual_client)
    socket = await server.hears("connect")
    await client.hears("connect")
    assert socket.peer.transport == client.world.peer.transport == "tls"
    there, here = socket.peer.certificate, client.world.peer.certificate
    assert there is not None and here is not None
    assert there["serialNumber"] == certs.client.serial
    assert here["serialNumber"] == certs.server.serial
    assert client.world.peer.port == server.port
    assert socket.peer.host in ("127.0.0.1", "::1")


async def test_who_shows_no_certificate_has_none(certs: Certificates, ends: list[Any]) -> None:
    server = await serve(ends, certs.server.options)
    connect(ends, server, certs.trust)
    assert (await server.hears("connect")).peer.certificate is None


async def test_connect_comes_after_the_handshake_and_what_was_emitted_before_waits(
    certs: Certificates, ends: list[Any]
) -> None:
    server = await serve(ends, certs.server.options)
    async with bare(server) as (reader, _):
        await asyncio.sleep(0)
        client = connect(ends, server, certs.trust)
        client.world.emit("message", "early")
        assert await server.hears("message") == "early"
        assert await client.hears("message") == "early"
        assert server.count("connect") == 1  # and not the one that says nothing
        assert not reader.at_eof()


async def test_closing_sends_what_was_emitted_and_is_orderly_at_both_ends(certs: Certificates, ends: list[Any]) -> None:
    server = await serve(ends, certs.server.options)
    client = connect(ends, server, certs.trust)
    await client.hears("connect")
    for number in range(500):
        client.world.emit("message", {"number": number, "filler": "x" * 2000})
    began = time.monotonic()
    await client.close()
    assert await server.hears("lost") is None
    assert await client.hears("lost") is None
    assert [value["number"] for name, value in server.heard if name == "message"] == list(range(500))
    assert time.monotonic() - began < DEADLINE


async def test_a_server_that_stops_sends_what_was_emitted(certs: Certificates, ends: list[Any]) -> None:
    server = await serve(ends, certs.server.options)
    client = connect(ends, server, certs.trust)
    socket = await server.hears("connect")
    for number in range(500):
        socket.emit("message", {"number": number, "filler": "x" * 2000})
    await server.close()
    assert await client.hears("lost") is None
    assert [value["number"] for name, value in client.heard if name == "message"] == list(range(500))


async def test_a_peer_that_does_not_read_makes_the_emits_wait(certs: Certificates, ends: list[Any]) -> None:
    server = await serve(ends, certs.server.options, soft_pending_bytes=100_000)
    async with bare(server) as (reader, writer):
        channel = client_context(certs.trust).channel(HOST)
        writer.write(channel.outgoing())
        while not channel.established:
            channel.receive(await reader.read(65_536))
            writer.write(channel.outgoing())
        peer = await server.hears("connect")
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # a ReadTransport too
        while peer.emit("message", "x" * 50_000):
            await asyncio.sleep(0)
        assert peer.pending_bytes > 100_000
        assert peer.is_open


async def test_the_certificate_files_of_a_client_are_read_at_each_attempt(
    certs: Certificates, ends: list[Any], tmp_path: Path
) -> None:
    server = await serve(ends, certs.server.options)
    trusted = tmp_path / "ca.pem"
    trusted.write_text(certs.stranger.cert)
    client = connect(ends, server, {"trusted_connections": str(trusted)}, stop_retrying=False, retry=20)
    assert "not trusted here" in str(await client.hears("error"))
    trusted.write_text(certs.authority.cert)
    await client.hears("connect")


async def test_a_client_whose_files_cannot_be_read_opens_nothing(certs: Certificates, ends: list[Any]) -> None:
    server = await serve(ends, certs.server.options)
    client = connect(ends, server, {"trusted_connections": "/nowhere/ca.pem"}, stop_retrying=False)
    error = await client.hears("error")
    assert isinstance(error, ConfigError)
    assert "cannot read '/nowhere/ca.pem'" in str(error)
    await client.hears("lost")  # for good: trying again would not make it better
    assert server.count("error") == 0


async def test_a_server_without_a_certificate_does_not_start(ends: list[Any]) -> None:
    server = ServerEnd(tls={})
    with pytest.raises(ConfigError, match="a TLS server needs a key and a certificate of its own"):
        await server.start()


# --- row 15: silent and slow openers ----------------------------------------------------------------------


@pytest.mark.row(15)
async def test_openers_that_say_nothing_or_too_little_are_dropped_in_time(
    certs: Certificates, ends: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    limit = 1.0
    server = await serve(
        ends, certs.server.options, handshake_timeout=int(limit * 1000), max_connections=600, backlog=512
    )
    hello = client_context(certs.trust).channel(HOST).outgoing()
    clock = Stopwatch()
    opened: list[float] = []
    gone: list[float] = []
    gone_by_ours: list[float] = []

    async def open_and_wait(drips: bool) -> None:
        opened.append(time.monotonic())  # before the server can know of it, whose time begins when it accepts
        async with bare(server) as (reader, writer):

            async def drip() -> None:
                for byte in hello:
                    writer.write(bytes([byte]))
                    await asyncio.sleep(1.0)

            dripping = asyncio.ensure_future(drip()) if drips else None
            with contextlib.suppress(ConnectionError):
                assert await asyncio.wait_for(reader.read(), DEADLINE) == b""
            gone.append(time.monotonic())
            gone_by_ours.append(clock.seconds)
            if dripping is not None:
                dripping.cancel()

    hostile = [asyncio.ensure_future(open_and_wait(number >= 200)) for number in range(250)]
    while server.ipc.server._ids < 250:  # the last of them was let in
        await asyncio.sleep(0)
    all_in = clock.seconds
    handshakes: list[float] = []  # the first while the last of the others is there, on however slow a machine
    while len(handshakes) < 10 or (not all(task.done() for task in hostile) and len(handshakes) < 100):
        watch = Stopwatch()
        client = ClientEnd(tls=certs.trust).connect(server.port)
        await client.hears("connect")
        handshakes.append(watch.seconds)
        await client.close()
    await asyncio.gather(*hostile)
    assert len(gone) == 250
    assert limit - 0.1 <= min(gone) - min(opened)
    assert max(gone_by_ours) <= all_in + limit + 0.5
    async with asyncio.timeout(DEADLINE):
        while len(server.sockets) < len(handshakes):  # a client is connected before its server knows
            await asyncio.sleep(0)
    assert len(server.sockets) == len(handshakes)
    assert sorted(handshakes)[len(handshakes) * 99 // 100] <= 0.5
    assert server.count("error") == 250
    assert "the client did not finish the handshake in time" in str(await server.hears("error"))


async def test_half_of_the_connections_may_be_unfinished_handshakes(certs: Certificates, ends: list[Any]) -> None:
    server = await serve(ends, certs.server.options, max_connections=4)
    async with bare(server) as (first, _), bare(server) as (second, _), bare(server) as (third, _):
        assert await asyncio.wait_for(third.read(), DEADLINE) == b""
        assert server.ipc.server.refused == 1
        assert not (first.at_eof() or second.at_eof())


async def test_a_client_gives_a_silent_server_up(certs: Certificates, ends: list[Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = ClientEnd(tls=certs.trust, handshake_timeout=50)
        client.connect(silent.getsockname()[1], "127.0.0.1")
        error = await client.hears("error")
        assert isinstance(error, TLSError)
        assert "the server did not finish the handshake in time" in str(error)
        await client.hears("lost")


async def test_a_server_that_stops_waits_for_no_handshake(certs: Certificates, ends: list[Any]) -> None:
    server = await ServerEnd(tls=certs.server.options).start()
    async with bare(server) as (reader, _):
        client = ClientEnd(tls=certs.trust).connect(server.port)
        await client.hears("connect")  # so the silent one was accepted before
        watch = Stopwatch()
        await server.close()
        assert watch.seconds < 2.0
        assert await asyncio.wait_for(reader.read(), DEADLINE) == b""
        assert "the server was stopped before the TLS handshake was done" in str(await server.hears("error"))
        await client.hears("lost")


# --- row 29: sixteen ways to be refused, on sockets -------------------------------------------------------

Choices = tuple[Any, Any, dict[str, Any]]
"""``config.tls`` of the client and of the server, and what else there is to say."""


def odd_server(host: str = HOST, **odd: Any) -> Choices:
    odd.setdefault("names", ["localhost"])
    server = identity(odd.pop("common_name", "server"), odd.pop("issuer", made().authority), **odd)
    return made().trust, server.options, {"host": host}


def weak_context() -> ssl.SSLContext:
    weak = identity("server", made().authority, names=["localhost"], weak=True)
    return plain_context(ssl.PROTOCOL_TLS_SERVER, weak)


def foreign(own: Identity | None, *, alpn: str = "", version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    context = plain_context(ssl.PROTOCOL_TLS_CLIENT, own, made().authority)
    if alpn:
        context.set_alpn_protocols([alpn])
    return context if version is None else limited(context, version)


def assured_server() -> Choices:
    return foreign(made().client, alpn="h2"), made().mutual_server, {"assured": True}


SCENES: dict[str, Callable[[], Choices]] = {
    "wrong_authority": lambda: odd_server(issuer=made().stranger),
    "wrong_host": lambda: odd_server("example.org", names=["localhost", "*.example.com", "127.0.0.1"]),
    "address_not_named": lambda: odd_server("127.0.0.1", names=["localhost", "127.0.0.2"]),
    "expired": lambda: odd_server(begins=-20, ends=-10),
    "not_yet_valid": lambda: odd_server(begins=10, ends=20),
    "no_client_certificate": lambda: (made().trust, made().mutual_server, {}),
    "strange_client": lambda: (
        {**made().trust, **identity("client", made().stranger).options},
        made().mutual_server,
        {},
    ),
    "wrong_purpose": lambda: odd_server(purpose=FOR_CLIENTS),
    "old_version": lambda: (foreign(None, version=ssl.TLSVersion.TLSv1_1), made().server.options, {}),
    "weak_key": lambda: (made().trust, weak_context(), {}),
    "plain_client": lambda: (False, made().server.options, {}),
    "plain_server": lambda: (made().trust, False, {}),
    "common_name_only": lambda: odd_server(common_name="localhost", names=[]),
    "truncated": lambda: (made().trust, made().server.options, {}),
    "other_protocol": assured_server,
    "not_strict": lambda: odd_server(strict=False),
}
WORDS = {case.__name__: words for case, words in MATRIX.items()}
WORDS["truncated"] = {"client": WORDS["truncated"]["server"]}  # here the server cuts the link off
VERDICTS = {"truncated": {"client": ConnectionLost}, "other_protocol": {"client": ConnectionLost}}


def test_the_sixteen_are_the_same() -> None:
    assert SCENES.keys() == WORDS.keys()


@pytest.mark.row(29)
@pytest.mark.parametrize("name", SCENES)
async def test_each_way_to_be_refused_on_a_socket(name: str, ends: list[Any], certs: Certificates) -> None:
    client_tls, server_tls, more = SCENES[name]()
    profile = {"parser": "assured", "allowed_events": ["message"]} if more.get("assured") else {}
    server = await serve(ends, server_tls, **profile)
    if server_tls is False:  # its first word comes before the client's bytes can offend it
        server.ipc.server.on("connect", lambda socket: socket.emit("message", "hello"))
    client = ClientEnd(tls=client_tls)
    client.ipc.config.interfaces.lookup = lambda host: "127.0.0.1"
    ends.append(client)
    server_host = more.get("host", HOST)
    client.connect(server.port, server_host)
    if client_tls is False:
        client.world.emit("message", "hello")
    if name == "truncated":
        client.world.emit("message", "hello")
        await client.hears("message")
        await server.hears("message")
        server.sockets[0].abort()

    ours = {"client": client, "server": server}
    for side, words in WORDS[name].items():
        if name == "old_version" and side == "client":
            continue  # it is a client that only speaks TLS 1.1, so not our words
        error = await ours[side].fault()
        assert type(error) is VERDICTS.get(name, {}).get(side, TLSError)
        assert str(error).partition(": ")[2] in dated(words)
    assert server.count("message") == 0
    assert client.count("message") == 0
    if name not in ("truncated", "plain_server"):
        assert server.count("connect") == 0


async def test_a_server_without_tls_knows_a_handshake_and_lets_nobody_wait(
    certs: Certificates, ends: list[Any]
) -> None:
    server = await serve(ends, False)
    client = connect(ends, server, certs.trust)
    error = await client.fault()
    assert type(error) is TLSError
    assert str(error).partition(": ")[2] == PLAIN_SERVER["client"]
    assert str(await server.hears("error")) == PLAIN_SERVER["server"]
    assert server.count("message") == 0


@pytest.mark.row(29)
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
async def test_a_server_with_old_versions_only_is_refused(
    version: ssl.TLSVersion, certs: Certificates, ends: list[Any]
) -> None:
    server = await serve(ends, limited(plain_context(ssl.PROTOCOL_TLS_SERVER, certs.server), version))
    client = connect(ends, server, certs.trust)
    error = await client.fault()
    assert str(error).endswith("the two ends have no TLS version in common: this client speaks TLS 1.2 and newer")


async def test_a_refused_client_tries_again_and_gets_in_when_the_server_trusts_it(
    certs: Certificates, ends: list[Any]
) -> None:
    server = await serve(ends, {**certs.server.options, "ca": certs.stranger.cert})
    client = connect(ends, server, certs.mutual_client, stop_retrying=False, retry=20)
    assert "not trusted here" in str(await server.hears("error"))
    assert "the server does not trust the authority" in str(await client.hears("lost"))
    server.ipc.server.reload_tls(certs.mutual_server)
    await server.hears("connect")
    client.world.emit("message", "at last")
    assert await server.hears("message") == "at last"


@pytest.mark.row(32)
async def test_what_a_refused_client_emitted_after_connect_is_told_and_at_last_it_gives_up(
    certs: Certificates, ends: list[Any]
) -> None:
    """With TLS 1.3 its handshake is done before the server has looked at its certificate."""
    server = await serve(ends, {**certs.server.options, "ca": certs.stranger.cert})
    client = connect(ends, server, certs.mutual_client, stop_retrying=False, retry=1, max_protocol_errors=3)
    losses: list[Any] = []
    emitted = [0]

    def connected() -> None:
        for _ in range(10):
            emitted[0] += client.world.emit("message", "lost")

    client.world.on("connect", connected)
    client.world.on("disconnect", losses.append)
    await asyncio.wait_for(until_closed(client.world), DEADLINE)
    assert emitted[0] == 30
    assert sum(loss.in_flight + loss.dropped for loss in losses) == 30
    assert "the server does not trust the authority" in str(losses[-1].reason)


async def until_closed(client: Any) -> None:
    while client.state.value != "closed":
        await asyncio.sleep(0.01)


# --- row 30: certificates change under live clients -------------------------------------------------------


async def serial_seen(server: ServerEnd, trusted: Identity) -> str:
    """The certificate that a new client is shown."""
    context = ssl.create_default_context(cadata=trusted.cert)
    _, writer = await asyncio.open_connection("localhost", server.port, ssl=context)
    serial = writer.get_extra_info("peercert")["serialNumber"]
    writer.close()
    await writer.wait_closed()
    return str(serial)


@pytest.mark.row(30)
async def test_a_hundred_reloads_under_fifty_live_clients(certs: Certificates, ends: list[Any], tmp_path: Path) -> None:
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    key.write_text(certs.server.key)
    cert.write_text(certs.server.cert)
    server = await serve(ends, {"private": str(key), "public": str(cert)})
    clients = [connect(ends, server, certs.trust) for _ in range(50)]
    for client in clients:
        await client.hears("connect")

    serial, raised, took = certs.server.serial, 0, []
    for turn in range(100):
        bad = turn % 5 == 4
        new = identity("server", certs.authority, names=["localhost"])
        pems = bad_files(certs)[turn // 5 % 5] if bad else (new.key, new.cert)
        key.write_text(pems[0])
        cert.write_text(pems[1])
        watch = Stopwatch()
        if bad:
            with pytest.raises(ConfigError):
                server.ipc.server.reload_tls()
            raised += 1
        else:
            server.ipc.server.reload_tls()
            serial = new.serial
        assert await serial_seen(server, certs.authority) == serial
        took.append(watch.seconds)
        clients[turn % 50].world.emit("message", turn)
        assert await clients[turn % 50].hears("message") == turn
    assert raised == 20
    assert sorted(took)[95] <= 0.1
    for client in clients:
        client.world.emit("message", "still here")
        assert await client.hears("message") == "still here"
        assert client.count("lost") == 0


async def test_reloading_where_there_is_nothing_to_reload(certs: Certificates, ends: list[Any]) -> None:
    server = ServerEnd(tls=certs.server.options)
    server.ipc.serve_net(HOST, 0)
    with pytest.raises(NotConnected, match=r"the server is idle, and start\(\) reads the certificates"):
        server.ipc.server.reload_tls()
    plain = await serve(ends, False)
    with pytest.raises(AddressError, match="has no TLS to reload"):
        plain.ipc.server.reload_tls()
    with pytest.raises(WrongThreadError):
        await asyncio.to_thread(plain.ipc.server.reload_tls)


# --- the link by itself -----------------------------------------------------------------------------------


class Clock:
    """A driver that only has time."""

    def __init__(self) -> None:
        self.due: list[tuple[float, Callable[[], None]]] = []

    def call_later(self, delay: float, callback: Callable[[], None]) -> Any:
        entry = (delay, callback)
        self.due.append(entry)

        class Handle:
            def cancel(handle) -> None:
                if entry in self.due:
                    self.due.remove(entry)

        return Handle()

    def run(self) -> list[float]:
        """Let the time of every timer come; how long each was."""
        due, self.due = self.due, []
        for _, callback in due:
            callback()
        return [delay for delay, _ in due]


class Carrier:
    """A link that keeps what is written to it."""

    def __init__(self) -> None:
        self.peer = Peer("tls", host="127.0.0.1", port=5)
        self.sent: list[bytes] = []
        self.told: list[str] = []

    def write(self, data: bytes) -> None:
        self.sent.append(data)

    def take(self) -> bytes:
        data, self.sent = b"".join(self.sent), []
        return data

    def write_parts(self, parts: list[Any]) -> None:
        self.write(b"".join(parts))

    def read_into(self, room: memoryview) -> int:
        return 0

    def read_first(self, read: Callable[[], bool] | None) -> None: ...

    def pending_bytes(self) -> int:
        return sum(map(len, self.sent))

    def unread_bytes(self) -> int | None:
        return None

    def all_arrived(self) -> bool:
        return True

    def close(self) -> None:
        self.told.append("close")

    def abort(self) -> None:
        self.told.append("abort")

    def pause_reading(self) -> None:
        self.told.append("pause_reading")

    def resume_reading(self) -> None:
        self.told.append("resume_reading")


class Listener:
    """A session that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []
        self.then: dict[str, Callable[[], None]] = {}

    def _note(self, name: str, value: Any = None) -> None:
        self.told.append((name, value))
        self.then.get(name, lambda: None)()

    def opened(self, link: Any) -> None:
        self._note("opened", link)

    def failed(self, error: Exception) -> None:
        self._note("failed", error)

    def received(self, data: bytes) -> None:
        self._note("received", data)

    def ending(self) -> None:
        self._note("ending")

    def ended(self) -> None:
        self._note("ended")

    def pause(self) -> None:
        self._note("pause")

    def writable(self) -> None:
        self._note("writable")

    def lost(self, error: Exception | None) -> None:
        self._note("lost", error)

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.told]


class Bench:
    """A client's link on fakes, and the server's channel as its other end."""

    def __init__(self) -> None:
        certs = made()
        self.clock, self.carrier, self.session = Clock(), Carrier(), Listener()
        self.settled: list[TLSLink] = []
        self.far: TLSChannel = ServerTLS(certs.server.options).channel()
        channel = client_context(certs.trust).channel(HOST)
        self.link = TLSLink(self.clock, self.session, channel, 10.0, self.settled.append)  # type: ignore[arg-type]

    def open(self) -> Bench:
        self.link.opened(self.carrier)
        self.finish_handshake()
        self.far.receive(self.carrier.take())
        self.session.told.clear()
        return self

    def finish_handshake(self) -> None:
        while not (self.far.established and "opened" in self.session.names):
            self.far.receive(self.carrier.take())
            if data := self.far.outgoing():
                self.link.received(data)


S = TLSState
STATE_INPUTS = sorted({name for _, name in TRANSITIONS})
NEXT: dict[tuple[TLSState, str], TLSState] = {
    (S.WAITING, "opened"): S.SHAKING,
    (S.WAITING, "failed"): S.GONE,
    (S.WAITING, "given up"): S.REFUSED,
    (S.SHAKING, "established"): S.OPEN,
    (S.SHAKING, "fault"): S.REFUSED,
    (S.SHAKING, "given up"): S.REFUSED,
    (S.SHAKING, "carrier ended"): S.REFUSED,
    (S.SHAKING, "lost"): S.GONE,
    (S.OPEN, "peer ended"): S.ENDED,
    (S.OPEN, "close"): S.CLOSING,
    (S.OPEN, "abort"): S.CUT,
    (S.OPEN, "fault"): S.CUT,
    (S.OPEN, "carrier ended"): S.CUT,  # without TLS's closing message: cut off
    (S.OPEN, "lost"): S.GONE,
    (S.ENDED, "close"): S.CLOSED,
    (S.ENDED, "abort"): S.CUT,
    (S.ENDED, "fault"): S.CUT,
    (S.ENDED, "lost"): S.GONE,
    (S.CLOSING, "peer ended"): S.CLOSED,
    (S.CLOSING, "abort"): S.CUT,
    (S.CLOSING, "fault"): S.CUT,
    (S.CLOSING, "carrier ended"): S.CLOSING,
    (S.CLOSING, "lost"): S.GONE,
    (S.CLOSED, "abort"): S.CUT,
    (S.CLOSED, "carrier ended"): S.CLOSED,
    (S.CLOSED, "lost"): S.GONE,
    (S.REFUSED, "opened"): S.REFUSED,
    (S.REFUSED, "failed"): S.GONE,
    (S.REFUSED, "carrier ended"): S.REFUSED,
    (S.REFUSED, "lost"): S.GONE,
    (S.CUT, "abort"): S.CUT,
    (S.CUT, "carrier ended"): S.CUT,
    (S.CUT, "lost"): S.GONE,
}
LAST_WORDS = {S.WAITING: "failed", S.SHAKING: "failed", S.REFUSED: "failed"}
"""What the session hears when the carrier is lost in this state; ``lost`` in those in which it knows of the link."""


def bring(state: TLSState) -> Bench:
    """A link in this state, by what sessions, carriers and the other end do."""
    bench = Bench()
    if state in (S.SHAKING, S.REFUSED):
        bench.link.opened(bench.carrier)
    elif state is not S.WAITING:
        bench.open()
    if state is S.REFUSED:
        bench.link.give_up(ConnectionLost("stopped"))
    if state in (S.ENDED, S.CLOSED):
        bench.far.close()
        bench.link.received(bench.far.outgoing())
    if state in (S.CLOSING, S.CLOSED):
        bench.link.close()
    if state is S.CUT:
        bench.link.abort()
    if state is S.GONE:
        bench.link.lost(None)
    assert bench.link.state is state
    bench.session.told.clear()
    bench.carrier.told.clear()
    return bench


def test_the_table_of_states_is_the_one_that_is_tested() -> None:
    assert NEXT.keys() == TRANSITIONS.keys()
    assert all(hasattr(TLSLink, method) for method in TRANSITIONS.values())


@pytest.mark.parametrize("name", STATE_INPUTS)
@pytest.mark.parametrize("state", list(S), ids=lambda state: state.value)
def test_every_state_and_input(state: TLSState, name: str) -> None:
    bench = bring(state)
    arguments = [ConnectionLost("broken")] if name in ("failed", "given up", "fault", "lost") else []
    if name == "opened":
        bench.link._carrier, bench.link.peer = bench.carrier, bench.carrier.peer
    if (state, name) == (S.SHAKING, "established"):
        bench.finish_handshake()
    else:
        bench.link._input(name, *arguments)
    assert bench.link.state is NEXT.get((state, name), state)
    if (state, name) not in TRANSITIONS:
        assert (bench.session.told, bench.carrier.told) == ([], [])


@pytest.mark.parametrize("state", [state for state in S if state not in (S.WAITING, S.GONE)])
def test_in_every_state_the_session_hears_once_that_the_carrier_is_lost(state: TLSState) -> None:
    bench = bring(state)
    bench.link.lost(None)
    bench.link.lost(ConnectionLost("again"))
    assert bench.session.names == [LAST_WORDS.get(state, "lost")]
    assert bench.clock.due == []
    assert bench.settled == [bench.link]
    bench.carrier.sent.clear()
    bench.link.received(b"late")
    bench.link.write(b"late")
    bench.link.close()
    bench.link.abort()
    assert (len(bench.session.told), bench.carrier.sent) == (1, [])


def test_an_open_link_has_no_time_limit() -> None:
    bench = Bench().open()
    assert bench.clock.due == []
    assert bench.settled == [bench.link]


def test_the_handshake_has_its_time() -> None:
    bench = Bench()
    bench.link.opened(bench.carrier)
    assert bench.clock.run() == [10.0]
    assert bench.carrier.told == ["abort"]
    assert bench.session.told == []
    bench.link.lost(None)
    [(name, error)] = bench.session.told
    assert name == "failed"
    assert "did not finish the handshake in time" in str(error)


def test_a_carrier_that_never_opens() -> None:
    bench, refused = Bench(), ConnectionLost("refused")
    bench.link.failed(refused)
    assert bench.session.told == [("failed", refused)]
    assert bench.settled == [bench.link]


def test_given_up_before_the_carrier_opens() -> None:
    bench, reason = Bench(), ConnectionLost("stopped")
    bench.link.give_up(reason)
    bench.link.opened(bench.carrier)
    assert bench.carrier.told == ["abort"]
    assert bench.carrier.sent == []
    bench.link.give_up(ConnectionLost("again"))
    bench.link.lost(None)
    assert bench.session.told == [("failed", reason)]


def test_an_open_link_is_not_given_up() -> None:
    bench = Bench().open()
    bench.link.give_up(ConnectionLost("stopped"))
    assert bench.carrier.told == []


@pytest.mark.parametrize("error", [None, ConnectionLost("the link broke: Connection reset by peer")])
def test_a_carrier_lost_in_the_handshake(error: Exception | None) -> None:
    bench = Bench()
    bench.link.opened(bench.carrier)
    bench.link.lost(error)
    [(name, failure)] = bench.session.told
    assert name == "failed"
    assert isinstance(failure, TLSError)
    assert "TLS with localhost failed" in str(failure)
    assert bench.clock.due == []


def refused() -> tuple[Bench, TLSChannel]:
    """A link that has just refused its server."""
    bench = Bench()
    stranger = ServerTLS(identity("server", made().stranger, names=["localhost"]).options).channel()
    bench.link.opened(bench.carrier)
    stranger.receive(bench.carrier.take())
    bench.link.received(stranger.outgoing())
    return bench, stranger


def test_a_failed_handshake_sends_its_alert_and_waits_for_the_other_end_to_take_it() -> None:
    bench, stranger = refused()
    with pytest.raises(TLSError, match="the client does not trust the authority"):
        stranger.receive(bench.carrier.take())
    assert bench.carrier.told == ["close"]
    bench.link.received(b"whatever still comes")
    bench.link.write(b"and is not answered")
    bench.link.close()
    assert (bench.session.told, bench.carrier.sent) == ([], [])
    bench.link.ended()
    assert bench.carrier.told == ["close", "close"]
    bench.link.lost(None)
    assert bench.session.names == ["failed"]
    assert bench.clock.due == []


def test_who_does_not_take_the_alert_is_cut() -> None:
    bench, _ = refused()
    assert bench.clock.run() == [SHUTDOWN_SECONDS]
    assert bench.carrier.told == ["close", "abort"]


def test_without_an_alert_there_is_nothing_to_wait_for() -> None:
    bench = Bench()
    bench.link.opened(bench.carrier)
    bench.link.received(b"HTTP/1.1 400 Bad Request\r\n")
    assert bench.carrier.told == ["abort"]
    bench.link.lost(None)
    assert "does not speak TLS" in str(bench.session.told[0][1])
    assert bench.clock.due == []


def test_the_end_in_the_handshake_is_a_failure() -> None:
    bench = Bench()
    bench.link.opened(bench.carrier)
    bench.link.ended()
    assert bench.carrier.told == ["abort"]
    bench.link.lost(None)
    assert isinstance(bench.session.told[0][1], TLSError)


def test_more_than_a_read_comes_in_pieces() -> None:
    bench = Bench().open()
    data = bytes(range(256)) * 320  # 80 KiB
    bench.link.received(bench.far.send(data))
    assert [len(piece) for _, piece in bench.session.told] == [MOST_BYTES, len(data) - MOST_BYTES]
    assert b"".join(piece for _, piece in bench.session.told) == data


def test_a_session_that_aborts_hears_nothing_more_of_the_same_read() -> None:
    bench = Bench().open()
    bench.session.then["received"] = bench.link.abort
    bench.far.close()
    goodbye = bench.far.outgoing()
    bench.far = ServerTLS(made().server.options).channel()
    other = Bench().open()
    other.session.then["received"] = other.link.abort
    data = other.far.send(b"x" * (MOST_BYTES + 1))
    other.far.close()
    other.link.received(data + other.far.outgoing())
    assert other.session.names == ["received"]
    other.link.ended()
    other.link.lost(None)
    assert other.session.told[-1] == ("lost", None)
    bench.session.then["ended"] = bench.link.abort
    bench.link.received(goodbye)
    assert bench.session.names == ["ended"]


def test_one_that_aborts_when_it_opens() -> None:
    bench = Bench()
    bench.session.then["opened"] = bench.link.abort
    bench.link.opened(bench.carrier)
    bench.link.pause()
    bench.far.receive(bench.carrier.take())
    bench.link.received(bench.far.outgoing())
    assert bench.session.names == ["opened"]


def test_the_kernel_s_brake_reaches_the_session() -> None:
    bench = Bench().open()
    bench.link.pause()
    bench.link.writable()
    assert bench.session.names == ["pause", "writable"]
    bench.link.write(b"x" * 1000)
    assert 1000 < bench.link.pending_bytes() < 1100
    bench.link.pause_reading()
    bench.link.resume_reading()
    assert bench.carrier.told == ["pause_reading", "resume_reading"]


def test_a_brake_from_the_handshake_is_told_after_opening() -> None:
    bench = Bench()
    bench.link.opened(bench.carrier)
    bench.link.pause()
    bench.link.writable()
    bench.link.pause()
    assert bench.session.told == []
    bench.far.receive(bench.carrier.take())
    bench.link.received(bench.far.outgoing())
    assert bench.session.names == ["opened", "pause"]


def test_the_other_end_says_goodbye_first() -> None:
    bench = Bench().open()
    bench.far.close()
    bench.link.received(bench.far.outgoing())
    bench.link.ended()  # TCP ends too, and the session still has something to say
    assert bench.session.names == ["ended"]
    assert bench.carrier.told == []
    bench.link.write(b"the last word")
    bench.link.close()
    assert bench.far.receive(bench.carrier.take()) == b"the last word"
    assert bench.far.ended
    assert bench.carrier.told == ["close"]
    bench.link.close()
    assert bench.clock.run() == [SHUTDOWN_SECONDS]
    bench.link.lost(None)
    assert bench.session.told[-1] == ("lost", None)


def test_we_say_goodbye_first_and_go_on_reading() -> None:
    bench = Bench().open()
    bench.link.close()
    bench.link.write(b"too late")
    assert bench.far.receive(bench.carrier.take()) == b""
    assert bench.far.ended
    assert bench.clock.due == []  # the session's own limit counts
    bench.link.received(bench.far.send(b"an answer"))
    assert bench.session.told == [("received", b"an answer")]
    bench.link.ended()
    assert bench.carrier.told == ["close", "close"]


def test_cut_off() -> None:
    bench = Bench().open()
    bench.link.ended()
    assert bench.carrier.told == ["abort"]
    bench.link.lost(None)
    [(name, error)] = bench.session.told
    assert name == "lost"
    assert isinstance(error, ConnectionLost)
    assert "was cut off" in str(error)


def test_a_reset_connection_was_cut_off_too() -> None:
    bench, reset = Bench().open(), ConnectionLost("the link broke: Connection reset by peer")
    bench.link.lost(reset)
    error = bench.session.told[0][1]
    assert "was cut off" in str(error)
    assert error.__cause__ is reset


def test_a_reset_after_goodbye_is_what_it_is() -> None:
    bench, reset = Bench().open(), ConnectionLost("the link broke: Connection reset by peer")
    bench.link.close()
    bench.link.lost(reset)
    assert bench.session.told == [("lost", reset)]


def test_a_damaged_stream_ends_the_link_at_once() -> None:
    bench = Bench().open()
    record = bytearray(bench.far.send(b"a message"))
    record[-1] ^= 1
    bench.link.received(bytes(record))
    assert bench.carrier.told == ["abort"]
    assert bench.carrier.sent  # the alert
    bench.link.lost(None)
    [(name, error)] = bench.session.told
    assert name == "lost"
    assert isinstance(error, TLSError)


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
