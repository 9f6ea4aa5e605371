"""What threads other than an endpoint's own may do with it, and what they are told where they may not."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import node_ipc
from node_ipc import Config, DrainTimeout, blocking


@contextlib.contextmanager
def serving_in_a_thread(tmp_path: Path) -> Iterator[Any]:
    """A blocking server that was made in the thread which serves, and that thread."""
    made: queue.Queue[Any] = queue.Queue()

    def serve() -> None:
        with blocking.serve("world", socket_root=f"{tmp_path}/") as server:
            made.put(server)
            server.serve_forever()

    thread = threading.Thread(target=serve)
    thread.start()
    server = made.get(timeout=60)
    try:
        yield server, thread
    finally:
        server.shutdown()
        thread.join(60)


def test_a_blocking_server_is_stopped_from_any_thread(tmp_path: Path) -> None:
    with serving_in_a_thread(tmp_path) as (server, thread):
        with pytest.raises(TypeError, match="timeout"):
            server.stop("soon")
        with blocking.connect("world", socket_root=f"{tmp_path}/", stop_retrying=True) as client:
            server.stop(20)
            thread.join(60)
            assert not thread.is_alive() and server.state.name == "CLOSED"
            client.poll(20)
        server.stop()  # it is already


@pytest.mark.parametrize(
    ("use", "said"),
    [
        (lambda server: server.broadcast("news", 1), r"for socket in server\.sockets: socket\.emit\(type, data\)$"),
        (
            lambda server: server.to("room").emit("news", 1),
            r"for socket in server\.sockets: socket\.emit\(type, data\)$",
        ),
        (
            lambda server: server.on("news", print),
            r"Call on\(\) in the thread that made the server, before serve_forever",
        ),
        (lambda server: server.abort(), r"^abort\(\) .* stop\(\) of the server may be"),
        (lambda server: server.serve_forever(), "make the server in the thread that serves"),
        (lambda server: server.poll(), "make the server in the thread that serves"),
    ],
)
def test_other_threads_are_told_what_they_may_do_with_a_server(use: Any, said: str, tmp_path: Path) -> None:
    with serving_in_a_thread(tmp_path) as (server, _), pytest.raises(node_ipc.WrongThreadError, match=said):
        use(server)


@pytest.mark.parametrize("end", ["close", "block", "stop", "before the link", "drain"])
async def test_what_a_thread_that_was_joined_emitted_goes_out_before_the_end(end: str, tmp_path: Path) -> None:
    """Its messages are here, and the loop had no turn since."""
    config = Config(socket_root=f"{tmp_path}/", silent=True)
    heard: list[int] = []
    async with asyncio.timeout(60):
        server = await node_ipc.serve("world", config=config)
        server.on("number", lambda number: heard.append(number))
        client = await node_ipc.connect("world", config=config)
        client.on("number", lambda number: heard.append(number))
        while not server.sockets:
            await asyncio.sleep(0)
        emits: Any = server.sockets[0] if end == "stop" else client
        if end == "before the link":
            ipc = node_ipc.IPC(config)
            ipc.connect_to("world")
            emits = ipc.of.world
        thread = threading.Thread(target=lambda: [emits.emit("number", number) for number in range(100)])
        thread.start()
        thread.join(60)
        if end == "block":
            async with client:
                pass
        elif end == "stop":
            await server.stop()
        elif end == "drain":
            await client.drain()
            client.abort()
        else:
            await emits.close()
        while len(heard) < 100 and end != "drain":  # abort() takes what the kernel has not
            await asyncio.sleep(0.001)
        assert heard == list(range(100)) or end == "drain"
        assert emits.stats().dropped == 0
        await client.close()
        await server.stop()


async def test_drain_of_a_server_waits_for_what_a_thread_that_was_joined_emitted(tmp_path: Path) -> None:
    async with asyncio.timeout(60), node_ipc.serve(f"unix:{tmp_path}/s", close_timeout=0) as server:
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(f"{tmp_path}/s")
            while not server.sockets:
                await asyncio.sleep(0)
            [silent] = server.sockets
            thread = threading.Thread(target=lambda: silent.emit("large", "x" * (8 << 20)))
            thread.start()
            thread.join(60)
            with pytest.raises(DrainTimeout):
                await server.drain(timeout=0.01)


@pytest.mark.parametrize("end", ["client", "server"])
def test_blocking_drain_waits_for_what_a_thread_that_was_joined_emitted(end: str, tmp_path: Path) -> None:
    where = f"{tmp_path}/s"
    with contextlib.ExitStack() as open:
        silent = open.enter_context(socket.socket(socket.AF_UNIX))
        if end == "server":
            server = open.enter_context(blocking.serve(f"unix:{where}", close_timeout=0))
            silent.connect(where)
            while not server.sockets:
                server.poll(None)
            emits, drains = server.sockets[0], server.drain
        else:
            silent.bind(where)
            silent.listen()
            client: Any = open.enter_context(blocking.connect(f"unix:{where}", close_timeout=0))
            emits, drains = client, client.drain
        thread = threading.Thread(target=lambda: emits.emit("large", "x" * (8 << 20)))
        thread.start()
        thread.join(60)
        with pytest.raises(DrainTimeout):
            drains(timeout=0.01)


async def test_drain_of_a_udp_port_sends_what_a_thread_that_was_joined_emitted() -> None:
    async with asyncio.timeout(60), node_ipc.serve_udp("127.0.0.1:0") as port:
        here = {"address": "127.0.0.1", "port": port.port}
        thread = threading.Thread(target=lambda: [port.emit(here, "number", number) for number in range(20)])
        thread.start()
        thread.join(60)
        assert port.stats().messages_out == 0
        await port.drain()
        assert port.stats().messages_out == 20


async def test_other_threads_are_told_which_loop_is_meant(tmp_path: Path) -> None:
    config = Config(socket_root=f"{tmp_path}/", silent=True)
    ipc = node_ipc.IPC(config)
    ipc.serve()
    await ipc.server.start()
    async with node_ipc.serve("world", config=config) as server, node_ipc.connect("world", config=config) as client:
        for use, said in (
            (lambda: server.broadcast("news"), r"call_soon_threadsafe\(function\); .* in the coroutine that made this"),
            (
                lambda: client.request("sum"),
                r"run_coroutine_threadsafe\(function\(\), loop\), where it is an async one",
            ),
            (
                lambda: ipc.server.on("news", print),
                r"ipc\.stop\(\) may be\. Register handlers before ipc\.run\(\) begins",
            ),
            (lambda: ipc.connect_to("else"), r"get_running_loop\(\) in a handler, as of 'connect'"),
        ):
            with pytest.raises(node_ipc.WrongThreadError, match=said):
                await asyncio.to_thread(use)
    with pytest.raises(node_ipc.IPCError, match=r"await ipc\.server\.closed"):
        ipc.run()
    await ipc.stop()
