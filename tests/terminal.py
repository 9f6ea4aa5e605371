"""A peer that says what a terminal would obey, and a look at the bytes that a program prints because of it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import unicodedata
from collections.abc import Iterator
from typing import Any

from processes import DEADLINE

HOSTILE = (
    "<red>\x1b[31m<title>\x1b]0;owned\x07<clipboard>\x1b]52;c;b3duZWQ=\x07<c1>\x9b31m\x9d52;c;b3duZWQ=\x9c\x85"
    "<link>\x1b]8;;https://example.org\x1b\\<string>\x1bPq\x1b\\\x90<bell>\a\b\x7f\0\v\f<line>\r\nroot: forged"
    "<bidi>\u202egpj\u2066\u200f\u061c<more>\u2028\u2029\u200b\ufeff\U000e0041<half>\ud800\udfff\udc9b"
)
"""What turns text red, sets titles and clipboards, moves the cursor, turns words round, and is no character."""
LONG = HOSTILE + "x" * 200_000
WAYS = [HOSTILE, LONG]
OBEYED = ("Cc", "Cf", "Cs", "Zl", "Zp")
HARMLESS = {"\n", "\u200b", "\ufeff", "\U000e0041"}
"""Ends of lines; and what joins or parts letters, which languages and emoji need."""


def frame(type: str, data: Any) -> bytes:
    return json.dumps({"type": type, "data": data}).encode() + b"\f"


def raw_frame(text: str) -> bytes:
    """What is in no JSON: the characters themselves, and what is no UTF-8."""
    return text.replace("\f", "").encode("utf-8", "surrogatepass") + b"\x9b31m\xff\f"


def sayings() -> bytes:
    """Events and what is none of a peer that wants the terminal."""
    nested = {HOSTILE: [HOSTILE, {HOSTILE: HOSTILE}]}
    said = [frame(text[:200], text) for text in WAYS] + [frame("message", nested), frame("x" * 250 + "\x9b", 1)]
    return b"".join([*said, raw_frame(HOSTILE), raw_frame('{"type":"' + HOSTILE), raw_frame('{"type":"close"}')])


def document() -> dict[str, Any]:
    """What a server says of itself, each word of it hostile."""
    short = HOSTILE.encode("utf-8", "replace").decode()
    name = "".join(c for c in short if c >= " " and c not in '\\"')  # a member's may have no others
    schema = {"type": "object", "title": short, "description": short, "properties": {name: {"enum": [short, 1]}}}
    message = {"name": short, "summary": short, "description": short, "payload": schema}
    operation = {"action": "receive", "channel": {"$ref": "#/channels/c"}, "summary": short, "description": short}
    return {
        "asyncapi": "3.0.0",
        "info": {"title": short, "version": short, "description": short},
        "channels": {"c": {"address": short, "messages": {"m": message}}},
        "operations": {short: operation},
        "x-node-ipc": {"id": short, "software": short, "bus": {"engine": short, "state": short, "servers": 3}},
    }


class HostileServer:
    """Answers every request, and everything else with all of ``sayings``, or nothing where it is ``quiet``."""

    def __init__(self, path: str, quiet: bool) -> None:
        self.quiet = quiet
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(path)
        os.chmod(path, 0o600)
        self._socket.listen()
        self._path = path
        self._threads = [threading.Thread(target=self._accept)]
        self._links: list[socket.socket] = []
        self._threads[0].start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                link, _ = self._socket.accept()
                self._links.append(link)
                self._threads.append(threading.Thread(target=self._serve, args=(link,)))
                self._threads[-1].start()

    def _serve(self, link: socket.socket) -> None:
        with contextlib.suppress(OSError), link:
            got = b""
            while data := link.recv(65536):
                *frames, got = (got + data).split(b"\f")
                for each in frames:
                    link.sendall(self._answer(each))

    def _answer(self, heard: bytes) -> bytes:
        if self.quiet and b'"ipc.ping"' in heard:
            return frame("ipc.pong", {})
        if b'"rpc.request"' not in heard:
            return b"" if self.quiet else sayings()
        said = json.loads(heard)
        asked = said["data"]
        fault = {"code": -1, "message": HOSTILE, "data": {HOSTILE: HOSTILE}}
        answers: dict[str, dict[str, Any]] = {
            "rpc.describe": {"result": document()},
            "rpc.ping": {"result": asked.get("params", "pong")},
            "fine": {"result": {HOSTILE: HOSTILE}},
        }
        return frame(
            "rpc.response", {"jsonrpc": "2.0", "id": asked["id"], **answers.get(asked["method"], {"error": fault})}
        )

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for link in self._links:
            with contextlib.suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        os.unlink(self._path)


@contextlib.contextmanager
def hostile_server(path: str, *, quiet: bool = False) -> Iterator[HostileServer]:
    server = HostileServer(path, quiet)
    try:
        yield server
    finally:
        server.close()


def unsafe(printed: bytes, encoding: str = "utf-8") -> list[str]:
    """What a terminal would obey, or not show, of these bytes; each with what stands before it."""
    text = printed.decode(encoding)
    bad = [at for at, c in enumerate(text) if c not in HARMLESS and unicodedata.category(c) in OBEYED]
    return [repr(text[max(0, at - 60) : at + 1]) for at in bad[:5]]


class Printing:
    """A command whose bytes are looked at."""

    def __init__(self, *arguments: str) -> None:
        self.printed = bytearray()
        self._grown = threading.Condition()
        surroundings = {"NO_COLOR": "1", "PYTHONIOENCODING": "utf-8", "PYTHONWARNINGS": "error", "COLUMNS": "120"}
        self.process = subprocess.Popen(
            [sys.executable, "-u", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **surroundings},
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        while data := os.read(self.process.stdout.fileno(), 65536):
            with self._grown:
                self.printed += data
                self._grown.notify_all()
        with self._grown:
            self._grown.notify_all()

    def wait_for(self, text: bytes) -> None:
        deadline = time.monotonic() + DEADLINE
        with self._grown:
            while text not in self.printed:
                left = deadline - time.monotonic()
                assert left > 0 and self._reader.is_alive(), f"{text!r} was not printed: {bytes(self.printed)!r:.2000}"
                self._grown.wait(min(left, 0.2))

    def ends(self, *, interrupted: bool = False) -> bytes:
        """Everything that it printed, when it has ended."""
        if interrupted:
            self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(DEADLINE)
        finally:
            self.process.kill()
            self._reader.join()
            assert self.process.stdout is not None
            self.process.stdout.close()
        return bytes(self.printed)
