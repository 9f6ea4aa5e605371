"""Peers as processes of their own, without this library: they read, or do not, and say what they saw.

python readers.py read PATH COUNT      COUNT sockets that read until the end; prints what each got, in order or not
python readers.py stop PATH            one socket that never reads
python readers.py echo PATH COUNT N    COUNT sockets that send N numbers each, and check what comes back
"""

from __future__ import annotations

import json
import selectors
import socket
import sys


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
        self.slowest = 0.0

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


def read(path: str, count: int) -> None:
    readers = [Reader(path) for _ in range(count)]
    selector = selectors.DefaultSelector()
    for reader in readers:
        selector.register(reader.socket, selectors.EVENT_READ, reader)
    print("ready", flush=True)
    while selector.get_map():
        for key, _ in selector.select():
            if not key.data.read():
                selector.unregister(key.data.socket)
    print(json.dumps([[reader.got, reader.in_order] for reader in readers]), flush=True)


def stop(path: str) -> None:
    peer = connected(path)
    print("ready", flush=True)
    sys.stdin.read()
    peer.close()


if __name__ == "__main__":
    if sys.argv[1] == "read":
        read(sys.argv[2], int(sys.argv[3]))
    else:
        stop(sys.argv[2])
