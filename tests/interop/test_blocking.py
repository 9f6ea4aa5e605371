"""The blocking front with real node-ipc at the other end, in both roles."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from node_ipc import blocking

from .install import VERSIONS
from .pairs import ECHO, Address, Ends
from .peers import DEADLINE

pytestmark = pytest.mark.row(51)

PAYLOADS: list[Any] = ["text", 5, 1.5, True, [1, [2, {}]], {"a": {"b": "ü\f\u2028"}}, "x" * 300_000]


def url(address: Address) -> str:
    return f"unix:{address.path}" if address.root else f"tcp://{address.host}:{address.port}"


@pytest.mark.parametrize("transport", ["unix", "tcp"])
@pytest.mark.parametrize("node", VERSIONS)
async def test_a_blocking_client_talks_to_node(ends: Ends, transport: str, node: str) -> None:
    address = ends.address(transport)
    server = await ends.serve(node, address, ECHO)

    def talk() -> None:
        with blocking.connect(url(address)) as client:
            for payload in PAYLOADS:
                client.emit("message", payload)
                assert client.receive("message", timeout=DEADLINE) == payload
            with client.batch():
                for n in range(1000):
                    client.emit("message", {"n": n})
            came = [client.receive("message", timeout=DEADLINE)["n"] for _ in range(1000)]
            assert came == list(range(1000))

    await asyncio.to_thread(talk)
    await server.event("socket.disconnected")


@pytest.mark.parametrize("transport", ["unix", "tcp"])
@pytest.mark.parametrize("node", VERSIONS)
async def test_node_talks_to_a_blocking_server(ends: Ends, transport: str, node: str) -> None:
    address = ends.address(transport)
    ready = threading.Event()
    servers: list[Any] = []

    def serve() -> None:
        with blocking.serve(url(address)) as server:
            servers.append(server)
            server.on("message", lambda data, socket: socket.emit("message", data))
            ready.set()
            server.serve_forever()

    serving = asyncio.create_task(asyncio.to_thread(serve))
    assert await asyncio.to_thread(ready.wait, DEADLINE)
    client = await ends.connect(node, address)
    for payload in PAYLOADS[:-1]:
        await client.emit("message", payload)
        assert (await client.event("message")).data == payload
    await client.burst("message", 1000)
    for n in range(1000):
        assert (await client.event("message")).data == {"n": n}
    servers[0].shutdown()
    await serving
    await client.event("disconnect")
