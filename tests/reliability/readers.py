"""Peers as processes of their own, without this library: they read, or do not, and say what they saw.

python readers.py read PATH COUNT      COUNT sockets that read until the end; prints what each got, in order or not
python readers.py flood PATH COUNT     the same at the least cost, all of one size; prints how late they were, too
python readers.py stop PATH            one socket that never reads
"""

from __future__ import annotations

import json
import selectors
import socket
import sys
import time
from collections.abc import Sequence


def connected(path: str) -> socket.socket:
    peer = socket.socket(socket.AF_UNIX)
    peer.connect(path)
    return peer


class Reader:
    """One socket's numbers, which must rise without a gap."""

    def __init__(self, path: str) -> None:
        self.socket = connected(path)
        self.socket.setblocking(False)
        self.rest = b""
        self.got = 0
        self.in_order = True

    def read(self) -> bool:
        try:
            data = self.socket.recv(1 << 20)
        except ConnectionError:
            data = b""
        *frames, self.rest = (self.rest + data).split(b"\f")
        for frame in frames:
            message = json.loads(frame)
            number = message["data"][0] if isinstance(message["data"], list) else message["data"]
            self.in_order &= number == self.got
            self.got += 1
        return bool(data)


class FloodReader:
    """One socket's messages of one size: ``{"type":"number","data":["NUMBER SECONDS","…"]}``.

    NUMBER has ten characters, SECONDS (of the monotonic clock, when it was sent) twelve. Nothing is parsed but
    these, and one buffer takes what comes, with the rest of the read before at its beginning.
    """

    BEFORE = len('{"type":"number","data":["')
    buffer = bytearray(1 << 20)

    def __init__(self, path: str) -> None:
        self.socket = connected(path)
        self.socket.setblocking(False)
        self.rest = b""
        self.size = self.got = 0
        self.in_order = True
        self.delays: list[float] = []

    def read(self) -> bool:
        buffer, begin = self.buffer, len(self.rest)
        buffer[:begin] = self.rest
        try:
            count = self.socket.recv_into(memoryview(buffer)[begin:])
        except ConnectionError:
            count = 0
        end, at = begin + count, 0
        size = self.size or buffer.find(b"\f", 0, end) + 1
        now = time.monotonic()
        while size and at + size <= end:
            self.in_order &= int(buffer[at + self.BEFORE : at + self.BEFORE + 10]) == self.got
            self.in_order &= buffer[at + size - 1] == 0x0C
            self.got += 1
            at += size
        if at:
            sent = buffer[at - size + self.BEFORE + 11 : at - size + self.BEFORE + 23]
            self.delays.append(now - float(sent))
        self.size, self.rest = size, bytes(buffer[at:end])
        return bool(count)


def flood(path: str, count: int) -> None:
    readers = [FloodReader(path) for _ in range(count)]
    wait(readers)
    delays = sorted(delay for reader in readers for delay in reader.delays)
    print(json.dumps([[reader.got, reader.in_order] for reader in readers]), flush=True)
    print(delays[len(delays) * 99 // 100], flush=True)


def read(path: str, count: int) -> None:
    readers = [Reader(path) for _ in range(count)]
    wait(readers)
    print(json.dumps([[reader.got, reader.in_order] for reader in readers]), flush=True)


def wait(readers: Sequence[Reader | FloodReader]) -> None:
    """Until all of them have ended."""
    selector = selectors.DefaultSelector()
    for reader in readers:
        selector.register(reader.socket, selectors.EVENT_READ, reader)
    print("ready", flush=True)
    while selector.get_map():
        for key, _ in selector.select():
            if not key.data.read():
                selector.unregister(key.data.socket)


def stop(path: str) -> None:
    peer = connected(path)
    print("ready", flush=True)
    sys.stdin.read()
    peer.close()


if __name__ == "__main__":
    if sys.argv[1] == "read":
        read(sys.argv[2], int(sys.argv[3]))
    elif sys.argv[1] == "flood":
        flood(sys.argv[2], int(sys.argv[3]))
    else:
        stop(sys.argv[2])
