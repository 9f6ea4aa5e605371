"""``node-ipc tap`` passes every byte on, in both directions, and shows what it can."""

from __future__ import annotations

import json
import os
import shlex
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from node_ipc import blocking
from node_ipc.tools.tap import EXAMPLES, SHOWN_BYTES
from processes import Program

from .conftest import Command

SECONDS = 20


class Behind:
    """A server of plain sockets behind the tap: what it does with a connection is the test's."""

    def __init__(self, root: str, serve: Callable[[socket.socket], None]) -> None:
        self._path = f"{root}app.world"
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(self._path)
        self._listening.listen()
        self._listening.settimeout(SECONDS)
        self._thread = threading.Thread(target=self._run, args=(serve,))
        self._thread.start()

    def _run(self, serve: Callable[[socket.socket], None]) -> None:
        peer, _ = self._listening.accept()
        with peer:
            peer.settimeout(SECONDS)
            serve(peer)

    def close(self) -> None:
        self._thread.join()
        self._listening.close()
        os.unlink(self._path)


@pytest.fixture
def behind(root: str) -> Iterator[Callable[[Callable[[socket.socket], None]], Behind]]:
    made: list[Behind] = []

    def make(serve: Callable[[socket.socket], None]) -> Behind:
        made.append(Behind(root, serve))
        return made[-1]

    yield make
    for server in made:
        server.close()


def tapping(node_ipc: Command, *arguments: str) -> Program:
    program = node_ipc("tap", "spy", "--to", "world", *arguments)
    program.wait_for("Ctrl-C ends")
    return program


def client(root: str) -> socket.socket:
    peer = socket.socket(socket.AF_UNIX)
    peer.settimeout(SECONDS)
    peer.connect(f"{root}app.spy")
    return peer


def stop(program: Program) -> list[dict[str, Any]]:
    program.interrupt()
    return [json.loads(line) for line in program.ends() if line.startswith("{")]


def everything(peer: socket.socket) -> bytes:
    parts = []
    while part := peer.recv(65536):
        parts.append(part)
    return b"".join(parts)


def test_both_directions_are_shown(node_ipc: Command, root: str) -> None:
    server = node_ipc("listen", "world", "--echo")
    server.wait_for("listening at")
    tap = tapping(node_ipc)
    with blocking.connect(f"unix:{root}app.spy") as peer:
        peer.emit("message", "h\x1b[31mi")
        assert peer.receive("message", timeout=SECONDS) == "h\x1b[31mi"
    tap.wait_for("closed")
    stop(tap)
    stop(server)
    lines = [line.partition(" ")[2] for line in tap.lines if "#1" in line]
    assert lines[0].startswith(f"#1 opened by unix pid {os.getpid()} ")
    assert lines[1:] == [
        '#1 client → message "h\\u001b[31mi"',
        '#1 server → message "h\\u001b[31mi"',
        "#1 closed, 41 bytes from the client and 41 from the server",
    ]


def test_frames_as_json_lines_whatever_they_hold(node_ipc: Command, root: str, behind: Any) -> None:
    frames = [
        b'{"type":"a","data":{"n":1.0}}',
        b'{"type":"b"}',
        b'{"type":"\x1b',
        b"\xff",
        b"[]",
        b'{"type":"deep","data":' + b"[" * 50_000 + b"]" * 50_000 + b"}",  # deeper than any Python decodes
        b'{"type":"big","data":1e999}',
    ]
    sent = b"".join(frame + b"\f" for frame in frames)
    heard: list[bytes] = []
    behind(lambda peer: heard.append(everything(peer)))
    tap = tapping(node_ipc, "--json")
    with client(root) as peer:
        for at in range(0, len(sent), 7):
            peer.sendall(sent[at : at + 7])
        peer.shutdown(socket.SHUT_WR)
        assert peer.recv(1) == b""
    tap.wait_for('"disconnect"')
    opened, *shown, closed = stop(tap)
    assert heard == [sent]
    assert opened["event"] == "connect" and opened["peer"]["pid"] == os.getpid()
    assert (closed["client_bytes"], closed["server_bytes"]) == (len(sent), 0)
    assert all(line["link"] == 1 for line in (opened, *shown, closed))
    assert [line["from"] for line in shown] == ["client"] * len(frames)
    assert [(line["type"], line["data"]) for line in shown[:2]] == [("a", {"n": 1.0}), ("b", {})]
    assert all("fault" in line for line in shown[2:])
    assert shown[2]["frame"] == '{"type":"\x1b'
    assert shown[3]["frame"] == "\\xff"
    assert all(line.isprintable() for line in tap.lines)


def test_a_long_frame_passes_whole_and_is_not_kept(node_ipc: Command, root: str, behind: Any) -> None:
    long = b"x" * (3 * SHOWN_BYTES) + b"<end>"
    sent = long + b'{"type":"after"}<end>'
    heard: list[bytes] = []
    behind(lambda peer: heard.append(everything(peer)))
    tap = tapping(node_ipc, "--json", "-o", "delimiter=<end>")
    with client(root) as peer:
        peer.sendall(sent)
        peer.shutdown(socket.SHUT_WR)
        assert peer.recv(1) == b""
    tap.wait_for('"disconnect"')
    _, first, after, _ = stop(tap)
    assert heard == [sent]
    assert first["fault"] == f"{3 * SHOWN_BYTES} bytes are too many to show"
    assert after["type"] == "after"


def test_raw_bytes(node_ipc: Command, root: str, behind: Any) -> None:
    behind(lambda peer: peer.sendall(peer.recv(100)[::-1]))
    tap = tapping(node_ipc, "--raw", "--json")
    with client(root) as peer:
        peer.sendall(b"\x00\xff")
        assert everything(peer) == b"\xff\x00"
    tap.wait_for('"disconnect"')
    _, there, back, _ = stop(tap)
    assert (there["from"], there["hex"]) == ("client", "00ff")
    assert (back["from"], back["hex"]) == ("server", "ff00")


def test_a_server_that_is_not_there(node_ipc: Command, root: str) -> None:
    tap = tapping(node_ipc)
    with client(root) as peer:
        assert peer.recv(1) == b""
    assert "server: no server at" in tap.wait_for("closed")
    stop(tap)


def test_a_side_that_does_not_read_stops_the_other_and_nothing_is_lost(
    node_ipc: Command, root: str, behind: Any
) -> None:
    """More than all the buffers on the way can hold."""
    size = 32 * 1024 * 1024
    go = threading.Event()
    heard: list[bytes] = []

    def serve(peer: socket.socket) -> None:
        assert go.wait(SECONDS)
        heard.append(everything(peer))

    behind(serve)
    tap = tapping(node_ipc, "--raw", "--json")
    with client(root) as peer:
        peer.setblocking(False)
        written = 0
        block = bytes(range(256)) * 256
        peer.settimeout(1.0)  # the tap takes this long only if it has stopped reading
        try:
            while written < size:
                written += peer.send(block)
        except TimeoutError:
            pass
        assert written < size, "the tap buffers without end"
        go.set()
        peer.settimeout(SECONDS)
        peer.shutdown(socket.SHUT_WR)
        assert peer.recv(1) == b""
    tap.wait_for('"disconnect"')
    stop(tap)
    assert len(heard[0]) == written


def test_a_client_that_is_cut_off_ends_the_link_to_the_server(node_ipc: Command, root: str, behind: Any) -> None:
    ended = threading.Event()

    def serve(peer: socket.socket) -> None:
        everything(peer)
        ended.set()

    behind(serve)
    tap = tapping(node_ipc)
    peer = client(root)
    peer.sendall(b'{"type":"x"}\f')
    tap.wait_for("client → x")
    peer.close()
    assert ended.wait(SECONDS)
    tap.wait_for("closed")
    stop(tap)


def test_ctrl_c_ends_open_links(node_ipc: Command, root: str, behind: Any) -> None:
    behind(lambda peer: everything(peer) and None)
    tap = tapping(node_ipc)
    with client(root) as peer:
        peer.sendall(b'{"type":"x"}\f')
        tap.wait_for("client → x")
        stop(tap)
        assert peer.recv(1) == b""
    assert any("#1 closed" in line for line in tap.lines)


def test_addresses_in_use_and_without_connections(node_ipc: Command, root: str) -> None:
    tap = tapping(node_ipc)
    second = node_ipc("tap", "spy", "--to", "world")
    assert "app.spy" in second.ends(1)[0]
    stop(tap)
    udp = node_ipc("tap", "spy", "--to", "udp4://127.0.0.1:9")
    assert "has none: use listen there" in udp.ends(2)[0]
    itself = node_ipc("tap", "spy", "--to", "spy")
    assert "clients and server would meet at unix:" in itself.ends(2)[0]


def test_the_examples_of_the_help(node_ipc: Command) -> None:
    """Each as it stands; a pipe behind it, other addresses and where the recording goes are left out."""
    found = [shlex.split(line.partition("|")[0], comments=False) for line in EXAMPLES.splitlines() if line[:2] == "  "]
    examples = [
        words[1 : words.index("--to") + 2] + [word for word in words if word[:2] == "--"][1:] for words in found
    ]
    chosen = [words for words in examples if "tcp" not in words[1] and "--record" not in words]
    assert len(chosen) >= 4
    for words in chosen:
        tap = node_ipc(*dict.fromkeys(words))
        tap.wait_for("Ctrl-C ends")
        tap.interrupt()
        tap.ends()
