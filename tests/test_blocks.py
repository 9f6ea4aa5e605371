"""Blocks and ``serve_forever`` end with what they are of, and nothing that a handler begins is open behind them."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import node_ipc
from fronts import Loop
from node_ipc import AddressInUse, ClientState, NotConnected, blocking


class Begun:
    """What a handler got that began its endpoint anew, each time."""

    def __init__(self, begin: Any) -> None:
        self.outcomes: list[Any] = []
        self._begin = begin

    def __call__(self) -> None:
        self.outcomes.append(self._begin())

    def was_refused(self) -> bool:
        assert self.outcomes
        return all(isinstance(outcome.error, NotConnected) for outcome in self.outcomes)


def a_peer_of(path: Path) -> socket.socket:
    peer = socket.socket(socket.AF_UNIX)
    peer.connect(str(path))
    return peer


def hold(other: socket.socket, port: int) -> None:
    other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # what the last link left is no holder
    other.bind(("127.0.0.1", port))
    other.listen()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "app.world"


async def test_a_client_that_connects_anew_when_its_link_ends_is_closed_by_its_block(path: Path) -> None:
    async with node_ipc.serve(f"unix:{path}") as server, asyncio.timeout(60):
        async with node_ipc.connect(f"unix:{path}") as client:
            begun = Begun(client.connect)
            client.on("disconnect", begun)
        assert begun.was_refused()
        assert client.state is ClientState.CLOSED and client.closed.done
        await client.connect()  # who is behind the block may
        assert client.connected
        client.off("disconnect")
        await client.close()
        assert server.stats().links == 2


async def test_a_server_that_is_started_anew_when_a_peer_goes_is_stopped_by_its_block(path: Path) -> None:
    async with asyncio.timeout(60), node_ipc.serve(f"unix:{path}", close_timeout=50) as server:
        begun = Begun(server.start)
        server.on("socket.disconnected", begun)
        with a_peer_of(path):
            while not server.sockets:
                await asyncio.sleep(0)
            await server.__aexit__(None, None, None)
        assert begun.was_refused()
        assert server.state == "closed" and not path.exists()
        await server.start()
        assert path.exists()
    assert server.state == "closed" and not path.exists()


@pytest.mark.parametrize("is_heard", [False, True])
async def test_serve_forever_says_why_the_server_could_not_start_anew(is_heard: bool, caplog: Any) -> None:
    server = await node_ipc.serve("tcp://127.0.0.1:0")
    serving = asyncio.ensure_future(server.serve_forever())
    errors: list[Exception] = []
    if is_heard:
        server.on("error", errors.append)
    await asyncio.sleep(0)
    with socket.socket() as other:
        server.closed.then(partial(hold, other, server.port))
        server.stop()
        server.start()
        await asyncio.wait([serving], timeout=60)
    assert server.state == "closed" and not caplog.records
    if is_heard:
        assert [type(error) for error in errors] == [AddressInUse]
        serving.result()
    else:
        with pytest.raises(AddressInUse, match=str(server.port)):
            serving.result()


@pytest.mark.parametrize("is_heard", [False, True])
def test_blocking_serve_forever_says_why_the_server_could_not_start_anew(is_heard: bool) -> None:
    server = blocking.serve("tcp://127.0.0.1:0")
    errors: list[Exception] = []
    if is_heard:
        server.on("error", errors.append)
    with socket.socket() as other, socket.socket() as peer:

        def begin_anew() -> None:
            server.closed.then(partial(hold, other, server.port))
            server.stop()
            server.start()

        server.on("connect", begin_anew)
        peer.connect(("127.0.0.1", server.port))
        peer.shutdown(socket.SHUT_WR)
        if is_heard:
            server.serve_forever()
        else:
            with pytest.raises(AddressInUse, match=str(server.port)):
                server.serve_forever()
    assert [type(error) for error in errors] == [AddressInUse] * is_heard
    assert server.state == "closed"


async def test_a_cancelled_serve_forever_stops_a_server_that_is_started_anew(path: Path) -> None:
    server = await node_ipc.serve(f"unix:{path}", close_timeout=50)
    begun = Begun(server.start)
    server.on("socket.disconnected", begun)
    serving = asyncio.ensure_future(server.serve_forever())
    with a_peer_of(path):
        while not server.sockets:
            await asyncio.sleep(0)
        serving.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.wait_for(serving, 60)
    assert begun.was_refused()
    assert server.state == "closed" and not path.exists()


def test_blocking_a_client_that_connects_anew_when_its_link_ends_is_closed_by_its_block(path: Path) -> None:
    loop = Loop()
    server = loop.wait(lambda: node_ipc.serve(f"unix:{path}"))
    try:
        with blocking.connect(f"unix:{path}") as client:
            begun = Begun(client.connect)
            client.on("disconnect", begun)
        assert begun.was_refused()
        assert client.state is ClientState.CLOSED
    finally:
        loop.wait(server.stop)
        loop.close()


@pytest.mark.parametrize("ends", ["block", "signal"])
def test_blocking_a_server_that_is_started_anew_when_a_peer_goes_is_stopped(path: Path, ends: str) -> None:
    server = blocking.serve(f"unix:{path}", close_timeout=50)
    begun = Begun(server.start)
    server.on("socket.disconnected", begun)
    with a_peer_of(path):
        if ends == "block":
            with server:
                while not server.sockets:
                    server.poll(None)
        else:
            server.on("connect", lambda: os.kill(os.getpid(), signal.SIGTERM))
            with pytest.raises(SystemExit):
                server.serve_forever()
    assert begun.was_refused()
    assert server.state == "closed" and not path.exists()
