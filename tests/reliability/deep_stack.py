"""A server in odd surroundings that is sent deep payloads: a crash here is a crash of this process alone.

    python deep_stack.py frames 800      the loop runs 800 Python frames deep
    python deep_stack.py thread 512      the loop runs in a thread with a stack of so many KiB
    python deep_stack.py blocking 512    likewise, and the server is a blocking one

Prints one line for each payload: how deep, in what, what came of it, and how long the answer to the next ping took.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from typing import Any

import node_ipc
from node_ipc import Config

DEPTHS = (64, 390, 600, 999, 1499, 2500, 9999, 100_000, 500_000)
SHAPES = {
    "lists": (b"[", b"]"),
    "objects": (b'{"":', b"}"),
    "half": (b"[", b""),
    "mixed": (b'[0,{"a":', b"}]"),
    "texts": (b'{"\\"[":', b"}"),
    "surrogates": (b'["\\ud800",', b"]"),
}


def frame(depth: int, shape: str, event: str) -> bytes:
    opened, closed = SHAPES[shape]
    levels = depth // 2 if shape == "mixed" else depth
    return b'{"type":"' + event.encode() + b'","data":' + opened * levels + b"1" + closed * levels + b"}\f"


class Peer:
    """A client that is none of ours."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.socket = self._connected()

    def _connected(self) -> socket.socket:
        peer = socket.socket(socket.AF_UNIX)
        peer.settimeout(30)
        peer.connect(self.path)
        return peer

    def ping(self) -> float:
        """The seconds until the next ping was answered; over a new link where the old one was ended."""
        since = time.perf_counter()
        try:
            self._ask()
        except ConnectionError:
            self.socket.close()
            self.socket = self._connected()
            self._ask()
        return time.perf_counter() - since

    def _ask(self) -> None:
        self.socket.sendall(b'{"type":"ping","data":7}\f')
        answer = b""
        while b'"pong"' not in answer:
            more = self.socket.recv(1 << 20)
            if not more:
                raise ConnectionError
            answer += more


def ask(path: str, heard: list[str], done: Callable[[], None]) -> None:
    try:
        peer = Peer(path)
        peer.ping()
        for depth in DEPTHS:
            for shape in SHAPES:
                for event in ("any", "typed"):
                    heard.clear()
                    peer.socket.sendall(frame(depth, shape, event))
                    seconds = peer.ping()
                    print(json.dumps([depth, shape, event, heard[:], seconds]), flush=True)
    finally:
        done()


def listen(server: Any, heard: list[str]) -> None:
    def answer(data: Any, socket: Any) -> None:
        heard.append("delivered")
        socket.emit("answer", data)

    def answer_typed(data: list[Any] | dict[str, Any], socket: Any) -> None:
        heard.append("delivered")

    server.on("any", answer)
    server.on("typed", answer_typed)
    server.on("ping", lambda data, socket: socket.emit("pong", data))
    server.on("error", lambda error, socket: heard.append(type(error).__name__))


async def serve(config: Config, heard: list[str]) -> None:
    async with node_ipc.serve("world", config=config) as server:
        listen(server, heard)
        loop, over = asyncio.get_running_loop(), asyncio.Event()
        asker = threading.Thread(
            target=ask, args=(f"{config.socket_root}app.world", heard, lambda: loop.call_soon_threadsafe(over.set))
        )
        asker.start()
        await over.wait()


def serve_blocking(config: Config, heard: list[str]) -> None:
    from node_ipc import blocking

    with blocking.serve("world", config=config) as server:
        listen(server, heard)
        asker = threading.Thread(target=ask, args=(f"{config.socket_root}app.world", heard, server.shutdown))
        asker.start()
        server.serve_forever()


def below(frames: int, call: Callable[[], None]) -> None:
    """Call with so many frames of Python on the stack."""
    if frames:
        below(frames - 1, call)
    else:
        call()


def main(where: str, size: str) -> None:
    with tempfile.TemporaryDirectory() as root:
        config, heard = Config(socket_root=f"{root}/", silent=True), list[str]()

        def run() -> None:
            if where == "blocking":
                serve_blocking(config, heard)
            else:
                asyncio.run(serve(config, heard))

        if where == "frames":
            below(int(size), run)
            return
        threading.stack_size(int(size) * 1024)
        thread = threading.Thread(target=run)
        thread.start()
        threading.stack_size(0)
        thread.join()


if __name__ == "__main__":
    main(*sys.argv[1:3])
