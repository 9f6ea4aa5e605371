"""What peers make a fresh process hold, printed in MiB: its growth at the worst, and when they have gone.

python memory_program.py requests|halves|inbox PATH
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import resource
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import node_ipc

MIB = 1024 * 1024
STALLED_SECONDS = 1.0


def resident() -> float:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize() / MIB


class Worst:
    """How far the process grew since this was made."""

    def __init__(self) -> None:
        self._before = resident()
        self.growth = 0.0

    def look(self) -> float:
        growth = resident() - self._before
        self.growth = max(self.growth, growth)
        return growth


def given_back() -> None:
    """What is freed the C library keeps for itself, as much as its luck with the order was; here it gives that back."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
    if trim is not None:
        trim(0)


def send(peer: socket.socket, pieces: Iterator[bytes], worst: Worst) -> None:
    """As much as the other end takes."""
    peer.settimeout(STALLED_SECONDS)
    try:
        for piece in pieces:
            peer.sendall(piece)
            worst.look()
    except OSError:
        pass


def peer_of(path: str) -> socket.socket:
    peer = socket.socket(socket.AF_UNIX)
    peer.connect(path)
    return peer


def ask_much(path: str, worst: Worst) -> None:
    """One peer: 300 requests of 1 MiB to a handler that never ends."""
    peer = peer_of(path)
    body = b"x" * MIB
    send(
        peer,
        (
            b'{"type":"rpc.request","data":{"jsonrpc":"2.0","id":%d,"method":"slow","params":"%s"}}\f' % (number, body)
            for number in range(300)
        ),
        worst,
    )
    peer.close()


def begin_much(path: str, worst: Worst) -> None:
    """Forty peers that send 8 MiB without a delimiter and leave, twice."""
    for _ in range(2):
        peers = [peer_of(path) for _ in range(40)]
        for peer in peers:
            send(peer, iter((b'{"type":"' + b"x" * (8 * MIB),)), worst)
        for peer in peers:
            peer.close()


async def serve(path: str, flood: Callable[[str, Worst], None]) -> None:
    async with node_ipc.serve(f"unix:{path}", max_total_received_bytes=64 * MIB) as server:

        @server.handle("slow")
        async def slow(params: str) -> None:
            await asyncio.sleep(3600)

        worst = Worst()
        await asyncio.to_thread(flood, path, worst)
        async with asyncio.timeout(30):
            while server.sockets:
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.1)
        most = worst.growth
        given_back()
        print(f"MiB: {most:.1f} {worst.look():.1f}")


async def connect(path: str) -> None:
    """A server that sends 300 events of 1 MiB which nobody takes."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    Path(path).chmod(0o600)
    listener.listen()
    async with node_ipc.connect(f"unix:{path}") as client:
        worst = Worst()
        there, _ = listener.accept()
        event = b'{"type":"log","data":"%s"}\f' % (b"x" * MIB)
        await asyncio.to_thread(send, there, iter([event] * 300), worst)
        deadline = time.monotonic() + 30
        while client.inbox.missed < 299 and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        most = worst.growth
        given_back()
        print(f"MiB: {most:.1f} {worst.look():.1f}")
        client.abort()


if __name__ == "__main__":
    gc.disable()  # what is freed is not to wait for it
    os.umask(0o077)
    what, path = sys.argv[1:]
    asyncio.run(connect(path) if what == "inbox" else serve(path, ask_much if what == "requests" else begin_much))
