"""What a hostile peer sends, on real sockets of each transport (reliability rows 4 and 9)."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket as sockets
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trustme

import node_ipc
from hostile import ENVELOPES
from node_ipc import ConnectionLost, FrameTooLarge, IPCError
from stopwatch import Stopwatch

KIB, MIB = 1024, 1024 * 1024
SECONDS = 20.0
LIFECYCLE = ("connect", "disconnect", "destroy", "data", "close", "start", "socket.disconnected")


class Target:
    """A server, what its handlers heard, and peers that speak to it without this library."""

    def __init__(self, server: Any, trust: ssl.SSLContext | None) -> None:
        self.server = server
        self.trust = trust
        self.lifecycle: list[str] = []
        self.errors: list[IPCError] = []
        for name in LIFECYCLE:
            server.on(name, lambda *arguments, name=name: self.lifecycle.append(name))
        server.on("error", lambda error: self.errors.append(error))
        server.on("ping", lambda data, socket: socket.emit("pong", data))

    @contextlib.asynccontextmanager
    async def peer(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        where = self.server.address
        if hasattr(where, "path"):
            reader, writer = await asyncio.open_unix_connection(where.path)
        else:
            reader, writer = await asyncio.open_connection(where.host, where.port, ssl=self.trust)
        try:
            yield reader, writer
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()


@contextlib.asynccontextmanager
async def target(transport: str, root: Path, **options: Any) -> AsyncIterator[Target]:
    trust = None
    if transport == "tls":
        authority = trustme.CA()
        own = authority.issue_cert("127.0.0.1")
        options["tls"] = {
            "key": own.private_key_pem.bytes().decode(),
            "cert": b"".join(part.bytes() for part in own.cert_chain_pems).decode(),
        }
        trust = ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())
    place = {"unix": "world", "udp": "udp4://127.0.0.1:0"}.get(transport, f"{transport}://127.0.0.1:0")
    async with node_ipc.serve(place, socket_root=f"{root}/", **options) as server:
        to = Target(server, trust)
        while "start" not in to.lifecycle:  # handlers that come late hear of what goes on
            await asyncio.sleep(0)
        to.lifecycle.clear()
        yield to


@pytest.mark.row(9)
@pytest.mark.parametrize("transport", ["unix", "tcp", "tls"])
async def test_forty_hostile_envelopes_harm_only_their_sender(tmp_path: Path, transport: str) -> None:
    took: list[float] = []
    async with asyncio.timeout(SECONDS), target(transport, tmp_path) as to, to.peer() as (answers, honest):
        for number, (envelope, refused) in enumerate(ENVELOPES):
            async with to.peer() as (reader, writer):
                to.errors.clear()
                to.lifecycle.clear()
                writer.write(envelope + b"\f")
                if refused:
                    with contextlib.suppress(ConnectionError):
                        assert await reader.read() == b"", envelope
                watch = Stopwatch()
                honest.write(b'{"type":"ping","data":%d}\f' % number)
                assert await answers.readuntil(b"\f") == b'{"type":"pong","data":%d}\f' % number
                took.append(watch.seconds)
                assert len(to.errors) == refused, envelope
                ended = ["socket.disconnected", "close"] if refused else []
                assert [event for event in to.lifecycle if event != "connect"] == ended, envelope
                assert to.lifecycle.count("connect") <= 1
            while len(to.server.sockets) > 1:
                await asyncio.sleep(0)
        assert sorted(took)[36] <= 0.1


@pytest.mark.row(9)
async def test_forty_hostile_datagrams_harm_nobody(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    took: list[float] = []
    async with asyncio.timeout(SECONDS), target("udp", tmp_path) as to:
        with sockets.socket(sockets.AF_INET, sockets.SOCK_DGRAM) as peer:
            peer.setblocking(False)
            peer.connect((to.server.address.host, to.server.address.port))
            for number, (envelope, refused) in enumerate(ENVELOPES):
                to.errors.clear()
                peer.send(envelope + b"\f")
                watch = Stopwatch()
                peer.send(b'{"type":"ping","data":%d}\f' % number)
                assert await loop.sock_recv(peer, 65536) == b'{"type":"pong","data":%d}\f' % number
                took.append(watch.seconds)
                assert len(to.errors) == refused, envelope
        assert to.lifecycle == []
        assert sorted(took)[36] <= 0.1


@pytest.mark.own_process
@pytest.mark.row(4)
@pytest.mark.parametrize("transport", ["unix", "tcp", "tls"])
async def test_a_stream_without_a_delimiter_is_cut_at_the_limit(tmp_path: Path, transport: str) -> None:
    chunk, sent = b"x" * 64 * KIB, 0
    async with asyncio.timeout(SECONDS), target(transport, tmp_path, max_message_size=MIB) as to:
        async with to.peer() as (_, writer):  # what the first connection costs once
            writer.write(b'{"type":"ping"}\f')
            await writer.drain()
        while to.server.sockets or to.server.stats().links == 0:
            await asyncio.sleep(0)
        to.lifecycle.clear()
        before, bytes_before, worst = resident(), to.server.stats().bytes_in, 0
        async with to.peer() as (reader, writer):
            with contextlib.suppress(ConnectionError):
                while sent < 256 * MIB and not reader.at_eof():
                    writer.write(chunk)
                    sent += len(chunk)
                    await writer.drain()
                    worst = max(worst, resident() - before)
        while to.server.sockets or not to.errors:
            await asyncio.sleep(0)
        assert MIB < to.server.stats().bytes_in - bytes_before <= MIB + 64 * KIB
        assert sent < 16 * MIB, "it was not told that it was cut"
        assert worst <= 4 * MIB
        told = [type(error) for error in to.errors if not isinstance(error, ConnectionLost)]  # the first peer's reset
        assert told == [FrameTooLarge]


@pytest.mark.own_process
@pytest.mark.parametrize("kind", ["bytes", "array"])
async def test_attachments_of_which_little_came_take_little_memory(tmp_path: Path, kind: str) -> None:
    """Also of peers that sent one as large before, for which memory is made at once: it is none before it is filled."""
    size, came, peers = 8 * MIB, 320 * KIB, 12
    entry = {"at": [], "size": size} | ({"dtype": "|u1", "shape": [size]} if kind == "array" else {})
    head = msgspec.json.encode({"attachments": [entry], "type": "picture", "data": None}) + b"\f"
    whole, pictures = head + bytes(size), 0
    async with asyncio.timeout(SECONDS), target("unix", tmp_path) as to, contextlib.AsyncExitStack() as opened:

        def picture(data: node_ipc.Raw, socket: Any) -> None:
            nonlocal pictures
            pictures += 1

        to.server.on("picture", picture)
        writers = [(await opened.enter_async_context(to.peer()))[1] for _ in range(peers)]
        for writer in writers:
            for message in (b'{"type":"picture","data":{},"attachments":1}\f', whole):
                heard = pictures
                writer.write(message)
                while pictures == heard:
                    await asyncio.sleep(0)
        before, bytes_before = resident(), to.server.stats().bytes_in
        for writer in writers:
            writer.write(whole[: len(head) + came])
        while to.server.stats().bytes_in - bytes_before < peers * (len(head) + came):
            await asyncio.sleep(0)
        assert resident() - before < 2 * peers * came + 8 * MIB


def resident() -> int:
    """This process's resident bytes."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()
