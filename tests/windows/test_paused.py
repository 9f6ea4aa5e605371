"""A link that is not read, on Windows, over pipes and TCP: no call tells of its end without reading, so the looks for
signs of life do, once a second, up to a MiB of what waits before it."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

import node_ipc

NOTICED_SECONDS = 2.0


@pytest.mark.row(54)
@pytest.mark.parametrize("verb", ["close", "abort"])
@pytest.mark.parametrize("waiting", [10, 100, 700], ids=["in one read", "in some reads", "in many reads"])
@pytest.mark.parametrize("transport", ["pipe", "tcp"])
async def test_a_server_whose_handlers_never_end_hears_of_the_end(
    transport: str, waiting: int, verb: str, path: str
) -> None:
    where = "tcp://127.0.0.1:0" if transport == "tcp" else f"pipe:{path}"
    heard: list[int] = []
    lost: list[Any] = []
    async with node_ipc.serve(where, max_handler_frames=2, silent=True, close_timeout=500) as server:

        @server.on("hold")
        async def hold(data: Any) -> None:
            heard.append(data[0])
            await asyncio.sleep(3600)

        server.on("socket.disconnected", lambda socket: lost.append(socket.loss))
        async with asyncio.timeout(20):
            client = await node_ipc.connect(server.address, silent=True)  # its end waits for the look
            for number in range(waiting):
                client.emit("hold", [number, "x" * 1000])
            while server.stats().paused != {"handlers": 1}:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.2)
            began = time.monotonic()
            if verb == "close":
                closing = client.close()
            else:
                client.abort()
            while not lost:
                await asyncio.sleep(0.01)
            took = time.monotonic() - began
            if verb == "close":
                await closing
    assert took <= NOTICED_SECONDS
    assert verb == "abort" or heard == list(range(waiting))
