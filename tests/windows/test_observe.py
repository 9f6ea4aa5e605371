"""A server that is looked at on Windows: over a pipe beside its own, which only its user may open."""

import ctypes
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import node_ipc
from node_ipc import Config, blocking
from node_ipc.core.observe import EMIT, LOOK
from node_ipc.net.pipe import WinAPI
from node_ipc.tools.top.feed import CannotLook, Feed

LIMIT = 30.0
WINE = sys.platform == "win32" and hasattr(ctypes.WinDLL("ntdll"), "wine_get_version")


@pytest.fixture
def name(path: str) -> str:
    return path.removeprefix("\\\\.\\pipe\\")


@pytest.fixture
def descriptors(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """What each pipe's security descriptor was made from, by the pipe's path."""
    made: dict[str, str] = {}
    create = WinAPI.create_named_pipe

    def recording(api: WinAPI, path: str, *rest: Any) -> Any:
        made[path] = rest[-1]
        return create(api, path, *rest)

    monkeypatch.setattr(WinAPI, "create_named_pipe", recording)
    yield made


async def test_top_looks_at_a_server_of_this_user_only(name: str, path: str, descriptors: dict[str, str]) -> None:
    options: dict[str, Any] = {"observe": True, "readable_all": True, "writable_all": True}
    async with node_ipc.serve(f"pipe:{name}", **options) as server:
        server.on("order", lambda data, socket: socket.emit("thanks"))
        async with node_ipc.connect(f"pipe:{name}") as client:
            feed = await Feed.open(f"pipe:{name}", Config())
            assert feed.view.look is not None and feed.view.look["address"] == str(server.address)
            assert feed.view.look["process"] == os.getpid()
            client.emit("order")
            await client.receive("thanks", timeout=LIMIT)
            assert await feed.emit("hello", 1) == 1
            assert await client.receive("hello", timeout=LIMIT) == 1
            await feed.close()
    world = ";;;WD)"
    assert world in descriptors[path] and world not in descriptors[f"{path}.observe"]
    assert descriptors[f"{path}.observe"].count("(A;") == 2, "its user and the system"
    with pytest.raises(CannotLook, match="observe=True"):
        await Feed.open(f"pipe:{name}", Config())


async def test_beside_a_port(path: str) -> None:
    config = Config(appspace=f"test-{os.getpid()}.")
    async with node_ipc.serve("tcp://127.0.0.1:0", config=config, observe=True) as server:
        feed = await Feed.open(f"tcp://127.0.0.1:{server.port}", config)
        assert feed.view.look is not None and feed.view.look["address"] == str(server.address)
        await feed.close()


@pytest.mark.skipif(WINE, reason="wine lets a second server have the name")
async def test_the_second_server_at_an_address_has_a_pipe_of_its_own(name: str) -> None:
    """As where something else has the first name."""
    async with node_ipc.serve(f"pipe:{name}.observe"), node_ipc.serve(f"pipe:{name}", observe=True) as server:
        async with node_ipc.connect(f"pipe:{name}.observe.2", timeout=LIMIT, wait=True) as viewer:
            assert (await viewer.receive(LOOK, timeout=LIMIT))["address"] == str(server.address)


def test_a_blocking_server_is_looked_at(name: str) -> None:
    with blocking.serve(f"pipe:{name}", observe=True) as server:
        server.on("end", lambda data, socket: server.stop())
        looks: list[Any] = []

        def view() -> None:
            with blocking.connect(f"pipe:{name}.observe", wait=True, timeout=LIMIT) as viewer:
                looks.append(viewer.receive(LOOK, timeout=LIMIT))
                viewer.request(EMIT, {"event": "hello"}, timeout=LIMIT)
            with blocking.connect(f"pipe:{name}") as client:
                client.emit("end")

        thread = threading.Thread(target=view)
        thread.start()
        server.serve_forever()
        thread.join(LIMIT)
    assert looks[0]["address"] == str(server.address)
