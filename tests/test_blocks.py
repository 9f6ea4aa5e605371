"""The end of a block is the end: what handlers begin anew while it ends would be open behind it, and nobody's."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import node_ipc
from fronts import Loop
from node_ipc import ClientState, NotConnected, blocking


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
