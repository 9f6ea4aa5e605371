"""Peers that vanish without a word, behind a proxy that swallows everything (reliability row 34).

The kernel notices nothing here: both of its connections stay up. What notices is the heartbeat.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import trustme

import node_ipc
from node_ipc import ConnectionLost, Loss
from stopwatch import Stopwatch

BEATS: dict[str, Any] = {"heartbeat": 200, "heartbeat_timeout": 200}
SETTING = 0.4
"""Seconds of silence, and of waiting for the answer."""
SLACK = 0.5


class BlackHole:
    """A proxy in front of a TCP port that can be told to swallow what comes, in both directions."""

    def __init__(self, to: int) -> None:
        self.to = to
        self.port = 0
        self.open = asyncio.Event()
        self.open.set()
        self.swallowed = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> BlackHole:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exception: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def swallow(self) -> None:
        self.open.clear()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self.to)
        for source, target in ((reader, there_writer), (there_reader, writer)):
            task = asyncio.ensure_future(self._carry(source, target))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _carry(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                if not self.open.is_set():
                    self.swallowed += len(data)
                    continue
                target.write(data)
            await self.open.wait()  # the end of one side is swallowed too
        finally:
            target.close()
            with contextlib.suppress(ConnectionError):
                await target.wait_closed()


async def until(condition: Callable[[], Any], seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.002)


@pytest.fixture(params=["tcp", "tls"])
def kind(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """The scheme, and what each end needs for it."""
    if request.param == "tcp":
        return "tcp", {}, {}
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    key, cert = issued.private_key_pem.bytes(), issued.cert_chain_pems[0].bytes()
    return "tls", {"tls": {"key": key, "cert": cert}}, {"tls": {"ca": authority.cert_pem.bytes()}}


@pytest.fixture
async def serving(kind: tuple[str, dict[str, Any], dict[str, Any]]) -> AsyncIterator[Callable[..., Any]]:
    """``serving(**options)``: a server with these options and a black hole in front of it."""
    scheme, ours, _ = kind
    async with contextlib.AsyncExitStack() as stack:

        async def start(**options: Any) -> tuple[Any, BlackHole]:
            server = await stack.enter_async_context(
                node_ipc.serve(f"{scheme}://127.0.0.1:0", silent=True, close_timeout=200, **ours, **options)
            )
            return server, await stack.enter_async_context(BlackHole(server.port))

        yield start


def connecting(kind: tuple[str, dict[str, Any], dict[str, Any]], hole: BlackHole, **options: Any) -> Any:
    scheme, _, theirs = kind
    return node_ipc.connect(
        f"{scheme}://127.0.0.1:{hole.port}", silent=True, retry=50, close_timeout=200, **theirs, **options
    )


@pytest.mark.row(34)
async def test_the_client_notices(kind: Any, serving: Any) -> None:
    _server, hole = await serving()
    async with connecting(kind, hole, **BEATS) as client:
        errors: list[Any] = []
        losses: list[Loss] = []
        client.on("error", errors.append)
        client.on("disconnect", losses.append)
        await asyncio.sleep(3 * SETTING)
        assert errors == [] and losses == []
        hole.swallow()
        watch = Stopwatch()
        await until(lambda: losses)
        assert watch.seconds <= SETTING + SLACK
        assert isinstance(errors[0], ConnectionLost) and losses[0].reason is errors[0]
        assert hole.swallowed > 0
        hole.open.set()
        await until(lambda: client.state.value == "connected")


@pytest.mark.row(34)
async def test_the_server_notices_and_says_it_once(kind: Any, serving: Any) -> None:
    server, hole = await serving(**BEATS)
    errors: list[Any] = []
    closed: list[Any] = []
    server.on("error", lambda error, socket: errors.append(error))
    server.on("close", closed.append)
    async with connecting(kind, hole):
        await until(lambda: server.sockets)
        await asyncio.sleep(3 * SETTING)
        assert errors == [] and len(server.sockets) == 1
        hole.swallow()
        watch = Stopwatch()
        await until(lambda: closed)
        assert watch.seconds <= SETTING + SLACK
        assert [type(error) for error in errors] == [ConnectionLost]
        assert len(closed) == 1 and server.sockets == []


@pytest.mark.row(34)
async def test_a_handler_that_blocks_the_loop_costs_no_live_link(kind: Any, serving: Any) -> None:
    """Our own stall is no silence of the peer's: what lies in the kernel is read before the time counts."""
    server, hole = await serving(**BEATS)
    async with connecting(kind, hole, **BEATS) as client:
        await until(lambda: server.sockets)
        for _ in range(3):
            await asyncio.sleep(SETTING / 2 + 0.05)  # a question is out
            time.sleep(2 * SETTING)
        await asyncio.sleep(2 * SETTING)
        assert len(server.sockets) == 1 and client.stats().links == 1
