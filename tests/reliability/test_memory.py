"""Memory that peers take, in fresh processes: bounded while they are there, free when they have gone."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import node_ipc
from node_ipc import BackpressureError, blocking
from processes import Program
from stopwatch import Stopwatch

PROGRAM = Path(__file__).with_name("memory_program.py")
NOTICED_SECONDS = 2.0
LATE_SECONDS = 8.0
"""What a machine under load may add."""

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc says how much memory there is")


@pytest.mark.row(12)
@pytest.mark.parametrize(("what", "worst", "after"), [("requests", 32, 8), ("halves", 64 + 64, 40), ("inbox", 16, 8)])
def test_what_peers_make_a_process_hold(what: str, worst: float, after: float, tmp_path: Path) -> None:
    """Before there were limits: 602, 656 (also when they had left) and 301 MiB. What stays is the allocator's."""
    program = Program.python(str(PROGRAM), what, str(tmp_path / "s"))
    try:
        most, left = map(float, program.wait_for("MiB: ").split()[1:])
    finally:
        program.close()
    assert most <= worst
    assert left <= after


# ---- the end of a link that is not read, with real processes

FLOOD = """
import socket, sys, time
where = sys.argv[1]
if where.startswith("/"):
    peer = socket.socket(socket.AF_UNIX); peer.connect(where)
else:
    peer = socket.create_connection(("127.0.0.1", int(where)))
peer.sendall(b"".join(b'{"type":"subscribe","data":%d}\\f' % number for number in range(500)))
print("sent")
time.sleep(60)
"""


@pytest.mark.row(54)
@pytest.mark.parametrize("transport", ["unix", "tcp"])
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_killed_peer_is_noticed_behind_handlers_that_never_end(loop: str, transport: str, tmp_path: Path) -> None:
    async def check() -> None:
        address = f"unix:{tmp_path}/s" if transport == "unix" else "tcp://127.0.0.1:0"
        server: Any
        async with node_ipc.serve(address, max_handler_frames=16) as server:
            heard: list[int] = []
            cancelled: list[int] = []

            @node_ipc.while_connected
            async def subscribe(data: int) -> None:
                heard.append(data)
                try:
                    await asyncio.sleep(3600)
                except asyncio.CancelledError:
                    cancelled.append(data)
                    raise

            server.on("subscribe", subscribe)

            where = str(tmp_path / "s") if transport == "unix" else str(server.address.port)
            program = Program.python("-c", FLOOD, where)
            try:
                await asyncio.to_thread(program.wait_for, "sent")
                await until(lambda: server.sockets and server.sockets[0].is_reading_paused)
                program.process.send_signal(signal.SIGKILL)
                watch = Stopwatch()
                await until(lambda: not server.sockets)
                assert watch.seconds < NOTICED_SECONDS + LATE_SECONDS
                assert heard == list(range(500))
                await until(lambda: sorted(cancelled) == heard)
            finally:
                program.close()

    run(check, loop)


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.02)


def run(check: Callable[[], Awaitable[None]], loop: str) -> None:
    async def main() -> None:
        await check()

    if loop == "uvloop":
        uvloop = pytest.importorskip("uvloop")
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main())
    else:
        asyncio.run(main())


@pytest.mark.row(54)
def test_a_blocking_client_with_a_full_inbox_hears_of_the_end(tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{tmp_path}/s")
    (tmp_path / "s").chmod(0o600)
    listener.listen()
    with listener, blocking.connect(f"unix:{tmp_path}/s", max_inbox_bytes=10_000, max_retries=0) as client:
        there, _ = listener.accept()
        there.sendall(b"".join(b'{"type":"log","data":%d}\f' % number for number in range(2000)))
        ends: list[Any] = []
        client.on("disconnect", ends.append)
        with pytest.raises(BackpressureError, match="max_inbox_bytes"):
            client.receive("other", timeout=60)
        listener.close()
        there.close()
        watch = Stopwatch()
        while not ends and watch.seconds < NOTICED_SECONDS + LATE_SECONDS:
            with pytest.raises((BackpressureError, node_ipc.NotConnected)):
                client.poll(0.05)
            time.sleep(0.05)
        assert len(ends) == 1
        assert [client.receive("log", timeout=60) for _ in range(2000)] == list(range(2000))
